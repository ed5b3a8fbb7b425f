"""The SQLite store's outbox: the events of durable plugins, in the same file as the conversations.

``lanes`` has a row for each plugin and user with events that wait, and says when the first of them is due; while they
are claimed, when the claim ends. So what is due is found by an index, however many events wait behind. The number of a
claim comes from one counter for the whole file, so that no late settling is taken for another's.

A claim and its settling may be undone by a power cut: then something is delivered once more, which is promised anyway.
"""

# ruff: noqa: S608 -- the statements are put together from constants of this module only

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from thea_core.storage.claims import RUN, Settlement, settlement
from thea_core.storage.transactions import Connection, Relaxed, Transaction
from thea_core.types import ClaimedEvents, OutgoingEvent, StoredEvent

__all__ = ["DUE", "NEXT", "SQLiteOutbox", "add_events", "forget_events"]

_Result = TypeVar("_Result")

_ADD = "INSERT INTO events (user_id, plugin, hook, event_id, stored, event) VALUES (?, ?, ?, ?, ?, ?)"
_OPEN = "INSERT INTO lanes (user_id, plugin, due) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_FORGET = ("DELETE FROM events WHERE user_id = ?", "DELETE FROM lanes WHERE user_id = ?")

DUE = "SELECT user_id, attempts + 1 FROM lanes WHERE plugin = ? AND due <= ? ORDER BY due LIMIT ?"
_LAST_CLAIM = "SELECT last_claim FROM store"
_COUNT_CLAIMS = "UPDATE store SET last_claim = ?"
_CLAIM = "UPDATE lanes SET due = ?, attempts = ?, claim = ?, claimed = 1 WHERE user_id = ? AND plugin = ?"
NEXT = """
SELECT number, hook, event_id, event, stored, error FROM events
WHERE user_id = ? AND plugin = ? AND parked = 0 ORDER BY number LIMIT ?
"""

_HELD = "SELECT EXISTS (SELECT 1 FROM lanes WHERE user_id = ? AND plugin = ? AND claim = ?)"
_REMOVE = "DELETE FROM events WHERE number = ?"
_FAIL = "UPDATE events SET error = ?, parked = ?, attempts = ? WHERE number = ?"
_FREE = "UPDATE lanes SET due = ?, attempts = ?, claim = 0, claimed = 0 WHERE user_id = ? AND plugin = ?"
_VOID = "UPDATE lanes SET claim = 0 WHERE user_id = ? AND plugin = ?"
_CLOSE = """
DELETE FROM lanes WHERE user_id = :user_id AND plugin = :plugin
AND NOT EXISTS (SELECT 1 FROM events WHERE user_id = :user_id AND plugin = :plugin AND parked = 0)
"""

_FIRST = "(SELECT min(number) FROM events WHERE user_id = e.user_id AND plugin = e.plugin AND parked = 0)"
_LIST = f"""
SELECT e.number, e.plugin, e.user_id, e.hook, e.event_id, e.event, e.stored,
       coalesce(l.attempts, e.attempts), l.due, e.error, e.parked
FROM events AS e
LEFT JOIN lanes AS l ON l.user_id = e.user_id AND l.plugin = e.plugin AND e.number = {_FIRST}
WHERE e.number > :after AND (:plugin IS NULL OR e.plugin = :plugin) AND (:parked IS NULL OR e.parked = :parked)
ORDER BY e.number LIMIT :limit
"""
_FIND = f"""
SELECT e.number, e.user_id, e.plugin, e.parked, {_FIRST}, coalesce(l.claimed AND l.due > :now, 0)
FROM events AS e LEFT JOIN lanes AS l ON l.user_id = e.user_id AND l.plugin = e.plugin
WHERE e.number = :number
"""
_FIRST_OF = "SELECT min(number) FROM events WHERE user_id = ? AND plugin = ? AND parked = 0"
_RESTORE = "UPDATE events SET parked = 0, attempts = 0 WHERE number = ?"


class _Run(Protocol):
    """How the store calls what needs its connection."""

    def __call__(self, work: Callable[..., _Result], *arguments: Any) -> _Result: ...


class _Found(NamedTuple):
    """An event that somebody has named; ``first`` is the first that waits of the same user and plugin."""

    number: int
    user_id: str
    plugin: str
    parked: bool
    first: int | None
    claimed: bool


