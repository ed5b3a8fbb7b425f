"""The pauses of a recording are kept, as many times shorter as one likes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from thea_core.cli.replaying.events import Recorded
from thea_core.cli.replaying.pace import paced

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that goes on only where somebody waits or works; it adds up the waits of each pause."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waited = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= 1  # a signal is acted upon soon, whenever it comes
        self.waited += seconds
        self.time += seconds


def lines(*seconds: float | None) -> list[Recorded]:
    """Return lines that were recorded so many seconds after noon; None for one of which that is not known."""
    return [Recorded(str(n), at=None if s is None else NOON + timedelta(seconds=s)) for n, s in enumerate(seconds)]


def waits(speed: float | None, *seconds: float | None, work: float = 0.0) -> list[float]:
    """Return how long each pause was that there was."""
    clock, pauses = Clock(), []
    given = lines(*seconds)
    for each, expected in zip(paced(given, speed, now=clock.now, wait=clock.wait), given, strict=True):
        assert each is expected
        pauses.append(clock.waited)
        clock.waited = 0.0
        clock.time += work
    return [each for each in pauses if each]


def test_without_a_speed_there_are_no_pauses() -> None:
    assert waits(None, 0, 5, 3600) == []


@pytest.mark.parametrize(("speed", "expected"), [(1, [5, 15]), (10, [0.5, 1.5]), (0.5, [10, 30])])
def test_pauses_are_so_many_times_shorter(speed: float, expected: list[float]) -> None:
    assert waits(speed, 0, 5, 20) == pytest.approx(expected)


def test_what_the_events_take_is_not_added() -> None:
    assert waits(1, 0, 5, 6, 7, 20, work=2) == pytest.approx([3, 9])


def test_a_time_that_goes_back_or_is_not_known_is_no_pause() -> None:
    assert waits(1, None, 10, 4, None, 12) == pytest.approx([2])


def test_a_pause_that_nobody_could_wait_for_goes_on_until_somebody_stops_it() -> None:
    clock = Clock()

    def wait(seconds: float) -> None:
        clock.wait(seconds)
        if clock.waited > 100:
            raise KeyboardInterrupt

    events = paced(lines(0, 1), 1e-300, now=clock.now, wait=wait)
    assert next(events)
    with pytest.raises(KeyboardInterrupt):
        next(events)
