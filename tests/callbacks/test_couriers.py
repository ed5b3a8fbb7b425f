"""Handing stored events to plugins: in order for each user, again where it fails, and never for ever.

Most tests let a courier work in their own thread, with a clock that stands still.
"""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.callbacks.background import PATIENCE, SHORT, closed_afterwards
from tests.callbacks.helpers import MESSAGE, NOW, say
from tests.callbacks.outboxes import Shop, TestOutbox, deliver, hooks, plug, tell
from tests.support import FakeClock
from thea_core import CallbackManager, RecordedError, ReentrancyError, hookimpl
from thea_core.callbacks.couriers import CLAIM_SECONDS
from thea_core.errors import StoreUnavailableError
from thea_core.types import OutgoingEvent

NEVER = 3600.0  # seconds between two looks: as good as never


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock, entropy=lambda size: b"\xff" * size) as manager:
        yield manager


@pytest.fixture
def outbox(clock: FakeClock, callbacks: CallbackManager) -> TestOutbox:
    outbox = TestOutbox(clock)
    callbacks.attach_outbox(outbox)
    return outbox


def rows(callbacks: CallbackManager, plugin: str = "shop") -> list[tuple[str, str]]:
    """Return hook and outcome of each call of a plugin, but for those that only stored an event."""
    return [(e.hook, e.outcome) for e in callbacks.history if e.plugin == plugin and e.outcome != "queued"]


