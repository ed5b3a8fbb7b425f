"""How long an agent may take, and what becomes of one that takes longer."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any

import pytest

from tests.conversation.parts import (
    AsyncAgent,
    AsyncDriver,
    Driver,
    FunctionAgent,
    Gate,
    SyncDriver,
    World,
    detector,
    in_thread,
)
from tests.conversation.test_agents import Provider, enable
from tests.support import run_in_child
from thea_core import (
    AgentReply,
    CallbackSkippedError,
    CallbackTimeoutError,
    CoreRouter,
    ReentrancyError,
    Reply,
    hookimpl,
)
from thea_core.conversation import agents as module
from thea_core.conversation.leases import LEASE_SECONDS

SHORT = 0.02
LONG = 60.0

place: ContextVar[str] = ContextVar("place", default="nowhere")


class Stuck:
    """Holds agents up, synchronous and asynchronous ones, until it is opened; asynchronous ones cannot be cancelled."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = 0
        self.ended = threading.Semaphore(0)

    def sync(self, *_: Any) -> AgentReply:
        self.asked += 1
        try:
            assert self.gate.wait(20)
            return AgentReply("late", {"late": True})
        finally:
            self.ended.release()

    async def stay(self) -> AgentReply:
        self.asked += 1
        try:
            while not self.gate.is_set():
                try:
                    await asyncio.sleep(0.001)
                except asyncio.CancelledError:
                    continue
            return AgentReply("late", {"late": True})
        finally:
            self.ended.release()


class StayingAgent(FunctionAgent):
    def __init__(self, name: str, stuck: Stuck) -> None:
        super().__init__(name, stuck.sync)
        self._stuck = stuck

    async def handle(self, message: str, context: Any, turn: Any) -> Any:
        return await self._stuck.stay()


