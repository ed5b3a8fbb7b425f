"""The events that wait for their request: gathered up to one batch, sent, sent again, or given up.

This is no queue. A full batch is sent where the event that filled it is handled, and until that is done the next event
waits in the core's queue, which is bounded. With durable delivery nothing is given up that Mixpanel may still take: the
events of a round are gathered, sent when the core asks for it, and either all of them are done with, or an error tells
the core to bring them again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple

from thea_core import Clock, PluginError
from thea_mixpanel.losses import Losses
from thea_mixpanel.posting import Verdict

__all__ = ["Outbox", "Surroundings"]

_LONGEST_PAUSE = 30.0  # seconds
_FIRST_PAUSE = 0.5  # seconds
_SHORTEST_TRY = 0.02  # seconds; for the last try, where no time is left
_SHUT_DOWN = "the plugin was shut down"
_UNANSWERED = "no answer before the shutdown"


class Surroundings(NamedTuple):
    """Where time and chance come from; tests have their own.

    Attributes:
        clock: tells and measures time.
        uniform: returns a random number between two.
        wait: waits for an event for at most so many seconds, and tells whether it was set.
    """

    clock: Clock
    uniform: Callable[[float, float], float]
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait


class _Flight:
    """A batch that is under way.

    Attributes:
        undecided: of how many of its events it is not known yet what becomes of them.
        splits: how many times it may still be split to find the events that are not taken.
    """

    def __init__(self, size: int, splits: int) -> None:
        self.undecided = size
        self.splits = splits


class Outbox:
    """Gathers events as the consumer of a ``mixpanel.Mixpanel``, and sends them in batches. Thread-safe.

    No lock is held while a request is made or a pause waited for. Each event is in exactly one place: gathered, under
    way, sent or lost.

    Args:
        post: makes a request of some events, with seconds for connection and answer.
        losses: counts what is given up.
        flush_at: how many events make a full batch.
        max_retries: how many times a request that fails is repeated.
        request_timeout: seconds for connection and answer, each.
        surroundings: where time and chance come from.
        is_durable: tells whether the events are stored elsewhere until they are delivered; asked when there are some.

    Attributes:
        sent: how many events Mixpanel has accepted.
    """

    def __init__(
        self,
        post: Callable[[list[str], float], Verdict],
        losses: Losses,
        *,
        flush_at: int,
        max_retries: int,
        request_timeout: float,
        surroundings: Surroundings,
        is_durable: Callable[[], bool],
    ) -> None:
        self._post = post
        self._losses = losses
        self._flush_at = flush_at
        self._max_retries = max_retries
        self._request_timeout = request_timeout
        self._clock, self._uniform, self._wait = surroundings
        self._is_durable = is_durable
        self._lock = threading.Lock()
        self._landed = threading.Condition(self._lock)
        self._gathered: list[str] = []
        self._flights: set[_Flight] = set()
        self._failures = 0  # in a row
        self._not_before = -math.inf  # when the next request may be made, after one that failed
        self._trouble = ""  # what that one failed with
        self._closing = threading.Event()
        self._end = math.inf  # when the shutdown must be over
        self._closed = False
        self.sent = 0

    def send(
        self,
        endpoint: str,  # noqa: ARG002 -- the library calls a consumer so; all of it are events
        json_message: str,
        api_key: object = None,  # noqa: ARG002
        api_secret: object = None,  # noqa: ARG002
    ) -> None:
        """Take an event; where it makes a batch full, send that before returning, unless the events are durable."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._gathered.append(json_message)
            full = len(self._gathered) >= self._flush_at and not self._is_durable()
        if closed:
            self._losses.add(_SHUT_DOWN)
        elif full:
            self.deliver()

    def deliver(self, seconds: float = math.inf) -> None:
        """Send what has been gathered. What cannot be sent in time is kept, unless it has been tried often enough.

        Args:
            seconds: how long pauses between tries may take in all. A request that has begun is not cut short by it: it
                might arrive all the same, and then twice.

        Raises:
            PluginError: the events are durable, and Mixpanel has not taken all that had been gathered. Nothing of it is
                kept: it comes again.
        """
        deadline = self._now() + seconds
        if self._is_durable():
            self._deliver_durable(deadline)
            return
        while self._deliver_batch(deadline):
            pass

    def close(self, seconds: float) -> None:
        """Send what has been gathered with one last try, and wait for what is under way; the rest is lost.

        Events that are durable are only waited for: those that are not sent are stored still.
        """
        durable = self._is_durable()
        self._end = self._now() + seconds
        self._closing.set()
        if not durable:
            self.deliver()
        with self._lock:
            self._landed.wait_for(lambda: not self._flights, max(0.0, self._end - self._now()))
            if durable:  # and not closed: who delivers still must hear what becomes of it
                return
            self._closed = True
            unanswered = sum(each.undecided for each in self._flights)
            gathered, self._gathered = len(self._gathered), []
        if unanswered:
            self._losses.add(_UNANSWERED, unanswered)
        if gathered:  # by a callback that came late
            self._losses.add(_SHUT_DOWN, gathered)

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1_000_000_000

    def _deliver_batch(self, deadline: float) -> bool:
        """Send one batch; tell whether there may be another."""
        with self._lock:
            batch = self._gathered[: self._flush_at]
            del self._gathered[: self._flush_at]
            if not batch:
                return False
            flight = _Flight(len(batch), 4 * len(batch).bit_length())  # enough for four events that are not taken
            self._flights.add(flight)
        kept = batch  # also where Ctrl-C comes: to send it twice is no harm, the events have ids
        try:
            kept = self._settle(flight, batch, deadline)
        finally:
            with self._lock:
                self._flights.remove(flight)
                if not self._closed:
                    self._gathered[:0] = kept
                self._landed.notify_all()
        return not kept

    def _deliver_durable(self, deadline: float) -> None:
        """Send all that has been gathered, or raise: the events that come next are those of another round."""
        with self._lock:
            events, self._gathered = self._gathered, []
            flight = _Flight(len(events), len(events))  # enough for all of them: none may be lost for another one
            self._flights.add(flight)
        try:
            for first in range(0, len(events), self._flush_at):
                if self._settle(flight, events[first : first + self._flush_at], deadline):
                    raise _not_taken(f"{self._trouble}, and the pause after that is not over")
        finally:
            with self._lock:
                self._flights.remove(flight)
                self._landed.notify_all()

    def _settle(self, flight: _Flight, events: list[str], deadline: float) -> list[str]:
        """Send events with one request until it is decided what becomes of them; return those to be kept.

        Raises:
            PluginError: they are durable, and no single one of them is at fault.
        """
        while True:
            if not self._ready(deadline):
                return events
            verdict = self._post(events, self._seconds())
            if verdict.outcome != "failed":
                break
            if not self._may_try_again(verdict):
                self._decide(flight, events, verdict)
                return []
        self._recover()
        if verdict.outcome == "poisoned" and len(events) > 1 and flight.splits:
            flight.splits -= 1
            middle = len(events) // 2
            kept = self._settle(flight, events[:middle], deadline)
            return kept + self._settle(flight, events[middle:], deadline)
        self._decide(flight, events, verdict)
        return []

    def _ready(self, deadline: float) -> bool:
        """Wait until the next request may be made; tell whether that is in time. A shutdown ends the wait."""
        if self._not_before > deadline:
            return False
        pause = self._not_before - self._now()
        if pause > 0:
            self._wait(self._closing, pause)
        return True

    def _seconds(self) -> float:
        """Return how long to wait for a connection, and then for an answer."""
        if not self._closing.is_set():
            return self._request_timeout
        return min(self._request_timeout, max((self._end - self._now()) / 2, _SHORTEST_TRY))

    def _may_try_again(self, verdict: Verdict) -> bool:
        """Note that a request has failed; tell whether it is to be repeated."""
        with self._lock:
            self._failures += 1
            pause = _FIRST_PAUSE * 2 ** min(self._failures - 1, 10) * self._uniform(0.5, 1.0)
            pause = min(_LONGEST_PAUSE, pause if verdict.retry_after is None else verdict.retry_after)
            self._not_before, self._trouble = self._now() + pause, verdict.reason
            again = self._failures <= self._max_retries and not self._closing.is_set()
            if not again:
                self._failures = 0
            return again

    def _recover(self) -> None:
        with self._lock:
            self._failures, self._not_before = 0, -math.inf

    def _decide(self, flight: _Flight, events: list[str], verdict: Verdict) -> None:
        """Count events as sent or as lost.

        Raises:
            PluginError: neither is true: they are durable, and may be taken later.
        """
        accepted = verdict.outcome == "accepted"
        if verdict.outcome in ("failed", "refused") and self._is_durable():
            raise _not_taken(f"{verdict.reason} ({verdict.detail})" if verdict.detail else verdict.reason)
        with self._lock:
            if self._closed:  # they have been counted as lost
                return
            flight.undecided -= len(events)
            if accepted:
                self.sent += len(events)
        if not accepted:
            self._losses.add(verdict.reason, len(events), verdict.detail)


def _not_taken(why: str) -> PluginError:
    return PluginError(f"Mixpanel has not taken the events: {why}", plugin="mixpanel")
