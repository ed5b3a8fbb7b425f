"""What crosses a queue, and in which flow it is delivered.

A body that hangs does so on an event that the test sets; nothing here is timed, and nothing waits by sleeping.
"""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.callbacks.background import (
    PATIENCE,
    Shop,
    closed_afterwards,
    hanging,
    hooks,
    orders,
    plug,
    totals,
)
from tests.callbacks.helpers import NOW, asay, say
from tests.support import FakeClock
from thea_core import (
    CallbackManager,
    CoreRouter,
    FSMEngine,
    IntentMatch,
    RecordedError,
    ReentrancyError,
    RegistrationError,
    hookimpl,
    hookspec,
)


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock) as manager:
        yield manager


class Specs:
    @hookspec
    def on_order(self, what: object, why: object = None) -> None:
        """Something was ordered."""


class TestWhatCrossesTheQueue:
    def test_an_error_arrives_written_down(self, callbacks: CallbackManager) -> None:
        heard: list[Any] = []
        plug(callbacks, hooks(on_error=lambda error: heard.append(error)))
        error = ValueError("no")
        callbacks.register("on_error", lambda error: heard.append(error), priority=1)
        callbacks.trigger("on_error", user_id="ana", error=error, traceback="")
        callbacks.flush(PATIENCE)
        assert heard[0] is error
        assert type(heard[1]) is RecordedError
        assert (heard[1].type_name, heard[1].message) == ("builtins.ValueError", "no")

    def test_so_do_exceptions_in_the_arguments_of_added_hooks(self, callbacks: CallbackManager) -> None:
        heard: list[Any] = []
        callbacks.add_hookspecs(Specs())
        plug(callbacks, hooks(on_order=lambda what, **rest: heard.append((what, rest))))
        callbacks.trigger("on_order", what=ValueError("no"), why=[KeyError("bread")])
        callbacks.trigger("on_order", what="bread")
        callbacks.flush(PATIENCE)
        (what, rest), plain = heard
        assert (type(what), what.message) == (RecordedError, "no")
        assert (type(rest["why"][0]), rest["why"][0].type_name) == (RecordedError, "builtins.KeyError")
        assert plain == ("bread", {"why": None})

    def test_what_the_caller_does_to_its_arguments_afterwards_changes_nothing(self, callbacks: CallbackManager) -> None:
        heard: list[Any] = []
        shop = Shop(hangs=True)
        callbacks.add_hookspecs(Specs())
        plug(callbacks, hooks(on_message=shop.on_message, on_order=lambda what: heard.append(what)))
        order = {"bread": [1]}
        with hanging(callbacks, shop):
            callbacks.trigger("on_order", what=order)
            order["bread"].append(2)
        callbacks.flush(PATIENCE)
        assert heard == [{"bread": [1]}]

    def test_arguments_arrive_by_position_by_keyword_and_as_the_rest(self, callbacks: CallbackManager) -> None:
        heard: list[Any] = []

        def mixed(user_id: str, /, *, message: str, **rest: Any) -> None:
            heard.append((user_id, message, rest))

        plug(callbacks, hooks(on_message=mixed))
        plug(callbacks, hooks(on_message=lambda: heard.append("none")), "other")
        plug(callbacks, hooks(on_message=lambda *, message: heard.append(message)), "third")
        say(callbacks)
        callbacks.flush(PATIENCE)
        assert sorted(heard, key=str) == [("ana", "hola", {"timestamp": NOW}), "hola", "none"]

    def test_the_extras_are_those_of_the_trigger_for_everybody(
        self, callbacks: CallbackManager, clock: FakeClock
    ) -> None:
        heard: list[Any] = []

        def note(event_id: str, timestamp: datetime, session_id: str | None) -> None:
            heard.append((event_id, timestamp, session_id))

        shop = Shop(hangs=True)
        plug(callbacks, hooks(on_state_change=note, on_message=shop.on_message))
        plug(callbacks, hooks(on_state_change=note), "other")
        callbacks.register("on_state_change", note)
        change = {"user_id": "ana", "old_state": "idle", "new_state": "processing"}
        before = clock.now()
        with hanging(callbacks, shop):
            callbacks.trigger("on_state_change", **change)
            callbacks.trigger("on_state_change", **change, session_id="s1", event_id="e1")
            clock.advance(100)
        callbacks.flush(PATIENCE)
        assert len(heard) == 6
        assert heard.count(("e1", before, "s1")) == 3
        (made,) = {each for each in heard if each[0] != "e1"}
        assert (len(made[0]), *made[1:]) == (36, before, None)

    def test_in_a_turn_they_are_those_of_the_turn_that_has_long_ended(self, callbacks: CallbackManager) -> None:
        heard: list[Any] = []

        def note(event_id: str, session_id: str | None) -> None:
            heard.append((event_id, session_id))

        shop = Shop(hangs=True)

        def hang(event_id: str, session_id: str | None) -> None:
            shop.on_message("")
            note(event_id, session_id)

        plug(callbacks, hooks(on_message=hang))
        callbacks.register("on_message", note)
        router = CoreRouter(FSMEngine(callbacks=callbacks))
        router.handle_request("ana", "hola")
        assert shop.inside.wait(PATIENCE)
        shop.go.set()
        callbacks.flush(PATIENCE)
        assert len(heard) == 2
        assert heard[0] == heard[1]
        assert heard[0][1] is not None
        router.close()

    def test_context_variables_travel(self, callbacks: CallbackManager) -> None:
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
        seen = []

        def read() -> None:
            seen.append(variable.get())
            variable.set("changed by the plugin")

        plug(callbacks, hooks(on_message=read))
        variable.set("one")
        say(callbacks)
        variable.set("two")
        say(callbacks)
        contextvars.Context().run(say, callbacks)
        callbacks.flush(PATIENCE)
        assert seen == ["one", "two", "nothing"]
        assert variable.get() == "two"


