"""CoreRouter: what it needs, what it refuses, and how turns of threads and tasks go side by side."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conversation.parts import AsyncAgent, Driver, FunctionAgent, Gate, World, detector, in_thread
from tests.support import FakeClock
from thea_core import (
    AgentReply,
    CallbackManager,
    Commit,
    Definition,
    DefinitionError,
    FSMEngine,
    ReentrancyError,
    Reply,
    StoreUnavailableError,
    hookimpl,
    hookspec,
)
from thea_core.conversation.router import CoreRouter
from thea_core.fsm.definition import DEFAULT_TRANSITIONS
from thea_core.storage.memory import MemoryStore
from thea_core.storage.sqlite import SQLiteStore


class TestWhatItNeeds:
    def test_a_definition_that_lacks_states_is_refused_and_they_are_named(self) -> None:
        definition = Definition(
            {"initial": ["processing"], "processing": ["idle"], "idle": ["processing"], "error_handler": ["idle"]}
        )
        with pytest.raises(DefinitionError) as caught:
            CoreRouter(FSMEngine(definition))
        assert len(caught.value.problems) == 3
        assert all(name in str(caught.value) for name in ("'disambiguation'", "'executing'", "'completion'"))

    def test_a_definition_that_lacks_a_transition_of_every_turn_is_refused_and_it_is_named(self) -> None:
        transitions = {
            name: [each for each in targets if each != "idle"] for name, targets in DEFAULT_TRANSITIONS.items()
        }
        transitions["completion"] = ["processing"]
        transitions["error_handler"] = ["idle"]
        with pytest.raises(DefinitionError, match="'completion' -> 'idle' is missing"):
            CoreRouter(FSMEngine(Definition(transitions)))

    def test_a_definition_may_have_more_and_other_names_for_beginning_and_error(self, driver: Driver) -> None:
        transitions = {name: list(targets) for name, targets in DEFAULT_TRANSITIONS.items()}
        transitions["start"] = transitions.pop("initial")
        transitions["broken"] = [each.replace("initial", "start") for each in transitions.pop("error_handler")]
        world = World(fsm=FSMEngine(Definition(transitions, initial="start", error="broken")))

        def explode(*_: Any) -> str:
            raise RuntimeError

        world.agent("bad", explode)
        assert world.router.contexts.load("ana") == {"user_id": "ana", "state": "start"}
        driver.handle(world.router, "ana", "bad")
        assert world.events.states == ["processing", "executing", "broken", "idle"]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"min_score": 1.1}, "min_score must be a number from 0 to 1"),
            ({"min_score": "0.5"}, "min_score"),
            ({"ambiguity_margin": -0.1}, "ambiguity_margin"),
            ({"ambiguity_margin": True}, "ambiguity_margin"),
            ({"max_message": 0}, "max_message must be a whole number of bytes"),
            ({"max_message": 1.5}, "max_message"),
            ({"session_timeout": 0}, "timeout must be a number of seconds above 0"),
            ({"sweep_interval": 0}, "interval must be"),
            ({"language": "fr"}, "no texts in the language 'fr'"),
        ],
    )
    def test_an_argument_out_of_range_is_refused(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            CoreRouter(FSMEngine(), **options)

    def test_events_are_fired_on_the_engines_callbacks(self, driver: Driver) -> None:
        fsm = FSMEngine()
        seen: list[str] = []
        fsm.callbacks.register("on_message", lambda message, user_id: seen.append(f"{user_id}: {message}"))
        driver.handle(CoreRouter(fsm), "ana", "hola")
        assert seen == ["ana: hola"]


def attempt(world: World, results: list[Any], user_id: str = "ana") -> Callable[..., None]:
    """Return a callback that tries to handle a message."""

    def callback(*_: Any, **__: Any) -> None:
        try:
            results.append(world.router.handle_request(user_id, "nested"))
        except ReentrancyError as error:
            results.append(error)

    return callback


class TestNesting:
    @pytest.mark.parametrize("user_id", ["ana", "ben"])
    @pytest.mark.parametrize("event", ["on_message", "on_state_change", "on_intent_detected", "on_agent_delegated"])
    def test_a_message_in_an_event_of_a_turn_is_refused(
        self, driver: Driver, world: World, event: str, user_id: str
    ) -> None:
        results: list[Any] = []
        nested = attempt(world, results, user_id)
        world.callbacks.register(event, lambda **_: nested())
        world.echo()
        assert driver.handle(world.router, "ana", "echo").ok
        assert results
        assert all(isinstance(each, ReentrancyError) for each in results)
        assert [each["message"] for each in world.events.of("on_message")] == ["echo"]

    @pytest.mark.parametrize("user_id", ["ana", "ben"])
    def test_a_message_in_an_agent_is_refused(self, driver: Driver, world: World, user_id: str) -> None:
        results: list[Any] = []
        nested = attempt(world, results, user_id)
        world.agent("echo", lambda *_: nested() or "ok")
        assert driver.handle(world.router, "ana", "echo").text == "ok"
        assert len(results) == 1
        assert len(world.events.of("on_message")) == 1

    def test_a_message_in_an_asynchronous_agent_is_refused(self, driver: Driver, world: World) -> None:
        class Nesting(AsyncAgent):
            async def handle(self, message: str, context: Any, turn: Any) -> str:
                with pytest.raises(ReentrancyError):
                    await world.router.ahandle_request("ben", "nested")
                return "ok"

        world.router.register(Nesting("echo", lambda *_: None))
        world.callbacks.register("detect_intents", detector(echo=1.0))
        assert driver.handle(world.router, "ana", "echo").text == "ok"

    def test_an_agent_that_lets_the_refusal_pass_has_failed(self, driver: Driver, world: World) -> None:
        world.agent("echo", lambda *_: world.router.handle_request("ben", "nested").text)
        assert not driver.handle(world.router, "ana", "echo").ok
        assert isinstance(world.events.of("on_error")[0]["error"], ReentrancyError)

    def test_a_message_in_a_transition_outside_of_any_turn_is_refused(self, driver: Driver, world: World) -> None:
        results: list[Any] = []
        nested = attempt(world, results)
        world.fsm.pre_transition("processing")(lambda _context: nested())
        driver.call(world.fsm, "handle", "processing", {"user_id": "ana", "state": "initial"})
        assert isinstance(results[0], ReentrancyError)
        assert world.events.of("on_message") == []

    def test_a_message_in_an_event_that_was_triggered_from_outside_is_refused(self, world: World) -> None:
        results: list[Any] = []
        nested = attempt(world, results)
        world.callbacks.register("on_message", lambda **_: nested())
        world.callbacks.trigger("on_message", user_id="ana", message="x", timestamp=world.clock.now())
        assert isinstance(results[0], ReentrancyError)

    def test_a_message_in_an_applications_own_event_is_handled(self, world: World) -> None:
        class Hooks:
            @hookspec
            def on_webhook(self, payload: str) -> None: ...

        results: list[Any] = []
        world.callbacks.add_hookspecs(Hooks)
        world.callbacks.register(
            "on_webhook", lambda payload: results.append(world.router.handle_request("a", payload))
        )
        world.callbacks.trigger("on_webhook", payload="hola")
        assert [each.ok for each in results] == [True]

    def test_another_router_is_another_matter(self, driver: Driver, world: World) -> None:
        other = World()
        world.agent("echo", lambda *_: other.router.handle_request("ana", "x").text)
        assert driver.handle(world.router, "ana", "echo").ok

    def test_a_synchronous_message_on_one_of_theas_loops_is_refused(self, world: World) -> None:
        class Hooks:
            @hookspec
            def on_webhook(self, payload: str) -> None: ...

        refused: list[Any] = []

        async def callback(payload: str) -> None:
            with pytest.raises(ReentrancyError, match="await ahandle_request instead") as caught:
                world.router.handle_request("ana", payload)
            refused.append(caught.value)

        world.callbacks.add_hookspecs(Hooks)
        world.callbacks.register("on_webhook", callback)
        world.callbacks.trigger("on_webhook", payload="hola")
        assert len(refused) == 1

    def test_a_task_that_outlives_its_turn_may_send_a_message(self, world: World) -> None:
        tasks: list[asyncio.Task[Reply]] = []
        done = asyncio.Event()

        async def later() -> Reply:
            await done.wait()
            return await world.router.ahandle_request("ana", "later")

        class Spawning(AsyncAgent):
            async def handle(self, message: str, context: Any, turn: Any) -> str:
                tasks.append(asyncio.ensure_future(later()))  # type: ignore[arg-type]
                return "ok"

        world.router.register(Spawning("echo", lambda *_: None))
        world.callbacks.register("detect_intents", detector(echo=1.0))

        async def main() -> Reply:
            await world.router.ahandle_request("ana", "echo")
            done.set()
            return await tasks[0]

        assert asyncio.run(main()).ok


class TestSideBySide:
    def test_messages_of_one_user_are_handled_one_at_a_time_in_order(self, world: World) -> None:
        gate = Gate()
        handled: list[str] = []
        running: list[int] = []

        def handle(message: str, context: Any, _turn: Any) -> AgentReply:
            running.append(1)
            assert len(running) == 1, "two turns of one user at once"
            if message == "count 0":
                gate.pass_through()
            handled.append(message)
            running.pop()
            return AgentReply("ok", {**context, "count": context.get("count", 0) + 1})

        world.agent("count", handle)
        joins = []
        for number in range(10):
            message = f"count {number}"
            if number % 2:
                joins.append(in_thread(lambda m=message: asyncio.run(world.router.ahandle_request("ana", m))))  # type: ignore[misc]
            else:
                joins.append(in_thread(lambda m=message: world.router.handle_request("ana", m)))  # type: ignore[misc]
            if number == 0:
                assert gate.reached.wait(20)
            locks = world.router._parts.keeper._locks  # noqa: SLF001 -- to know that it stands in the queue
            while locks.waiting("ana") < number:
                threading.Event().wait(0.001)
        gate.open()
        for join in joins:
            assert join().ok
        assert handled == [f"count {number}" for number in range(10)]
        assert world.router.contexts.load("ana")["count"] == 10
        assert world.router.running == 0

    def test_users_do_not_wait_for_each_other(self, driver: Driver, world: World) -> None:
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "ok")
        turn = in_thread(lambda: world.router.handle_request("ana", "slow"))
        assert gate.reached.wait(20)
        assert world.router.running == 1
        assert driver.handle(world.router, "ben", "hola").ok
        gate.open()
        assert turn().ok

    def test_a_conversation_in_another_process_is_waited_for(self, driver: Driver, world: World) -> None:
        read = world.store.begin("ana", owner="another process", duration=30)
        assert read is not None
        assert read.lease is not None
        lease, asked = read.lease, threading.Event()
        begin = world.store.begin

        def watched(*arguments: Any, **options: Any) -> Any:
            asked.set()
            return begin(*arguments, **options)

        world.store.begin = watched  # type: ignore[method-assign]
        turn = in_thread(lambda: driver.handle(world.router, "ana", "hola"))
        assert asked.wait(20)
        world.store.release(lease)
        assert turn().ok

    def test_the_same_id_twice_at_once_is_handled_once(self, world: World) -> None:
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "ok")
        one = in_thread(lambda: world.router.handle_request("ana", "slow", "m1"))
        assert gate.reached.wait(20)
        other = in_thread(lambda: world.router.handle_request("ana", "slow", "m1"))
        gate.open()
        assert one() == other()
        assert len(world.events.of("on_message")) == 1


class TestCancellation:
    def test_a_cancelled_caller_is_let_go_and_the_turn_runs_to_its_commit(self, world: World) -> None:
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "done")

        async def main() -> Reply:
            caller = asyncio.ensure_future(world.router.ahandle_request("ana", "slow", "m1"))
            await asyncio.to_thread(gate.reached.wait, 20)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            gate.open()
            return await world.router.ahandle_request("ana", "slow", "m1")

        assert asyncio.run(main()).text == "done"
        assert len(world.events.of("on_message")) == 1

    def test_the_end_of_the_loop_waits_for_an_agent_on_a_thread(self, world: World) -> None:
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "done")

        async def main() -> None:
            caller = asyncio.ensure_future(world.router.ahandle_request("ana", "slow", "m1"))
            await asyncio.to_thread(gate.reached.wait, 20)
            caller.cancel()
            asyncio.get_running_loop().call_soon(gate.open)

        asyncio.run(main())
        assert world.router.handle_request("ana", "slow", "m1").text == "done"
        assert len(world.events.of("on_message")) == 1

    def test_an_agent_that_ends_with_the_loop_gives_its_turn_up(self, world: World) -> None:
        class Sleeping(AsyncAgent):
            async def handle(self, message: str, context: Any, turn: Any) -> str:
                if turn.attempt == 1:
                    began.set()
                    await asyncio.Event().wait()
                return f"attempt {turn.attempt}"

        world.router.register(Sleeping("slow", lambda *_: None))
        world.callbacks.register("detect_intents", detector(slow=1.0))
        began = threading.Event()

        async def main() -> None:
            task = asyncio.ensure_future(world.router.ahandle_request("ana", "slow", "m1"))
            while not began.is_set():  # noqa: ASYNC110 -- no event of this loop
                await asyncio.sleep(0)
            assert not task.done()

        asyncio.run(main())
        assert world.events.of("on_error") == []
        assert world.router.handle_request("ana", "slow", "m1").text == "attempt 2"

    def test_who_waits_for_the_lock_when_the_loop_ends_gives_up(self, world: World) -> None:
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "done")
        turn = in_thread(lambda: world.router.handle_request("ana", "slow"))
        assert gate.reached.wait(20)

        async def main() -> None:
            asyncio.ensure_future(world.router.ahandle_request("ana", "hola"))  # noqa: RUF006 -- ends with the loop
            for _ in range(10):  # it has begun, and waits
                await asyncio.sleep(0)

        asyncio.run(main())
        gate.open()
        assert turn().ok
        assert [each["message"] for each in world.events.of("on_message")] == ["slow"]
        assert world.router.handle_request("ana", "hola").ok

    def test_an_async_callback_that_ends_with_the_loop_gives_its_turn_up(self, world: World) -> None:
        began = threading.Event()
        block = [True]

        @world.fsm.pre_transition("processing")
        async def wait(_context: Any) -> None:
            began.set()
            if block.pop() if block else False:
                await asyncio.Event().wait()

        async def main() -> None:
            asyncio.ensure_future(world.router.ahandle_request("ana", "hola"))  # noqa: RUF006 -- ends with the loop
            while not began.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0)

        asyncio.run(main())
        assert world.router.handle_request("ana", "hola").ok

    def test_why_a_turn_failed_is_logged_where_nobody_waits_for_it(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        gate = Gate()

        class Failing(MemoryStore):
            def commit(self, change: Commit) -> None:
                raise StoreUnavailableError("disk full")

        world = World(store=Failing(clock=world.clock))
        world.agent("slow", lambda *_: gate.pass_through() or "done")

        async def main() -> None:
            caller = asyncio.ensure_future(world.router.ahandle_request("ana", "slow"))
            await asyncio.to_thread(gate.reached.wait, 20)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            gate.open()
            while world.router.running:  # noqa: ASYNC110 -- no event of this loop
                await asyncio.sleep(0)

        asyncio.run(main())
        assert "a turn failed whose caller was cancelled" in caplog.text
        assert "disk full" in caplog.text

    def test_a_turn_whose_task_is_thrown_away_gives_everything_back(self, world: World) -> None:
        from thea_core.conversation.drivers import arun

        class Sleeping(AsyncAgent):
            async def handle(self, message: str, context: Any, turn: Any) -> str:
                await asyncio.Event().wait()
                return "never"

        world.router.register(Sleeping("slow", lambda *_: None))
        world.callbacks.register("detect_intents", detector(slow=1.0))

        async def main() -> None:
            coroutine = arun(world.router._turn("ana", "slow", None, None))  # noqa: SLF001
            coroutine.send(None)
            coroutine.close()

        asyncio.run(main())
        assert world.store.begin("ana", owner="other", duration=1) is not None
        assert len(world.router._parts.keeper._locks) == 0  # noqa: SLF001

    @pytest.mark.parametrize("who", ["router", "leases"])
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
    def test_a_turn_whose_loop_is_closed_under_it_is_given_up(self, world: World, who: str) -> None:
        entered = asyncio.Event()

        class Sleeping(AsyncAgent):
            async def handle(self, message: str, context: Any, turn: Any) -> str:
                entered.set()
                await asyncio.Event().wait()
                return "never"

        world.router.register(Sleeping("slow", lambda *_: None))
        world.callbacks.register("detect_intents", detector(slow=1.0))
        loop = asyncio.new_event_loop()
        lost = loop.create_task(world.router.ahandle_request("ana", "slow"))
        loop.run_until_complete(entered.wait())
        assert world.router.running == 1
        loop.close()
        if who == "leases":
            assert world.router._parts.keeper.leases.renew_due() == 0  # noqa: SLF001
        assert world.router.running == 0
        assert world.router.handle_request("ana", "hola").ok
        assert not lost.done()


class BlockingStore(MemoryStore):
    """A store that says it blocks, and notes on which threads it was called."""

    blocking = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.threads: set[str] = set()

    def begin(self, user_id: str, **options: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return super().begin(user_id, **options)

    def commit(self, change: Commit) -> None:
        self.threads.add(threading.current_thread().name)
        super().commit(change)


class TestABlockingStore:
    def test_asynchronous_callers_use_it_on_threads(self, world: World) -> None:
        store = BlockingStore(clock=world.clock)
        world = World(store=store)
        assert asyncio.run(world.router.ahandle_request("ana", "hola")).ok
        assert store.threads == {"thea-store"}

    def test_synchronous_callers_use_it_directly(self, world: World) -> None:
        store = BlockingStore(clock=world.clock)
        world = World(store=store)
        assert world.router.handle_request("ana", "hola").ok
        assert store.threads == {threading.current_thread().name}

    def test_its_exceptions_reach_the_caller(self, driver: Driver, world: World) -> None:
        class Failing(BlockingStore):
            def begin(self, user_id: str, **options: Any) -> Any:
                raise StoreUnavailableError("gone")

        world = World(store=Failing(clock=world.clock))
        with pytest.raises(StoreUnavailableError, match="gone"):
            driver.handle(world.router, "ana", "hola")
        assert len(world.router._parts.keeper._locks) == 0  # noqa: SLF001

    def test_many_users_at_once(self, world: World) -> None:
        world = World(store=BlockingStore(clock=world.clock))
        world.agent("count", lambda _m, c, _t: AgentReply("ok", {**c, "n": c.get("n", 0) + 1}))

        async def main() -> list[Reply]:
            calls = [world.router.ahandle_request(f"user {n % 10}", "count") for n in range(100)]
            return await asyncio.gather(*calls)

        replies = asyncio.run(main())
        assert all(each.ok for each in replies)
        assert {world.router.contexts.load(f"user {n}")["n"] for n in range(10)} == {10}


class TestOnSQLite:
    """The same conversation, where what was returned is on disk."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "thea.db"

    def open(self, path: Path, clock: FakeClock) -> World:
        world = World(store=SQLiteStore(path, clock=clock), clock=clock)
        world.agent("count", lambda _m, c, _t: AgentReply("ok", {**c, "n": c.get("n", 0) + 1}, ask=c.get("n") == 1))
        return world

    def test_a_conversation_goes_on_after_a_restart(self, driver: Driver, path: Path) -> None:
        clock = FakeClock()
        first = self.open(path, clock)
        replies = [driver.handle(first.router, "ana", "count", f"m{number}") for number in range(2)]
        first.router.close()
        first.store.close()
        second = self.open(path, clock)
        assert driver.handle(second.router, "ana", "count", "m1") == replies[1]
        assert second.events.entries == []
        reply = driver.handle(second.router, "ana", "go on", "m2")
        assert (reply.context["n"], reply.agent, reply.session_id) == (3, "count", replies[0].session_id)

    def test_a_session_ends_after_a_restart(self, driver: Driver, path: Path) -> None:
        clock = FakeClock()
        first = self.open(path, clock)
        session_id = driver.handle(first.router, "ana", "count").session_id
        first.store.close()
        clock.advance(1800)
        second = self.open(path, clock)
        assert driver.call(second.router.sessions, "sweep") == 1
        assert [each["session_id"] for each in second.events.of("on_session_timeout")] == [session_id]

    def test_two_routers_on_one_file_lose_no_update(self, path: Path) -> None:
        clock = FakeClock()
        worlds = [self.open(path, clock) for _ in range(2)]

        def send(world: World) -> None:
            for _ in range(10):
                assert world.router.handle_request("ana", "count").ok

        for join in [in_thread(lambda each=each: send(each)) for each in worlds for _ in range(2)]:  # type: ignore[misc]
            join()
        assert worlds[0].router.contexts.load("ana")["n"] == 40


