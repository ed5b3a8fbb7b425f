"""A signal ends a run between two messages."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from thea_core.cli import exits
from thea_core.cli.messages.stopping import Stopping


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.TERMINATED)])
def test_the_item_under_way_is_finished(number: signal.Signals, status: int) -> None:
    done = []
    with Stopping() as stop:
        for item in stop.until_stopped(range(5)):
            if item == 1:
                os.kill(os.getpid(), number)
            done.append(item)
    assert (done, stop.status) == ([0, 1], status)


def test_a_wait_for_the_next_item_ends_at_once() -> None:
    def items() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGINT)
        yield 2

    with Stopping() as stop:
        assert list(stop.until_stopped(items())) == [1]


def test_after_a_signal_no_item_is_asked_for() -> None:
    with Stopping() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert list(stop.until_stopped(iter([1]))) == []


def test_a_second_signal_does_not_wait() -> None:
    with Stopping() as stop:
        for item in stop.until_stopped(range(5)):
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            assert item == 0


def test_without_a_signal_all_items_come() -> None:
    with Stopping() as stop:
        assert list(stop.until_stopped("abc")) == ["a", "b", "c"]
    assert stop.status is None


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stopping():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_on_another_thread_it_does_nothing() -> None:
    found: list[int] = []

    def body() -> None:
        with Stopping() as stop:
            found.extend(stop.until_stopped([1, 2]))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [1, 2]