class TestDelivering:
    def test_what_was_stored_arrives_in_order_and_once(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        shop = Shop()
        courier = plug(callbacks, shop)
        messages = [str(number) for number in range(40)]
        tell(callbacks, *messages)
        assert shop.heard == []
        deliver(courier)
        assert shop.heard == messages
        assert outbox.list() == ()
        deliver(courier)
        assert len(shop.heard) == 40

    def test_each_plugin_gets_its_own(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        first, second = Shop(), Shop()
        couriers = [plug(callbacks, each, name) for each, name in ((first, "first"), (second, "second"))]
        tell(callbacks, "one")
        deliver(couriers[0])
        assert (first.heard, second.heard) == (["one"], [])
        deliver(couriers[1])
        assert second.heard == ["one"]
        assert outbox.list() == ()

    def test_more_users_than_one_claim_takes_are_all_served(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Shop()
        courier = plug(callbacks, shop)
        for number in range(40):
            tell(callbacks, str(number), user=f"user {number}")
        deliver(courier)
        assert sorted(shop.heard, key=int) == [str(number) for number in range(40)]
        assert outbox.list() == ()

    def test_arguments_are_bound_as_in_a_call(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        seen: list[Any] = []

        class Binder:
            @hookimpl
            def on_message(self, user_id: str, *, message: str, event_id: str, session_id: str, **rest: Any) -> None:
                seen.append((user_id, message, event_id, session_id, rest))

            @hookimpl
            def on_error(self, error: Exception, timestamp: object) -> None:
                seen.append((error, timestamp))

        courier = plug(callbacks, Binder())
        say(callbacks, event_id="one", session_id="s")
        callbacks.trigger("on_error", user_id="ana", error=ValueError("no"), traceback="...")
        deliver(courier)
        assert seen[0] == ("ana", "hola", "one", "s", {"timestamp": NOW})
        error, timestamp = seen[1]
        assert (type(error), error.message, timestamp) == (RecordedError, "no", clock.now())
        assert outbox.list() == ()

    def test_each_delivery_has_a_row_of_its_own(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        records: list[Any] = []
        callbacks.add_observer(records.append)
        courier = plug(callbacks, Shop())
        say(callbacks)
        deliver(courier)
        assert [(each.delivery, each.callbacks[0].outcome) for each in records] == [(False, "queued"), (True, "ok")]
        assert outbox.list() == ()

    @pytest.mark.usefixtures("outbox")
    def test_an_asynchronous_callback_runs_on_the_loop_of_its_plugin(self, callbacks: CallbackManager) -> None:
        seen = []

        async def on_message(message: str) -> None:
            seen.append((message, threading.current_thread().name))

        courier = plug(callbacks, hooks(on_message=on_message))
        tell(callbacks, "one")
        deliver(courier)
        assert seen == [("one", "thea-shop")]

    @pytest.mark.usefixtures("outbox")
    def test_one_that_returns_a_coroutine_is_waited_for(self, callbacks: CallbackManager) -> None:
        seen = []

        async def later(message: str) -> None:
            seen.append(message)

        class Coroutines:
            @hookimpl(timeout=None)
            def on_message(self, message: str) -> Any:
                return later(message)

        courier = plug(callbacks, Coroutines())
        tell(callbacks, "one")
        deliver(courier)
        assert seen == ["one"]

    @pytest.mark.usefixtures("outbox")
    def test_a_plugin_bound_to_one_thread_is_called_on_it(self, callbacks: CallbackManager) -> None:
        threads = set()

        class One:
            thread = "one"

            @hookimpl(timeout=None)
            def on_message(self) -> None:
                threads.add(threading.current_thread())

            @hookimpl
            def provide_agents(self) -> list[Any]:
                threads.add(threading.current_thread())
                return []

        courier = plug(callbacks, One())
        callbacks.call("provide_agents")
        tell(callbacks, "one", "two")
        deliver(courier)
        (thread,) = threads
        assert thread is not threading.current_thread()

    @pytest.mark.usefixtures("outbox")
    def test_context_variables_of_whoever_fired_it_do_not_travel(self, callbacks: CallbackManager) -> None:
        variable = contextvars.ContextVar("variable", default="fresh")
        seen = []

        class Plain:
            @hookimpl(timeout=None)
            def on_message(self) -> None:
                seen.append(variable.get())

        courier = plug(callbacks, Plain())
        variable.set("of the trigger")
        say(callbacks)
        deliver(courier)
        assert seen == ["fresh"]

    def test_all_callbacks_that_a_plugin_has_of_the_hook_are_called(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        seen = []

        class Two:
            @hookimpl(specname="on_message", priority=1)
            def one(self) -> None:
                seen.append("one")

            @hookimpl(specname="on_message", priority=2)
            def other(self) -> None:
                seen.append("other")

        courier = plug(callbacks, Two())
        say(callbacks)
        deliver(courier)
        assert seen == ["other", "one"]
        assert outbox.list() == ()


class TestFlow:
    def test_an_event_is_not_nested_in_its_own_delivery(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        raised: list[BaseException] = []

        def on_message() -> None:
            try:
                say(callbacks)
            except ReentrancyError as error:
                raised.append(error)

        courier = plug(callbacks, hooks(on_message=on_message))
        tell(callbacks, "one")
        deliver(courier)
        assert len(raised) == 1
        assert outbox.list() == ()

    def test_another_event_that_it_fires_is_stored_by_itself(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        def on_message(user_id: str) -> None:
            callbacks.trigger("on_intent_detected", user_id=user_id, intent="x", score=1.0, event_id="two")

        seen = []
        courier = plug(callbacks, hooks(on_message=on_message, on_intent_detected=lambda score: seen.append(score)))
        tell(callbacks, "one")
        assert courier.run_once()
        assert outbox.waiting == [("two", 0)]
        deliver(courier)
        assert seen == [1.0]

    def test_two_callbacks_that_fire_each_others_event_come_to_an_end(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        def on_intent_detected(user_id: str) -> None:
            callbacks.trigger("on_agent_delegated", user_id=user_id, agent="x", intent="y")

        def on_agent_delegated(user_id: str) -> None:
            callbacks.trigger("on_intent_detected", user_id=user_id, intent="x", score=1.0)

        ping_pong = hooks(on_intent_detected=on_intent_detected, on_agent_delegated=on_agent_delegated)
        courier = plug(callbacks, ping_pong, max_attempts=1)
        callbacks.trigger("on_intent_detected", user_id="ana", intent="x", score=1.0)
        deliver(courier)
        ((_, error),) = outbox.parked
        assert error is not None
        assert error.startswith("ReentrancyError: on_intent_detected")
        assert outbox.waiting == []

    @pytest.mark.usefixtures("outbox")
    def test_no_outer_trigger_counts_as_running(self, callbacks: CallbackManager) -> None:
        """A delivery may fire the event within which, elsewhere, the courier's work was asked for."""
        heard = []
        courier = plug(
            callbacks,
            hooks(
                on_message=lambda: callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b"),
            ),
        )
        callbacks.register("on_state_change", lambda new_state: heard.append(new_state))
        say(callbacks)
        with callbacks.register("on_intent_detected", lambda: deliver(courier)):
            callbacks.trigger("on_intent_detected", user_id="ana", intent="x", score=1.0)
        assert heard == ["b"]


class TestFailing:
    def test_it_is_tried_again_later_each_time_and_those_behind_it_wait(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        shop = Shop(ValueError("no"), ValueError("no"), ValueError("no"))
        courier = plug(callbacks, shop)
        tell(callbacks, "one", "two")
        for seconds in (1, 2, 4):
            deliver(courier)
            (first, second) = outbox.list()
            assert (first.event_id, first.error, second.due) == ("one", "ValueError: no", None)
            clock.advance(seconds - 0.1)
            deliver(courier)
            assert shop.heard == ["one"] * len(shop.heard)
            clock.advance(0.1)
        deliver(courier)
        assert shop.heard == ["one", "one", "one", "one", "two"]
        assert outbox.list() == ()
        assert rows(callbacks) == [("on_message", "error")] * 3 + [("on_message", "ok")] * 2

    def test_others_do_not_wait_for_that(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        shop = Shop(ValueError("no"))
        courier = plug(callbacks, shop)
        tell(callbacks, "one")
        tell(callbacks, "two", user="eva")
        deliver(courier)
        assert shop.heard == ["one", "two"]
        assert outbox.waiting == [("one", 1)]

    def test_what_was_delivered_before_it_is_done(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        class Second(Shop):
            @hookimpl
            def on_message(self, message: str) -> None:
                self.heard.append(message)
                if message == "two":
                    raise ValueError("no")

        courier = plug(callbacks, Second())
        tell(callbacks, "one", "two", "three")
        deliver(courier)
        assert outbox.waiting == [("two", 1), ("three", 0)]

    @pytest.mark.parametrize(("entropy", "seconds"), [(b"\xff\xff", 600), (b"\0\0", 300)])
    def test_the_time_doubles_up_to_ten_minutes_and_is_at_least_half_of_that(
        self, clock: FakeClock, entropy: bytes, seconds: int
    ) -> None:
        with closed_afterwards(clock=clock, entropy=lambda _: entropy, breaker_failures=1000) as callbacks:
            outbox = TestOutbox(clock)
            callbacks.attach_outbox(outbox)
            courier = plug(callbacks, Shop(*(ValueError("no") for _ in range(30))), max_attempts=1000)
            tell(callbacks, "one")
            for _ in range(14):
                deliver(courier)
                clock.advance(600)
            deliver(courier)
            (event,) = outbox.list()
            assert event.attempts == 15
            assert event.due is not None
            assert (event.due - clock.now()).total_seconds() == pytest.approx(seconds, abs=0.01)

    def test_after_so_many_attempts_it_is_set_aside_and_the_others_go_on(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop = Shop(*(ValueError("no") for _ in range(3)))
        courier = plug(callbacks, shop, max_attempts=3)
        secret = "nobody's business"
        callbacks.trigger("on_message", **{**MESSAGE, "message": secret, "event_id": "one"})
        tell(callbacks, "two")
        for _ in range(3):
            deliver(courier)
            clock.advance(600)
        assert shop.heard == [secret] * 3 + ["two"]
        assert outbox.parked == [("one", "ValueError: no")]
        assert outbox.waiting == []
        (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
        told = record.getMessage()
        assert "plugin 'shop': the event one of on_message is set aside: its delivery has failed 3 times" in told
        assert "see thea outbox list, then thea outbox retry 1" in told
        assert secret not in caplog.text

    def test_one_that_is_retried_by_hand_has_all_of_its_attempts_again(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Shop(ValueError("no"), ValueError("no"))
        courier = plug(callbacks, shop, max_attempts=1)
        tell(callbacks, "one")
        deliver(courier)
        assert outbox.retry([1]) == 1
        deliver(courier)
        assert outbox.parked == [("one", "ValueError: no")]
        outbox.retry([1])
        deliver(courier)
        assert outbox.list() == ()

    def test_what_ends_the_process_again_and_again_is_set_aside_without_another_try(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        shop = Shop()
        courier = plug(callbacks, shop, max_attempts=2)
        tell(callbacks, "one")
        for _ in range(2):  # processes that claim, and are never heard of again
            outbox.claim("shop", duration=CLAIM_SECONDS, limit=16)
            clock.advance(CLAIM_SECONDS)
        deliver(courier)
        assert shop.heard == []
        ((event_id, error),) = outbox.parked
        assert event_id == "one"
        assert error is not None
        assert "perhaps they took the process down" in error

    def test_one_that_has_failed_more_often_than_it_may_by_now_keeps_its_error(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        (claimed,) = self.claimed(callbacks, outbox)
        outbox.settle(claimed, delivered=0, retry_in=1.0, error="OSError: away")
        clock.advance(1.0)
        courier = plug(callbacks, Shop(), "again", max_attempts=1)
        deliver(courier)
        assert outbox.parked == [("one", "OSError: away")]
        assert "it was tried 1 times already" in caplog.text

    @staticmethod
    def claimed(callbacks: CallbackManager, outbox: TestOutbox) -> Any:
        """Leave an event for a plugin that is not there yet, and claim it."""
        outbox.append("ana", [OutgoingEvent("again", "on_message", "one", "{}")])
        return outbox.claim("again", duration=CLAIM_SECONDS, limit=1)

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    def test_whatever_it_raises_is_its_failure(
        self, callbacks: CallbackManager, outbox: TestOutbox, error: BaseException
    ) -> None:
        courier = plug(callbacks, Shop(error))
        tell(callbacks, "one")
        deliver(courier)
        assert outbox.waiting == [("one", 1)]
        assert rows(callbacks) == [("on_message", "error")]

    def test_one_that_takes_too_long_is_tried_again(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        go = threading.Event()
        heard = []

        def on_message(message: str) -> None:
            heard.append(message)
            if message == "one":
                assert go.wait(PATIENCE)

        courier = plug(callbacks, hooks(on_message=on_message), timeout=SHORT)
        tell(callbacks, "one", "two")
        tell(callbacks, "three", user="eva")
        courier.start(NEVER)
        assert callbacks.flush(PATIENCE) == 0  # another thread goes on with what this one had claimed
        assert heard == ["one", "three"]
        assert rows(callbacks) == [("on_message", "timeout"), ("on_message", "ok")]
        assert outbox.waiting == [("one", 1), ("two", 0)]
        go.set()

    @pytest.mark.parametrize(
        ("event", "why"),
        [
            ("no json", "JSONDecodeError"),
            ("[" * 100_000, "RecursionError"),
            ('{"version": 99, "hook": "on_message", "arguments": {}}', "another version of Thea"),
            (
                '{"version": 1, "hook": "on_message", "arguments": {"user_id": "ana"}}',
                "has no message, and on_message(",
            ),
        ],
        ids=["no json", "too deep", "version", "argument"],
    )
    def test_one_that_cannot_be_read_is_set_aside_at_once(
        self,
        callbacks: CallbackManager,
        outbox: TestOutbox,
        caplog: pytest.LogCaptureFixture,
        event: str,
        why: str,
    ) -> None:
        shop = Shop()
        courier = plug(callbacks, shop)
        outbox.append("ana", [OutgoingEvent("shop", "on_message", "one", event)])
        tell(callbacks, "two")
        deliver(courier)
        assert shop.heard == ["two"]
        ((event_id, error),) = outbox.parked
        assert event_id == "one"
        assert why in str(error)
        assert "the event one of on_message is set aside: it cannot be read" in caplog.text

    def test_one_whose_hook_the_plugin_does_not_have_any_more_is_done(
        self, callbacks: CallbackManager, outbox: TestOutbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        courier = plug(callbacks, Shop())
        outbox.append("ana", [OutgoingEvent("shop", "on_gone", "one", "{}")] * 3)
        with caplog.at_level(logging.INFO, "thea_core.callbacks"):
            deliver(courier)
        assert outbox.list() == ()
        (record,) = caplog.records
        assert record.getMessage() == "plugin 'shop' has no on_gone any more: such events of it are done"


class TestNotTried:
    def test_while_a_breaker_is_open_nothing_is_tried_and_no_attempt_is_counted(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        shop = Shop(*(ValueError("no") for _ in range(5)))
        courier = plug(callbacks, shop)
        for user in "abcdefg":
            tell(callbacks, f"of {user}", user=user)
        deliver(courier)
        assert len(shop.heard) == 5
        assert [each.state for each in callbacks.breakers] == ["open"]
        assert [attempts for _, attempts in outbox.waiting] == [1, 1, 1, 1, 1, 0, 0]
        claims = outbox.claims
        clock.advance(29)
        deliver(courier)
        assert outbox.claims == claims
        clock.advance(1)
        deliver(courier)
        assert outbox.list() == ()
        assert [each.state for each in callbacks.breakers] == ["closed"]

    def test_with_too_much_left_behind_it_waits_until_something_comes_back(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        go, last, heard = threading.Event(), threading.Event(), []

        def on_message(message: str) -> None:
            heard.append(message)
            if len(heard) == 4:
                last.set()
            assert go.wait(PATIENCE)

        courier = plug(callbacks, hooks(on_message=on_message), timeout=SHORT)
        for user in "abcd":
            tell(callbacks, f"of {user}", user=user)
        courier.start(NEVER)
        assert callbacks.flush(PATIENCE) == 1
        assert len(heard) == 3
        assert outbox.waiting == [("of a", 1), ("of b", 1), ("of c", 1), ("of d", 0)]
        claims = outbox.claims
        assert callbacks.flush(PATIENCE) == 1
        assert outbox.claims == claims
        go.set()
        assert last.wait(PATIENCE)  # it is woken: nobody looks for an hour
        assert heard[3] == "of d"

    def test_without_a_thread_it_is_given_back(
        self, callbacks: CallbackManager, outbox: TestOutbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class One(Shop):
            thread = "one"

        shop = One()
        courier = plug(callbacks, shop)
        tell(callbacks, "one")

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            deliver(courier)
        assert (shop.heard, outbox.waiting) == ([], [("one", 0)])
        assert rows(callbacks) == [("on_message", "skipped")]
        deliver(courier)
        assert shop.heard == ["one"]

    def test_when_half_of_the_claim_is_over_the_rest_is_given_back(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        heard = []

        def on_message(message: str) -> None:
            heard.append(message)
            clock.advance(CLAIM_SECONDS / 4)

        courier = plug(callbacks, hooks(on_message=on_message))
        tell(callbacks, *"abc")
        tell(callbacks, *"de", user="eva")
        assert courier.run_once()
        assert heard == ["a", "b"]
        assert outbox.waiting == [("c", 0), ("d", 0), ("e", 0)]
        deliver(courier)
        assert outbox.list() == ()


class TestOnFlush:
    class Batch(Shop):
        """Sends what it has heard when it is told to, and fails as often as it is told to."""

        def __init__(self, *errors: BaseException) -> None:
            super().__init__()
            self.sending = list(errors)
            self.sent: list[Any] = []

        @hookimpl
        def on_flush(self, timeout: float) -> None:
            self.timeout = timeout
            batch, self.heard = self.heard, []
            if self.sending:
                raise self.sending.pop(0)
            self.sent.append(batch)

    def test_it_is_called_once_after_the_events_of_a_claim_and_before_they_are_settled(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        batch = self.Batch()
        courier = plug(callbacks, batch)
        tell(callbacks, "one", "two")
        tell(callbacks, "three", user="eva")
        outbox.before["settle"] = lambda: batch.sent or pytest.fail("it was settled before it was sent")
        deliver(courier)
        assert batch.sent == [["one", "two", "three"]]
        assert outbox.list() == ()
        assert batch.timeout > 0

    def test_where_it_fails_the_first_event_of_each_user_has_failed(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        batch = self.Batch(OSError("the service is away"))
        courier = plug(callbacks, batch)
        tell(callbacks, "one", "two")
        tell(callbacks, "three", user="eva")
        deliver(courier)
        assert outbox.waiting == [("one", 1), ("two", 0), ("three", 1)]
        assert {each.error for each in outbox.list()} == {"OSError: the service is away", None}
        clock.advance(1)
        deliver(courier)
        assert outbox.list() == ()
        assert sorted(each for sent in batch.sent for each in sent) == ["one", "three", "two"]

    def test_it_is_not_called_where_nothing_was_delivered(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        batch = self.Batch()
        batch.errors = [ValueError("no")]
        courier = plug(callbacks, batch)
        tell(callbacks, "one")
        deliver(courier)
        assert batch.sent == []
        assert outbox.waiting == [("one", 1)]

    def test_while_its_breaker_is_open_events_are_given_back(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        batch = self.Batch(*(OSError("away") for _ in range(5)))
        courier = plug(callbacks, batch)
        for user in "abcdef":
            tell(callbacks, user, user=user)
            assert courier.run_once() is (user != "f")
        assert outbox.waiting == [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("f", 0)]
        clock.advance(30)
        deliver(courier)
        assert outbox.list() == ()


class TestTrouble:
    @pytest.mark.parametrize("error", [StoreUnavailableError("away"), ValueError("a store of somebody's")])
    def test_a_store_that_cannot_be_asked_is_asked_again(
        self, callbacks: CallbackManager, outbox: TestOutbox, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        shop = Shop()
        courier = plug(callbacks, shop)
        tell(callbacks, "one")
        outbox.errors["claim"] = error
        for _ in range(3):
            assert not courier.run_once()
        (record,) = caplog.records
        assert "the store's outbox, asked for the plugin 'shop', failed in delivery" in record.getMessage()
        del outbox.errors["claim"]
        deliver(courier)
        assert shop.heard == ["one"]

    def test_what_cannot_be_settled_is_delivered_again_when_the_claim_has_ended(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        shop = Shop()
        courier = plug(callbacks, shop)
        tell(callbacks, "one")
        outbox.errors["settle"] = StoreUnavailableError("away")
        deliver(courier)
        del outbox.errors["settle"]
        deliver(courier)
        assert shop.heard == ["one"]
        clock.advance(CLAIM_SECONDS)
        deliver(courier)
        assert shop.heard == ["one", "one"]
        assert outbox.list() == ()

    def test_a_claim_that_another_has_taken_over_is_told(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        def on_message() -> None:
            clock.advance(CLAIM_SECONDS)
            assert outbox.claim("shop", duration=CLAIM_SECONDS, limit=16)

        courier = plug(callbacks, hooks(on_message=on_message))
        tell(callbacks, "one")
        assert courier.run_once()
        assert "a claim of 1 events was over before they were settled; some may be delivered twice" in caplog.text
        assert outbox.waiting == [("one", 2)]

    def test_without_an_outbox_there_is_nothing_to_do(self, callbacks: CallbackManager) -> None:
        assert not plug(callbacks, Shop()).run_once()