class LoopDriver(AsyncDriver):
    """Calls the asynchronous form on one loop, which goes on while something is left behind there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def handle(self, router: CoreRouter, user_id: Any, message: Any, message_id: Any = None, **options: Any) -> Reply:
        turn = router.ahandle_request(user_id, message, message_id, **options)
        return asyncio.run_coroutine_threadsafe(within(copy_context(), turn), self._loop).result(20)


async def within(context: Context, turn: Coroutine[Any, Any, Reply]) -> Reply:
    return await asyncio.get_running_loop().create_task(turn, context=context)


class Told(logging.Handler):
    """Lets a test wait for a log record."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.seen = threading.Event()
        self._words = words

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage():
            self.seen.set()


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    made.gate.set()


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest, stuck: Stuck) -> Iterator[Driver]:
    if request.param == "sync":
        yield SyncDriver()
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield LoopDriver(loop)
    stuck.gate.set()
    for _ in range(stuck.asked):
        assert stuck.ended.acquire(timeout=20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.fixture
def crowded() -> Iterator[threading.Event]:
    """Set once as many answers of an agent hang as may."""
    handler = Told("hang whose time was up")
    module.logger.addHandler(handler)
    yield handler.seen
    module.logger.removeHandler(handler)


def detects(world: World, *words: str) -> None:
    world.callbacks.register("detect_intents", detector(**dict.fromkeys(words, 0.9)))


def makes(kind: type) -> Callable[[str, Stuck], FunctionAgent]:
    return (lambda name, stuck: FunctionAgent(name, stuck.sync)) if kind is FunctionAgent else StayingAgent


@pytest.fixture(params=[FunctionAgent, StayingAgent], ids=["sync agent", "async agent"])
def make(request: pytest.FixtureRequest) -> Callable[[str, Stuck], FunctionAgent]:
    return makes(request.param)


@pytest.fixture(params=[True, False], ids=["of a plugin", "local"])
def world(request: pytest.FixtureRequest, make: Any, stuck: Stuck) -> World:
    """A router with the agent ``slow``, which never comes back; others than the core's would need to be quick."""
    world = World(agent_timeout=SHORT)
    if request.param:
        enable(world, Provider(make("slow", stuck)))
    else:
        world.router.register(make("slow", stuck))
    detects(world, "slow")
    return world


def only_error(world: World) -> BaseException:
    (told,) = world.events.of("on_error")
    return told["error"]  # type: ignore[no-any-return]


class TestWhereTheTimeIsUp:
    def test_the_turn_ends_in_an_apology_and_the_conversation_goes_on(self, driver: Driver, world: World) -> None:
        failed: list[str] = []
        world.fsm.on_error()(lambda error, context: failed.append(type(error).__name__))
        reply = driver.handle(world.router, "ana", "slow")
        assert (reply.ok, reply.agent, reply.intent) == (False, None, "slow")
        assert reply.context["state"] == "idle"
        assert failed == ["CallbackTimeoutError"]
        error = only_error(world)
        assert isinstance(error, CallbackTimeoutError)
        assert error.seconds == SHORT
        assert str(error) == "the agent 'slow' did not come back within 0.02 s ([conversation] agent_timeout)"
        assert driver.handle(world.router, "ana", "hola").ok

    def test_it_tells_where_the_agent_was(self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture) -> None:
        driver.handle(world.router, "ana", "slow")
        assert "a turn of the agent 'slow' failed in the state 'executing'" in caplog.text
        assert "It was hanging at:" in caplog.text
        assert f'File "{__file__}"' in caplog.text

    def test_a_late_answer_changes_nothing(self, driver: Driver, world: World, stuck: Stuck) -> None:
        driver.handle(world.router, "ana", "slow")
        stuck.gate.set()
        assert stuck.ended.acquire(timeout=20)
        stuck.ended.release()
        reply = driver.handle(world.router, "ana", "hola")
        assert reply.ok
        assert "late" not in reply.context
        assert len(world.events.of("on_error")) == 1


class TestLeftBehind:
    def hang(self, driver: Driver, world: World, crowded: threading.Event) -> None:
        for _ in range(3):
            driver.handle(world.router, "ana", "slow")
        assert crowded.wait(20)

    def test_with_three_that_hang_an_agent_is_asked_no_more(
        self,
        driver: Driver,
        world: World,
        stuck: Stuck,
        crowded: threading.Event,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.hang(driver, world, crowded)
        for _ in range(3):
            world.events.clear()
            assert not driver.handle(world.router, "ana", "slow").ok
            error = only_error(world)
            assert isinstance(error, CallbackSkippedError)
            assert "the agent 'slow' was not asked: " in str(error)
        assert stuck.asked == 3
        assert driver.handle(world.router, "ana", "hola").ok
        told = [each.getMessage() for each in caplog.records if each.name == module.logger.name]
        assert told == ["3 answers of the agent 'slow' hang whose time was up; it is not asked until one has come back"]

    def test_once_one_has_come_back_it_is_asked_again(
        self, driver: Driver, world: World, stuck: Stuck, crowded: threading.Event
    ) -> None:
        back = Told("is asked again")
        module.logger.addHandler(back)
        module.logger.setLevel(logging.INFO)
        try:
            self.hang(driver, world, crowded)
            stuck.gate.set()
            assert back.seen.wait(20)
        finally:
            module.logger.setLevel(logging.NOTSET)
            module.logger.removeHandler(back)
        driver.handle(world.router, "ana", "slow")
        assert stuck.asked == 4

    def test_what_changes_elsewhere_does_not_make_them_forgotten(
        self, driver: Driver, world: World, stuck: Stuck, crowded: threading.Event
    ) -> None:
        self.hang(driver, world, crowded)
        world.callbacks.register("on_message", lambda message: None)
        assert not driver.handle(world.router, "ana", "slow").ok
        assert stuck.asked == 3

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    def test_a_forked_child_starts_anew(self, world: World, stuck: Stuck, crowded: threading.Event) -> None:
        self.hang(SyncDriver(), world, crowded)

        def asked_again() -> bool:
            world.router.handle_request("ana", "slow")
            return stuck.asked == 4

        assert run_in_child(asked_again)


class TestHowTheyRun:
    @pytest.fixture(params=[LONG, None], ids=["limited", "unlimited"])
    def world(self, request: pytest.FixtureRequest) -> World:
        return World(agent_timeout=request.param)

    @pytest.mark.parametrize("kind", [FunctionAgent, AsyncAgent])
    def test_context_variables_reach_the_agent(self, driver: Driver, world: World, kind: type[FunctionAgent]) -> None:
        world.router.register(kind("one", lambda *_: place.get()))
        detects(world, "one")
        token = place.set("here")
        try:
            assert driver.handle(world.router, "ana", "one").text == "here"
        finally:
            place.reset(token)

    @pytest.mark.parametrize("kind", [FunctionAgent, AsyncAgent])
    def test_a_message_within_a_message_is_refused(
        self, driver: Driver, world: World, kind: type[FunctionAgent]
    ) -> None:
        def nest(*_: Any) -> str:
            with pytest.raises(ReentrancyError, match="within a turn"):
                world.router.handle_request("berta", "one")
            return "refused"

        world.router.register(kind("one", nest))
        detects(world, "one")
        assert driver.handle(world.router, "ana", "one").text == "refused"

    @pytest.mark.parametrize("kind", [FunctionAgent, AsyncAgent])
    def test_ctrl_c_passes(self, world: World, kind: type[FunctionAgent]) -> None:
        def interrupt(*_: Any) -> str:
            raise KeyboardInterrupt

        world.router.register(kind("one", interrupt))
        detects(world, "one")
        with pytest.raises(KeyboardInterrupt):
            world.router.handle_request("ana", "one")
        assert world.store.begin("ana", owner="other", duration=1) is not None

    def test_the_agents_of_a_plugin_that_is_bound_to_one_thread_run_there(self, driver: Driver, world: World) -> None:
        class OneThread(Provider):
            thread = "one"

            @hookimpl
            def on_message(self) -> None:
                seen.append(threading.get_ident())

        seen: list[int] = []

        def answer(*_: Any) -> str:
            seen.append(threading.get_ident())
            return "ok"

        enable(world, OneThread(FunctionAgent("one", answer)))
        detects(world, "one")
        for _ in range(2):
            assert driver.handle(world.router, "ana", "one").text == "ok"
        assert len(seen) == 4
        assert len(set(seen)) == 1
        assert threading.get_ident() not in seen
        world.router.close()  # which leaves the plugin's thread alone
        driver.handle(world.router, "ana", "one")
        assert len(set(seen)) == 1

    def test_the_lease_is_renewed_while_an_agent_is_at_work(self, driver: Driver, world: World) -> None:
        gate = Gate()

        def answer(*_: Any) -> str:
            gate.pass_through()
            return "done"

        world.agent("slow", answer)
        turn = in_thread(lambda: driver.handle(world.router, "ana", "slow"))
        assert gate.reached.wait(20)
        keeper = world.router._parts.keeper  # noqa: SLF001 -- to look now, and not in five seconds
        for _ in range(6):
            world.clock.advance(LEASE_SECONDS / 2)
            keeper.leases.renew_due()
        assert world.store.begin("ana", owner="other", duration=1) is None
        gate.open()
        assert turn().ok

    def test_an_object_is_looked_at_within_its_call(self, driver: Driver, world: World) -> None:
        class Exiting(AgentReply):
            @property
            def ask(self) -> bool:
                raise SystemExit(3)

        reply = object.__new__(Exiting)
        object.__setattr__(reply, "text", "hi")
        object.__setattr__(reply, "context", None)
        world.agent("one", lambda *_: reply)
        assert not driver.handle(world.router, "ana", "one").ok
        assert isinstance(only_error(world), SystemExit)


def test_a_hundred_turns_may_wait_for_one_agent(driver: Driver) -> None:
    """Each in a thread of its own, all at once."""
    world = World(agent_timeout=LONG)
    together = threading.Barrier(100)
    world.agent("slow", lambda *_: f"{together.wait(20)}")
    turns = [in_thread(partial(driver.handle, world.router, str(user), "slow")) for user in range(100)]
    assert sorted(int(turn().text) for turn in turns) == list(range(100))


def test_without_a_limit_a_synchronous_agent_runs_in_the_callers_thread() -> None:
    world = World(agent_timeout=None)
    world.agent("one", lambda *_: threading.current_thread().name)
    assert world.router.handle_request("ana", "one").text == threading.current_thread().name


def test_the_cores_own_agents_run_in_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    world, seen = World(agent_timeout=LONG), []

    def handle(*_: Any) -> AgentReply:
        seen.append(threading.get_ident())
        return AgentReply("hi")

    monkeypatch.setattr(module.TextAgent, "handle", handle)
    assert world.router.handle_request("ana", "hola").agent == "fallback"
    assert world.router.handle_request("ana", "cancel").agent == "cancel"
    assert seen == [threading.get_ident()] * 2


def test_a_coroutine_that_comes_too_late_is_not_left_unawaited(stuck: Stuck) -> None:
    world = World(agent_timeout=SHORT)

    def answer(*_: Any) -> Any:
        async def never() -> str:
            raise AssertionError("it is begun")

        stuck.gate.wait(20)
        try:
            return never()
        finally:
            stuck.ended.release()

    world.agent("slow", answer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert isinstance(only_error_after(world, "slow"), CallbackTimeoutError)
        stuck.gate.set()
        assert stuck.ended.acquire(timeout=20)
        world.router.close()
        gc.collect()
    assert [str(each.message) for each in caught] == []


def only_error_after(world: World, message: str) -> BaseException:
    world.router.handle_request("ana", message)
    return only_error(world)


def test_a_function_and_its_coroutine_share_the_time(driver: Driver) -> None:
    world = World(agent_timeout=SHORT)

    async def forever() -> str:
        await asyncio.Event().wait()
        return "never"

    world.agent("slow", lambda *_: forever())
    assert not driver.handle(world.router, "ana", "slow").ok
    error = only_error(world)
    assert isinstance(error, CallbackTimeoutError)
    assert error.seconds == SHORT


def test_an_error_of_its_own_about_time_stays_as_it_is(driver: Driver) -> None:
    world = World(agent_timeout=LONG)

    def fail(*_: Any) -> str:
        raise CallbackTimeoutError("my own", 3.0)

    world.agent("one", fail)
    driver.handle(world.router, "ana", "one")
    assert str(only_error(world)) == "my own"


def test_an_agent_for_which_there_is_no_thread_is_an_error(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(agent_timeout=LONG)
    world.agent("one", lambda *_: "ok")
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "thea-local":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert not driver.handle(world.router, "ana", "one").ok
    assert isinstance(only_error(world), CallbackSkippedError)
    assert "no thread can be started" in str(only_error(world))
    monkeypatch.undo()
    assert driver.handle(world.router, "ana", "one").text == "ok"


class TestThreads:
    def threads(self) -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name in ("thea-local", "thea-p")}

    @pytest.mark.parametrize("way", ["close", "remove", "withdraw"])
    def test_they_end_with_the_router_or_the_agent(self, way: str) -> None:
        before = self.threads()
        world = World(agent_timeout=LONG)
        detects(world, "one", "two")
        registration = world.router.register(FunctionAgent("one", lambda *_: "1"))
        enable(world, Provider(FunctionAgent("two", lambda *_: "2")))
        world.router.handle_request("ana", "one")
        world.router.handle_request("ana", "two")
        started = self.threads() - before
        assert {each.name for each in started} == {"thea-local", "thea-p"}
        if way == "close":
            world.router.close()
            world.callbacks.close()  # the thread on which the plugin was asked for its agents
        elif way == "remove":
            registration.remove()
            started = {each for each in started if each.name == "thea-local"}
        else:
            binding = world.callbacks.withdraw_plugin("p")
            assert binding is not None
            world.callbacks.close_runtime(binding.runtime)
            world.router.handle_request("ana", "hola")
            started = {each for each in started if each.name == "thea-p"}
        for thread in started:
            thread.join(20)
            assert not thread.is_alive()

    def test_after_the_end_they_are_started_anew(self) -> None:
        world = World(agent_timeout=LONG)
        world.agent("one", lambda *_: "1")
        world.router.close()
        assert world.router.handle_request("ana", "one").text == "1"


@pytest.mark.parametrize("limit", [0, -1, True, "60", float("inf"), float("nan")])
def test_what_is_no_limit_is_refused(world: World, limit: Any) -> None:
    with pytest.raises(ValueError, match="agent_timeout must be a number of seconds greater than 0, or None"):
        CoreRouter(world.fsm, agent_timeout=limit)
