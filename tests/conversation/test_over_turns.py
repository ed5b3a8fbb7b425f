"""Conversations of several messages: agents that ask, questions which intent was meant, cancelling."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conversation.parts import Driver, FunctionAgent, World, ask_until, detector
from thea_core import AgentReply, IntentMatch
from thea_core.conversation.texts import Texts

EN = Texts("en")


@pytest.fixture
def town(world: World) -> Iterator[World]:
    """A world with two intents that are hard to tell apart, and an agent that asks."""
    agenda = IntentMatch("agenda", 0.8, label="See the agenda", synonyms=("calendar",), slots={"which": "agenda"})
    event = IntentMatch("event", 0.75, label="Create an event", slots={"which": "event"})
    world.callbacks.register(
        "detect_intents",
        detector(
            both=[agenda, event],
            agenda=agenda,
            ask=0.9,
            stop=IntentMatch("stop", 0.9, interrupts=True),
            weak=IntentMatch("stop", 0.3, interrupts=True),
        ),
    )
    for name in ("agenda", "event"):
        world.router.register(FunctionAgent(name, lambda _, context, __: f"{context['intent']} {context['slots']}"))
    world.router.register(FunctionAgent("stop", lambda *_: "stopped"))
    world.router.register(FunctionAgent("ask", ask_until(3)))
    return world


class TestAnAgentThatAsks:
    def test_the_next_message_comes_straight_back(self, driver: Driver, town: World) -> None:
        texts = [driver.handle(town.router, "ana", each).text for each in ("ask", "one", "two")]
        assert texts == ["heard 1", "heard 2", "heard 3"]
        assert town.router.contexts.load("ana")["heard"] == ["ask", "one", "two"]

    def test_its_turn_ends_in_executing(self, driver: Driver, town: World) -> None:
        reply = driver.handle(town.router, "ana", "ask")
        assert (reply.context["state"], reply.context["agent"]) == ("executing", "ask")

    def test_the_answer_goes_through_processing_again(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        town.events.clear()
        driver.handle(town.router, "ana", "one")
        assert town.events.states == ["processing", "executing"]
        town.events.clear()
        driver.handle(town.router, "ana", "two")
        assert town.events.states == ["processing", "executing", "completion", "idle"]

    def test_the_answer_is_neither_detected_nor_delegated(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        town.events.clear()
        reply = driver.handle(town.router, "ana", "agenda")
        assert town.events.names == ["on_message", "on_state_change", "on_state_change"]
        assert (reply.agent, reply.intent) == ("ask", "ask")

    def test_detectors_run_all_the_same(self, driver: Driver, town: World) -> None:
        seen: list[str] = []
        town.callbacks.register("detect_intents", lambda message: seen.append(message) or [])
        driver.handle(town.router, "ana", "ask")
        driver.handle(town.router, "ana", "one")
        assert seen == ["ask", "one"]

    def test_what_interrupts_drops_what_is_pending_and_is_a_new_intent(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        town.events.clear()
        reply = driver.handle(town.router, "ana", "stop")
        assert (reply.text, reply.intent, reply.context["pending"]) == ("stopped", "stop", None)
        assert len(town.events.of("on_intent_detected")) == len(town.events.of("on_agent_delegated")) == 1
        assert driver.handle(town.router, "ana", "one").agent == "fallback"

    def test_what_interrupts_weakly_does_not(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        assert driver.handle(town.router, "ana", "weak").agent == "ask"

    def test_the_slots_stay_until_it_has_its_answer(self, driver: Driver, world: World) -> None:
        slots: list[object] = []

        def handle(message: str, context: dict[str, object], _turn: object) -> AgentReply:
            slots.append(context["slots"])
            return AgentReply("ok", ask=message == "ask")

        world.router.register(FunctionAgent("ask", handle))  # type: ignore[arg-type]
        world.callbacks.register("detect_intents", detector(ask=IntentMatch("ask", 1.0, slots={"day": "today"})))
        driver.handle(world.router, "ana", "ask")
        reply = driver.handle(world.router, "ana", "yes")
        assert slots == [{"day": "today"}] * 2
        assert "slots" not in reply.context

    def test_a_callback_may_give_the_answer_to_another_agent(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        town.events.clear()
        town.fsm.pre_transition("executing")(lambda context: {**context, "agent": "stop"})
        assert driver.handle(town.router, "ana", "one").text == "stopped"
        assert [each["agent"] for each in town.events.of("on_agent_delegated")] == ["stop"]

    def test_the_fallback_agent_may_ask_too(self, driver: Driver, world: World) -> None:
        world.router.register(FunctionAgent("fallback", ask_until(2), ["nothing"]))
        driver.handle(world.router, "ana", "xyz")
        world.events.clear()
        reply = driver.handle(world.router, "ana", "abc")
        assert (reply.text, reply.intent) == ("heard 2", None)
        assert world.events.of("on_agent_delegated") == []


class TestTheQuestion:
    def test_close_intents_end_the_turn_with_the_question(self, driver: Driver, town: World) -> None:
        reply = driver.handle(town.router, "ana", "both")
        assert reply.text.splitlines() == [
            "Which one do you mean?",
            "1. See the agenda",
            "2. Create an event",
            "3. None of these",
        ]
        assert (reply.ok, reply.intent, reply.agent) == (True, None, None)
        assert town.events.states == ["processing", "disambiguation"]
        assert town.events.of("on_intent_detected") == []

    @pytest.mark.parametrize("answer", ["2", "create an event", "Event", "2."])
    def test_an_answer_makes_the_intent_clear(self, driver: Driver, town: World, answer: str) -> None:
        driver.handle(town.router, "ana", "both")
        town.events.clear()
        reply = driver.handle(town.router, "ana", answer)
        assert reply.text == "event {'which': 'event'}"
        assert town.events.states == ["processing", "executing", "completion", "idle"]
        assert [(each["intent"], each["score"]) for each in town.events.of("on_intent_detected")] == [("event", 0.75)]
        assert [each["agent"] for each in town.events.of("on_agent_delegated")] == ["event"]

    def test_a_synonym_is_an_answer(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "both")
        assert driver.handle(town.router, "ana", "calendar").intent == "agenda"

    def test_none_of_these_is_left_to_the_fallback(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "both")
        town.events.clear()
        reply = driver.handle(town.router, "ana", "none of these")
        assert (reply.agent, reply.context["pending"]) == ("fallback", None)
        assert town.events.of("on_intent_detected") == []

    def test_an_answer_that_is_none_asks_again(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "both")
        reply = driver.handle(town.router, "ana", "hm")
        assert reply.text.splitlines()[0] == EN["not_understood"]
        assert reply.context["state"] == "disambiguation"
        assert driver.handle(town.router, "ana", "1").intent == "agenda"

    def test_three_failed_answers_fall_back(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "both")
        agents = [driver.handle(town.router, "ana", "hm").agent for _ in range(3)]
        assert agents == [None, None, "fallback"]
        assert driver.handle(town.router, "ana", "1").agent == "fallback"

    def test_a_clear_request_of_its_own_is_taken_as_such(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "both")
        assert driver.handle(town.router, "ana", "ask me").agent == "ask"

    def test_what_interrupts_ends_the_question(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "both")
        assert driver.handle(town.router, "ana", "stop").text == "stopped"

    def test_the_question_is_in_the_assistants_language(self, driver: Driver) -> None:
        world = World(language="es")
        world.callbacks.register("detect_intents", detector(both=[IntentMatch("a", 0.9), IntentMatch("b", 0.9)]))
        lines = driver.handle(world.router, "ana", "both").text.splitlines()
        assert (lines[0], lines[-1]) == ("¿A cuál te refieres?", "3. Ninguna de estas")


class TestCancelling:
    @pytest.mark.parametrize("before", [[], ["ask"], ["both"], ["both", "hm"]])
    @pytest.mark.parametrize("message", ["cancel", "¡Olvídalo!"])
    def test_it_resets_the_conversation(self, driver: Driver, town: World, before: list[str], message: str) -> None:
        for each in before:
            driver.handle(town.router, "ana", each)
        reply = driver.handle(town.router, "ana", message)
        assert (reply.text, reply.ok, reply.intent, reply.agent) == (EN["cancelled"], True, "cancel", "cancel")
        assert (reply.context["state"], reply.context["pending"]) == ("initial", None)

    def test_it_is_told_like_any_intent(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        town.events.clear()
        driver.handle(town.router, "ana", "cancel")
        assert town.events.states == ["processing", "executing", "initial"]
        assert [each["intent"] for each in town.events.of("on_intent_detected")] == ["cancel"]
        assert [each["agent"] for each in town.events.of("on_agent_delegated")] == ["cancel"]

    def test_the_applications_keys_stay(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        assert driver.handle(town.router, "ana", "cancel").context["heard"] == ["ask"]

    def test_the_next_message_begins_anew(self, driver: Driver, town: World) -> None:
        driver.handle(town.router, "ana", "ask")
        driver.handle(town.router, "ana", "cancel")
        assert driver.handle(town.router, "ana", "one").agent == "fallback"


def test_the_intent_of_an_earlier_message_does_not_linger(driver: Driver, town: World) -> None:
    driver.handle(town.router, "ana", "agenda")
    context = driver.handle(town.router, "ana", "both").context
    assert (context["intent"], context["score"], context["agent"]) == (None, None, None)
