"""The first signal leaves the block of a verb that runs until then; a second one interrupts what follows."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.support import FakeClock
from thea_core.cli import exits
from thea_core.cli.ending import Ending, wait_for_signal

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_the_first_signal_leaves_the_block_and_what_was_opened_in_it_is_closed(number: signal.Signals) -> None:
    closed = []
    with Ending():
        try:
            os.kill(os.getpid(), number)
            wait_for_signal()
        finally:
            closed.append(1)
    assert closed == [1]


def test_a_signal_ends_the_wait_also_one_that_comes_just_before_it() -> None:
    entered = threading.Event()

    def body() -> None:
        entered.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=body)
    thread.start()
    with Ending():
        entered.set()
        wait_for_signal()
    thread.join()


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, exits.Terminated)])
def test_a_second_signal_interrupts_the_closing(number: signal.Signals, kind: type[BaseException]) -> None:
    clock = FakeClock()

    def run() -> None:
        with Ending(clock):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                clock.advance(0.25)
                os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt) as caught:
        run()
    assert caught.type is kind


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    clock, closed = FakeClock(), []
    with Ending(clock):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            clock.advance(0.24)
            os.kill(os.getpid(), signal.SIGTERM)
            closed.append(1)
    assert closed == [1]


def test_an_error_of_the_block_passes_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def run() -> None:
        with Ending():
            assert signal.getsignal(signal.SIGTERM) != before
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- its own, without a text
        run()
    assert signal.getsignal(signal.SIGTERM) == before


def test_on_another_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def body() -> None:
        with Ending():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [before]