class SQLiteOutbox:
    """An :class:`~thea_core.types.Outbox` in a SQLite file. Thread-safe; processes may share the file.

    Args:
        run: calls a function with the store's connection.
        now: the store's time, in seconds.
    """

    def __init__(self, run: _Run, now: Callable[[], float]) -> None:
        self._run = run
        self._now = now

    def append(self, user_id: str, events: Sequence[OutgoingEvent]) -> None:
        """Store events by themselves; on the disk when it returns."""
        if events:
            self._run(self._append, user_id, events)

    def claim(self, plugin: str, *, duration: float, limit: int) -> Sequence[ClaimedEvents]:
        """Claim the next events; see :meth:`Outbox.claim <thea_core.types.Outbox.claim>`.

        Where nothing is due nobody is kept from writing.
        """
        limit = max(limit, 0)
        if not self._run(self._due, plugin, min(limit, 1)):
            return ()
        return self._run(self._claim, plugin, duration, limit)

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
        return self._run(self._settle, claimed, done, error)

    def list(
        self, *, plugin: str | None = None, parked: bool | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[StoredEvent]:
        """Return events by number; see :meth:`Outbox.list <thea_core.types.Outbox.list>`."""
        values = {"plugin": plugin, "parked": parked, "after": after, "limit": max(limit, 0)}
        return self._run(_list, values)

    def retry(self, numbers: Sequence[int]) -> int:
        """Let events be tried at once; see :meth:`Outbox.retry <thea_core.types.Outbox.retry>`."""
        return self._run(self._retry, numbers)

    def drop(self, numbers: Sequence[int]) -> int:
        """Remove events for good; see :meth:`Outbox.drop <thea_core.types.Outbox.drop>`."""
        return self._run(self._drop, numbers)

    def _append(self, connection: Connection, user_id: str, events: Sequence[OutgoingEvent]) -> None:
        with Transaction(connection):
            add_events(connection, user_id, events, self._now())

    def _due(self, connection: Connection, plugin: str, limit: int) -> Sequence[tuple[str, int]]:
        return connection.execute(DUE, (plugin, self._now(), limit)).fetchall()

    def _claim(self, connection: Connection, plugin: str, duration: float, limit: int) -> Sequence[ClaimedEvents]:
        with Relaxed(connection):
            now = self._now()
            lanes = connection.execute(DUE, (plugin, now, limit)).fetchall()
            (last,) = connection.execute(_LAST_CLAIM).fetchone()
            connection.execute(_COUNT_CLAIMS, (last + len(lanes),))
            return tuple(
                _take(connection, ClaimedEvents(plugin, user_id, claim, attempt, ()), now + duration)
                for claim, (user_id, attempt) in enumerate(lanes, start=last + 1)
            )

    def _settle(self, connection: Connection, claimed: ClaimedEvents, done: Settlement, error: str | None) -> bool:
        lane = (claimed.user_id, claimed.plugin)
        with Relaxed(connection):
            now = self._now()
            if connection.execute(_HELD, (*lane, claimed.claim)).fetchone() == (0,):
                return False
            connection.executemany(_REMOVE, [(number,) for number in done.delivered])
            if done.failed is not None:
                connection.execute(_FAIL, (error, done.parked, done.tried if done.parked else 0, done.failed))
            connection.execute(_FREE, (now + done.delay, done.attempts, *lane))
            _close(connection, *lane)
        return True

    def _retry(self, connection: Connection, numbers: Collection[int]) -> int:
        named = set(numbers)
        with Transaction(connection):
            now = self._now()
            chosen = [
                found
                for found in _find(connection, named, now)
                if not found.claimed and (found.parked or found.number == found.first)
            ]
            connection.executemany(_RESTORE, [(found.number,) for found in chosen])
            for user_id, plugin, first in {(found.user_id, found.plugin, found.first) for found in chosen}:
                connection.execute(_OPEN, (user_id, plugin, now))
                connection.execute(_VOID, (user_id, plugin))
                (begins_with,) = connection.execute(_FIRST_OF, (user_id, plugin)).fetchone()
                if begins_with != first or first in named:
                    connection.execute(_FREE, (now, 0, user_id, plugin))
        return len(chosen)

    def _drop(self, connection: Connection, numbers: Collection[int]) -> int:
        with Transaction(connection):
            now = self._now()
            chosen = [found for found in _find(connection, set(numbers), now) if found.parked or not found.claimed]
            connection.executemany(_REMOVE, [(found.number,) for found in chosen])
            for found in chosen:
                if not found.parked:
                    connection.execute(_VOID, (found.user_id, found.plugin))
                if found.number == found.first:
                    connection.execute(_FREE, (now, 0, found.user_id, found.plugin))
                _close(connection, found.user_id, found.plugin)
        return len(chosen)


def add_events(connection: sqlite3.Connection, user_id: str, events: Sequence[OutgoingEvent], now: float) -> None:
    """Store events, within a transaction of the caller's."""
    rows = [(user_id, each.plugin, each.hook, each.event_id, now, each.event) for each in events]
    connection.executemany(_ADD, rows)
    connection.executemany(_OPEN, [(user_id, plugin, now) for plugin in {each.plugin for each in events}])


def forget_events(connection: sqlite3.Connection, user_id: str) -> None:
    """Remove all events of a user, within a transaction of the caller's; claims of them are lost."""
    for statement in _FORGET:
        connection.execute(statement, (user_id,))


def _take(connection: sqlite3.Connection, claimed: ClaimedEvents, until: float) -> ClaimedEvents:
    """Write the claim down, and read its events."""
    plugin, user_id, claim, attempt, _ = claimed
    connection.execute(_CLAIM, (until, attempt, claim, user_id, plugin))
    rows = connection.execute(NEXT, (user_id, plugin, RUN if attempt == 1 else 1))
    events = [
        StoredEvent(number, plugin, user_id, hook, event_id, event, _date(stored), 0, None, error, parked=False)
        for number, hook, event_id, event, stored, error in rows
    ]
    events[0] = events[0]._replace(attempts=attempt, due=_date(until))
    return claimed._replace(events=tuple(events))


def _close(connection: sqlite3.Connection, user_id: str, plugin: str) -> None:
    """End a lane in which nothing waits."""
    connection.execute(_CLOSE, {"user_id": user_id, "plugin": plugin})


def _find(connection: sqlite3.Connection, numbers: Iterable[int], now: float) -> list[_Found]:
    rows = (connection.execute(_FIND, {"number": number, "now": now}).fetchone() for number in numbers)
    return [_Found(*row) for row in rows if row is not None]


def _list(connection: sqlite3.Connection, values: dict[str, object]) -> tuple[StoredEvent, ...]:
    return tuple(_told(*row) for row in connection.execute(_LIST, values))


def _told(*row: Any) -> StoredEvent:
    told = StoredEvent(*row)
    due = None if told.due is None else _date(row[8])
    return told._replace(stored=_date(row[6]), due=due, parked=bool(told.parked))


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
