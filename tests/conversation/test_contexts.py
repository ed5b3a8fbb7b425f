"""Contexts read and written from outside the router, within turns and beside them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.conversation.parts import AsyncAgent, Driver, FunctionAgent, Gate, World, detector, in_thread
from thea_core import (
    AgentReply,
    Commit,
    ContextError,
    ConversationBusyError,
    InvalidRequestError,
    ValidationError,
)
from thea_core.conversation.contexts import ContextManager
from thea_core.conversation.keeper import Keeper
from thea_core.storage.memory import MemoryStore


def context(**values: Any) -> dict[str, Any]:
    return {"user_id": "ana", "state": "idle", **values}


class CountingStore(MemoryStore):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commits: list[Commit] = []

    def commit(self, change: Commit) -> None:
        self.commits.append(change)
        super().commit(change)


class TestAlone:
    def test_an_unknown_user_has_a_new_context(self, driver: Driver, world: World) -> None:
        assert driver.call(ContextManager(world.store), "load", "ana") == {"user_id": "ana", "state": "initial"}

    def test_what_is_saved_is_loaded(self, driver: Driver, world: World) -> None:
        contexts = ContextManager(world.store)
        driver.call(contexts, "save", "ana", context(cart=[{"n": 1.5}], none=None))
        assert driver.call(contexts, "load", "ana") == context(cart=[{"n": 1.5}], none=None)

    def test_nothing_is_shared_with_the_caller(self, driver: Driver, world: World) -> None:
        contexts = ContextManager(world.store)
        mine = context(cart=[1])
        driver.call(contexts, "save", "ana", mine)
        mine["cart"].append(2)
        driver.call(contexts, "load", "ana")["cart"].append(3)
        assert driver.call(contexts, "load", "ana")["cart"] == [1]

    def test_a_cleared_user_is_an_unknown_one(self, driver: Driver, world: World) -> None:
        contexts = ContextManager(world.store)
        driver.call(contexts, "save", "ana", context())
        driver.call(contexts, "clear", "ana")
        assert driver.call(contexts, "load", "ana") == {"user_id": "ana", "state": "initial"}
        assert world.store.load("ana") is None

    def test_clearing_nothing_is_no_error(self, driver: Driver, world: World) -> None:
        driver.call(ContextManager(world.store), "clear", "ana")

    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            ({"user_id": "ana"}, r"context\['state'\] is missing"),
            ({"state": "idle"}, r"context\['user_id'\] is missing"),
            ({"user_id": "eve", "state": "idle"}, "is 'eve', but the context is to be saved for 'ana'"),
            (context(x={1, 2}), r"context\['x'\] is set"),
            (context(x="y" * 17_000_000), "at most 16777216 are stored"),
            ("hola", "must be a dict, not str"),
        ],
    )
    def test_what_is_no_context_is_refused(self, driver: Driver, world: World, bad: Any, words: str) -> None:
        with pytest.raises(ContextError, match=words):
            driver.call(ContextManager(world.store), "save", "ana", bad)
        assert world.store.load("ana") is None

    def test_a_routers_contexts_know_the_states(self, driver: Driver, world: World) -> None:
        with pytest.raises(ContextError, match=r"is 'idel', which is no state \(did you mean idle\?\)"):
            driver.call(world.router.contexts, "save", "ana", {"user_id": "ana", "state": "idel"})

    @pytest.mark.parametrize("method", ["load", "clear"])
    def test_a_user_id_is_checked(self, driver: Driver, world: World, method: str) -> None:
        with pytest.raises(InvalidRequestError):
            driver.call(world.router.contexts, method, "")

    def test_saving_keeps_the_session(self, driver: Driver, world: World) -> None:
        first = driver.handle(world.router, "ana", "hola")
        driver.call(world.router.contexts, "save", "ana", first.context)
        assert driver.handle(world.router, "ana", "hola").session_id == first.session_id

    def test_clearing_ends_the_session(self, driver: Driver, world: World) -> None:
        first = driver.handle(world.router, "ana", "hola")
        driver.call(world.router.contexts, "clear", "ana")
        assert driver.handle(world.router, "ana", "hola").session_id != first.session_id

    def test_a_save_that_fails_gives_the_conversation_back(self, driver: Driver, world: World) -> None:
        class Failing(MemoryStore):
            def commit(self, change: Commit) -> None:
                raise ConversationBusyError(str(change.version))

        store = Failing(clock=world.clock)
        with pytest.raises(ConversationBusyError):
            driver.call(ContextManager(store), "save", "ana", context())
        assert store.begin("ana", owner="other", duration=1) is not None


class TestWithinTheUsersTurn:
    def test_a_save_is_no_second_write(self, driver: Driver, world: World) -> None:
        store = CountingStore(clock=world.clock)
        world = World(store=store)
        manager = world.router.contexts

        @world.fsm.post_transition()
        def save_context(working: dict[str, Any]) -> None:
            working["steps"] = [*working.get("steps", []), working["state"]]
            manager.save(working["user_id"], working)

        reply = driver.handle(world.router, "ana", "hola")
        assert len(store.commits) == 1
        assert reply.context["steps"] == ["processing", "executing", "completion", "idle"]

    def test_what_only_was_saved_is_kept(self, driver: Driver, world: World) -> None:
        @world.fsm.post_transition("executing")
        def save(working: dict[str, Any]) -> None:
            world.router.contexts.save("ana", {**working, "saved": 1})

        reply = driver.handle(world.router, "ana", "hola")
        assert reply.context["saved"] == 1
        assert world.router.contexts.load("ana") == reply.context

    def test_what_a_save_leaves_out_is_removed(self, driver: Driver, world: World) -> None:
        world.router.contexts.save("ana", context(old=1, kept=2))

        def save(user_id: str, message: str) -> None:
            loaded = world.router.contexts.load(user_id)
            del loaded["old"]
            world.router.contexts.save(user_id, loaded)

        world.callbacks.register("on_message", save)
        reply = driver.handle(world.router, "ana", "hola")
        assert ("old" in reply.context, reply.context["kept"]) == (False, 2)

    def test_what_the_agent_returns_counts_more_than_what_it_saved(self, driver: Driver, world: World) -> None:
        def handle(_message: str, given: dict[str, Any], _turn: Any) -> AgentReply:
            world.router.contexts.save("ana", {**given, "x": "saved", "y": "saved"})
            return AgentReply("ok", {**given, "x": "returned"})

        world.agent("echo", handle)
        reply = driver.handle(world.router, "ana", "echo")
        assert (reply.context["x"], reply.context["y"]) == ("returned", "saved")

    def test_an_agent_loads_the_context_of_its_turn(self, driver: Driver, world: World) -> None:
        seen: list[Any] = []
        world.agent("echo", lambda *_: seen.append(world.router.contexts.load("ana")) or "ok")
        driver.handle(world.router, "ana", "echo")
        assert (seen[0]["state"], seen[0]["message"]) == ("executing", "echo")

    def test_a_callback_loads_what_was_saved_before(self, driver: Driver, world: World) -> None:
        seen: list[Any] = []

        def handle(_message: str, given: dict[str, Any], _turn: Any) -> str:
            world.router.contexts.save("ana", {**given, "x": 1})
            seen.append(world.router.contexts.load("ana")["x"])
            return "ok"

        world.agent("echo", handle)
        driver.handle(world.router, "ana", "echo")
        assert seen == [1]

    def test_an_asynchronous_agent_saves_by_the_asynchronous_form(self, driver: Driver, world: World) -> None:
        class Saving(AsyncAgent):
            async def handle(self, message: str, context: dict[str, Any], turn: Any) -> str:
                await world.router.contexts.asave("ana", {**context, "x": 1})
                return "ok"

        world.router.register(Saving("echo", lambda *_: None))
        world.callbacks.register("detect_intents", detector(echo=1.0))
        assert driver.handle(world.router, "ana", "echo").context["x"] == 1

    def test_after_a_clear_nothing_is_kept(self, driver: Driver, world: World) -> None:
        world.router.contexts.save("ana", context(secret=1))
        world.agent("forget", lambda *_: world.router.contexts.clear("ana") or "forgotten")
        world.fsm.post_transition()(lambda working: world.router.contexts.save("ana", working))
        reply = driver.handle(world.router, "ana", "forget")
        assert (reply.text, reply.context) == ("forgotten", {"user_id": "ana", "state": "initial"})
        assert world.store.load("ana") is None

    def test_a_cleared_turn_loads_a_new_context(self, driver: Driver, world: World) -> None:
        def forget(*_: Any) -> str:
            world.router.contexts.clear("ana")
            return str(world.router.contexts.load("ana"))

        world.agent("forget", forget)
        assert driver.handle(world.router, "ana", "forget").text == "{'user_id': 'ana', 'state': 'initial'}"

    def test_a_veto_undoes_saves_and_clears(self, driver: Driver, world: World) -> None:
        world.router.contexts.save("ana", context(kept=1))
        world.agent("forget", lambda *_: world.router.contexts.clear("ana") or "forgotten")

        @world.fsm.pre_transition("completion")
        def refuse(_: Any) -> None:
            raise ValidationError("no")

        driver.handle(world.router, "ana", "forget")
        assert world.router.contexts.load("ana") == context(kept=1)

    def test_a_transition_that_fails_takes_its_saves_along(self, driver: Driver, world: World) -> None:
        @world.fsm.post_transition("executing", priority=2)
        def save(working: dict[str, Any]) -> None:
            world.router.contexts.save("ana", {**working, "saved": 1})

        @world.fsm.post_transition("executing", priority=1)
        def explode(_: Any) -> None:
            raise RuntimeError("no")

        assert "saved" not in driver.handle(world.router, "ana", "hola").context

    @pytest.mark.parametrize("event", [False, True])
    def test_what_an_error_callback_saves_is_kept(self, driver: Driver, world: World, event: bool) -> None:
        contexts = world.router.contexts

        def explode(working: dict[str, Any]) -> None:
            contexts.save("ana", {**working, "failed": 1})
            raise RuntimeError("no")

        def save(*_: Any) -> None:
            contexts.save("ana", {**contexts.load("ana"), "saved": 1})

        world.fsm.post_transition("executing")(explode)
        if event:
            world.callbacks.register("on_error", lambda error: save(error, None))
        else:
            world.fsm.on_error()(save)
        driver.handle(world.router, "ana", "hola")
        stored = contexts.load("ana")
        assert ("saved" in stored, "failed" in stored) == (True, False)

    def test_a_task_that_outlives_the_turn_is_on_its_own(self, world: World) -> None:
        tasks: list[Any] = []
        done = asyncio.Event()

        async def later(given: dict[str, Any]) -> None:
            await done.wait()
            await world.router.contexts.asave("ana", {**given, "state": "idle", "late": 1})

        class Spawning(AsyncAgent):
            async def handle(self, message: str, context: dict[str, Any], turn: Any) -> str:
                tasks.append(asyncio.ensure_future(later(context)))
                return "ok"

        world.router.register(Spawning("echo", lambda *_: None))
        world.callbacks.register("detect_intents", detector(echo=1.0))

        async def main() -> None:
            await world.router.ahandle_request("ana", "echo")
            done.set()
            await tasks[0]

        asyncio.run(main())
        assert world.router.contexts.load("ana")["late"] == 1


class TestTheOldSystemsCallbacks:
    """The examples of the system that Thea replaces, as they stood."""

    def test_save_context(self, driver: Driver, world: World) -> None:
        fsm, context_manager = world.fsm, world.router.contexts
        saved: list[Any] = []

        @fsm.post_transition("executing")
        def save_context(context):
            context_manager.save(context["user_id"], context)
            saved.append(context["user_id"])

        assert driver.handle(world.router, "ana", "hola").ok
        assert saved == ["ana"]

    @pytest.mark.parametrize("critical", [True, False])
    def test_handle_error_clears_the_context_of_a_critical_error(
        self, driver: Driver, world: World, *, critical: bool
    ) -> None:
        fsm, context_manager = world.fsm, world.router.contexts
        context_manager.save("ana", context(name="Ana"))

        @fsm.on_error()
        def handle_error(error, context):
            if error.critical:
                context_manager.clear(context["user_id"])

        class Critical(Exception):  # noqa: N818
            pass

        def explode(*_: Any) -> str:
            error = Critical("no")
            if critical:
                error.critical = True  # type: ignore[attr-defined]
            raise error

        world.agent("bad", explode)
        assert not driver.handle(world.router, "ana", "bad").ok
        assert ("name" in context_manager.load("ana")) is not critical
        assert driver.handle(world.router, "ana", "hola").ok

    def test_handle_error_clears_where_a_transition_fails_too(self, driver: Driver, world: World) -> None:
        fsm, context_manager = world.fsm, world.router.contexts
        context_manager.save("ana", context(name="Ana"))

        @fsm.on_error()
        def handle_error(error, context):
            context_manager.clear(context["user_id"])

        @fsm.pre_transition("processing")
        def validate(ctx):
            raise AssertionError

        driver.handle(world.router, "ana", "hola")
        assert world.store.load("ana") is None

    def test_beside_a_router_both_work_on_the_engine_alone(self, driver: Driver, world: World) -> None:
        fsm, context_manager = world.fsm, ContextManager(world.store)

        @fsm.post_transition("processing")
        def save_context(context):
            context_manager.save(context["user_id"], context)

        driver.call(fsm, "handle", "processing", {"user_id": "ana", "state": "initial", "message": "hola"})
        assert context_manager.load("ana")["state"] == "processing"


class TestOtherUsers:
    def test_a_save_waits_for_the_others_turn_to_end(self, world: World) -> None:
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "ok")
        turn = in_thread(lambda: world.router.handle_request("ana", "slow"))
        assert gate.reached.wait(20)
        began = threading.Event()
        save = in_thread(lambda: (began.set(), world.router.contexts.save("ana", context(mine=1))))
        assert began.wait(20)
        gate.open()
        assert turn().ok
        save()
        assert world.router.contexts.load("ana") == context(mine=1)

    def test_an_agent_may_save_for_another_user(self, driver: Driver, world: World) -> None:
        def handle(*_: Any) -> str:
            world.router.contexts.save("ben", {"user_id": "ben", "state": "idle", "from": "ana"})
            return "ok"

        world.agent("tell", handle)
        assert driver.handle(world.router, "ana", "tell").ok
        assert world.router.contexts.load("ben")["from"] == "ana"

    def test_within_a_turn_it_waits_no_longer_than_its_patience(self, driver: Driver, world: World) -> None:
        world.router._parts.keeper.patience = 0.01  # noqa: SLF001 -- ten seconds are too long for a test
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "ok")
        world.router.register(FunctionAgent("tell", lambda *_: world.router.contexts.clear("ben") or "ok"))
        world.callbacks.register("detect_intents", detector(tell=1.0))
        turn = in_thread(lambda: world.router.handle_request("ben", "slow"))
        assert gate.reached.wait(20)
        with pytest.raises(ConversationBusyError, match="within another turn"):
            driver.handle(world.router, "ana", "tell")
        gate.open()
        assert turn().ok

    def test_another_process_is_waited_for_no_longer_either(self, driver: Driver, world: World) -> None:
        world.router._parts.keeper.patience = 0.01  # noqa: SLF001
        world.store.begin("ben", owner="another process", duration=30)
        world.agent("tell", lambda *_: world.router.contexts.clear("ben") or "ok")
        with pytest.raises(ConversationBusyError):
            driver.handle(world.router, "ana", "tell")


class TestKeeper:
    def test_a_lease_that_nobody_waits_for_any_more_is_given_back(self, world: World) -> None:
        gate = Gate()

        class SlowStore(MemoryStore):
            blocking = True

            def begin(self, user_id: str, **options: Any) -> Any:
                gate.pass_through()
                return super().begin(user_id, **options)

            def release(self, lease: Any) -> None:
                super().release(lease)
                released.set()

        released = threading.Event()
        store = SlowStore(clock=world.clock)
        contexts = ContextManager(store)

        async def main() -> None:
            task = asyncio.create_task(contexts.asave("ana", context()))
            while not gate.reached.is_set():  # noqa: ASYNC110 -- it is set by another thread
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.open()

        asyncio.run(main())
        assert released.wait(20)
        assert store.begin("ana", owner="other", duration=1) is not None

    def test_a_lease_that_cannot_be_given_back_is_logged(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        class Failing(MemoryStore):
            def release(self, lease: Any) -> None:
                raise ConversationBusyError("gone")

        keeper = Keeper(Failing(clock=world.clock), clock=world.clock)
        read = keeper.store.begin("ana", owner="x", duration=1)
        assert read is not None
        assert read.lease is not None
        keeper.release(read.lease)
        assert "a lease could not be given back" in caplog.text

    def test_its_name_is_its_own(self, world: World) -> None:
        one, other = Keeper(world.store), Keeper(world.store)
        assert one.owner == one.owner != other.owner
