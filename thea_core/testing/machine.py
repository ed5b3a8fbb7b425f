"""Two clients do whatever they like, and a store agrees with a simple model at each step. Needs hypothesis."""

# ruff: noqa: D102, S101 -- these are tests: they assert, and their names say what is done

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from thea_core.errors import CommitRefusedError
from thea_core.testing.clock import FakeClock
from thea_core.testing.models import Event, Events, Place, User
from thea_core.types import (
    ClaimedEvents,
    Commit,
    Conversation,
    ExpiredSession,
    Lease,
    Outbox,
    OutgoingEvent,
    Store,
    StoredEvent,
)

__all__ = ["StoreMachine"]

USERS = st.sampled_from(["ana", "ben"])
CLIENTS = st.sampled_from([0, 1])
PLUGINS = st.sampled_from(["shop", "shop", "mail"])
MESSAGES = st.sampled_from([None, "m1", "m2"])
CONTEXTS = st.sampled_from([None, '{"a": 1}', '{"b": 2}'])
SESSIONS = st.sampled_from([None, "s1", "s2"])
TIMEOUTS = st.sampled_from([None, 5.0, 20.0])
SECONDS = st.sampled_from([1.0, 5.0, 10.0])
AGES = st.sampled_from([0.5, 4.5, 9.5])  # never just as old as something is: a store's time may go on meanwhile
NUMBERS = st.sets(st.integers(0, 3), max_size=2)

_with_places = precondition(lambda machine: machine.keeps_places)
_with_outbox = precondition(lambda machine: machine.clients[0].outbox is not None)


