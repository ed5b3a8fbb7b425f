"""The PostgreSQL store's outbox: events for plugins with durable delivery, which processes of several hosts share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, LiteralString

from psycopg.types.numeric import Int8

from thea_core.storage.claims import settlement
from thea_core.storage.postgres_connections import Connections
from thea_core.types import ClaimedEvents, OutgoingEvent, StoredEvent

__all__ = ["PostgresOutbox", "columns"]

_Rows = list[tuple[Any, ...]]

_UNKNOWN_APPEND = "it is not known whether the events were stored; to store them again may deliver them twice"

_APPEND: LiteralString = "SELECT thea_append(%s, %b, %b, %b, %b, %s)"
_CLAIM: LiteralString = "SELECT * FROM thea_claim(%s, %s, %s, %s)"
_SETTLE: LiteralString = "SELECT thea_settle(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_RETRY: LiteralString = "SELECT thea_retry(%s, %s)"
_DROP: LiteralString = "SELECT thea_drop(%s, %s)"
_LIST: LiteralString = """
SELECT e.number, e.plugin, e.user_id, e.hook, e.event_id, e.event, e.stored,
       coalesce(l.attempts, e.attempts), l.due, e.error, e.parked
FROM thea_events AS e
LEFT JOIN thea_lanes AS l ON NOT e.parked AND l.user_id = e.user_id AND l.plugin = e.plugin
    AND e.number = thea_first(e.user_id, e.plugin)
WHERE e.number > %s AND (%s::text IS NULL OR e.plugin = %s) AND (%s::boolean IS NULL OR e.parked = %s)
ORDER BY e.number LIMIT %s
"""


class PostgresOutbox:
    """An :class:`~thea_core.types.Outbox` in a PostgreSQL database. Thread-safe.

    Args:
        connections: the store's.
        at: the time in seconds, or None for the server's.
    """

    def __init__(self, connections: Connections, at: Callable[[], float | None]) -> None:
        self._connections = connections
        self._at = at

    def append(self, user_id: str, events: Sequence[OutgoingEvent]) -> None:
        """Store events by themselves, durably. Where the connection is lost meanwhile, the error says so."""
        if events:
            self._run(_APPEND, user_id, *columns(events), self._at(), unknown=_UNKNOWN_APPEND)

    def claim(self, plugin: str, *, duration: float, limit: int) -> Sequence[ClaimedEvents]:
        """Claim the next events; see :meth:`Outbox.claim <thea_core.types.Outbox.claim>`."""
        rows = self._run(_CLAIM, plugin, float(duration), Int8(max(limit, 0)), self._at())
        runs = [(number, [_event(row[1:]) for row in run]) for number, run in groupby(rows, itemgetter(0))]
        return [ClaimedEvents(plugin, run[0].user_id, number, run[0].attempts, tuple(run)) for number, run in runs]

    def settle(
        self,
        claimed: ClaimedEvents,
        *,
        delivered: int,
        retry_in: float | None = None,
        park: bool = False,
        error: str | None = None,
    ) -> bool:
        """End a claim; see :meth:`Outbox.settle <thea_core.types.Outbox.settle>`."""
        done = settlement(claimed, delivered=delivered, retry_in=retry_in, park=park)
        rows = self._run(
            _SETTLE,
            claimed.user_id,
            claimed.plugin,
            Int8(claimed.claim),
            _numbers(done.delivered),
            None if done.failed is None else Int8(done.failed),
            Int8(done.tried),
            done.parked,
            None if error is None else _storable(error),
            Int8(done.attempts),
            float(done.delay),
            self._at(),
        )
        return bool(rows[0][0])

    def list(
        self, *, plugin: str | None = None, parked: bool | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[StoredEvent]:
        """Return events by number; see :meth:`Outbox.list <thea_core.types.Outbox.list>`."""
        rows = self._run(_LIST, Int8(after), plugin, plugin, parked, parked, Int8(max(limit, 0)))
        return tuple(_event(row) for row in rows)

    def retry(self, numbers: Sequence[int]) -> int:
        """Let events be tried at once; see :meth:`Outbox.retry <thea_core.types.Outbox.retry>`."""
        return int(self._run(_RETRY, _numbers(numbers), self._at())[0][0])

    def drop(self, numbers: Sequence[int]) -> int:
        """Remove events for good; see :meth:`Outbox.drop <thea_core.types.Outbox.drop>`."""
        return int(self._run(_DROP, _numbers(numbers), self._at())[0][0])

    def _run(self, statement: LiteralString, *parameters: Any, unknown: str | None = None) -> _Rows:
        return self._connections.run(statement, parameters, unknown=unknown)


def columns(events: Sequence[OutgoingEvent]) -> tuple[Any, ...]:
    """Return events as the server's functions take them: their plugins, hooks, ids and texts; None for none."""
    if not events:
        return None, None, None, None
    return tuple([list(column) for column in zip(*events, strict=True)])


def _numbers(numbers: Sequence[int]) -> Sequence[Int8]:
    return [Int8(number) for number in numbers]


def _storable(text: str) -> str:
    """Return text as PostgreSQL can keep it: an exception's may hold anything."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _event(row: tuple[Any, ...]) -> StoredEvent:
    number, plugin, user_id, hook, event_id, event, stored, attempts, due, error, parked = row
    moment = datetime.fromtimestamp(stored, UTC)
    return StoredEvent(number, plugin, user_id, hook, event_id, event, moment, attempts, _time(due), error, parked)
