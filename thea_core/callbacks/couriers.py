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
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thea_core.callbacks import flow
from thea_core.callbacks.binding import Callback
from thea_core.callbacks.breaker import REFUSED, Breaker
from thea_core.callbacks.event_json import decode
from thea_core.callbacks.failures import FailureLog, log, log_exception
from thea_core.callbacks.history import Failure
from thea_core.callbacks.limits import CoroutineStep, ThreadStep, Ways
from thea_core.callbacks.queues import flush_call
from thea_core.callbacks.runners import Runner

if TYPE_CHECKING:
    from queue import SimpleQueue

    from thea_core.callbacks.deliveries import Deliveries
    from thea_core.callbacks.durable import Outlet
    from thea_core.types import ClaimedEvents, Clock, Outbox, StoredEvent

__all__ = ["CLAIM_SECONDS", "DEFAULT_ATTEMPTS", "POLL_SECONDS", "Courier"]

DEFAULT_ATTEMPTS: Final = 20
"""After how many failed deliveries an event is set aside, if the operator does not say otherwise."""

CLAIM_SECONDS: Final = 120.0
"""How long a claim lives. When half of that is over, a courier begins no more deliveries under it."""

POLL_SECONDS: Final = 1.0
"""How often a courier that nobody wakes looks for events: those of other processes, and those to be tried again."""

_USERS = 16  # in one claim
_LONGEST_RETRY = 600.0  # seconds between two deliveries of an event
_LONGEST_TROUBLE = 30.0  # seconds between two tries while the store fails
_NOT_TRIED = Failure(0, "skipped", "its circuit breaker is open")
_WORN = "its deliveries were begun, and never came to an end: perhaps they took the process down"


class _Verdict(NamedTuple):
    """What became of the events of one claim.

    Attributes:
        delivered: how many of them were delivered, from the first on.
        error: what the one after those failed with; None where none did, and the others were not tried.
        hopeless: whether it is not to be tried again.
    """

    delivered: int
    error: str | None = None
    hopeless: bool = False


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