class TestFlow:
    """What a delivery does is done within the trigger that queued it."""

    def test_two_plugins_that_call_each_other_come_to_an_end(self, callbacks: CallbackManager) -> None:
        callbacks.add_hookspecs(Specs())
        heard: list[str] = []

        def answer() -> None:
            heard.append("message")
            callbacks.trigger("on_order", what="bread")

        def order() -> None:
            heard.append("order")
            say(callbacks)

        plug(callbacks, hooks(on_message=answer), "first")
        plug(callbacks, hooks(on_order=order), "second")
        for _ in range(20):
            say(callbacks)
            callbacks.flush(PATIENCE)  # the first delivery, then what it has queued
            callbacks.flush(PATIENCE)
        assert heard == ["message", "order"] * 5 + ["message"] * 15  # by then a breaker has opened
        assert totals(callbacks, "order", "second")["error"] == 5
        assert totals(callbacks, "answer", "first") == {"queued": 20, "ok": 20}

    def test_a_delivery_that_triggers_its_own_event_is_refused(self, callbacks: CallbackManager) -> None:
        refused = []

        def again() -> None:
            try:
                say(callbacks)
            except ReentrancyError as error:
                refused.append(str(error))

        plug(callbacks, hooks(on_message=again))
        say(callbacks)
        callbacks.flush(PATIENCE)
        assert len(refused) == 1
        assert refused[0].startswith("on_message is called while it runs in the same flow")

    def test_so_is_an_asynchronous_one_and_one_on_the_one_thread(self, callbacks: CallbackManager) -> None:
        refused = []

        def again() -> None:
            try:
                say(callbacks)
            except ReentrancyError:
                refused.append(threading.current_thread())

        async def later() -> None:
            await asyncio.sleep(0)
            again()

        bound = hooks(on_message=again)
        bound.thread = "one"  # type: ignore[attr-defined]
        plug(callbacks, bound, "bound")
        plug(callbacks, hooks(on_message=later), "later")
        say(callbacks)
        callbacks.flush(PATIENCE)
        assert len(set(refused)) == 2

    def test_deliveries_nest_at_most_four_deep(self, callbacks: CallbackManager) -> None:
        events = ["on_message", "on_order_0", "on_order_1", "on_order_2", "on_order_3", "on_order_4"]

        callbacks.add_hookspecs(orders(5))
        heard = []
        for number, event in enumerate(events[:-1]):

            def on_event(event: str = event, following: str = events[number + 1]) -> None:
                heard.append(event)
                callbacks.trigger(following)

            plug(callbacks, hooks(**{event: on_event}), f"plugin-{number}")
        say(callbacks)
        for _ in events:
            callbacks.flush(PATIENCE)
        assert heard == events[:4]

    def test_another_thread_may_fire_the_event_meanwhile(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop)
        with hanging(callbacks, shop):
            say(callbacks)  # not refused: it is another flow
        callbacks.flush(PATIENCE)
        assert shop.heard == ["first", "hola"]

    def test_a_task_that_outlives_its_delivery_may_fire_it(self, callbacks: CallbackManager) -> None:
        done, ended = threading.Event(), threading.Event()
        tasks = []

        async def afterwards() -> None:
            await asyncio.get_running_loop().run_in_executor(None, ended.wait, PATIENCE)
            with callbacks.register("on_message", lambda: done.set()):
                await asay(callbacks)

        async def spawn() -> None:
            if not tasks:
                tasks.append(asyncio.get_running_loop().create_task(afterwards()))

        queue = plug(callbacks, hooks(on_message=spawn))
        say(callbacks)
        queue.flush(PATIENCE)
        ended.set()
        assert done.wait(PATIENCE)

    def test_the_transition_that_fired_the_event_counts_as_running(self, callbacks: CallbackManager) -> None:
        fsm = FSMEngine(callbacks=callbacks)
        refused: list[str] = []

        def handle() -> None:
            try:
                fsm.handle("processing", {"user_id": "ben", "state": "initial"})
            except ReentrancyError as error:
                refused.append(str(error))

        plug(callbacks, hooks(on_state_change=handle))
        fsm.handle("processing", {"user_id": "ana", "state": "initial"})
        callbacks.flush(PATIENCE)
        assert len(refused) == 1
        assert "a transition of this engine runs already in this flow" in refused[0]

    def test_a_delivery_of_another_event_may_start_a_transition(self, callbacks: CallbackManager) -> None:
        fsm = FSMEngine(callbacks=callbacks)
        states = []

        def handle() -> None:
            states.append(fsm.handle("processing", {"user_id": "ben", "state": "initial"})["state"])

        plug(callbacks, hooks(on_message=handle))
        say(callbacks)
        callbacks.flush(PATIENCE)
        assert states == ["processing"]

    def test_a_message_cannot_be_handled_within_the_turn_that_fired_the_event(self, callbacks: CallbackManager) -> None:
        router = CoreRouter(FSMEngine(callbacks=callbacks))
        refused: list[str] = []

        def handle() -> None:
            try:
                router.handle_request("ben", "hola")
            except ReentrancyError as error:
                refused.append(str(error))

        plug(callbacks, hooks(on_message=handle))
        router.handle_request("ana", "hola")
        callbacks.flush(PATIENCE)
        assert len(refused) == 1
        router.close()

    def test_what_runs_around_the_trigger_runs_around_the_delivery(self, callbacks: CallbackManager) -> None:
        """Also where the trigger stands within a callback of another event, in another thread's company."""
        callbacks.add_hookspecs(Specs())
        refused = []

        def order() -> None:
            try:
                say(callbacks)
            except ReentrancyError:
                refused.append(True)

        plug(callbacks, hooks(on_order=order))
        callbacks.register("on_message", lambda: callbacks.trigger("on_order", what="bread"))
        say(callbacks)
        callbacks.flush(PATIENCE)
        assert refused == [True]


