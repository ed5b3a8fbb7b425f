"""Firing events for plugins with durable delivery: nothing is called, and nothing is lost that can be stored."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.callbacks.background import PATIENCE, closed_afterwards
from tests.callbacks.helpers import MESSAGE, NOW, asay, say
from tests.callbacks.outboxes import Shop, TestOutbox, hooks, plug, tell
from tests.support import FakeClock
from thea_core import CallbackManager, RegistrationError, hookimpl, hookspec
from thea_core.callbacks.durable import Gathered, gathered
from thea_core.callbacks.event_json import decode
from thea_core.errors import StoreUnavailableError
from thea_core.types import OutgoingEvent


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock) as manager:
        yield manager


@pytest.fixture
def outbox(clock: FakeClock, callbacks: CallbackManager) -> TestOutbox:
    outbox = TestOutbox(clock)
    callbacks.attach_outbox(outbox)
    return outbox


@pytest.fixture
def work() -> Iterator[Gathered]:
    """Stand for a turn of ana's that runs in this flow."""
    work = Gathered("ana")
    token = gathered.set(work)
    yield work
    gathered.reset(token)


def rows(callbacks: CallbackManager) -> list[tuple[str, str]]:
    return [(each.plugin, each.outcome) for each in callbacks.history]


class TestStoring:
    def test_an_event_is_stored_and_nothing_is_called(
        self, callbacks: CallbackManager, outbox: TestOutbox, fire: Callable[..., None]
    ) -> None:
        shop = Shop()
        plug(callbacks, shop)
        fire("on_message", **MESSAGE)
        (event,) = outbox.list()
        assert (event.plugin, event.user_id, event.hook, len(event.event_id)) == ("shop", "ana", "on_message", 36)
        assert shop.heard == []
        assert rows(callbacks) == [("shop", "queued")]

    def test_it_is_written_with_all_arguments_and_extras_whatever_the_callback_names(
        self, callbacks: CallbackManager, outbox: TestOutbox, clock: FakeClock
    ) -> None:
        plug(callbacks, hooks(on_state_change=lambda: None))
        callbacks.trigger("on_state_change", user_id="ana", old_state="idle", new_state="processing", session_id="s")
        (event,) = outbox.list()
        assert event.event.isascii()
        assert decode(json.loads(event.event)) == (
            "on_state_change",
            {
                "user_id": "ana",
                "old_state": "idle",
                "new_state": "processing",
                "event_id": event.event_id,
                "session_id": "s",
                "timestamp": clock.now(),
            },
            0,
        )

    def test_all_callbacks_of_an_occurrence_see_one_id(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        seen = []
        callbacks.register("on_message", lambda event_id: seen.append(event_id))
        for name in ("first", "second"):
            plug(callbacks, Shop(), name)
        say(callbacks)
        assert [(each.plugin, each.event_id) for each in outbox.list()] == [("first", seen[0]), ("second", seen[0])]

    def test_it_is_written_down_once_for_all_plugins(self, callbacks: CallbackManager, work: Gathered) -> None:
        for name in ("first", "second"):
            plug(callbacks, Shop(), name)
        say(callbacks)
        assert work.events[0].event is work.events[1].event

    def test_two_callbacks_of_one_plugin_share_one_event(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        class Two:
            @hookimpl(specname="on_message")
            def one(self) -> None:
                """Do nothing."""

            @hookimpl(specname="on_message")
            def other(self) -> None:
                """The same."""

        plug(callbacks, Two())
        say(callbacks)
        assert len(outbox.list()) == 1
        assert rows(callbacks) == [("shop", "queued")] * 2
        outbox.errors["append"] = StoreUnavailableError("no")
        say(callbacks)
        assert rows(callbacks)[2:] == [("shop", "dropped")] * 2

    @pytest.mark.parametrize("user", [5, None])
    def test_an_event_of_no_user_is_nobodys(self, callbacks: CallbackManager, outbox: TestOutbox, user: object) -> None:
        plug(callbacks, Shop())
        callbacks.trigger("on_message", **{**MESSAGE, "user_id": user})
        assert outbox.list()[0].user_id == ""

    def test_an_event_without_a_user_is_nobodys(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        class Specs:
            @hookspec
            def on_order(self, number: int) -> None:
                """Something was ordered."""

        callbacks.add_hookspecs(Specs())
        plug(callbacks, hooks(on_order=lambda number: None))
        callbacks.trigger("on_order", number=5)
        assert outbox.list()[0].user_id == ""

    def test_an_id_that_is_no_text_becomes_one(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Shop())
        say(callbacks, event_id=5)
        assert outbox.list()[0].event_id == "5"

    @pytest.mark.parametrize("bad", ["a\ud800b", "a\0b", "ñ\ud800"])
    def test_no_id_and_no_user_can_make_a_store_fail(
        self, callbacks: CallbackManager, outbox: TestOutbox, bad: str
    ) -> None:
        plug(callbacks, Shop())
        callbacks.trigger("on_message", **{**MESSAGE, "user_id": bad}, event_id=bad)
        (event,) = outbox.list()
        for text in (event.event_id, event.user_id):
            assert "\0" not in text
            assert text.encode().decode() == text != bad
        assert decode(json.loads(event.event)).arguments["event_id"] == bad

    def test_ids_of_every_language_are_kept(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Shop())
        callbacks.trigger("on_message", **{**MESSAGE, "user_id": "ñandú 用户"})
        assert outbox.list()[0].user_id == "ñandú 用户"

    def test_the_hooks_around_it_are_noted(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Shop())
        callbacks.register("on_state_change", lambda: say(callbacks))
        callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")
        say(callbacks)
        inner, alone = (json.loads(each.event) for each in outbox.list())
        assert inner["within"] == ["on_state_change"]
        assert "within" not in alone

    def test_an_exception_is_written_down(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, hooks(on_error=lambda error: None))
        callbacks.trigger("on_error", user_id="ana", error=ValueError("no"), traceback="...")
        assert decode(json.loads(outbox.list()[0].event)).arguments["error"].type_name == "builtins.ValueError"

    def test_all_other_hooks_run_in_the_call(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, hooks(detect_intents=lambda message: [message]))
        assert [each.value for each in callbacks.call("detect_intents", message="hola", context={})] == [["hola"]]
        assert outbox.list() == ()

    def test_local_callbacks_and_other_plugins_are_called_as_ever(
        self, callbacks: CallbackManager, outbox: TestOutbox, fire: Callable[..., None]
    ) -> None:
        heard = []
        callbacks.register("on_message", lambda: heard.append("before"), priority=5)
        callbacks.register("on_message", lambda: heard.append("after"), priority=-5)
        plug(callbacks, Shop())
        fire("on_message", **MESSAGE)
        assert heard == ["before", "after"]
        assert [outcome for _, outcome in rows(callbacks)] == ["ok", "queued", "ok"]

    def test_an_open_breaker_keeps_no_event_out_of_the_store(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Shop()
        binding = callbacks.bind_plugin(shop, "shop", source=3, position=0)
        callbacks.publish_plugins([binding])
        binding.runtime.trip()
        say(callbacks)
        assert len(outbox.list()) == 1
        assert rows(callbacks) == [("shop", "queued")]

    def test_the_chain_tells_how_it_is_delivered(self, callbacks: CallbackManager) -> None:
        plug(callbacks, Shop())
        assert [each.delivery for each in callbacks.chain("on_message")] == ["durable"]
        assert callbacks.durable_plugins == ["shop"]

    def test_an_asynchronous_callback_is_no_reason_to_refuse_a_trigger_on_a_loop_of_theas(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        async def on_message() -> None:
            """Do nothing."""

        async def fire_within() -> None:
            callbacks.trigger("on_message", **MESSAGE)

        plug(callbacks, hooks(on_message=on_message))
        callbacks.register("on_state_change", fire_within)
        callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")
        assert len(outbox.list()) == 1

    def test_a_wrapper_of_an_event_is_refused(self, callbacks: CallbackManager) -> None:
        class Around:
            delivery = "durable"

            @hookimpl(wrapper=True)
            def on_message(self) -> Iterator[None]:
                yield

        with pytest.raises(RegistrationError, match=r'wait in the store \(delivery = "durable"\), where there is no'):
            callbacks.bind_plugin(Around(), "around", source=3, position=0)


class TestJoining:
    def test_within_a_turn_it_joins_what_that_commits(
        self, callbacks: CallbackManager, outbox: TestOutbox, work: Gathered, fire: Callable[..., None]
    ) -> None:
        plug(callbacks, Shop())
        fire("on_message", **MESSAGE, event_id="one")
        assert [(each.plugin, each.hook, each.event_id) for each in work.close()] == [("shop", "on_message", "one")]
        assert outbox.list() == ()
        assert rows(callbacks) == [("shop", "queued")]

    def test_after_the_commit_it_is_stored_by_itself(
        self, callbacks: CallbackManager, outbox: TestOutbox, work: Gathered
    ) -> None:
        plug(callbacks, Shop())
        tell(callbacks, "one")
        assert [each.event_id for each in work.close()] == ["one"]
        tell(callbacks, "two")
        assert [each.event_id for each in work.close()] == ["one"]
        assert outbox.waiting == [("two", 0)]

    def test_a_turn_knows_of_events_that_its_callbacks_fire_on_threads_of_theirs(
        self, callbacks: CallbackManager, outbox: TestOutbox, work: Gathered
    ) -> None:
        def on_message() -> None:
            callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")

        callbacks.register("on_message", on_message, timeout=PATIENCE)
        plug(callbacks, hooks(on_state_change=lambda: None))
        say(callbacks)
        assert [each.hook for each in work.events] == ["on_state_change"]

    def test_what_comes_from_many_threads_at_once_is_all_there(self) -> None:
        work = Gathered("ana")
        event = OutgoingEvent("shop", "on_message", "one", "{}")
        threads = [threading.Thread(target=lambda: [work.add(event) for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(work.close()) == 2000
        assert not work.add(event)


class TestAsync:
    def test_the_loop_goes_on_while_it_is_stored(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Shop())

        async def main() -> None:
            ticked = threading.Event()
            outbox.before["append"] = lambda: ticked.wait(PATIENCE) or pytest.fail("the loop is blocked")
            asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(ticked.set))
            await asay(callbacks)

        asyncio.run(main())
        assert len(outbox.list()) == 1

    def test_a_caller_that_is_cancelled_loses_nothing(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        heard = threading.Event()
        plug(callbacks, Shop())
        callbacks.register("on_message", heard.set, priority=-1)
        inside, go = threading.Event(), threading.Event()

        def block() -> None:
            inside.set()
            assert go.wait(PATIENCE)

        outbox.before["append"] = block

        async def main() -> None:
            task = asyncio.create_task(asay(callbacks))
            await asyncio.to_thread(inside.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not heard.is_set()
            go.set()
            await asyncio.to_thread(heard.wait, PATIENCE)

        asyncio.run(main())
        assert len(outbox.list()) == 1
        assert heard.is_set()


class TestLosing:
    def test_without_an_outbox_it_is_lost_and_the_others_go_on(
        self, callbacks: CallbackManager, fire: Callable[..., None], caplog: pytest.LogCaptureFixture
    ) -> None:
        heard = []
        plug(callbacks, Shop())
        callbacks.register("on_message", lambda message: heard.append(message), priority=-1)
        fire("on_message", **MESSAGE)
        assert heard == ["hola"]
        first, second = callbacks.history
        assert (first.outcome, second.outcome) == ("dropped", "ok")
        assert first.error is not None
        assert "there is no store with an outbox" in first.error
        assert "callbacks.attach_outbox(...)" in caplog.text

    def test_where_the_store_fails_that_is_logged_once_and_counted(
        self,
        callbacks: CallbackManager,
        outbox: TestOutbox,
        fire: Callable[..., None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        plug(callbacks, Shop())
        outbox.errors["append"] = StoreUnavailableError("the disk is full")
        for _ in range(3):
            fire("on_message", **MESSAGE)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "storing an event for the plugin 'shop' failed in on_message" in record.getMessage()
        assert callbacks.failures.of_plugin("shop") == 3
        assert [outcome for _, outcome in rows(callbacks)] == ["dropped"] * 3
        assert [each.state for each in callbacks.breakers] == ["closed"]  # it is not the plugin that has failed

    def test_ctrl_c_passes(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Shop())
        outbox.errors["append"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            say(callbacks)
        assert callbacks.running_calls == []

    def test_an_event_whose_id_cannot_be_written_is_lost(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        class Rude:
            def __str__(self) -> str:
                raise SystemExit(3)

        plug(callbacks, Shop())
        say(callbacks, event_id=Rude())
        assert rows(callbacks) == [("shop", "dropped")]
        assert outbox.list() == ()


def test_a_turn_in_another_context_is_none_of_this_ones(
    callbacks: CallbackManager, outbox: TestOutbox, work: Gathered
) -> None:
    plug(callbacks, Shop())
    contextvars.Context().run(tell, callbacks, "one")
    assert work.events == []
    assert outbox.waiting == [("one", 0)]


def test_the_message_is_kept_as_it_is(callbacks: CallbackManager, outbox: TestOutbox) -> None:
    plug(callbacks, Shop())
    text = "Reunión \ud83d\ude00 \N{GRINNING FACE} \x00"
    callbacks.trigger("on_message", user_id="ana", message=text, timestamp=NOW)
    arguments: dict[str, Any] = decode(json.loads(outbox.list()[0].event)).arguments
    assert arguments["message"] == text
    assert arguments["timestamp"] == NOW
