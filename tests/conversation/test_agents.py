"""Who answers: registered agents, those of plugins, and the two of the core."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from tests.conversation.parts import AsyncAgent, Driver, FunctionAgent, World, detector
from thea_core import RegistrationError, hookimpl
from thea_core.callbacks.registration import PluginBinding


class Exiting:
    """An agent that ends the program when it is asked for its name."""

    @property
    def name(self) -> str:
        raise SystemExit(3)


class Provider:
    """A plugin that brings agents."""

    def __init__(self, *agents: Any) -> None:
        self.agents: Any = list(agents)
        self.asked = 0

    @hookimpl
    def provide_agents(self) -> Any:
        self.asked += 1
        return self.agents


class FirstProvider(Provider):
    @hookimpl(tryfirst=True)
    def provide_agents(self) -> Any:
        return self.agents


def enable(world: World, plugin: object, name: str = "p", *, priority: int | None = None, position: int = 0) -> None:
    binding: PluginBinding = world.callbacks.bind_plugin(plugin, name, source=3, position=position, priority=priority)
    world.callbacks.publish_plugins([binding])


def says(name: str, text: str, *intents: str) -> FunctionAgent:
    return FunctionAgent(name, lambda *_: text, intents)


def detects(world: World, *words: str) -> None:
    world.callbacks.register("detect_intents", detector(**dict.fromkeys(words, 0.9)))


class TestRegistering:
    def test_an_agent_answers_its_intents(self, driver: Driver, world: World) -> None:
        detects(world, "one", "two")
        world.router.register(says("numbers", "a number", "one", "two"))
        assert [driver.handle(world.router, "ana", each).agent for each in ("one", "two", "three")] == [
            "numbers",
            "numbers",
            "fallback",
        ]

    def test_a_registration_can_be_taken_back(self, driver: Driver, world: World) -> None:
        detects(world, "one")
        registration = world.router.register(says("one", "1"))
        assert driver.handle(world.router, "ana", "one").agent == "one"
        registration.remove()
        assert driver.handle(world.router, "ana", "one").agent == "fallback"

    @pytest.mark.parametrize(
        ("agent", "words"),
        [
            (FunctionAgent, r"is a class, not an agent; have you forgotten the '\(\)'"),
            (object(), "needs a name"),
            (says("", "x"), "a str that is not blank"),
            (says("x", "x", ""), "has the intents"),
            (type("A", (), {"name": "a", "intents": "abc", "handle": print})(), "needs intents, a list of str"),
            (type("A", (), {"name": "a", "intents": None, "handle": print})(), "needs intents"),
            (type("A", (), {"name": "a", "intents": ["a"]})(), "has no method handle"),
        ],
    )
    def test_what_is_no_agent_is_refused(self, world: World, agent: Any, words: str) -> None:
        with pytest.raises(RegistrationError, match=words):
            world.router.register(agent)

    def test_two_agents_of_one_name_are_refused(self, world: World) -> None:
        world.router.register(says("one", "1"))
        with pytest.raises(RegistrationError, match="there is an agent 'one' already"):
            world.router.register(says("one", "2"))

    def test_the_applications_own_fallback_takes_the_place_of_the_cores(self, driver: Driver, world: World) -> None:
        world.router.register(FunctionAgent("fallback", lambda message, *_: f"what is {message}?", ["nothing"]))
        reply = driver.handle(world.router, "ana", "xyz")
        assert (reply.text, reply.agent, reply.intent) == ("what is xyz?", "fallback", None)
        assert world.events.of("on_agent_delegated")[0]["intent"] == ""

    def test_the_applications_own_cancel_answers_in_place_of_the_cores(self, driver: Driver, world: World) -> None:
        world.router.register(says("bye", "bye", "cancel"))
        reply = driver.handle(world.router, "ana", "cancel")
        assert (reply.text, reply.context["state"]) == ("bye", "idle")


class TestOfPlugins:
    def test_they_are_asked_once(self, driver: Driver, world: World) -> None:
        plugin = Provider(says("one", "1"))
        enable(world, plugin)
        detects(world, "one")
        for _ in range(3):
            assert driver.handle(world.router, "ana", "one").text == "1"
        world.callbacks.register("on_message", lambda user_id: None)
        driver.handle(world.router, "ana", "one")
        assert plugin.asked == 1

    def test_a_plugin_that_is_enabled_later_counts_from_then_on(self, driver: Driver, world: World) -> None:
        detects(world, "one")
        assert driver.handle(world.router, "ana", "one").agent == "fallback"
        enable(world, Provider(says("one", "1")))
        assert driver.handle(world.router, "ana", "one").agent == "one"

    def test_a_plugin_that_is_disabled_answers_no_more(self, driver: Driver, world: World) -> None:
        detects(world, "one")
        enable(world, Provider(says("one", "1")))
        driver.handle(world.router, "ana", "one")
        world.callbacks.withdraw_plugin("p")
        assert driver.handle(world.router, "ana", "one").agent == "fallback"

    def test_a_plugin_that_was_replaced_answers_anew(self, driver: Driver, world: World) -> None:
        detects(world, "one")
        enable(world, Provider(says("one", "old")))
        driver.handle(world.router, "ana", "one")
        world.callbacks.withdraw_plugin("p")
        enable(world, Provider(says("one", "new")))
        assert driver.handle(world.router, "ana", "one").text == "new"

    def test_a_message_for_an_agent_that_is_gone_is_a_new_one(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        from thea_core import AgentReply

        detects(world, "one")
        enable(world, Provider(FunctionAgent("one", lambda *_: AgentReply("when?", ask=True))))
        driver.handle(world.router, "ana", "one")
        world.callbacks.withdraw_plugin("p")
        reply = driver.handle(world.router, "ana", "tomorrow")
        assert (reply.ok, reply.agent) == (True, "fallback")
        assert "the agent 'one', which waited for a message, is gone" in caplog.text

    @pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (-1, 0)], ids=["both set", "one higher", "one lower"])
    def test_of_two_agents_for_one_intent_the_higher_priority_answers(
        self, driver: Driver, world: World, low: int, high: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        detects(world, "one")
        enable(world, Provider(says("low", "low", "one")), "low", priority=low)
        enable(world, Provider(says("high", "high", "one")), "high", priority=high, position=1)
        assert driver.handle(world.router, "ana", "one").text == "high"
        assert "'high' of the plugin 'high' does, and 'low' of the plugin 'low' never will" in caplog.text

    @pytest.mark.parametrize(("priority", "answer"), [(1, "plugin"), (0, "own"), (-1, "own")])
    def test_the_applications_agents_have_the_priority_of_a_local_callback(
        self, driver: Driver, world: World, priority: int, answer: str
    ) -> None:
        detects(world, "one")
        world.router.register(says("own", "own", "one"))
        enable(world, Provider(says("plugin", "plugin", "one")), priority=priority)
        assert driver.handle(world.router, "ana", "one").text == answer

    def test_tryfirst_is_before_every_number(self, driver: Driver, world: World) -> None:
        detects(world, "one")
        world.router.register(says("own", "own", "one"))
        enable(world, FirstProvider(says("plugin", "plugin", "one")))
        assert driver.handle(world.router, "ana", "one").text == "plugin"

    def test_a_local_callback_may_provide_agents_too(self, driver: Driver, world: World) -> None:
        detects(world, "one")
        world.callbacks.register("provide_agents", lambda: [says("one", "1")])
        assert driver.handle(world.router, "ana", "one").text == "1"

    def test_of_two_agents_of_one_name_the_first_counts(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        detects(world, "one", "two")
        world.router.register(says("agent", "own", "one"))
        enable(world, Provider(says("agent", "plugin", "two")))
        assert driver.handle(world.router, "ana", "one").text == "own"
        assert driver.handle(world.router, "ana", "two").agent == "fallback"
        assert "two agents have the name 'agent'" in caplog.text

    @pytest.mark.parametrize("value", ["agents", 7, {"a": 1}, [object()], [None], itertools.count(), [Exiting()]])
    def test_what_is_malformed_is_left_out_and_logged(
        self, driver: Driver, world: World, value: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        bad = Provider()
        bad.agents = value
        enable(world, bad, "bad", priority=1)
        enable(world, Provider(says("one", "1")), "good", position=1)
        detects(world, "one")
        assert driver.handle(world.router, "ana", "one").text == "1"
        assert "plugin 'bad'" in caplog.text

    def test_the_secrets_are_taken_out_of_what_is_logged_of_it(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.callbacks.failures.redact = lambda text: text.replace("hunter2", "***")
        enable(world, Provider(says("hunter2", "", " ")), "bad")
        detects(world, "one")
        driver.handle(world.router, "ana", "one")
        assert "the agent '***' has the intents" in caplog.text
        assert "hunter2" not in caplog.text

    def test_an_asynchronous_agent_runs_on_its_plugins_loop(self, driver: Driver, world: World) -> None:
        class Here(AsyncAgent):
            async def handle(self, message: str, context: Any, turn: Any) -> str:
                await asyncio.sleep(0)
                return threading.current_thread().name

        detects(world, "one")
        enable(world, Provider(Here("one", lambda *_: None)), "weather")
        assert driver.handle(world.router, "ana", "one").text == "thea-weather"


place: ContextVar[str] = ContextVar("place", default="nowhere")


class TestHowTheyRun:
    def test_a_synchronous_agent_does_not_hold_up_the_hosts_loop(self, world: World) -> None:
        opened = threading.Event()
        world.agent("slow", lambda *_: "ok" if opened.wait(20) else "held up")

        async def main() -> str:
            turn = asyncio.ensure_future(world.router.ahandle_request("ana", "slow"))
            await asyncio.sleep(0)
            opened.set()
            return (await turn).text

        assert asyncio.run(main()) == "ok"

    def test_a_local_asynchronous_agent_runs_on_the_callers_loop(self, world: World) -> None:
        class Here(AsyncAgent):
            async def handle(self, message: str, context: Any, turn: Any) -> str:
                return "same" if asyncio.get_running_loop() is loops[0] else "other"

        loops: list[Any] = []
        detects(world, "one")
        world.router.register(Here("one", lambda *_: None))

        async def main() -> str:
            loops.append(asyncio.get_running_loop())
            return (await world.router.ahandle_request("ana", "one")).text

        assert asyncio.run(main()) == "same"

    @pytest.mark.parametrize("kind", [FunctionAgent, AsyncAgent])
    def test_context_variables_reach_the_agent(
        self, driver: Driver, world: World, kind: Callable[..., FunctionAgent]
    ) -> None:
        detects(world, "one")
        world.router.register(kind("one", lambda *_: place.get()))
        token = place.set("here")
        try:
            assert driver.handle(world.router, "ana", "one").text == "here"
        finally:
            place.reset(token)

    def test_a_function_that_returns_an_awaitable_is_awaited(self, driver: Driver, world: World) -> None:
        async def answer() -> str:
            return "late"

        world.agent("one", lambda *_: answer())
        assert driver.handle(world.router, "ana", "one").text == "late"

    def test_what_is_no_method_when_it_is_called_is_an_error_of_the_agent(self, driver: Driver, world: World) -> None:
        class Strange:
            name = "one"
            intents: Sequence[str] = ("one",)
            broken = False

            @property
            def handle(self) -> Any:
                if self.broken:
                    raise RuntimeError("no handle")
                return print

        agent = Strange()
        detects(world, "one")
        world.router.register(agent)
        agent.broken = True
        assert not driver.handle(world.router, "ana", "one").ok
        assert [str(each["error"]) for each in world.events.of("on_error")] == ["no handle"]

    def test_ctrl_c_in_an_asynchronous_agent_passes(self, world: World) -> None:
        def interrupt(*_: Any) -> str:
            raise KeyboardInterrupt

        detects(world, "one")
        world.router.register(AsyncAgent("one", interrupt))
        with pytest.raises(KeyboardInterrupt):
            world.router.handle_request("ana", "one")
        assert world.store.begin("ana", owner="other", duration=1) is not None
