"""The count of events that never reach Mixpanel."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Losses"]

logger = logging.getLogger("thea.plugins.mixpanel")


class Losses:
    """Counts lost events by reason, logs them, and tells ``on_drop``. Thread-safe.

    Each reason is logged as a WARNING the first time, and each time its count has grown tenfold, else at DEBUG: an
    outage is neither forgotten nor a flood. Nothing that is logged or told raises.

    Args:
        on_drop: gets a reason and a number of events; what it raises is logged once.
    """

    def __init__(self, on_drop: Callable[[str, int], Any] | None = None) -> None:
        self._on_drop = on_drop
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._failed = False

    @property
    def counts(self) -> dict[str, int]:
        """How many events were lost, by reason."""
        with self._lock:
            return dict(self._counts)

    def add(self, reason: str, count: int = 1, detail: str = "") -> None:
        """Count events that are lost for one reason; ``detail`` is for the log."""
        with self._lock:
            before = self._counts[reason]
            self._counts[reason] = now = before + count
        loud = not before or len(str(before)) < len(str(now))
        level = logging.WARNING if loud else logging.DEBUG
        with suppress(Exception):  # a log handler of the host's must not stop what is being sent
            logger.log(level, "%s lost: %s%s", _events(now), reason, f" ({detail})" if detail else "")
        if self._on_drop is not None:
            self._tell(self._on_drop, reason, count)

    def summary(self) -> str:
        """Return one line such as ``1,234 events lost: HTTP 500``; an empty text where none is."""
        counts = Counter(self.counts)
        if len(counts) < 2:  # noqa: PLR2004 -- one reason needs no number of its own
            return "".join(f"{_events(count)} lost: {reason}" for reason, count in counts.items())
        each = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
        return f"{_events(counts.total())} lost: {each}"

    def _tell(self, on_drop: Callable[[str, int], Any], reason: str, count: int) -> None:
        try:
            on_drop(reason, count)
        except Exception:  # the operator's own: what it raises must not stop what is being sent
            with self._lock:
                first, self._failed = not self._failed, True
            if first:
                with suppress(Exception):
                    logger.exception("on_drop failed; events are sent all the same")


def _events(count: int) -> str:
    return f"{count:,} {'event' if count == 1 else 'events'}"
