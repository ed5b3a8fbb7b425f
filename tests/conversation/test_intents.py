"""What detectors found, merged, and which of it counts."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from tests.conversation.parts import Driver, World, detector
from thea_core import HookResult, IntentMatch
from thea_core.callbacks.failures import FailureLog
from thea_core.conversation.intents import CancelDetector, Matches, merge
from thea_core.conversation.texts import Texts


def matches(*found: IntentMatch, min_score: float = 0.5, margin: float = 0.1) -> Matches:
    return Matches(found, min_score=min_score, margin=margin)


def result(value: Any, plugin: str = "p") -> HookResult:
    return HookResult(plugin, "detect", value)


class Exiting:
    """Ends the program when it is looked at."""

    @property
    def __class__(self) -> type:
        raise SystemExit(3)


class Endless(Mapping[str, Any]):
    """Has one key more, whoever counts them."""

    def __getitem__(self, key: str) -> str:
        return key

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return map(str, itertools.count())


class TestMerging:
    def test_of_each_intent_the_best_match_counts(self) -> None:
        found = matches(IntentMatch("a", 0.6), IntentMatch("b", 0.7), IntentMatch("a", 0.9))
        assert [(each.intent, each.score) for each in found.all] == [("a", 0.9), ("b", 0.7)]

    def test_among_equals_the_earlier_counts(self) -> None:
        found = matches(IntentMatch("a", 0.9, label="first"), IntentMatch("a", 0.9, label="second"))
        assert [each.label for each in found.all] == ["first"]

    def test_the_results_of_all_detectors_are_merged(self) -> None:
        found = merge([result([IntentMatch("a", 1)]), result((IntentMatch("b", 0.5),))], FailureLog())
        assert [each.intent for each in found] == ["a", "b"]

    def test_a_single_match_need_not_be_listed(self) -> None:
        assert [each.intent for each in merge([result(IntentMatch("a", 1.0))], FailureLog())] == ["a"]

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("agenda", "must return a list of IntentMatch, not str"),
            (7, "not int"),
            (itertools.repeat(IntentMatch("a", 1.0)), "not repeat"),  # it never ends
            ({"agenda": 1}, "not dict"),
            ([("agenda", 1)], "one is tuple"),
            ([IntentMatch("", 1.0)], "has the intent ''"),
            ([IntentMatch(" ", 1.0)], "has the intent ' '"),
            ([IntentMatch(7, 1.0)], "has the intent 7"),  # type: ignore[arg-type]
            ([IntentMatch("a", 1.1)], "score 1.1"),
            ([IntentMatch("a", -0.1)], "score -0.1"),
            ([IntentMatch("a", math.nan)], "score nan"),
            ([IntentMatch("a", "1")], "score '1'"),  # type: ignore[arg-type]
            ([IntentMatch("a", True)], "score True"),
            ([IntentMatch("a", 1.0, label=3)], "label 3"),  # type: ignore[arg-type]
            ([IntentMatch("a", 1.0, synonyms="abc")], "synonyms 'abc'"),
            ([IntentMatch("a", 1.0, synonyms=[1])], r"synonyms \[1\]"),  # type: ignore[list-item]
            ([IntentMatch("a", 1.0, synonyms=itertools.repeat("b"))], "a list of str"),  # type: ignore[arg-type]
            ([IntentMatch("a", 1.0, slots=[1])], "slots that are list"),  # type: ignore[arg-type]
            ([IntentMatch("a", 1.0, slots=())], "slots that are tuple"),  # type: ignore[arg-type]
            ([IntentMatch("a", 1.0, slots={"x": {1}})], "'slots'"),
            ([IntentMatch("a", 1.0, slots=Endless())], "slots that are Endless"),
            ([IntentMatch("a", 1.0, slots=MappingProxyType(Endless()))], "slots that are Endless"),
        ],
    )
    def test_what_is_malformed_is_left_out_and_logged(
        self, value: Any, words: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = merge([result(value, "bad"), result([IntentMatch("good", 0.9)])], FailureLog())
        assert [each.intent for each in found] == ["good"]
        assert caplog.records[0].name == "thea_core.callbacks"
        assert "plugin 'bad'" in caplog.text
        assert re.search(words, caplog.text)

    @pytest.mark.parametrize("listed", [True, False])
    def test_what_would_end_the_program_is_logged(self, caplog: pytest.LogCaptureFixture, *, listed: bool) -> None:
        value = [Exiting()] if listed else Exiting()
        assert merge([result(value, "bad")], FailureLog()) == []
        assert "plugin 'bad'" in caplog.text
        assert "SystemExit: 3" in caplog.text

    def test_one_malformed_match_does_not_spoil_the_others(self) -> None:
        found = merge([result([IntentMatch("a", 2.0), IntentMatch("b", 0.9)])], FailureLog())
        assert [each.intent for each in found] == ["b"]

    @pytest.mark.parametrize(
        "slots", [{}, None, MappingProxyType({}), {"day": "mon"}, MappingProxyType({"day": "mon"})]
    )
    def test_slots_are_a_dict_or_a_read_only_view_of_one(self, slots: Any) -> None:
        (found,) = merge([result([IntentMatch("a", 1.0, slots=slots)])], FailureLog())
        assert type(found.slots) is dict
        assert found.slots == dict(slots or {})

    def test_no_code_of_a_dict_of_the_plugins_own_runs(self) -> None:
        class Own(dict[str, Any]):
            def __bool__(self) -> bool:
                raise SystemExit(3)

            __iter__ = __len__ = keys = items = copy = __bool__  # type: ignore[assignment]

        (found,) = merge([result([IntentMatch("a", 1.0, slots=Own(day="mon"))])], FailureLog())
        assert found.slots == {"day": "mon"}

    def test_slots_are_copied(self) -> None:
        slots = {"days": ["mon"]}
        (found,) = merge([result([IntentMatch("a", 1.0, slots=slots)])], FailureLog())
        slots["days"].append("tue")
        assert found.slots == {"days": ["mon"]}


class TestCandidates:
    def test_a_match_below_the_least_score_does_not_count(self) -> None:
        assert matches(IntentMatch("a", 0.49)).candidates == []

    def test_a_match_with_the_least_score_counts(self) -> None:
        assert [each.intent for each in matches(IntentMatch("a", 0.5)).candidates] == ["a"]

    @pytest.mark.parametrize(("high", "low"), [(0.9, 0.8), (0.8, 0.7), (1.0, 0.9), (0.6, 0.5), (0.7, 0.65)])
    def test_matches_within_the_margin_are_ambiguous(self, high: float, low: float) -> None:
        assert len(matches(IntentMatch("a", high), IntentMatch("b", low)).candidates) == 2

    def test_a_match_beyond_the_margin_is_none_of_the_candidates(self) -> None:
        found = matches(IntentMatch("a", 0.9), IntentMatch("b", 0.79), IntentMatch("c", 0.85))
        assert [each.intent for each in found.candidates] == ["a", "c"]

    def test_without_a_margin_only_equals_are_ambiguous(self) -> None:
        assert len(matches(IntentMatch("a", 0.9), IntentMatch("b", 0.9), margin=0).candidates) == 2
        assert len(matches(IntentMatch("a", 0.9), IntentMatch("b", 0.89), margin=0).candidates) == 1

    def test_only_some_matches_interrupt(self) -> None:
        found = matches(IntentMatch("a", 0.9), IntentMatch("b", 0.6, interrupts=True))
        assert [each.intent for each in found.interrupting.candidates] == ["b"]


class TestCancelDetector:
    @pytest.mark.parametrize(
        "message",
        ["cancel", "Cancel!", "Never mind.", "nevermind", "cancelar", "¡Cancela!", "Olvídalo", "olvidalo", "forget it"],
    )
    def test_it_understands_both_languages(self, message: str) -> None:
        found = CancelDetector(Texts("en")).detect(message)
        assert found is not None
        assert (found.intent, found.score, found.interrupts) == ("cancel", 1.0, True)

    @pytest.mark.parametrize("message", ["", "cancel my flight", "no", "cancelled", "never", "x" * 60_000])
    def test_it_takes_whole_phrases_only(self, message: str) -> None:
        assert CancelDetector(Texts("en")).detect(message) is None

    def test_its_label_is_in_the_assistants_language(self) -> None:
        found = CancelDetector(Texts("es")).detect("cancel")
        assert found is not None
        assert found.label == "Cancelar"


class TestInATurn:
    def test_detectors_get_the_message_and_a_copy_of_the_context(self, driver: Driver, world: World) -> None:
        seen: list[Any] = []

        def detect_intents(message: str, context: dict[str, Any]) -> list[IntentMatch]:
            seen.append((message, context["state"], context["message"]))
            context["state"] = context["user_id"] = "spoilt"
            return []

        world.callbacks.register("detect_intents", detect_intents)
        assert driver.handle(world.router, "ana", "hola").ok
        assert seen == [("hola", "processing", "hola")]

    def test_a_detector_that_fails_does_not_stop_the_others(self, driver: Driver, world: World) -> None:
        def explode(message: str) -> list[IntentMatch]:
            raise RuntimeError(message)

        world.callbacks.register("detect_intents", explode, priority=5)
        world.echo()
        assert driver.handle(world.router, "ana", "echo").intent == "echo"
        assert world.events.of("on_error") == []

    def test_the_secrets_are_taken_out_of_what_is_logged_of_a_malformed_match(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.callbacks.failures.redact = lambda text: text.replace("hunter2", "***")
        world.callbacks.register("detect_intents", lambda message: [IntentMatch("hunter2", 7)])
        assert driver.handle(world.router, "ana", "hola").ok
        assert "the IntentMatch of '***' has the score 7" in caplog.text
        assert "hunter2" not in caplog.text

    def test_an_asynchronous_detector_counts(self, driver: Driver, world: World) -> None:
        async def detect_intents(message: str) -> list[IntentMatch]:
            return [IntentMatch(message, 0.8)]

        world.callbacks.register("detect_intents", detect_intents)
        assert driver.handle(world.router, "ana", "echo").context["intent"] == "echo"

    def test_a_detector_that_is_registered_later_counts_from_then_on(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "late")
        registration = world.callbacks.register("detect_intents", detector(late=0.9))
        assert driver.handle(world.router, "ana", "late").context["intent"] == "late"
        registration.remove()
        assert driver.handle(world.router, "ana", "late").context["intent"] is None

    def test_the_least_score_and_the_margin_can_be_set(self, driver: Driver) -> None:
        world = World(min_score=0.3, ambiguity_margin=0.5)
        world.callbacks.register("detect_intents", detector(a=[IntentMatch("a", 0.8), IntentMatch("b", 0.3)]))
        assert driver.handle(world.router, "ana", "a").context["state"] == "disambiguation"
