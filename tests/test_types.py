"""What passes between the parts: plain values."""

from __future__ import annotations

import dataclasses
from datetime import UTC, timedelta

import pytest

from thea_core import Agent, AgentReply, HookResult, IntentMatch, Reply, SystemClock, Turn, types

RECORDS = [getattr(types, name) for name in types.__all__ if dataclasses.is_dataclass(getattr(types, name))]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_record_cannot_be_changed_and_takes_little_room(kind: type) -> None:
    assert kind.__dataclass_params__.frozen
    assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)


@pytest.mark.parametrize("name", types.__all__)
def test_every_type_is_documented(name: str) -> None:
    assert name == "Context" or getattr(types, name).__doc__


class TestReply:
    def test_it_iterates_as_text_and_context(self) -> None:
        text, context = Reply("hola", {"user_id": "ana"})
        assert (text, context) == ("hola", {"user_id": "ana"})

    def test_it_is_well_unless_it_says_otherwise(self) -> None:
        reply = Reply("hola", {})
        assert (reply.ok, reply.intent, reply.agent, reply.session_id) == (True, None, None, "")


class TestAgent:
    def test_whatever_has_name_intents_and_handle_is_one(self) -> None:
        class Greeter:
            name = "greeter"
            intents = ("greet",)

            def handle(self, message: str, context: dict, turn: Turn) -> AgentReply:
                return AgentReply("hola")

        assert isinstance(Greeter(), Agent)

    def test_whatever_lacks_one_is_none(self) -> None:
        assert not isinstance(object(), Agent)


class TestDefaults:
    def test_an_agents_reply_asks_nothing_and_changes_nothing(self) -> None:
        reply = AgentReply("hola")
        assert (reply.context, reply.ask) == (None, False)

    def test_an_intent_has_no_label_synonyms_slots_and_interrupts_nothing(self) -> None:
        match = IntentMatch("greet", 0.9)
        assert (match.label, match.synonyms, match.slots, match.interrupts) == (None, (), {}, False)

    def test_the_slots_of_two_intents_are_two(self) -> None:
        assert IntentMatch("a", 1.0).slots is not IntentMatch("b", 1.0).slots

    def test_a_hook_result_is_compared_by_value(self) -> None:
        assert HookResult("p", "c", 1) == HookResult("p", "c", 1)


class TestSystemClock:
    def test_its_time_is_aware_in_utc(self) -> None:
        assert SystemClock().now().tzinfo is UTC
        assert SystemClock().now().utcoffset() == timedelta(0)

    def test_its_nanoseconds_never_go_back(self) -> None:
        clock = SystemClock()
        readings = [clock.monotonic_ns() for _ in range(1000)]
        assert readings == sorted(readings)
        assert isinstance(readings[0], int)
