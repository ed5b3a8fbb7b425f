"""What passes between the parts of Thea: plain values, and the protocols that users implement.

Standard library only, and nothing here does anything: every other module may import this one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = [
    "Agent",
    "AgentReply",
    "Application",
    "BreakerState",
    "CallRecord",
    "CallbackRecord",
    "CallbackTotals",
    "ClaimedEvents",
    "Clock",
    "Commit",
    "Context",
    "Conversation",
    "ExpiredSession",
    "HistoryRecord",
    "HookResult",
    "IntentMatch",
    "Lease",
    "Outbox",
    "OutgoingEvent",
    "Reply",
    "Store",
    "StoredEvent",
    "SystemClock",
    "Turn",
]

Context = dict[str, Any]
"""One user's conversation, JSON-shaped; always with ``user_id`` and ``state``."""


class Clock(Protocol):
    """Where time comes from. Thread-safe. Tests pass one of their own."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds from an arbitrary start; never goes back. Measures durations."""
        ...


class SystemClock:
    """The machine's clock. Thread-safe."""

    monotonic_ns = staticmethod(time.perf_counter_ns)

    @staticmethod
    def now() -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.now(UTC)


class HookResult(NamedTuple):
    """What one callback of a result hook returned.

    Attributes:
        plugin: the plugin's name, or ``"local"``.
        callback: the function's qualified name.
        value: what it returned; never None.
    """

    plugin: str
    callback: str
    value: Any


class BreakerState(NamedTuple):
    """The circuit breaker of one plugin and hook, or a change of it.

    Attributes:
        plugin: the plugin's name, or ``"local"``.
        hook: the hook's name.
        state: ``"closed"``, ``"open"`` or ``"half-open"``.
        reason: why, in words; empty where it is closed and always was.
    """

    plugin: str
    hook: str
    state: str
    reason: str


class CallbackRecord(NamedTuple):
    """How one callback of a finished call ended.

    Attributes:
        plugin: the plugin's name, or ``"local"``.
        callback: the function's qualified name.
        duration: seconds.
        outcome: ``"ok"``, ``"veto"``, ``"error"``, ``"timeout"``, ``"queued"``, ``"skipped"``, ``"dropped"`` or
            ``"cancelled"``. The later delivery of a queued call is a record of its own.
        error: the exception's type and the start of its text, or None.
    """

    plugin: str
    callback: str
    duration: float
    outcome: str
    error: str | None


class CallRecord(NamedTuple):
    """One finished call of a chain, as observers get it.

    Attributes:
        hook: the hook's name, or ``"transition"`` for a whole transition of the state machine.
        start: when it began, aware, in UTC.
        duration: seconds.
        callbacks: one record for each callback, in the order of the chain.
        delivery: whether this is what became of a call that was ``"queued"`` before: one such record for each, of
            plugins with durable delivery one for each try, in whichever process.
    """

    hook: str
    start: datetime
    duration: float
    callbacks: tuple[CallbackRecord, ...]
    delivery: bool = False


class HistoryRecord(NamedTuple):
    """One call of one callback, as ``callbacks.history`` holds it.

    Attributes:
        hook: the hook's name, or ``"transition"``.
        callback: the function's qualified name.
        plugin: the plugin's name, or ``"local"``.
        start: when the callback began, aware, in UTC.
        duration: seconds.
        outcome: ``"ok"``, ``"veto"``, ``"error"``, ``"timeout"``, ``"queued"``, ``"skipped"``, ``"dropped"`` or
            ``"cancelled"``. The later delivery of a queued call is a record of its own.
        error: the exception's type and the start of its text, or None.
    """

    hook: str
    callback: str
    plugin: str
    start: datetime
    duration: float
    outcome: str
    error: str | None


