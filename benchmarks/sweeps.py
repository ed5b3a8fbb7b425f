"""A sweep of the sessions that have expired, among few that have not and among very many."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import perf_counter

from benchmarks.databases import Database
from benchmarks.disk import CONTEXT
from benchmarks.measure import Effort, take_turns
from benchmarks.rows import Row, cost
from thea_core import Thea
from thea_core.types import Commit, Store

__all__ = ["sweeps"]

EXPIRED = 100
FEW, MANY, QUICK = 1_000, 1_000_000, 100_000
LIVE = "a user whose session is under way"


def sweeps(effort: Effort, few: Database, many: Database, count: int) -> Iterator[Row]:
    """Give the row of one kind of store, of which two databases are filled."""
    with ExitStack() as stack:
        goes = {
            name: _sweeping(database, live, stack)
            for name, database, live in ((_name(many, count), many, count), (_name(few, FEW), few, FEW))
        }
        timings = take_turns(goes, rounds=effort.rounds, turns=max(2, effort.turns // 3), pick=statistics.median)
    what, beside = goes
    yield cost(what, beside, timings, at_most=1.5)
    each = tuple(seconds / EXPIRED * 1e3 for seconds in timings.seconds[what])
    yield Row(f"- each of the {EXPIRED}", "", each, unit="ms")


def _name(database: Database, live: int) -> str:
    return f"a sweep of {EXPIRED} among {live:,} on {database.name}"


def _sweeping(database: Database, live: int, stack: ExitStack) -> Callable[[], float]:
    """Fill the database, and return a go of one sweep; before each, sessions are begun that expire at once.

    They are spread over the live ones.
    """
    config = {"store": {"url": database.url}}
    with Thea(config, worker=False) as thea:
        _begin_session(thea.store, LIVE, 30 * 86400.0)
    database.fill(LIVE, live)
    thea = stack.enter_context(Thea(config, worker=False))
    users = [f"user-{10_000_000 + number * live // EXPIRED}, late" for number in range(EXPIRED)]

    def go() -> float:
        for user in users:
            _begin_session(thea.store, user, 0.0)
        start = perf_counter()
        ended = thea.sessions.sweep()
        took = perf_counter() - start
        if ended != EXPIRED:
            raise AssertionError(f"{ended} sessions were ended, and {EXPIRED} had expired")
        return took

    return go


def _begin_session(store: Store, user: str, timeout: float) -> None:
    read = store.begin(user, owner="benchmark", duration=30.0)
    if read is None or read.lease is None:
        raise AssertionError("nobody else has the lease")
    context = json.dumps({**CONTEXT, "user_id": user})
    store.commit(Commit(read.lease, read.version, context, read.session_id or "session", timeout))
