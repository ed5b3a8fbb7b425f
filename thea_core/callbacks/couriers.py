"""Bringing events out of the store to a plugin with durable delivery: at least once, in order for each user.

A courier claims events in the outbox for a while, calls the plugin for each, and settles what became of them. What
fails is tried again, later each time, and set aside in the end; those of other users go on meanwhile. What could not be
tried (the breaker is open, too much of the plugin hangs) is given back untried. Whatever takes longer than a claim may
be delivered twice: by then another courier, of this process or another, may have claimed it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thea_core.callbacks import flow
from thea_core.callbacks.binding import Callback
from thea_core.callbacks.breaker import Breaker
from thea_core.callbacks.event_json import decode
from thea_core.callbacks.failures import FailureLog, log, log_exception
from thea_core.callbacks.history import Failure
from thea_core.callbacks.limits import Ways
from thea_core.callbacks.queues import flush_call
from thea_core.callbacks.runners import Making, Mark, QueuedCall, Runner

if TYPE_CHECKING:
    from queue import SimpleQueue

    from thea_core.callbacks.deliveries import Deliveries
    from thea_core.callbacks.durable import Outlet
    from thea_core.callbacks.hooks import Hook, HookTable
    from thea_core.errors import CallbackTimeoutError
    from thea_core.types import ClaimedEvents, Clock, Outbox, StoredEvent

__all__ = ["CLAIM_SECONDS", "DEFAULT_ATTEMPTS", "PACE_SECONDS", "POLL_SECONDS", "Courier"]

DEFAULT_ATTEMPTS: Final = 20
"""After how many failed deliveries an event is set aside, if the operator does not say otherwise."""

CLAIM_SECONDS: Final = 120.0
"""How long a claim lives. When half of that is over, a courier begins no more deliveries under it."""

POLL_SECONDS: Final = 1.0
"""How often a courier that nobody wakes looks for events: those of other processes, and those to be tried again."""

PACE_SECONDS: Final = 0.05
"""How long a courier waits between two looks, unless there is much to do: what comes meanwhile is claimed together."""

_ENDING = 1.0  # seconds
_USERS = 16  # in one claim
_MANY = 8  # events of one user in one claim: there may be more
_LONGEST_RETRY = 600.0  # seconds between two deliveries of an event
_LONGEST_TROUBLE = 30.0  # seconds between two tries while the store fails
_NO_TRY = ("skipped", "cancelled")  # outcomes of calls that tell nothing of the event
_REFUSED = Failure(0, "skipped", "its circuit breaker is open")
_WORN = "its deliveries were begun, and never came to an end: perhaps they took the process down"


_AT_ONCE, _SOON, _LATER = "at once", "soon", "later"  # when to look again

_Deliveries = Generator[tuple[QueuedCall, "float | None"], "Failure | None", str]
"""The deliveries under one claim: it yields each call with its limit, and gets what was noted of it if it did not end
well. Any thread may go on with it, while none is at it: one that hangs in a call is left behind."""


class _Verdict(NamedTuple):
    """What became of the events of one claim.

    Attributes:
        delivered: how many of them were delivered, from the first on.
        error: what the one after those failed with; None where none did, and the others were not tried.
        hopeless: why it is not to be tried again; empty where it may be.
    """

    delivered: int
    error: str | None = None
    hopeless: str = ""


class _Flush:
    """Somebody waits until nothing is due.

    Attributes:
        done: set when that is so, or cannot be reached now.
        left: whether something may be due still.
    """

    __slots__ = ("done", "left")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.left = True


class _Noting:
    """Does what is done around each delivery, and keeps how the last one ended.

    Attributes:
        failure: what was noted of it, if it did not end well.
    """

    def __init__(self, books: Deliveries) -> None:
        self._books = books
        self.running = books.running
        self.begin = books.begin
        self.drop = books.drop
        self.failure: Failure | None = None

    def end(self, callback: Callback, ticket: int, start: int, error: BaseException | None) -> None:
        self.failure = self._books.end(callback, ticket, start, error)


class Courier:
    """Brings one plugin its events. Thread-safe; deliveries are made by a daemon thread ``thea-NAME``, one at a time.

    Callbacks run as those of a queue do, with the plugin's time limits and on its threads or its event loop; each
    delivery has a row in the history, and a say in the breaker.

    Args:
        ways: where the plugin's callbacks run.
        outlet: where the outbox is found.
        hooks: the hooks that there are.
        clock: measures, and says when half of a claim is over.
        books: what is done around each delivery.
        failures: logs what the store fails with.
        entropy: gives random bytes, for the time until an event is tried again.
        max_attempts: after how many failed deliveries an event is set aside.
        flush_interval: seconds that an ``on_flush`` is given which has no limit.
    """

    def __init__(
        self,
        ways: Ways,
        *,
        outlet: Outlet,
        hooks: HookTable,
        clock: Clock,
        books: Deliveries,
        failures: FailureLog,
        entropy: Callable[[int], bytes],
        max_attempts: int = DEFAULT_ATTEMPTS,
        flush_interval: float = 5.0,
    ) -> None:
        self._name = ways.name
        self._ways = ways
        self._outlet = outlet
        self._hooks = hooks
        self._now = clock.monotonic_ns
        self._books = _Noting(books)
        self._making = Making(ways, clock, self._books, self._lose)
        self._failures = failures
        self._entropy = entropy
        self._max_attempts = max_attempts
        self._interval = flush_interval
        self._poll = POLL_SECONDS
        self._callbacks: Mapping[str, Sequence[Callback]] = {}
        self._on_flush: Callback | None = None
        self._unknown: set[str] = set()
        self._wanted = False
        self._fresh()

    def _fresh(self) -> None:
        from queue import SimpleQueue

        self._lock = threading.RLock()  # a finalizer may run within, and wake it
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._rung = False  # whether it will look anyway
        self._runner: Runner | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()  # cleared while there is a thread that is not left behind
        self._ended.set()
        self._flushes: list[_Flush] = []
        self._ending = False
        self._deliveries: _Deliveries | None = None  # under way
        self._late: tuple[Mark, CallbackTimeoutError] | None = None  # the call in which the thread before was left
        self._next_look = 0.0
        self._held = False  # whether the plugin cannot be called now, or the store not be asked
        self._breaker: Breaker | None = None  # the one for which that is so
        self._troubles = 0  # of the store, in a row

    def take(self, callbacks: Sequence[Callback], on_flush: Callback | None) -> None:
        """Take what is called with the events: all callbacks of the plugin, and its ``on_flush``."""
        found: dict[str, list[Callback]] = {}
        for callback in sorted((each for each in callbacks if each.durable), key=lambda each: each.place.key):
            found.setdefault(callback.hook.name, []).append(callback)
        self._callbacks = found
        self._on_flush = on_flush

    # Its life

    def start(self, poll: float = POLL_SECONDS) -> None:
        """Deliver what is in the outbox, and what comes into it; looks every ``poll`` seconds, if nobody wakes it."""
        with self._lock:
            self._poll = poll
            self._wanted, self._ending = True, False
        self._launch()

    def _launch(self) -> None:
        """See to it that there is a thread. Where none can be started the next wake tries again."""
        with self._lock:
            if self._runner is not None:
                return
            self._runner = runner = Runner(self._name, self, self._bell)
            self._thread = runner.thread
            self._ended.clear()
        try:
            runner.thread.start()
        except BaseException as error:
            if runner.thread.ident is None:  # else Ctrl-C came afterwards
                self._runner = self._thread = None
                self._rung = False
                self._ended.set()
            if not isinstance(error, RuntimeError):  # there are too many, or the interpreter is about to end
                raise

    def wake(self) -> None:
        """Look for events soon; nothing where it is not started. Never waits."""
        if self._rung or not self._wanted:
            return
        self._rung = True
        if self._runner is None:  # a fork has taken it away, or no thread was to be had
            self._launch()
        else:
            self._bell.put(None)

    def end(self) -> None:
        """Claim no more; what is under way is finished and settled, the rest of its claims given back."""
        with self._lock:
            self._wanted, self._ending = False, True
            self._bell.put(None)

    def join(self, timeout: float) -> bool:
        """Wait until all has come to its end after :meth:`end`, for at most ``timeout`` seconds; whether it has.

        Called by the plugin while it is delivered to, it does not wait.
        """
        if self._is_own or not self._ended.wait(min(max(0.0, timeout), threading.TIMEOUT_MAX)):
            return False
        thread = self._thread
        if thread is not None and thread.ident is not None and thread is not threading.current_thread():
            thread.join(_ENDING)  # it does no more than end
        return True

    @property
    def _is_own(self) -> bool:
        """Whether the caller is what the courier's thread waits for."""
        runner = self._runner
        return runner is not None and (runner.thread is threading.current_thread() or flow.running(runner))

    def begin_flush(self) -> Callable[[float], bool]:
        """Look for events now; return a function that waits until none is due, for so many seconds; whether it is so.

        Where the plugin cannot be called now, or the store fails, it does not wait for that to change. Nor does it
        where the courier is not started, or the plugin itself asks while it is delivered to.
        """
        with self._lock:
            if not self._wanted or self._runner is None or self._is_own:
                return lambda _: True
            flush = _Flush()
            self._flushes.append(flush)
            self._bell.put(None)

        def wait(seconds: float) -> bool:
            flush.done.wait(min(max(0.0, seconds), threading.TIMEOUT_MAX))
            with self._lock:
                if flush in self._flushes:
                    self._flushes.remove(flush)
            return not flush.left

        return wait

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread and claims; the next wake or start begins anew."""
        self._making.after_fork_in_child()
        self._fresh()

    # The work

    def work(self, runner: Runner, *, in_vain: bool) -> float:  # noqa: ARG002 -- who slept in vain looks all the same
        """Do what there is to do, on the runner's thread; return for how many seconds to sleep then, 0 to end."""
        while True:
            begun = self._begin(runner)
            if not isinstance(begun, list):
                return begun
            try:
                again = self._go_on(runner)
            except BaseException:  # of an observer, say: the others must go on; Ctrl-C never comes to this thread
                log_exception("something around the deliveries to %r failed; they go on", self._name)
                self._held, again = True, _LATER
            if again is None:
                return 0.0
            self._next_look = 0.0 if again == _AT_ONCE else time.monotonic() + PACE_SECONDS
            if again == _LATER:
                return self._rest(begun)

    def run_once(self) -> bool:
        """Claim and deliver once, in the calling thread; whether there may be more to do. Not while it is started."""
        self._runner = runner = Runner(self._name, self, self._bell)
        try:
            return self._go_on(runner) in (_AT_ONCE, _SOON)
        finally:
            if self._runner is runner:
                self._runner = None

    def _begin(self, runner: Runner) -> list[_Flush] | float:
        """Return who waits for this look; or for how many seconds to sleep before it, 0.0 to end."""
        with self._lock:
            if self._runner is not runner:  # it was left behind, or this is the child of a body that has forked
                return 0.0
            if self._deliveries is None and not self._wanted:
                self._runner = None
                self._ended.set()
                flushes, self._flushes = self._flushes, []
                for flush in flushes:
                    flush.done.set()
                return 0.0
            early = self._next_look - time.monotonic()
            if early > 0 and self._deliveries is None and not self._flushes:
                self._rung = True  # nobody needs to ring meanwhile
                return early
            self._rung = False  # before anything is claimed: who rings from here on may bring more
            return self._flushes[:]

    def _rest(self, flushes: Sequence[_Flush]) -> float:
        for flush in flushes:
            flush.left = self._held
            flush.done.set()
        return min(2.0 ** (self._troubles - 1), _LONGEST_TROUBLE) if self._troubles else self._poll

    def _go_on(self, runner: Runner) -> str | None:
        """Make the deliveries under way, or those of another claim; return when to look again.

        None where that is another thread's: this one was left behind in a call, or a body has forked.
        """
        deliveries = self._deliver() if self._deliveries is None else self._deliveries
        self._deliveries = deliveries
        failure = None
        try:
            if (late := self._late) is not None:
                self._late = None
                self._books.end(late[0].callback, late[0].ticket, late[0].start, late[1])
                failure = self._books.failure
            while True:
                call, limit = deliveries.send(failure)  # the first time that is None, as it must be
                if not self._making.make(runner, call, limit):
                    return None
                failure = self._books.failure
        except StopIteration as end:
            self._deliveries = None
            return end.value  # type: ignore[no-any-return]
        except BaseException:
            self._deliveries = None
            raise

    def _lose(self, runner: Runner, mark: Mark, late: CallbackTimeoutError) -> None:
        """Go on with another thread: the one that makes this call hangs. What it did is noted by its successor."""
        with self._lock:
            if self._runner is not runner:
                return
            self._late = mark, late
            self._runner = None
        self._ways.stragglers.add()
        self._launch()

    def _note_trouble(self, error: BaseException) -> None:
        self._held = True
        self._troubles = min(self._troubles + 1, 10)
        self._failures.report_outbox(self._name, error)

    # One claim

    def _deliver(self) -> _Deliveries:
        """Claim and deliver; return when to look again."""
        outbox = self._outlet.outbox
        held = self._ways.stragglers.too_many or (self._breaker is not None and not self._breaker.ready)
        self._held = held
        if outbox is None or held:
            return _LATER
        self._breaker = None
        try:
            claims = outbox.claim(self._name, duration=CLAIM_SECONDS, limit=_USERS)
        except Exception as error:  # of whatever store
            self._note_trouble(error)
            return _LATER
        self._troubles = 0
        yield from self._deliver_claims(outbox, claims)
        if self._held or not claims:
            return _LATER
        many = len(claims) >= _USERS or any(len(each.events) >= _MANY for each in claims)
        return _AT_ONCE if many else _SOON

    def _deliver_claims(
        self, outbox: Outbox, claims: Sequence[ClaimedEvents]
    ) -> Generator[tuple[QueuedCall, float | None], Failure | None, None]:
        end = self._now() + round(CLAIM_SECONDS / 2 * 1e9)
        verdicts = []
        for claimed in claims:
            if claimed.attempt > self._max_attempts:
                worn = f"it was tried {claimed.attempt - 1} times already"
                verdict = _Verdict(0, claimed.events[0].error or _WORN, hopeless=worn)
            else:
                verdict = yield from self._deliver_in_order(claimed.events, end)
            verdicts.append((claimed, verdict))
            if self._on_flush is None:
                self._settle(outbox, *verdicts.pop())
        flushed = None
        if self._on_flush is not None and any(verdict.delivered for _, verdict in verdicts):
            positional, named, limit = flush_call(self._on_flush, self._on_flush.timeout or self._interval)
            flushed = yield from self._make(self._on_flush, positional, named, limit)
        for claimed, verdict in verdicts:
            failed = flushed is not None and verdict.delivered > 0
            self._settle(outbox, claimed, self._failed(flushed) if failed else verdict)

    def _deliver_in_order(
        self, events: Sequence[StoredEvent], end: int
    ) -> Generator[tuple[QueuedCall, float | None], Failure | None, _Verdict]:
        for number, event in enumerate(events):
            if self._ending or self._held or self._now() >= end:
                return _Verdict(number)
            try:
                failure = yield from self._deliver_one(event)
            except (ValueError, RecursionError) as error:  # it cannot be read, and never will be
                return _Verdict(number, self._failures.text(error), hopeless="it cannot be read")
            if failure is not None:
                return self._failed(failure)._replace(delivered=number)
        return _Verdict(len(events))

    @staticmethod
    def _failed(failure: Failure | None) -> _Verdict:
        """Return the verdict on an event that was not delivered."""
        if failure is None or failure.outcome in _NO_TRY:
            return _Verdict(0)
        return _Verdict(0, failure.error or failure.outcome)

    def _deliver_one(
        self, event: StoredEvent
    ) -> Generator[tuple[QueuedCall, float | None], Failure | None, Failure | None]:
        """Call all that the plugin has of the event's hook, until one fails.

        Raises:
            ValueError: the event cannot be read.
        """
        callbacks = self._callbacks.get(event.hook, ())
        if not callbacks and event.hook not in self._unknown:
            self._unknown.add(event.hook)
            log(logging.INFO, "plugin %r has no %s any more: such events of it are done", self._name, event.hook)
        for callback in callbacks:
            form = json.loads(event.event)
            arguments = {**callback.hook.optional, **decode(form).arguments}  # of its own
            missing = [name for name in callback.arguments.names if name not in arguments]
            if missing:
                raise ValueError(f"the event has no {', '.join(missing)}, and {callback.hook.signature} has")
            positional = tuple(arguments[name] for name in callback.arguments.positional)
            named = {name: arguments[name] for name in (*callback.arguments.keyword, *callback.arguments.rest)}
            within = tuple(self._hooks[name] for name in form.get("within", ()) if name in self._hooks)
            failure = yield from self._make(callback, positional, named, callback.timeout, within)
            if failure is not None:
                return failure
        return None

    def _make(
        self,
        callback: Callback,
        positional: tuple[Any, ...],
        named: dict[str, Any],
        limit: float | None,
        within: tuple[Hook, ...] = (),
    ) -> Generator[tuple[QueuedCall, float | None], Failure | None, Failure | None]:
        """Have one call made, in which ``within`` count as running; return what was noted if it did not end well."""
        breaker = callback.breaker
        if breaker is not None and not breaker.ready:
            failure: Failure | None = _REFUSED
        else:
            failure = yield (callback, positional, named, (callback.hook, *within), Context()), limit
        if failure is not None and failure.outcome in _NO_TRY:
            self._held, self._breaker = True, breaker
        return failure

    # What became of it

    def _settle(self, outbox: Outbox, claimed: ClaimedEvents, verdict: _Verdict) -> None:
        attempt = claimed.attempt if verdict.delivered == 0 else 1
        failed = verdict.error is not None
        park = failed and (bool(verdict.hopeless) or attempt >= self._max_attempts)
        retry_in = self._retry_in(attempt) if failed and not park else None
        try:
            settled = outbox.settle(
                claimed, delivered=verdict.delivered, retry_in=retry_in, park=park, error=verdict.error
            )
        except Exception as error:  # of whatever store: the claim ends by itself
            self._note_trouble(error)
            return
        if not settled:
            text = "plugin %r: a claim of %d events was over before they were settled; some may be delivered twice"
            log(logging.WARNING, text, self._name, len(claimed.events))
        elif park:
            event = claimed.events[verdict.delivered]
            why = verdict.hopeless or f"its delivery has failed {attempt} times"
            text = "plugin %r: the event %s of %s is set aside: %s; see thea outbox list, then thea outbox retry %d"
            log(logging.WARNING, text, self._name, event.event_id, event.hook, why, event.number)

    def _retry_in(self, attempt: int) -> float:
        """Return seconds: 1, 2, 4 and so on up to 600, or as little as half of that; not all come back at once."""
        longest = min(2.0 ** min(attempt - 1, 20), _LONGEST_RETRY)
        return longest * (1 + int.from_bytes(self._entropy(2)) / 65536) / 2
