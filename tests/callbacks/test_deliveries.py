"""The bookkeeping around deliveries: breakers are asked and told, and each delivery has one row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import FakeClock
from thea_core import CallbackManager, hookimpl
from thea_core.callbacks.binding import Callback
from thea_core.callbacks.breaker import REFUSED
from thea_core.callbacks.deliveries import Deliveries
from thea_core.callbacks.runtime import PluginLimits
from thea_core.errors import CallbackSkippedError, CallbackTimeoutError


class Shop:
    @hookimpl
    def on_message(self) -> None:
        """Do nothing: the tests play what it does."""


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    manager = CallbackManager(clock=clock, breaker_failures=2)
    yield manager
    assert manager.close(10.0) == 0


@pytest.fixture
def callback(callbacks: CallbackManager) -> Callback:
    binding = callbacks.bind_plugin(Shop(), "shop", source=3, position=0, limits=PluginLimits(delivery="background"))
    callbacks.publish_plugins([binding])
    return binding.callbacks[0]


@pytest.fixture
def books(callbacks: CallbackManager, clock: FakeClock) -> Deliveries:
    return Deliveries(callbacks.recorder, clock, callbacks.health, callbacks.contain)


def rows(callbacks: CallbackManager) -> list[tuple[str, str | None]]:
    return [(each.outcome, each.error) for each in callbacks.history]


class TestRows:
    def test_one_that_ended_well(
        self, callbacks: CallbackManager, callback: Callback, books: Deliveries, clock: FakeClock
    ) -> None:
        ticket, start = books.begin(callback), clock.monotonic_ns()
        clock.advance(2)
        books.end(callback, ticket, start, None)
        (row,) = callbacks.history
        assert (row.hook, row.plugin, row.callback) == ("on_message", "shop", "Shop.on_message")
        assert (row.start, row.duration, row.outcome, row.error) == (clock.now().replace(second=0), 2.0, "ok", None)

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (ValueError("no"), ("error", "ValueError: no")),
            (CallbackTimeoutError("too late", 2.0), ("timeout", "CallbackTimeoutError: too late")),
            (CallbackSkippedError("no thread"), ("skipped", "CallbackSkippedError: no thread")),
        ],
    )
    def test_one_that_did_not(
        self,
        callbacks: CallbackManager,
        callback: Callback,
        books: Deliveries,
        error: BaseException,
        outcome: tuple[str, str],
    ) -> None:
        books.end(callback, books.begin(callback), 0, error)
        assert rows(callbacks) == [outcome]

    def test_a_callback_that_raises_keyboard_interrupt_has_failed_and_nobody_pressed_ctrl_c(
        self, callbacks: CallbackManager, callback: Callback, books: Deliveries, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(KeyboardInterrupt) as info:
            raise KeyboardInterrupt
        books.end(callback, books.begin(callback), 0, info.value)
        assert rows(callbacks) == [("error", "RuntimeError: it raised KeyboardInterrupt")]
        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[2] is info.value.__traceback__  # where it did

    def test_one_that_will_never_be_made(
        self, callbacks: CallbackManager, callback: Callback, books: Deliveries
    ) -> None:
        books.drop(callback)
        assert rows(callbacks) == [("dropped", "its queue was closed before its turn")]

    def test_observers_get_them(self, callbacks: CallbackManager, callback: Callback, books: Deliveries) -> None:
        records: list[Any] = []
        with callbacks.add_observer(records.append):
            books.end(callback, books.begin(callback), 0, None)
            books.drop(callback)
        assert [(each.callbacks[0].outcome, each.delivery) for each in records] == [("ok", True), ("dropped", True)]

    def test_where_nobody_wants_rows_there_are_none(self, clock: FakeClock) -> None:
        callbacks = CallbackManager(clock=clock, history_size=0)
        binding = callbacks.bind_plugin(
            Shop(), "shop", source=3, position=0, limits=PluginLimits(delivery="background")
        )
        books = Deliveries(callbacks.recorder, clock, callbacks.health, callbacks.contain)
        books.end(binding.callbacks[0], books.begin(binding.callbacks[0]), 0, None)
        books.drop(binding.callbacks[0])
        assert callbacks.history.totals() == {}
        callbacks.close()

    def test_an_observer_that_comes_later_gets_rows_too(self, clock: FakeClock) -> None:
        callbacks = CallbackManager(clock=clock, history_size=0)
        binding = callbacks.bind_plugin(
            Shop(), "shop", source=3, position=0, limits=PluginLimits(delivery="background")
        )
        books = Deliveries(callbacks.recorder, clock, callbacks.health, callbacks.contain)
        records: list[Any] = []
        books.end(binding.callbacks[0], books.begin(binding.callbacks[0]), 0, None)
        with callbacks.add_observer(records.append):
            books.end(binding.callbacks[0], books.begin(binding.callbacks[0]), 0, None)
        assert len(records) == 1
        callbacks.close()


class TestBreakers:
    def test_failures_in_a_row_open_it_and_what_is_refused_is_skipped(
        self, callbacks: CallbackManager, callback: Callback, books: Deliveries, clock: FakeClock
    ) -> None:
        for _ in range(2):
            books.end(callback, books.begin(callback), 0, ValueError("no"))
        ticket = books.begin(callback)
        assert ticket == REFUSED
        books.end(callback, ticket, 0, CallbackSkippedError("its circuit breaker is open"))
        assert [outcome for outcome, _ in rows(callbacks)] == ["error", "error", "skipped"]
        clock.advance(30)
        probe = books.begin(callback)
        assert probe != REFUSED
        assert books.begin(callback) == REFUSED
        books.end(callback, probe, 0, None)
        assert [each.state for each in callbacks.breakers] == ["closed"]

    def test_a_success_between_them_forgives(
        self, callbacks: CallbackManager, callback: Callback, books: Deliveries
    ) -> None:
        for error in (ValueError(), None, ValueError()):
            books.end(callback, books.begin(callback), 0, error)
        assert [each.state for each in callbacks.breakers] == ["closed"]

    def test_what_was_skipped_is_no_failure(
        self, callbacks: CallbackManager, callback: Callback, books: Deliveries
    ) -> None:
        for _ in range(5):
            books.end(callback, books.begin(callback), 0, CallbackSkippedError("no thread"))
        assert [each.state for each in callbacks.breakers] == ["closed"]

    def test_a_change_is_told_at_once(self, callbacks: CallbackManager, callback: Callback, books: Deliveries) -> None:
        told: list[str] = []
        callbacks.register("on_plugin_health", lambda plugin, state: told.append(f"{plugin} {state}"))
        for _ in range(2):
            books.end(callback, books.begin(callback), 0, ValueError("no"))
        assert told == ["shop open"]

    def test_a_callback_without_one_is_always_called(
        self, callbacks: CallbackManager, callback: Callback, books: Deliveries
    ) -> None:
        bare = callback._replace(breaker=None)
        for _ in range(5):
            books.end(bare, books.begin(bare), 0, ValueError("no"))
        ticket = books.begin(bare)
        assert ticket != REFUSED
        books.end(bare, ticket, 0, None)
        assert [outcome for outcome, _ in rows(callbacks)] == ["error"] * 5 + ["ok"]
