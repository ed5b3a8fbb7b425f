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

__all__ = ["CountingTransport", "drain"]

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

_LATE = "not sent in time"
_LAST = 0.1  # seconds: the SDK tells what waits where a flush takes longer than this


class CountingTransport(sentry_sdk.HttpTransport):
    """The SDK's own transport, which also counts the events that are lost. The first one is logged. Thread-safe."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._counting = threading.Lock()
        self._lost: Counter[str] = Counter()
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
            self._count(_LOSSES[reason])

    def on_dropped_event(self, reason: str) -> None:
        """Count what Sentry did not take because of a rate limit; the SDK calls the above for all others."""
        super().on_dropped_event(reason)
        if reason == "status_429":
            self._count(_LOSSES["ratelimit_backoff"])

    def _count(self, why: str) -> None:
        with self._counting:
            self._lost[why] += 1
            first = self._lost.total() == 1
        if first:
            logger.warning("an event for Sentry was lost (%s); how many were is told when the plugin stops", why)


def drain(client: BaseClient, timeout: float) -> None:
    """Send what waits, for at most ``timeout`` seconds, and log what was lost."""
    late: list[int] = []
    last = min(_LAST, timeout)
    client.flush(timeout=timeout - last)
    client.flush(timeout=last, callback=lambda pending, _timeout: late.append(pending))
    if not isinstance(client.transport, CountingTransport):
        if late:
            logger.warning("events for Sentry were lost: what was %s", _LATE)
        return
    lost = client.transport.lost
    if late:
        lost[_LATE] = client.transport.waiting
    if lost.total():
        told = ", ".join(f"{count} {why}" for why, count in lost.items() if count)
        logger.warning("%d events for Sentry were lost: %s", lost.total(), told)
