"""Simple models of what a store keeps, for the machine that compares stores with them. Seconds from an arbitrary start.

They are as plain as can be: lists, gone through from the front. What a store may decide is left open.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from thea_core.types import ClaimedEvents, Lease, StoredEvent

__all__ = ["Events", "Place", "User"]


class Place(NamedTuple):
    """Somebody who waits for a lease."""

    owner: str
    expires: float


@dataclass
class User:
    """What is known of a user; ``lease`` is None where none was given, or it was given back."""

    context: str | None = None
    version: int = 0
    session_id: str | None = None
    deadline: float | None = None
    lease: Lease | None = None
    until: float = 0.0
    tried: tuple[str, int] | None = None
    replies: dict[str, tuple[float, str]] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    committed: float = 0.0
    highest_fence: int = 0

    def busy(self, now: float) -> bool:
        """Whether a lease is alive."""
        return self.lease is not None and self.until > now

    def expired(self, now: float) -> bool:
        """Whether there is a session whose deadline has passed."""
        return self.deadline is not None and self.deadline <= now

    def reply(self, message_id: str | None) -> str | None:
        """Return the reply of a message that was handled."""
        return None if message_id is None else self.replies.get(message_id, (0.0, None))[1]

    def may_begin(self, owner: str | None, now: float) -> bool:
        """Whether the lease is free, and it is the turn of the ``owner`` of a place, or of one who has none."""
        self.places = [place for place in self.places if place.expires > now]
        return not self.busy(now) and (not self.places or self.places[0].owner == owner)

    def has_place(self, owner: str) -> bool:
        """Whether one of the places is the owner's; those that have expired are left out by :meth:`may_begin`."""
        return any(place.owner == owner for place in self.places)

    def attempt(self, message_id: str | None) -> int:
        """Count an attempt at a message."""
        if message_id is None:
            return 1
        count = self.tried[1] + 1 if self.tried is not None and self.tried[0] == message_id else 1
        self.tried = (message_id, count)
        return count

    def forget(self) -> None:
        """Forget the conversation and what belongs to it."""
        self.context, self.session_id, self.deadline, self.version = None, None, None, 0
        self.lease = self.tried = None
        self.replies.clear()


@dataclass
class Event:
    """An event that waits, or was parked."""

    user_id: str
    plugin: str
    event_id: str
    attempts: int = 0
    error: str | None = None
    parked: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """For whom it is, and of whom."""
        return self.plugin, self.user_id


@dataclass
class Lane:
    """When the first of the events of a plugin and user is due; or its claim ends, while ``claimed``."""

    due: float
    attempts: int = 0
    claim: int | None = None
    claimed: bool = False


class Events:
    """What waits in an outbox, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lanes: dict[tuple[str, str], Lane] = {}

    def waiting(self, key: tuple[str, str]) -> list[Event]:
        """Return what is to be delivered of one plugin and user."""
        return [event for event in self.events if event.key == key and not event.parked]

    def add(self, event: Event, now: float) -> None:
        """Store a new one."""
        self.events.append(event)
        self.lanes.setdefault(event.key, Lane(now))

    def forget(self, user_id: str) -> None:
        """Remove all of a user."""
        self.events = [event for event in self.events if event.user_id != user_id]
        self.lanes = {key: lane for key, lane in self.lanes.items() if key[1] != user_id}

    def due(self, plugin: str, now: float) -> dict[str, float]:
        """Return since when events of which users are due."""
        return {user_id: lane.due for (name, user_id), lane in self.lanes.items() if name == plugin and lane.due <= now}

    def claim(self, claimed: ClaimedEvents, until: float) -> None:
        """Note a claim."""
        lane = self.lanes[claimed.plugin, claimed.user_id]
        lane.due, lane.attempts, lane.claim, lane.claimed = until, claimed.attempt, claimed.claim, True

    def settle(
        self,
        claimed: ClaimedEvents,
        now: float,
        delivered: int,
        retry_in: float | None,
        error: str | None,
        *,
        park: bool,
    ) -> bool:
        """End a claim; False where it was lost."""
        key = claimed.plugin, claimed.user_id
        lane = self.lanes.get(key)
        if lane is None or lane.claim != claimed.claim:
            return False
        gone, rest = self.waiting(key)[:delivered], self.waiting(key)[delivered : len(claimed.events)]
        self.events = [event for event in self.events if event not in gone]
        tried = 1 if gone else lane.attempts
        lane.due, lane.claim, lane.claimed = now, None, False
        lane.attempts = 0 if gone else lane.attempts - 1
        if rest and (park or retry_in is not None):
            rest[0].error = error
            if park:
                rest[0].parked, rest[0].attempts, lane.attempts = True, tried, 0
            else:
                lane.due, lane.attempts = now + (retry_in or 0.0), tried
        self._close(key)
        return True

    def retry(self, numbers: Collection[int], now: float) -> int:
        """Let events be tried at once, which are named by where they stand; return how many."""
        chosen = [event for event in self._named(numbers, now) if event.parked or event is self.waiting(event.key)[0]]
        before = {event.key: self.waiting(event.key)[:1] for event in chosen}
        for event in chosen:
            if event.parked:
                event.parked, event.attempts = False, 0
        for key, first in before.items():
            lane = self.lanes.setdefault(key, Lane(now))
            lane.claim = None
            if self.waiting(key)[:1] != first or first[0] in chosen:
                lane.due, lane.attempts = now, 0
        return len(chosen)

    def drop(self, numbers: Collection[int], now: float) -> int:
        """Remove events, which are named by where they stand; return how many."""
        parked = [self.events[number] for number in numbers if self.events[number].parked]
        chosen = [event for event in self._named(numbers, now) if not event.parked]
        for event in chosen:
            lane = self.lanes[event.key]
            lane.claim = None
            if event is self.waiting(event.key)[0]:
                lane.due, lane.attempts = now, 0
            self.events.remove(event)
        for event in parked:
            self.events.remove(event)
        for event in chosen:
            self._close(event.key)
        return len(chosen) + len(parked)

    def agrees(self, listed: Sequence[StoredEvent]) -> bool:
        """Whether an outbox lists just these."""
        return [
            (each.event_id, each.plugin, each.user_id, each.attempts, each.error, each.parked, each.due is None)
            for each in listed
        ] == [self._told(event) for event in self.events]

    def _told(self, event: Event) -> tuple[str, str, str, int, str | None, bool, bool]:
        first = not event.parked and self.waiting(event.key)[0] is event
        attempts = self.lanes[event.key].attempts if first else event.attempts
        return event.event_id, event.plugin, event.user_id, attempts, event.error, event.parked, not first

    def _named(self, numbers: Collection[int], now: float) -> list[Event]:
        """Return those of which nothing is just being delivered."""
        named = [self.events[number] for number in sorted(numbers)]
        return [event for event in named if not self._is_claimed(event.key, now)]

    def _is_claimed(self, key: tuple[str, str], now: float) -> bool:
        lane = self.lanes.get(key)
        return lane is not None and lane.claimed and lane.due > now

    def _close(self, key: tuple[str, str]) -> None:
        if not self.waiting(key):
            self.lanes.pop(key, None)