class CallbackTotals(NamedTuple):
    """What one callback did since the manager was made: exact, also where the records have left the history.

    Attributes:
        outcomes: how many calls ended in each outcome; an outcome that never occurred is missing.
        seconds: the time spent in the callback, in all.
    """

    outcomes: Mapping[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class IntentMatch:
    """One intent that a detector found in a message.

    Attributes:
        intent: the intent's name.
        score: how sure the detector is, 0 to 1.
        label: what a person reads when asked which one was meant; the name, if None.
        synonyms: other words that choose this intent when the user is asked.
        slots: what else the detector understood, JSON-shaped, a dict or a read-only view of one; the agent finds it in
            ``context["slots"]``.
        interrupts: whether it counts even where an agent waits for this message.
    """

    intent: str
    score: float
    label: str | None = None
    synonyms: Sequence[str] = ()
    slots: Mapping[str, Any] = field(default_factory=dict)
    interrupts: bool = False


@dataclass(frozen=True, slots=True)
class AgentReply:
    """What an agent answers.

    Attributes:
        text: what the user reads.
        context: the context to go on with; None leaves it as it was.
        ask: whether the next message of the user comes straight back to this agent.
    """

    text: str
    context: Context | None = None
    ask: bool = False


class Turn(NamedTuple):
    """The handling of one message, as an agent sees it.

    Attributes:
        user_id, session_id: whose turn it is.
        message_id: the key for side effects: a turn may run again after a crash, with the same id.
        timestamp: when the message arrived, aware, in UTC.
        attempt: 1 the first time, more when the turn runs again.
    """

    user_id: str
    session_id: str
    message_id: str
    timestamp: datetime
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What a turn ended in. Iterates as ``(text, context)``.

    Attributes:
        text: what the user reads.
        context: the context as it was stored.
        ok: False where the text is an apology or a veto's.
        intent: the intent that was found; None for the fallback.
        agent: the agent that answered; None where none did.
        session_id: the session of the turn.
    """

    text: str
    context: Context
    ok: bool = True
    intent: str | None = None
    agent: str | None = None
    session_id: str = ""

    def __iter__(self) -> Iterator[Any]:
        yield self.text
        yield self.context


@runtime_checkable
class Agent(Protocol):
    """What answers once the intent is known. One instance serves every thread, task and user.

    Attributes:
        name: what ``context["agent"]`` and ``on_agent_delegated`` call it.
        intents: the intents that it answers.
    """

    @property
    def name(self) -> str: ...

    @property
    def intents(self) -> Sequence[str]: ...

    def handle(self, message: str, context: Context, turn: Turn) -> AgentReply | str | Awaitable[AgentReply | str]:
        """Answer ``message``; may be ``async def``. ``context`` is a copy: return a new one to change it."""
        ...


class Lease(NamedTuple):
    """The right to handle one user's conversation, until it expires.

    Attributes:
        user_id: whose conversation.
        owner: who holds it; unique to one router of one process.
        fence: grows with every lease of that user; a commit under an older one is refused.
    """

    user_id: str
    owner: str
    fence: int


class Conversation(NamedTuple):
    """What a store holds of one user, as read when the lease was taken.

    Attributes:
        lease: the lease; None where only the reply of a known message id was read.
        context: the context as ASCII JSON text; None where nothing is stored.
        version: grows with every commit; 0 where nothing is stored.
        session_id: the session under way; None where there is none.
        session_expired: whether that session's deadline has passed, by the store's clock.
        attempt: 1, or more where an earlier lease for this message id ended without a commit.
        reply: the stored reply of this message id as JSON text; None where it was not handled before.
    """

    lease: Lease | None
    context: str | None
    version: int
    session_id: str | None
    session_expired: bool
    attempt: int
    reply: str | None


class OutgoingEvent(NamedTuple):
    """An event for one plugin with durable delivery, to be stored with the commit that made it true.

    Attributes:
        plugin: the plugin's name.
        hook: the event's name.
        event_id: the same for every delivery of this occurrence.
        event: its JSON form, as ASCII text.
    """

    plugin: str
    hook: str
    event_id: str
    event: str


class Commit(NamedTuple):
    """All that one turn changes, written in one transaction.

    Attributes:
        lease: as it was given; released by the commit.
        version: the version that was read; the store refuses the commit if it is no longer that.
        context: the new context as ASCII JSON text; None removes it.
        session_id: the session to keep; None ends it.
        session_timeout: seconds of inactivity after which that session expires, from the commit on; None keeps
            the deadline as it is.
        message_id: the id that was handled; None where no message was (a save, an expiry).
        reply: what to return to whoever sends that id again, as JSON text.
        events: what plugins with durable delivery are to be told, in order; none where the store has no outbox.
        forget: whether everything else of the user is removed too: the ids and replies of earlier messages, what is
            known of attempts at one, and all events of that user that are not delivered, including those that were
            parked or appended; claims of them are lost. What this commit itself brings stays.
    """

    lease: Lease
    version: int
    context: str | None
    session_id: str | None
    session_timeout: float | None = None
    message_id: str | None = None
    reply: str | None = None
    events: Sequence[OutgoingEvent] = ()
    forget: bool = False


class ExpiredSession(NamedTuple):
    """A session whose deadline has passed, claimed by the caller: it holds the user's lease.

    Attributes:
        lease: to be given back by a commit (which ends the session) or a release.
        session_id: the session.
        context: the context as ASCII JSON text, or None.
        version: for the commit.
    """

    lease: Lease
    session_id: str
    context: str | None
    version: int


class StoredEvent(NamedTuple):
    """An event in the outbox.

    Attributes:
        number: of the event; grows in the order in which they were stored.
        plugin, user_id: for whom, and of whom; ``""`` for an event that belongs to no user.
        hook, event_id, event: as in :class:`OutgoingEvent`.
        stored: when, aware, in UTC.
        attempts: how many deliveries were begun, since it was stored or came to be tried again by ``retry``.
        due: when it is tried next, aware, in UTC, or when the claim of it ends; None where it is parked, or waits for
            another one before it.
        error: what the last delivery failed with; None where none has.
        parked: whether it was set aside.
    """

    number: int
    plugin: str
    user_id: str
    hook: str
    event_id: str
    event: str
    stored: datetime
    attempts: int
    due: datetime | None
    error: str | None
    parked: bool


class ClaimedEvents(NamedTuple):
    """The next events of one plugin and user, claimed for delivery.

    Attributes:
        plugin, user_id: for whom, and of whom.
        claim: grows with every claim of them; settling under an older one changes nothing.
        attempt: which delivery of the first of them this is, 1 for the first. Where it is more, there is no second.
        events: in order.
    """

    plugin: str
    user_id: str
    claim: int
    attempt: int
    events: Sequence[StoredEvent]


class Outbox(Protocol):
    """Where events wait for plugins with durable delivery. Part of a store, thread-safe; raises StoreError only.

    The events of one plugin and user are delivered one after another, in the order in which they were stored. Time is
    the store's.
    """

    def append(self, user_id: str, events: Sequence[OutgoingEvent]) -> None:
        """Store events by themselves, durably: those that belong to no commit."""
        ...

    def claim(self, plugin: str, *, duration: float, limit: int) -> Sequence[ClaimedEvents]:
        """Claim, for ``duration`` seconds, the next events of up to ``limit`` users, longest due first.

        Of a user it claims a few at once, but a single one where that was claimed before and not settled as delivered
        (or as not tried). Users whose next event is claimed or not due yet are left out; a claim that was not settled
        ends by itself, and its first event has been tried once more.
        """
        ...

    def settle(
        self,
        claimed: ClaimedEvents,
        *,
        delivered: int,
        retry_in: float | None = None,
        park: bool = False,
        error: str | None = None,
    ) -> bool:
        """End a claim; False where it was lost, and nothing is changed then.

        Args:
            claimed: what was claimed.
            delivered: how many of its events, from the first on, were delivered: they are removed.
            retry_in: the one after those has failed, and is due again in so many seconds; those behind it wait.
            park: the one after those has failed for good, and is set aside; those behind it go on.
            error: what it failed with.

        With neither ``retry_in`` nor ``park`` the rest is due at once, and was not tried: ``error`` means nothing then.
        Where all of its events were delivered there is none after those. A claim that has ended by itself is settled
        all the same, as long as nobody has claimed or retried any of that plugin and user since, or dropped one that
        waits.
        """
        ...

    def list(
        self, *, plugin: str | None = None, parked: bool | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[StoredEvent]:
        """Return up to ``limit`` events with numbers above ``after``, by number.

        Of all plugins, if none is named; parked and others alike, if ``parked`` is None.
        """
        ...

    def retry(self, numbers: Sequence[int]) -> int:
        """Let events be tried at once, with no attempt counted: parked ones, and the first of a user that waits.

        A parked one comes back in its old place; an event that it comes to stand before begins anew with its attempts.
        Passed over are unknown numbers, events that wait behind another one, and all events of a plugin and user of
        whom some are just being delivered; returns how many were not. Which is which is decided before the first is
        changed. Durable when it returns.
        """
        ...

    def drop(self, numbers: Sequence[int]) -> int:
        """Remove events for good, and return how many: parked ones, and those that wait.

        Passed over are unknown numbers, and events that wait where some of the same plugin and user are just being
        delivered. Where the first of a user goes, the next one is due at once. Durable when it returns.
        """
        ...


class Store(Protocol):
    """Where conversations are kept. Thread-safe; every method may block, and raises :class:`StoreError` only.

    Contexts and replies are text to a store: it never looks inside. Time that decides (leases, deadlines) is the
    store's own.
    """

    @property
    def blocking(self) -> bool:
        """Whether calls may wait for a disk or a network; asyncio callers then run them on a thread."""
        ...

    @property
    def key(self) -> bytes:
        """32 random bytes, made once for the store and kept in it: the key of deterministic event ids."""
        ...

    @property
    def outbox(self) -> Outbox | None:
        """Where events wait for plugins with durable delivery; None where the store keeps none."""
        ...

    def begin(
        self, user_id: str, *, owner: str, duration: float, message_id: str | None = None, queued: bool = False
    ) -> Conversation | None:
        """Take the user's lease for ``duration`` seconds and read the conversation, in one step.

        Returns None while another lease of that user is alive, or while it is somebody else's turn: who has no place
        in the queue waits for all who have one, and an owner who has (``queued``) for those of other owners that are
        older than its oldest one. An owner whose places have all expired gets a new one, at the end.

        Where ``message_id`` was handled before, no lease is taken and the stored reply comes back, whoever waits. A
        ``queued`` call that returns a conversation gives up the oldest place of its owner; one that returns None, and
        whose owner had no place, has made one, for ``duration`` seconds.
        """
        ...

    def enqueue(self, user_id: str, *, owner: str, duration: float) -> None:
        """Take a place at the end of the queue for that user's lease, for ``duration`` seconds.

        An owner may have several. One that has expired is gone: it can be neither renewed nor given up.
        """
        ...

    def dequeue(self, user_id: str, *, owner: str) -> None:
        """Give up the newest place that the owner has in that user's queue; nothing happens where it has none."""
        ...

    def renew_places(self, *, owner: str, duration: float) -> None:
        """Let all places of the owner, of whichever users, live for ``duration`` seconds from now."""
        ...

    def renew(self, lease: Lease, *, duration: float) -> bool:
        """Let the lease live for ``duration`` seconds from now; False where it was lost."""
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back without changing anything; nothing happens where it was lost."""
        ...

    def commit(self, change: Commit) -> None:
        """Write it all, durably, and release the lease; raises CommitRefusedError where the lease was lost."""
        ...

    def load(self, user_id: str) -> str | None:
        """Return the stored context as JSON text, without a lease; None where there is none."""
        ...

    def claim_expired(self, *, owner: str, duration: float, limit: int) -> Sequence[ExpiredSession]:
        """Take the leases of up to ``limit`` users whose session has expired, longest expired first.

        Those who wait in a queue for such a lease do not keep it from that: there is an order among messages only.
        """
        ...

    def purge_messages(self, *, older_than: float) -> int:
        """Forget the message ids that were handled more than ``older_than`` seconds ago; return how many."""
        ...

    def purge_conversations(self, *, older_than: float) -> int:
        """Forget users who did nothing for ``older_than`` seconds; return how many conversations.

        What counts is the last commit with a message id or a session timeout, or else the first one of the
        conversation: the end of a session is nothing that a user does. Contexts go, and the ids and replies of
        messages. A user with a session that was not ended yet is left alone, and so is one whose lease is alive; one of
        whom only messages are known is left to :meth:`purge_messages`. Events that wait in the outbox stay. It is
        durable when it returns.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...


class Application(Protocol):
    """The running application as ``on_startup`` gets it; a :class:`thea_core.Thea` is one."""

    @property
    def callbacks(self) -> Any: ...

    @property
    def fsm(self) -> Any: ...

    @property
    def router(self) -> Any: ...

    @property
    def contexts(self) -> Any: ...

    @property
    def sessions(self) -> Any: ...

    @property
    def plugins(self) -> Any: ...

    @property
    def config(self) -> Any: ...

    @property
    def store(self) -> Store: ...
