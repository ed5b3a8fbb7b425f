"""A store fails at each of its operations in turn, and nothing that it acknowledged is gone or done twice.

The user gets an answer or a StoreError, never an apology, and nobody waits for ever. When the store works again the
same application goes on by itself, and what is sent again under its id is applied once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.durability.faults import AFTER, MODES, Attempt, FastClock, Scene, scene
from tests.durability.places import SESSION_SECONDS
from tests.durability.process import PATIENCE
from thea_core import Outbox, Store
from thea_core.storage import open_store


def operations(protocol: type) -> list[str]:
    """Return the methods of a protocol."""
    return [name for name, method in vars(protocol).items() if callable(method) and not name.startswith("_")]


OPERATIONS = [name for name in operations(Store) if name != "close"] + ["begin.queued"]
OF_THE_OUTBOX = [f"outbox.{name}" for name in operations(Outbox)]


WAYS = [(mode, False) for mode in MODES] + [(AFTER, True)]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("thea_core.conversation.leases._LOOK_SECONDS", 0.02)  # the clock is so much faster too
    clock = FastClock()
    with closing(open_store(f"sqlite:///{tmp_path / 'thea.db'}", clock=clock)) as store, scene(store, clock) as stage:
        yield stage


def let_two_wait_for_each_other(stage: Scene, until: str) -> None:
    """Let a message come while another one of its user is handled, and go on when that operation was called."""
    first = stage.begin("eva", "slow")
    while not stage.agent.begun.wait(0.01) and first.is_alive():
        pass
    second = stage.begin("eva", "waiting")
    while first.is_alive() and second.is_alive() and not stage.faults.seen[until].wait(0.01):
        pass
    stage.agent.go_on.set()
    first.outcome()
    second.outcome()


def do_everything(stage: Scene, operation: str) -> None:
    """Do all for which an application needs its store; what is renewed is held until it is, if that is what matters."""
    app, outbox = stage.app, stage.app.store.outbox
    assert outbox is not None
    stage.send("ana", "one")
    stage.send("ana", "one")
    let_two_wait_for_each_other(stage, until=operation if operation.startswith("renew") else "enqueue")
    app.callbacks.trigger("on_message", user_id="ana", message="outside", timestamp=datetime.now(UTC))
    stage.clock.advance(SESSION_SECONDS)
    for work in (
        app.sessions.sweep,
        lambda: app.contexts.load("ana"),
        lambda: app.sessions.renew("nobody"),
        lambda: app.sessions.purge(older_than=1e9),
        lambda: app.store.purge_messages(older_than=1e9),
        outbox.list,
        lambda: outbox.retry([1]),
        lambda: outbox.drop([10**9]),
    ):
        Attempt(work).outcome()
    stage.send("ana", "two")
    app.callbacks.flush(PATIENCE)


@pytest.mark.parametrize(("mode", "asynchronous"), WAYS, ids=[f"{mode}{', async' * way}" for mode, way in WAYS])
@pytest.mark.parametrize("operation", [*OPERATIONS, *OF_THE_OUTBOX])
def test_nothing_is_lost_or_done_twice_where_an_operation_of_the_store_fails(
    operation: str, mode: str, asynchronous: bool, stage: Scene
) -> None:
    stage.asynchronous = asynchronous
    assert stage.send("ana", "before")
    also = {"begin.queued"} if operation == "dequeue" else set()  # only where that fails somebody leaves the queue
    stage.faults.begin(operation, *also, mode=mode)
    do_everything(stage, operation)
    assert stage.faults.seen[operation].is_set()
    stage.faults.heal()
    assert stage.send("ana", "after")
    stage.check()


def test_sessions_are_ended_by_themselves_after_a_failure(stage: Scene) -> None:
    stage.app.sessions.stop(PATIENCE)
    stage.app.sessions.interval = 0.01
    stage.app.sessions.start()
    stage.faults.begin("claim_expired")
    assert stage.send("ana", "one")
    stage.clock.advance(SESSION_SECONDS)
    assert stage.faults.reached.wait(PATIENCE)
    assert not stage.recorder.ends
    stage.faults.heal()
    assert stage.recorder.told_end.wait(PATIENCE)
    stage.check()
