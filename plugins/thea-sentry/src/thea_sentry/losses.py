"""Counting what does not arrive: the SDK itself loses it in silence. Importing this module imports ``sentry_sdk``."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any
from weakref import WeakSet

import sentry_sdk
from sentry_sdk.client import BaseClient
from sentry_sdk.envelope import Envelope

__all__ = ["CountingTransport", "drain", "hold_up"]

logger = logging.getLogger("thea.plugins.sentry")

_LOSSES = {
    "network_error": "refused or not reached",
    "send_error": "too large",
    "queue_overflow": "more than wait at a time",
    "ratelimit_backoff": "over the rate limit",
    "internal_sdk_error": "the SDK failed",
    "callback_error": "before_send failed",
}
"""The SDK's reasons that are losses, in words. Others, such as ``sample_rate``, are what somebody asked for."""

_PASSING = frozenset({"network_error", "queue_overflow", "ratelimit_backoff"})
"""Those for which the same event may arrive another time."""

_LATE = "not sent in time"
_LAST = 0.1  # seconds: the SDK tells what waits where a flush takes longer than this


class CountingTransport(sentry_sdk.HttpTransport):
    """The SDK's own transport, which also counts the events that are lost. The first one is logged. Thread-safe.

    Attributes:
        durable: whether events come again that were held up. Then these are not lost.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._counting = threading.Lock()
        self._lost: Counter[str] = Counter()
        self._held_up: Counter[str] = Counter()
        self.durable = False
        self._waiting: WeakSet[Envelope] = WeakSet()  # nobody holds an envelope once it is sent
        super().__init__(options)

    @property
    def lost(self) -> Counter[str]:
        """How many events were lost so far, by reason."""
        with self._counting:
            return self._lost.copy()

    @property
    def waiting(self) -> int:
        """How many events are still to be sent."""
        with self._counting:
            return len(self._waiting)

    def take_held_up(self) -> Counter[str]:
        """Return how many durable events were held up since this was asked last, by reason."""
        with self._counting:
            taken, self._held_up = self._held_up, Counter()
        return taken

    def capture_envelope(self, envelope: Envelope) -> None:
        """Put an envelope into the queue."""
        if envelope.get_event() is not None:
            with self._counting:
                self._waiting.add(envelope)
        super().capture_envelope(envelope)

    def record_lost_event(self, reason: str, data_category: Any = None, item: Any = None, *, quantity: int = 1) -> None:
        """Count an event; what else the SDK sends has other categories."""
        super().record_lost_event(reason, data_category, item, quantity=quantity)
        category = data_category if item is None else item.data_category
        if category == "error" and reason in _LOSSES:
            self._count(reason)

    def on_dropped_event(self, reason: str) -> None:
        """Count what Sentry did not take because of a rate limit; the SDK calls the above for all others."""
        super().on_dropped_event(reason)
        if reason == "status_429":
            self._count("ratelimit_backoff")

    def _count(self, reason: str) -> None:
        why = _LOSSES[reason]
        with self._counting:
            if self.durable and reason in _PASSING:
                self._held_up[why] += 1
                return
            self._lost[why] += 1
            first = self._lost.total() == 1
        if first:
            logger.warning("an event for Sentry was lost (%s); how many were is told when the plugin stops", why)


def drain(client: BaseClient, timeout: float, *, durable: bool) -> None:
    """Send what waits, for at most ``timeout`` seconds, and log what was lost. What is late and durable was not."""
    late = _flush(client, timeout) and not durable
    if not isinstance(client.transport, CountingTransport):
        if late:
            logger.warning("events for Sentry were lost: what was %s", _LATE)
        return
    lost = client.transport.lost
    if late:
        lost[_LATE] = client.transport.waiting
    if lost.total():
        logger.warning("%d events for Sentry were lost: %s", lost.total(), _told(lost))


def hold_up(client: BaseClient, timeout: float) -> str:
    """Send what waits, for at most ``timeout`` seconds; return why not all of it has arrived, "" where it has.

    Nothing is said of what Sentry will never take; nor, where the transport does not count, of what it has lost.
    """
    late = _flush(client, timeout)
    held_up: Counter[str] = Counter()
    if isinstance(client.transport, CountingTransport):
        held_up = client.transport.take_held_up()
    return ", ".join(filter(None, (_told(held_up), _LATE if late else "")))


def _flush(client: BaseClient, timeout: float) -> bool:
    """Send what waits, for at most ``timeout`` seconds; return whether something is left."""
    late: list[int] = []
    last = min(_LAST, timeout)
    client.flush(timeout=timeout - last)
    client.flush(timeout=last, callback=lambda pending, _timeout: late.append(pending))
    return bool(late)


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {why}" for why, count in counts.items() if count)