class Courier:
    """Brings one plugin its events. Thread-safe; all deliveries are made by one daemon thread, ``thea-NAME``.

    Callbacks run as those of a queue do, with the plugin's time limits and on its threads or its event loop; each
    delivery has a row in the history, and a say in the breaker.

    Args:
        ways: where the plugin's callbacks run.
        outlet: where the outbox is found.
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
        self._now = clock.monotonic_ns
        self._books = books
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
        self._rung = False
        self._runner: Runner | None = None
        self._thread: threading.Thread | None = None
        self._flushes: list[_Flush] = []
        self._ending = False
        self._held = False  # whether the plugin cannot be called now
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
            if self._runner is not None:
                return
            self._runner = runner = Runner(self._name, self, self._bell)
            self._thread = runner.thread
        try:
            runner.thread.start()
        except BaseException as error:
            self._runner = self._thread = None
            if not isinstance(error, RuntimeError):  # there are too many, or the interpreter is about to end
                raise

    def wake(self) -> None:
        """Look for events soon; nothing where it is not started. Never waits."""
        if self._rung or not self._wanted:
            return
        self._rung = True
        if self._runner is None:  # a fork has taken it away, or no thread was to be had
            self.start(self._poll)
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
        thread = self._thread
        if thread is None or thread.ident is None:
            return True
        if thread is threading.current_thread() or flow.running(self):
            return False
        thread.join(min(max(0.0, timeout), threading.TIMEOUT_MAX))
        return not thread.is_alive()

    def begin_flush(self) -> Callable[[float], bool]:
        """Look for events now; return a function that waits until none is due, for so many seconds; whether it is so.

        Where the plugin cannot be called now, or the store fails, it does not wait for that to change. Nor does it
        where the courier is not started, or the plugin itself asks while it is delivered to.
        """
        with self._lock:
            if self._runner is None or self._thread is threading.current_thread() or flow.running(self):
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
        self._fresh()

    # The work

    def work(self, runner: Runner, *, in_vain: bool) -> float:  # noqa: ARG002 -- who slept in vain looks all the same
        """Do what there is to do, on the runner's thread; return for how many seconds to sleep then, 0 to end."""
        while (flushes := self._begin(runner)) is not None:
            try:
                more = self.run_once()
            except BaseException:  # of an observer, say: the others must go on; Ctrl-C never comes to this thread
                log_exception("something around the deliveries to %r failed; they go on", self._name)
                self._held, more = True, False
            if not more:
                return self._rest(flushes)
        return 0.0

    def run_once(self) -> bool:
        """Claim and deliver once, in the calling thread; whether there may be more to do at once."""
        outbox = self._outlet.outbox
        self._held = self._ways.stragglers.too_many or (self._breaker is not None and not self._breaker.ready)
        if outbox is None or self._held:
            return False
        self._breaker = None
        try:
            claims = outbox.claim(self._name, duration=CLAIM_SECONDS, limit=_USERS)
        except Exception as error:  # of whatever store
            self._note_trouble(error)
            return False
        self._troubles = 0
        if claims:
            self._deliver(outbox, claims)
        return bool(claims) and not self._held

    def _begin(self, runner: Runner) -> list[_Flush] | None:
        """Return who waits for this round; None where the runner is to end."""
        with self._lock:
            if self._runner is not runner:  # the child of a body that has forked
                return None
            if not self._ending:
                self._rung = False  # before anything is claimed: who rings from here on may bring more
                return self._flushes[:]
            self._runner = None
            flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush.done.set()
        return None

    def _rest(self, flushes: Sequence[_Flush]) -> float:
        for flush in flushes:
            flush.left = self._held
            flush.done.set()
        return min(2.0 ** (self._troubles - 1), _LONGEST_TROUBLE) if self._troubles else self._poll

    def _note_trouble(self, error: BaseException) -> None:
        self._held = True
        self._troubles = min(self._troubles + 1, 10)
        self._failures.report_outbox(self._name, error)

    # One claim

    def _deliver(self, outbox: Outbox, claims: Sequence[ClaimedEvents]) -> None:
        here, end = self._lock, self._now() + round(CLAIM_SECONDS / 2 * 1e9)

        def go_on() -> bool:
            return here is self._lock and not (self._ending or self._held) and self._now() < end

        verdicts = []
        for claimed in claims:
            worn = claimed.attempt > self._max_attempts
            verdict = _Verdict(0, _WORN) if worn else self._deliver_in_order(claimed.events, go_on)
            if here is not self._lock:
                return  # a body has forked, and this is the child: the claims are the parent's
            verdicts.append((claimed, verdict))
            if self._on_flush is None:
                self._settle(outbox, *verdicts.pop())
        flushed = self._flush(self._on_flush) if any(verdict.delivered for _, verdict in verdicts) else None
        for claimed, verdict in verdicts:
            failed = flushed is not None and verdict.delivered > 0
            self._settle(outbox, claimed, self._failed(flushed) if failed else verdict)

    def _deliver_in_order(self, events: Sequence[StoredEvent], go_on: Callable[[], bool]) -> _Verdict:
        for number, event in enumerate(events):
            if not go_on():
                return _Verdict(number)
            try:
                failure = self._deliver_one(event)
            except (ValueError, RecursionError) as error:  # it cannot be read, and never will be
                return _Verdict(number, self._failures.text(error), hopeless=True)
            if failure is not None:
                return self._failed(failure)._replace(delivered=number)
        return _Verdict(len(events))

    def _failed(self, failure: Failure | None) -> _Verdict:
        """Return the verdict on an event that was not delivered."""
        if failure is None or failure.outcome in ("skipped", "cancelled"):
            return _Verdict(0)
        return _Verdict(0, failure.error or failure.outcome)

    def _deliver_one(self, event: StoredEvent) -> Failure | None:
        """Call all that the plugin has of the event's hook, until one fails.

        Raises:
            ValueError: the event cannot be read.
        """
        callbacks = self._callbacks.get(event.hook, ())
        if not callbacks and event.hook not in self._unknown:
            self._unknown.add(event.hook)
            log(logging.INFO, "plugin %r has no %s any more: such events of it are done", self._name, event.hook)
        for callback in callbacks:
            arguments = {**callback.hook.optional, **decode(json.loads(event.event)).arguments}  # of its own
            missing = [name for name in callback.arguments.names if name not in arguments]
            if missing:
                raise ValueError(f"the event has no {', '.join(missing)}, and {callback.hook.signature} has")
            positional = tuple(arguments[name] for name in callback.arguments.positional)
            named = {name: arguments[name] for name in (*callback.arguments.keyword, *callback.arguments.rest)}
            failure = self._make(callback, positional, named, callback.timeout)
            if failure is not None:
                return failure
        return None

    def _flush(self, callback: Callback | None) -> Failure | None:
        if callback is None:
            return None
        positional, named, limit = flush_call(callback, callback.timeout or self._interval)
        return self._make(callback, positional, named, limit)

    def _make(
        self, callback: Callback, positional: tuple[Any, ...], named: dict[str, Any], limit: float | None
    ) -> Failure | None:
        """Make one call, and note how it ended; return what was noted of one that did not end well."""
        here, breaker = self._lock, callback.breaker
        start, ticket = self._now(), self._books.begin(callback)
        if ticket == REFUSED:
            self._held, self._breaker = True, breaker
            return _NOT_TRIED
        error = Context().run(self._call, callback, positional, named, limit)
        if here is not self._lock:
            return None  # the same
        failure = self._books.end(callback, ticket, start, error)
        if failure is not None and failure.outcome in ("skipped", "cancelled"):
            self._held = True
        return failure

    def _call(
        self, callback: Callback, positional: tuple[Any, ...], named: dict[str, Any], limit: float | None
    ) -> BaseException | None:
        """Call the callback, here or where it belongs; return what it raised, or why it did not end."""
        ways, keys, running = self._ways, (callback.hook,), self._books.running
        running.append(None)
        frame = flow.enter(self, *keys)
        try:
            if callback.threaded:
                return ThreadStep(partial(callback.function, *positional, **named), ways, limit, keys).wait()[1]
            value = callback.function(*positional, **named)
            if type(value) is CoroutineType:
                return CoroutineStep(value, ways, limit, keys).wait()[1]
        except BaseException as error:  # Ctrl-C never comes to this thread: it is the callback's own
            return error
        finally:
            flow.leave(frame)
            running.pop()
        return None

    # What became of it

    def _settle(self, outbox: Outbox, claimed: ClaimedEvents, verdict: _Verdict) -> None:
        attempt = claimed.attempt if verdict.delivered == 0 else 1
        failed = verdict.error is not None
        park = failed and (verdict.hopeless or attempt >= self._max_attempts)
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
            why = "it cannot be read" if verdict.hopeless else f"its delivery has failed {attempt} times"
            text = "plugin %r: the event %s of %s is set aside: %s; see thea outbox list, then thea outbox retry %d"
            log(logging.WARNING, text, self._name, event.event_id, event.hook, why, event.number)

    def _retry_in(self, attempt: int) -> float:
        """Return seconds: 1, 2, 4 and so on up to 600, or as little as half of that; not all come back at once."""
        longest = min(2.0 ** min(attempt - 1, 20), _LONGEST_RETRY)
        return longest * (1 + int.from_bytes(self._entropy(2)) / 65536) / 2