def test_threads_and_tasks_together_lose_no_update(world: World) -> None:
    world.agent("count", lambda _m, c, _t: AgentReply("ok", {**c, "n": c.get("n", 0) + 1}))

    def from_a_thread() -> None:
        for number in range(30):
            assert world.router.handle_request(f"user {number % 3}", "count").ok

    async def from_a_task() -> None:
        for number in range(30):
            assert (await world.router.ahandle_request(f"user {number % 3}", "count")).ok

    async def tasks() -> None:
        await asyncio.gather(*(from_a_task() for _ in range(4)))

    joins = [in_thread(from_a_thread) for _ in range(4)]
    asyncio.run(tasks())
    for join in joins:
        join()
    assert [world.router.contexts.load(f"user {number}")["n"] for number in range(3)] == [80, 80, 80]
    assert len(world.router._parts.keeper._locks) == 0  # noqa: SLF001


class TestTwoRoutersOnOneStore:
    def test_they_share_conversations(self, driver: Driver, world: World) -> None:
        other = World(store=world.store)
        first = driver.handle(world.router, "ana", "hola", "m1")
        assert driver.handle(other.router, "ana", "hola", "m1") == first
        assert driver.handle(other.router, "ana", "hola", "m2").session_id == first.session_id

    def test_a_plugins_hooks_belong_to_one_of_them(self, driver: Driver, world: World) -> None:
        class Plugin:
            @hookimpl
            def on_message(self, message: str) -> None:
                seen.append(message)

        seen: list[str] = []
        other = World(store=world.store)
        world.callbacks.publish_plugins([world.callbacks.bind_plugin(Plugin(), "p", source=3, position=0)])
        driver.handle(other.router, "ana", "other")
        driver.handle(world.router, "ana", "mine")
        assert seen == ["mine"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_goes_on_by_itself(world: World) -> None:
    gate = Gate()
    world.agent("slow", lambda *_: gate.pass_through() or "ok")
    world.router.handle_request("ben", "hola")
    turn = in_thread(lambda: world.router.handle_request("ana", "slow"))
    assert gate.reached.wait(20)
    owner = world.router._parts.keeper.owner  # noqa: SLF001
    child = os.fork()
    if child == 0:
        try:
            fresh = world.router._parts.keeper.owner != owner and world.router.running == 0  # noqa: SLF001
            world.clock.advance(31)  # the parent's lease is a copy that nobody renews here
            os._exit(0 if fresh and world.router.handle_request("ana", "hola").ok else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.open()
    assert turn().ok


def test_a_manager_without_history_serves_a_router(driver: Driver) -> None:
    world = World(fsm=FSMEngine(callbacks=CallbackManager(history_size=0)))
    world.router.register(FunctionAgent("echo", lambda *_: "ok"))
    assert driver.handle(world.router, "ana", "hola").ok
