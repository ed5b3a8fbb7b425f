"""The memory store's outbox: events that wait in the process, and are gone with it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from itertools import islice

from thea_core.storage.claims import RUN, settlement
from thea_core.types import ClaimedEvents, OutgoingEvent, StoredEvent

__all__ = ["Events", "MemoryOutbox"]

_Key = tuple[str, str]  # plugin, user id
_SPARE = 64  # entries of a heap that may be out of date before it is made anew


class _Event:
    """An event that waits, or was parked; ``attempts`` is kept of a parked one only."""

    __slots__ = ("attempts", "error", "event", "number", "parked", "stored", "user_id")

    def __init__(self, number: int, user_id: str, event: OutgoingEvent, stored: float) -> None:
        self.number = number
        self.user_id = user_id
        self.event = event
        self.stored = stored
        self.attempts = 0
        self.error: str | None = None
        self.parked = False

    @property
    def key(self) -> _Key:
        return self.event.plugin, self.user_id


class _Lane:
    """The events of one plugin and user that are not delivered and not parked: their numbers, in order."""

    __slots__ = ("attempts", "claim", "claimed", "due", "numbers")

    def __init__(self, due: float) -> None:
        self.numbers: list[int] = []
        self.due = due  # of the first event; while that is claimed, when the claim ends
        self.attempts = 0  # of the first event
        self.claim = 0
        self.claimed = False

    def is_claimed(self, now: float) -> bool:
        return self.claimed and self.due > now

    def free(self, due: float) -> None:
        """Let the first event be tried at ``due`` for the first time; whoever had claimed it has lost it."""
        self.due, self.attempts, self.claim, self.claimed = due, 0, 0, False


class Events:
    """All events of a memory store. Not thread-safe: the store's lock is."""

    def __init__(self) -> None:
        self._events: dict[int, _Event] = {}  # by number, and in that order: none is ever put back
        self._lanes: dict[_Key, _Lane] = {}
        self._due: dict[str, list[tuple[float, str]]] = {}  # of each plugin, a heap: due, user id
        self._numbers = 0
        self._claims = 0

    def clear(self) -> None:
        """Drop everything."""
        for part in (self._events, self._lanes, self._due):
            part.clear()

    def add(self, user_id: str, events: Sequence[OutgoingEvent], now: float) -> None:
        """Store new events."""
        for event in events:
            self._numbers += 1
            self._events[self._numbers] = _Event(self._numbers, user_id, event, now)
            self._lane(event.plugin, user_id, now).numbers.append(self._numbers)

    def forget(self, user_id: str) -> None:
        """Remove all events of a user; claims of them are lost."""
        old = [event for event in self._events.values() if event.user_id == user_id]
        for event in old:
            del self._events[event.number]
            self._lanes.pop(event.key, None)

    def claim(self, plugin: str, now: float, until: float, limit: int) -> list[ClaimedEvents]:
        """Claim the next events of users that are due."""
        due: dict[str, _Lane] = {}
        heap = self._due.get(plugin, [])
        while len(due) < limit and heap and heap[0][0] <= now:
            since, user_id = heappop(heap)
            lane = self._lanes.get((plugin, user_id))
            if lane is not None and lane.due == since:  # else the entry is out of date
                due[user_id] = lane
        return [self._claim(plugin, user_id, lane, until) for user_id, lane in due.items()]

    def settle(
        self,
        claimed: ClaimedEvents,
        now: float,
        *,
        delivered: int,
        retry_in: float | None,
        park: bool,
        error: str | None,
    ) -> bool:
        """End a claim; False where it was lost."""
        key = claimed.plugin, claimed.user_id
        lane = self._lanes.get(key)
        if lane is None or lane.claim != claimed.claim:
            return False
        done = settlement(claimed, delivered=delivered, retry_in=retry_in, park=park)
        gone = len(done.delivered) + done.parked
        for number in done.delivered:
            del self._events[number]
        if done.failed is not None:
            event = self._events[done.failed]
            event.error, event.parked = error, done.parked
            event.attempts = done.tried if done.parked else 0
        del lane.numbers[:gone]
        lane.free(now)
        lane.attempts = done.attempts
        self._put(*key, lane, now + done.delay)
        return True

    def listed(self, plugin: str | None, *, parked: bool | None, after: int) -> Iterator[StoredEvent]:
        """Go through the events by number."""
        for event in self._events.values():
            if (
                event.number > after
                and (plugin is None or event.event.plugin == plugin)
                and (parked is None or event.parked == parked)
            ):
                yield self._told(event)

    def retry(self, numbers: Collection[int], now: float) -> int:
        """Let events be tried at once; return how many."""
        chosen = [event for event in self._chosen(numbers, now) if event.parked or self._is_first(event)]
        firsts = {event.key: self._first(event.key) for event in chosen}
        for event in chosen:
            if event.parked:
                event.parked, event.attempts = False, 0
                insort(self._lane(*event.key, now).numbers, event.number)
        for key, first in firsts.items():
            lane = self._lanes[key]
            lane.claim = 0
            if lane.numbers[0] != first or first in numbers:
                lane.free(now)
            self._put(*key, lane, lane.due)
        return len(chosen)

    def drop(self, numbers: Collection[int], now: float) -> int:
        """Remove events; return how many."""
        chosen = list(self._chosen(numbers, now, parked=False))
        for event in chosen:
            del self._events[event.number]
            lane = self._lanes.get(event.key)
            if lane is None or event.parked:
                continue
            lane.claim = 0
            if lane.numbers[0] == event.number:
                lane.free(now)
            lane.numbers.remove(event.number)
            self._put(*event.key, lane, lane.due)
        return len(chosen)

    def _chosen(self, numbers: Collection[int], now: float, *, parked: bool = True) -> Iterator[_Event]:
        """Go through those that exist, without those of claimed lanes (with the parked ones, unless ``parked``)."""
        for number in set(numbers):
            event = self._events.get(number)
            if event is None:
                continue
            lane = self._lanes.get(event.key)
            if lane is None or not lane.is_claimed(now) or (event.parked and not parked):
                yield event

    def _first(self, key: _Key) -> int | None:
        lane = self._lanes.get(key)
        return None if lane is None else lane.numbers[0]

    def _is_first(self, event: _Event) -> bool:
        return self._first(event.key) == event.number

    def _claim(self, plugin: str, user_id: str, lane: _Lane, until: float) -> ClaimedEvents:
        self._claims += 1
        lane.claim, lane.claimed = self._claims, True
        lane.attempts += 1
        self._put(plugin, user_id, lane, until)
        run = lane.numbers[: RUN if lane.attempts == 1 else 1]
        events = tuple(self._told(self._events[number]) for number in run)
        return ClaimedEvents(plugin, user_id, lane.claim, lane.attempts, events)

    def _lane(self, plugin: str, user_id: str, now: float) -> _Lane:
        lane = self._lanes.get((plugin, user_id))
        if lane is None:
            lane = self._lanes[plugin, user_id] = _Lane(now)
            heappush(self._due.setdefault(plugin, []), (now, user_id))
        return lane

    def _put(self, plugin: str, user_id: str, lane: _Lane, due: float) -> None:
        """Let the lane be due at ``due``; without events it ends."""
        if not lane.numbers:
            del self._lanes[plugin, user_id]
            return
        lane.due = due
        heap = self._due[plugin]
        heappush(heap, (due, user_id))
        if len(heap) > 2 * len(self._lanes) + _SPARE:
            heap[:] = [(each.due, user) for (name, user), each in self._lanes.items() if name == plugin]
            heapify(heap)

    def _told(self, event: _Event) -> StoredEvent:
        lane = None if event.parked else self._lanes[event.key]
        first = lane if lane is not None and lane.numbers[0] == event.number else None
        return StoredEvent(
            event.number,
            event.event.plugin,
            event.user_id,
            event.event.hook,
            event.event.event_id,
            event.event.event,
            datetime.fromtimestamp(event.stored, UTC),
            event.attempts if first is None else first.attempts,
            None if first is None else datetime.fromtimestamp(first.due, UTC),
            event.error,
            event.parked,
        )


