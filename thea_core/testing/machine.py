"""Two clients do whatever they like, and a store agrees with a simple model at each step. Needs hypothesis."""

# ruff: noqa: D102, S101 -- these are tests: they assert, and their names say what is done

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from thea_core.errors import CommitRefusedError
from thea_core.testing.clock import FakeClock
from thea_core.types import Commit, Conversation, ExpiredSession, Lease, Store

__all__ = ["StoreMachine"]

USERS = st.sampled_from(["ana", "ben"])
CLIENTS = st.sampled_from([0, 1])
MESSAGES = st.sampled_from([None, "m1", "m2"])
CONTEXTS = st.sampled_from([None, '{"a": 1}', '{"b": 2}'])
SESSIONS = st.sampled_from([None, "s1", "s2"])
TIMEOUTS = st.sampled_from([None, 5.0, 20.0])
SECONDS = st.sampled_from([1.0, 5.0, 10.0])


@dataclass
class User:
    """What the model knows of a user; ``until`` is None where no lease was given, or it was given back."""

    context: str | None = None
    version: int = 0
    session_id: str | None = None
    deadline: float | None = None
    lease: Lease | None = None
    until: float = 0.0
    tried: tuple[str, int] | None = None
    replies: dict[str, tuple[float, str]] = field(default_factory=dict)
    highest_fence: int = 0

    def busy(self, now: float) -> bool:
        return self.lease is not None and self.until > now

    def expired(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now


class StoreMachine(RuleBasedStateMachine):
    """Two clients of one store and a simple model of it; subclasses say in :meth:`open_clients` which.

    A test module gives its ``TestCase``, which pytest and unittest collect::

        class MyMachine(StoreMachine):
            def open_clients(self):
                store = MyStore(clock=self.clock)
                return store, store

        TestMyMachine = MyMachine.TestCase

    Attributes:
        clock: from which both clients take their time.
    """

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.users: dict[str, User] = {"ana": User(), "ben": User()}
        self.clients = self.open_clients()

    def open_clients(self) -> tuple[Store, Store]:
        """Return the two clients of one empty store: two that processes would have, or the same one twice.

        They are closed at the end; what else is to be removed, a subclass removes in its ``teardown``.
        """
        raise NotImplementedError

    def now(self) -> float:
        return self.clock.now().timestamp()

    def given(self, lease: Lease, client: int, seconds: float) -> None:
        """Check and note a lease that a store has given."""
        user = self.users[lease.user_id]
        assert lease.owner == f"client-{client}"
        assert lease.fence > user.highest_fence
        user.lease, user.until, user.highest_fence = lease, self.now() + seconds, lease.fence

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(target=leases, client=CLIENTS, user_id=USERS, message_id=MESSAGES, seconds=SECONDS)
    def begin(self, client: int, user_id: str, message_id: str | None, seconds: float) -> object:
        user = self.users[user_id]
        found = self.clients[client].begin(user_id, owner=f"client-{client}", duration=seconds, message_id=message_id)
        reply = None if message_id is None else user.replies.get(message_id, (0.0, None))[1]
        if reply is None and user.busy(self.now()):
            assert found is None
            return multiple()
        assert found is not None
        attempt = 1
        if reply is None and message_id is not None:
            attempt = user.tried[1] + 1 if user.tried is not None and user.tried[0] == message_id else 1
            user.tried = (message_id, attempt)
        session = (user.session_id, user.expired(self.now()))
        assert found == Conversation(found.lease, user.context, user.version, *session, attempt, reply)
        assert (found.lease is None) == (reply is not None)
        if found.lease is None:
            return multiple()
        self.given(found.lease, client, seconds)
        return found.lease

    @rule(client=CLIENTS, lease=leases, seconds=SECONDS)
    def renew(self, client: int, lease: Lease, seconds: float) -> None:
        user = self.users[lease.user_id]
        held = user.lease == lease
        assert self.clients[client].renew(lease, duration=seconds) == held
        if held:
            user.until = self.now() + seconds

    @rule(client=CLIENTS, lease=consumes(leases))
    def release(self, client: int, lease: Lease) -> None:
        user = self.users[lease.user_id]
        self.clients[client].release(lease)
        if user.lease == lease:
            user.lease = None
            user.until = self.now()

    @rule(
        client=CLIENTS,
        lease=leases,
        behind=st.sampled_from([0, 0, 0, 1]),
        context=CONTEXTS,
        session_id=SESSIONS,
        timeout=TIMEOUTS,
        message_id=MESSAGES,
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
    ) -> None:
        user = self.users[lease.user_id]
        reply = f'"{lease.fence}"'
        change = Commit(lease, user.version - behind, context, session_id, timeout, message_id, reply)
        if user.lease != lease or behind or message_id in user.replies:
            with pytest.raises(CommitRefusedError):
                self.clients[client].commit(change)
            return
        self.clients[client].commit(change)
        user.lease, user.until = None, self.now()
        if message_id is not None:
            user.replies[message_id] = (self.now(), reply)
            user.tried = None
        user.context, user.session_id = context, session_id
        user.version = 0 if context is None and session_id is None else user.version + 1
        if session_id is None:
            user.deadline = None
        elif timeout is not None:
            user.deadline = self.now() + timeout

    @rule(client=CLIENTS, user_id=USERS)
    def load(self, client: int, user_id: str) -> None:
        assert self.clients[client].load(user_id) == self.users[user_id].context

    @rule(target=leases, client=CLIENTS, seconds=SECONDS, limit=st.sampled_from([0, 1, 5]))
    def claim(self, client: int, seconds: float, limit: int) -> object:
        now = self.now()
        due = [
            (user.deadline, user_id)
            for user_id, user in self.users.items()
            if user.deadline is not None and user.expired(now) and not user.busy(now)
        ]
        claimed = self.clients[client].claim_expired(owner=f"client-{client}", duration=seconds, limit=limit)
        assert [each.lease.user_id for each in claimed] == [user_id for _, user_id in sorted(due)[:limit]]
        for each in claimed:
            user = self.users[each.lease.user_id]
            assert each == ExpiredSession(each.lease, user.session_id or "", user.context, user.version)
            self.given(each.lease, client, seconds)
        return multiple(*(each.lease for each in claimed))

    @rule(client=CLIENTS, older_than=SECONDS)
    def purge(self, client: int, older_than: float) -> None:
        limit = self.now() - older_than
        count = 0
        for user in self.users.values():
            old = [message_id for message_id, (handled, _) in user.replies.items() if handled < limit]
            count += len(old)
            for message_id in old:
                del user.replies[message_id]
            if user.until < limit:
                user.lease = user.tried = None
        assert self.clients[client].purge_messages(older_than=older_than) == count

    def teardown(self) -> None:
        for client in getattr(self, "clients", ()):
            client.close()
