"""What the outboxes of all stores have in common: how much is claimed at once, and what settling a claim means."""

from __future__ import annotations

from typing import Final, NamedTuple

from thea_core.types import ClaimedEvents

__all__ = ["RUN", "Settlement", "settlement"]

RUN: Final = 16
"""How many events of one plugin and user are claimed at once where the first of them was not tried before."""


class Settlement(NamedTuple):
    """What becomes of claimed events.

    Attributes:
        delivered: the numbers of those that are removed.
        failed: the number of the one that has failed; None where none has.
        tried: how many deliveries of that one were begun.
        parked: whether it is set aside.
        attempts: how many deliveries of the first that is left were begun, parked ones aside.
        delay: seconds until that one is due.
    """

    delivered: tuple[int, ...]
    failed: int | None
    tried: int
    parked: bool
    attempts: int
    delay: float


def settlement(claimed: ClaimedEvents, *, delivered: int, retry_in: float | None, park: bool) -> Settlement:
    """Return what ``settle`` is to do; see :meth:`Outbox.settle <thea_core.types.Outbox.settle>`."""
    numbers = tuple(event.number for event in claimed.events)
    done, rest = numbers[:delivered], numbers[delivered:]
    tried = claimed.attempt  # of each of them: where there are several, it is 1
    if not rest or (retry_in is None and not park):
        return Settlement(done, None, 0, parked=False, attempts=0 if done else claimed.attempt - 1, delay=0.0)
    if park or retry_in is None:
        return Settlement(done, rest[0], tried, parked=True, attempts=0, delay=0.0)
    return Settlement(done, rest[0], tried, parked=False, attempts=tried, delay=retry_in)