class TestHooksWhoseResultMatters:
    def test_they_run_in_the_call(self, callbacks: CallbackManager) -> None:
        threads: dict[str, threading.Thread] = {}

        class Both:
            delivery = "background"

            @hookimpl(timeout=None)
            def detect_intents(self) -> list[IntentMatch]:
                threads["intents"] = threading.current_thread()
                return [IntentMatch("agenda", 1.0)]

            @hookimpl(timeout=None)
            def pre_transition(self, context: dict[str, Any]) -> dict[str, Any]:
                threads["transition"] = threading.current_thread()
                return {**context, "seen": True}

            @hookimpl
            def on_message(self) -> None:
                threads["message"] = threading.current_thread()

        plug(callbacks, Both())
        (result,) = callbacks.call("detect_intents", message="hola", context={})
        assert result.value == [IntentMatch("agenda", 1.0)]
        context = FSMEngine(callbacks=callbacks).handle("processing", {"user_id": "ana", "state": "initial"})
        assert context["seen"]
        say(callbacks)
        callbacks.flush(PATIENCE)
        here = threading.current_thread()
        assert threads["intents"] is threads["transition"] is here
        assert threads["message"] is not here

    def test_wrappers_of_events_are_refused(self, callbacks: CallbackManager) -> None:
        class Wrapping:
            delivery = "background"

            @hookimpl(wrapper=True)
            def on_message(self) -> Iterator[None]:
                yield

        with pytest.raises(RegistrationError, match=r'wrapper of the event on_message.*delivery = "background"'):
            plug(callbacks, Wrapping())

    def test_wrappers_of_result_hooks_are_not(self, callbacks: CallbackManager) -> None:
        seen: list[Any] = []

        class Wrapping:
            delivery = "background"

            @hookimpl(wrapper=True)
            def detect_intents(self) -> Iterator[None]:
                seen.append((yield))

        plug(callbacks, Wrapping())
        assert callbacks.call("detect_intents", message="hola", context={}) == []
        assert seen == [[]]

    def test_on_a_loop_of_theas_an_event_may_be_fired_whose_asynchronous_callbacks_are_queued(
        self, callbacks: CallbackManager
    ) -> None:
        heard = []

        async def hear() -> None:
            heard.append(True)

        async def fire() -> None:
            say(callbacks)  # would wait for itself, if it waited

        plug(callbacks, hooks(on_message=hear))
        callbacks.register("on_state_change", fire)
        callbacks.trigger("on_state_change", user_id="ana", old_state="idle", new_state="processing")
        callbacks.flush(PATIENCE)
        assert heard == [True]