class StoreMachine(RuleBasedStateMachine):
    """Two clients of one store and a simple model of it; subclasses say in :meth:`open_clients` which.

    A test module gives its ``TestCase``, which pytest and unittest collect::

        class MyMachine(StoreMachine):
            def open_clients(self):
                store = MyStore(clock=self.clock)
                return store, store

        TestMyMachine = MyMachine.TestCase

    A store whose ``outbox`` is None is tried without events.

    Attributes:
        clock: from which both clients take their time; ``open_clients`` may put another one in its place, whose
            ``advance`` lets the store's time go on.
        keeps_places: False where the store leaves the queue for leases to the only process that uses it.
    """

    keeps_places = True

    leases = Bundle("leases")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.time = 0.0
        self.users: dict[str, User] = {"ana": User(), "ben": User()}
        self.events = Events()
        self.event_numbers = count()
        self.highest_claim: dict[tuple[str, str], int] = {}
        self.clients = self.open_clients()

    def open_clients(self) -> tuple[Store, Store]:
        """Return the two clients of one empty store: two that processes would have, or the same one twice.

        They are closed at the end; what else is to be removed, a subclass removes in its ``teardown``.
        """
        raise NotImplementedError

    def given(self, lease: Lease, client: int, seconds: float) -> None:
        """Check and note a lease that a store has given."""
        user = self.users[lease.user_id]
        assert lease.owner == f"client-{client}"
        assert lease.fence > user.highest_fence
        user.lease, user.until, user.highest_fence = lease, self.time + seconds, lease.fence

    def outbox(self, client: int) -> Outbox:
        """Return a client's outbox."""
        outbox = self.clients[client].outbox
        assert outbox is not None
        return outbox

    def new_events(self, user_id: str, plugins: Collection[str]) -> list[OutgoingEvent]:
        """Make and note events, if the store keeps any."""
        if self.clients[0].outbox is None:
            return []
        events = [OutgoingEvent(plugin, "on_message", f"e{next(self.event_numbers)}", "{}") for plugin in plugins]
        for event in events:
            self.events.add(Event(user_id, event.plugin, event.event_id), self.time)
        return events

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.time += seconds

    # -- leases and places

    @rule(target=leases, client=CLIENTS, user_id=USERS, message_id=MESSAGES, seconds=SECONDS, queued=st.booleans())
    def begin(self, *, client: int, user_id: str, message_id: str | None, seconds: float, queued: bool) -> object:
        user, owner = self.users[user_id], f"client-{client}"
        options = {"queued": True} if queued and self.keeps_places else {}
        found = self.clients[client].begin(user_id, owner=owner, duration=seconds, message_id=message_id, **options)
        reply = user.reply(message_id)
        free = user.may_begin(owner if options else None, self.time)
        if reply is None and not free:
            assert found is None
            if options and not user.has_place(owner):
                user.places.append(Place(owner, self.time + seconds))
            return multiple()
        assert found is not None
        if options and user.has_place(owner):
            user.places.remove(next(place for place in user.places if place.owner == owner))
        attempt = user.attempt(message_id) if reply is None else 1
        session = (user.session_id, user.expired(self.time))
        assert found == Conversation(found.lease, user.context, user.version, *session, attempt, reply)
        assert (found.lease is None) == (reply is not None)
        if found.lease is None:
            return multiple()
        self.given(found.lease, client, seconds)
        return found.lease

    @_with_places
    @rule(client=CLIENTS, user_id=USERS, seconds=SECONDS)
    def enqueue(self, client: int, user_id: str, seconds: float) -> None:
        self.clients[client].enqueue(user_id, owner=f"client-{client}", duration=seconds)
        self.users[user_id].places.append(Place(f"client-{client}", self.time + seconds))

    @_with_places
    @rule(client=CLIENTS, user_id=USERS)
    def dequeue(self, client: int, user_id: str) -> None:
        self.clients[client].dequeue(user_id, owner=f"client-{client}")
        places = self.users[user_id].places
        alive = [
            index
            for index, place in enumerate(places)
            if place.owner == f"client-{client}" and place.expires > self.time
        ]
        if alive:
            del places[alive[-1]]

    @_with_places
    @rule(client=CLIENTS, seconds=SECONDS)
    def renew_places(self, client: int, seconds: float) -> None:
        self.clients[client].renew_places(owner=f"client-{client}", duration=seconds)
        for user in self.users.values():
            user.places = [
                place._replace(expires=self.time + seconds) if place.owner == f"client-{client}" else place
                for place in user.places
                if place.expires > self.time
            ]

    @rule(client=CLIENTS, lease=leases, seconds=SECONDS)
    def renew(self, client: int, lease: Lease, seconds: float) -> None:
        user = self.users[lease.user_id]
        held = user.lease == lease
        assert self.clients[client].renew(lease, duration=seconds) == held
        if held:
            user.until = self.time + seconds

    @rule(client=CLIENTS, lease=consumes(leases))
    def release(self, client: int, lease: Lease) -> None:
        user = self.users[lease.user_id]
        self.clients[client].release(lease)
        if user.lease == lease:
            user.lease = None
            user.until = self.time

    # -- commits

    @rule(
        client=CLIENTS,
        lease=leases,
        behind=st.sampled_from([0, 0, 0, 1]),
        context=CONTEXTS,
        session_id=SESSIONS,
        timeout=TIMEOUTS,
        message_id=MESSAGES,
        plugins=st.lists(PLUGINS, max_size=2),
        forget=st.sampled_from([False, False, True]),
    )
    def commit(
        self,
        *,
        client: int,
        lease: Lease,
        behind: int,
        context: str | None,
        session_id: str | None,
        timeout: float | None,
        message_id: str | None,
        plugins: list[str],
        forget: bool,
    ) -> None:
        user = self.users[lease.user_id]
        reply = f'"{lease.fence}"'
        change = Commit(lease, user.version - behind, context, session_id, timeout, message_id, reply, forget=forget)
        if user.lease != lease or behind or message_id in user.replies:
            refused = [OutgoingEvent(plugin, "on_message", "refused", "{}") for plugin in plugins]
            with pytest.raises(CommitRefusedError):
                self.clients[client].commit(change._replace(events=refused))
            return
        if forget:
            self.events.forget(lease.user_id)
            user.replies.clear()
            user.tried = None
        self.clients[client].commit(change._replace(events=self.new_events(lease.user_id, plugins)))
        user.lease, user.until = None, self.time
        if not user.version or message_id is not None or timeout is not None:
            user.committed = self.time
        if message_id is not None:
            user.replies[message_id] = (self.time, reply)
            user.tried = None
        user.context, user.session_id = context, session_id
        user.version = 0 if context is None and session_id is None else user.version + 1
        if session_id is None:
            user.deadline = None
        elif timeout is not None:
            user.deadline = self.time + timeout

    @rule(client=CLIENTS, user_id=USERS)
    def load(self, client: int, user_id: str) -> None:
        assert self.clients[client].load(user_id) == self.users[user_id].context

    @rule(target=leases, client=CLIENTS, seconds=SECONDS, limit=st.sampled_from([0, 1, 5]))
    def claim_expired(self, client: int, seconds: float, limit: int) -> object:
        due = {
            user_id: user.deadline
            for user_id, user in self.users.items()
            if user.deadline is not None and user.expired(self.time) and not user.busy(self.time)
        }
        claimed = self.clients[client].claim_expired(owner=f"client-{client}", duration=seconds, limit=limit)
        assert_longest_due(due, [each.lease.user_id for each in claimed], limit)
        for each in claimed:
            user = self.users[each.lease.user_id]
            assert each == ExpiredSession(each.lease, user.session_id or "", user.context, user.version)
            self.given(each.lease, client, seconds)
        return multiple(*(each.lease for each in claimed))

    # -- purges

    @rule(client=CLIENTS, older_than=AGES)
    def purge_messages(self, client: int, older_than: float) -> None:
        limit = self.time - older_than
        forgotten = 0
        for user in self.users.values():
            old = [message_id for message_id, (handled, _) in user.replies.items() if handled < limit]
            forgotten += len(old)
            for message_id in old:
                del user.replies[message_id]
            if user.until < limit:
                user.lease = user.tried = None
        assert self.clients[client].purge_messages(older_than=older_than) == forgotten

    @rule(client=CLIENTS, older_than=AGES)
    def purge_conversations(self, client: int, older_than: float) -> None:
        old = [
            user
            for user in self.users.values()
            if user.version
            and user.session_id is None
            and user.committed < self.time - older_than
            and not user.busy(self.time)
        ]
        for user in old:
            user.forget()
        assert self.clients[client].purge_conversations(older_than=older_than) == len(old)

    # -- the outbox

    @_with_outbox
    @rule(client=CLIENTS, user_id=USERS, plugins=st.lists(PLUGINS, max_size=2))
    def append(self, client: int, user_id: str, plugins: list[str]) -> None:
        self.outbox(client).append(user_id, self.new_events(user_id, plugins))

    @_with_outbox
    @rule(target=claims, client=CLIENTS, plugin=PLUGINS, seconds=SECONDS, limit=st.sampled_from([0, 1, 5]))
    def claim_events(self, client: int, plugin: str, seconds: float, limit: int) -> object:
        due = self.events.due(plugin, self.time)
        claimed = self.outbox(client).claim(plugin, duration=seconds, limit=limit)
        assert_longest_due(due, [each.user_id for each in claimed], limit)
        for each in claimed:
            key = plugin, each.user_id
            waiting = [event.event_id for event in self.events.waiting(key)]
            assert each.attempt == self.events.lanes[key].attempts + 1
            assert each.plugin == plugin
            assert each.claim > self.highest_claim.get(key, 0)
            assert each.events
            assert [event.event_id for event in each.events] == waiting[: len(each.events) if each.attempt == 1 else 1]
            self.events.claim(each, self.time + seconds)
            self.highest_claim[key] = each.claim
        return multiple(*claimed)

    @_with_outbox
    @rule(
        client=CLIENTS,
        claimed=claims,
        delivered=st.integers(0, 3),
        retry_in=st.sampled_from([None, 1.0, 5.0]),
        park=st.booleans(),
    )
    def settle(
        self, *, client: int, claimed: ClaimedEvents, delivered: int, retry_in: float | None, park: bool
    ) -> None:
        how: dict[str, Any] = {"park": True} if park else {"retry_in": retry_in}
        delivered = min(delivered, len(claimed.events))
        held = self.events.settle(claimed, self.time, delivered, how.get("retry_in"), "down", park=park)
        assert self.outbox(client).settle(claimed, delivered=delivered, error="down", **how) == held

    @_with_outbox
    @rule(client=CLIENTS, chosen=NUMBERS)
    def retry(self, client: int, chosen: set[int]) -> None:
        chosen = {number for number in chosen if number < len(self.events.events)}
        numbers = [self.listed(client)[number].number for number in chosen]
        assert self.outbox(client).retry(numbers) == self.events.retry(chosen, self.time)

    @_with_outbox
    @rule(client=CLIENTS, chosen=NUMBERS)
    def drop(self, client: int, chosen: set[int]) -> None:
        chosen = {number for number in chosen if number < len(self.events.events)}
        numbers = [self.listed(client)[number].number for number in chosen]
        assert self.outbox(client).drop(numbers) == self.events.drop(chosen, self.time)

    def listed(self, client: int) -> list[StoredEvent]:
        """Return what a client has in its outbox."""
        return list(self.outbox(client).list(limit=1_000))

    @_with_outbox
    @invariant()
    def the_outbox_agrees(self) -> None:
        assert self.events.agrees(self.listed(0))

    def teardown(self) -> None:
        for client in getattr(self, "clients", ()):
            client.close()


def assert_longest_due(due: dict[str, float], claimed: list[str], limit: int) -> None:
    """Check that those who are due were claimed, longest due first; where two are alike, a store may choose."""
    assert len(claimed) == len(set(claimed)) == min(limit, len(due))
    since = [due.pop(user_id) for user_id in claimed]
    assert since == sorted(since)
    assert not since or not due or since[-1] <= min(due.values())