class MemoryOutbox:
    """An :class:`~thea_core.types.Outbox` in the process's own memory. Thread-safe.

    Args:
        events: the store's.
        lock: gives the lock of the store, which has another one in a forked child.
        now: the store's time, in seconds; raises StoreUnavailableError where the store is closed.
    """

    def __init__(
        self, events: Events, lock: Callable[[], AbstractContextManager[object]], now: Callable[[], float]
    ) -> None:
        self._events = events
        self._lock = lock
        self._now = now

    def append(self, user_id: str, events: Sequence[OutgoingEvent]) -> None:
        """Store events by themselves."""
        with self._lock():
            self._events.add(user_id, events, self._now())

    def claim(self, plugin: str, *, duration: float, limit: int) -> Sequence[ClaimedEvents]:
        """Claim the next events; see :meth:`Outbox.claim <thea_core.types.Outbox.claim>`."""
        with self._lock():
            now = self._now()
            return self._events.claim(plugin, now, now + duration, limit)

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
        with self._lock():
            return self._events.settle(
                claimed, self._now(), delivered=delivered, retry_in=retry_in, park=park, error=error
            )

    def list(
        self, *, plugin: str | None = None, parked: bool | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[StoredEvent]:
        """Return events by number; see :meth:`Outbox.list <thea_core.types.Outbox.list>`."""
        with self._lock():
            self._now()
            return tuple(islice(self._events.listed(plugin, parked=parked, after=after), max(limit, 0)))

    def retry(self, numbers: Sequence[int]) -> int:
        """Let events be tried at once; see :meth:`Outbox.retry <thea_core.types.Outbox.retry>`."""
        with self._lock():
            return self._events.retry(numbers, self._now())

    def drop(self, numbers: Sequence[int]) -> int:
        """Remove events for good; see :meth:`Outbox.drop <thea_core.types.Outbox.drop>`."""
        with self._lock():
            return self._events.drop(numbers, self._now())
