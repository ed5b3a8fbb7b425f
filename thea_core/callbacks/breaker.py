"""The circuit breaker of one plugin and hook: it keeps a callback that fails again and again from being called.

Closed: every call is let through, and failures in a row are counted. Open: calls are skipped, until a time. Half-open:
that time has come, and exactly one call, the probe, decides. A lock is held around changes of state, never around a
call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from thea_core.types import BreakerState, Clock

__all__ = ["CLOSED", "HALF_OPEN", "OPEN", "REFUSED", "Breaker", "BreakerLimits"]

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half-open"

REFUSED: Final = -1
"""The ticket of a call that is not let through."""

_UNASKED: Final = 0  # the ticket of calls for which nobody asks, because no breaker is in trouble
_LONGEST = 600.0  # seconds


class BreakerLimits(NamedTuple):
    """When breakers open, and for how long.

    Attributes:
        failures: how many failures in a row open it.
        seconds: how long it stays open the first time; each probe that fails doubles that, up to 600 s.
    """

    failures: int = 5
    seconds: float = 30.0


class Breaker:
    """One breaker. Thread-safe.

    A call asks :meth:`admit` for a ticket, and gives it to :meth:`succeed`, :meth:`fail` or :meth:`release` when it has
    ended. Each change of state makes a new ticket, and only the last one counts: a call that began before the breaker
    opened decides nothing any more, nor does a probe that was given up. A probe of which nothing is heard (it hangs, or
    its caller was thrown away) gives up its turn after the time for which the breaker had been open.

    Calls that did not ask have the ticket 0. It counts while the breaker is as good as new; for as long as it was open,
    a breaker that has closed is not, because such a call may have begun before that.

    Args:
        plugin, hook: whose it is.
        limits: when it opens, and for how long.
        clock: where time comes from.
        tell: gets every change of state, in order, under the breaker's lock: it must not wait.
        troubled: the breakers that are not as good as new; this one puts itself in and takes itself out.
        tickets: gives numbers from 1, for all breakers: a chain gives back a ticket without knowing whose it is.
    """

    def __init__(
        self,
        plugin: str,
        hook: str,
        limits: BreakerLimits,
        clock: Clock,
        *,
        tell: Callable[[BreakerState], None],
        troubled: set[Breaker],
        tickets: Iterator[int],
    ) -> None:
        self.plugin = plugin
        self.hook = hook
        self._limits = limits
        self._now = clock.monotonic_ns
        self._tell = tell
        self._troubled = troubled
        self._lock = threading.RLock()  # a finalizer may run within, and give a ticket back
        self._state = CLOSED
        self._shown = BreakerState(plugin, hook, CLOSED, "")
        self._tickets = tickets
        self._ticket = _UNASKED
        self._count = 0
        self._seconds = limits.seconds
        self._until = 0
        self._tripped = False

    @property
    def state(self) -> str:
        """``"closed"``, ``"open"`` or ``"half-open"``."""
        return self._state

    @property
    def shown(self) -> BreakerState:
        """Its state and the reason, as of one moment."""
        return self._shown

    @property
    def ready(self) -> bool:
        """Whether :meth:`admit` would let a call through just now."""
        return self._state == CLOSED or not self._refuses()

    def admit(self) -> int:
        """Return the ticket of a call; :data:`REFUSED` where it is to be skipped."""
        ticket = self._ticket  # read before the state: at worst it is one that counts no more
        if self._state == CLOSED:
            return ticket
        if self._refuses():
            return REFUSED
        with self._lock:
            if self._state == CLOSED:
                return self._ticket
            if self._refuses():
                return REFUSED
            self._until = self._now() + _nanoseconds(self._seconds)  # by then another probe may try
            self._ticket = next(self._tickets)
            if self._state == OPEN:
                self._change(HALF_OPEN, "one call is let through to see whether it works again")
            return self._ticket

    def succeed(self, ticket: int) -> None:
        """Note that a call has ended well, or by a veto."""
        if self._ticket == _UNASKED and not self._count:
            return
        with self._lock:
            if ticket != self._ticket:
                return
            if self._state == HALF_OPEN:
                self._close("the probe ended well")
            elif self._state == CLOSED:
                self._forgive()

    def fail(self, ticket: int, reason: str) -> None:
        """Note that a call has failed or timed out; ``reason`` says how."""
        with self._lock:
            if ticket != self._ticket:
                return
            if self._state == CLOSED:
                self._count += 1
                self._troubled.add(self)
                if self._count >= self._limits.failures:
                    self._open(f"{self._count} failures in a row, the last: {reason}")
            else:
                self._seconds = min(self._seconds * 2, max(_LONGEST, self._limits.seconds))
                self._open(f"the probe failed ({reason})")

    def release(self, ticket: int) -> None:
        """Note that a call came to no end that tells anything: it was cancelled, or there was no thread for it.

        Where it was the probe, the next call is one. That is no change of state: there may be many such calls.
        """
        with self._lock:
            if ticket == self._ticket and self._state == HALF_OPEN:
                self._ticket = next(self._tickets)
                self._until = self._now()

    def trip(self, reason: str) -> None:
        """Open it until :meth:`let_probe`, and then for as long as it would have been open without this."""
        with self._lock:
            self._tripped = True
            self._troubled.add(self)
            if self._state == CLOSED:
                self._ticket = next(self._tickets)
            if self._state != OPEN:  # a probe keeps its ticket: it may be the very call that hangs, and then fails
                self._until = self._now()
                self._change(OPEN, reason)
            self._shown = self._shown._replace(reason=reason)

    def let_probe(self) -> None:
        """Allow a probe where :meth:`trip` has opened it."""
        with self._lock:
            self._tripped = False

    def reset(self, reason: str) -> None:
        """Close it."""
        with self._lock:
            if self._state != CLOSED:
                self._close(reason)
            else:
                self._forgive()

    def belong_to(self, troubled: set[Breaker]) -> None:
        """Put itself from now on into another set while it is not as good as new."""
        with self._lock:
            before, self._troubled = self._troubled, troubled
            if self in before:
                before.discard(self)
                troubled.add(self)

    def retire(self, reason: str) -> None:
        """Close it for good, because its callback has left the chains; nothing is told of it afterwards."""
        with self._lock:
            self.reset(reason)
            self._tell = _nobody
            self.belong_to(set())

    def after_fork_in_child(self) -> None:
        """Take a fresh lock, and let another probe try: the one under way may be another thread's."""
        self._lock = threading.RLock()
        if self._state == HALF_OPEN:
            self._until = self._now()

    def _refuses(self) -> bool:
        """Whether no probe may try yet, where it is not closed."""
        return self._tripped or self._now() < self._until

    def _open(self, reason: str) -> None:
        self._ticket = next(self._tickets)
        self._until = self._now() + _nanoseconds(self._seconds)
        if self._state != OPEN:
            self._change(OPEN, f"{reason}; calls are skipped for {self._seconds:g} s")

    def _close(self, reason: str) -> None:
        self._ticket = next(self._tickets)
        self._until = self._now() + _nanoseconds(self._seconds)  # until then it is not as good as new
        self._count = 0
        self._seconds = self._limits.seconds
        self._tripped = False
        self._change(CLOSED, reason)

    def _forgive(self) -> None:
        """Forget the failures in a row; it is as good as new, if it has been closed for long enough."""
        self._count = 0
        if self._ticket == _UNASKED or self._now() >= self._until:
            self._ticket = _UNASKED
            self._troubled.discard(self)

    def _change(self, state: str, reason: str) -> None:
        self._state = state
        self._shown = BreakerState(self.plugin, self.hook, state, reason)
        self._tell(self._shown)


def _nobody(_: BreakerState) -> None:
    """Tell nobody."""


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
