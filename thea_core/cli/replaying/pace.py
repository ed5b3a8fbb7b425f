"""The pauses between recorded events, shortened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from thea_core.cli.replaying.events import Recorded

__all__ = ["paced"]

_SLICE = 1.0  # seconds: a signal that comes just before a sleep is acted upon only when that ends


def paced(
    events: Iterable[Recorded],
    speed: float | None,
    *,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Recorded]:
    """Give each event when it is its time: as long after the first one as it was recorded, divided by ``speed``.

    What the events themselves take is not added to the pauses.

    Args:
        events: the lines of a recording.
        speed: how many times as fast; None makes no pauses.
        now: tells the seconds, of any clock.
        wait: waits for so many seconds.
    """
    first: tuple[datetime, float] | None = None
    for each in events:
        if speed is not None and each.at is not None:
            first = first or (each.at, now())
            due = first[1] + (each.at - first[0]).total_seconds() / speed
            while (left := due - now()) > 0:
                wait(min(left, _SLICE))
        yield each
