from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core import Definition, DefinitionError
from thea_core.fsm.definition import DEFAULT_TRANSITIONS

RING: dict[str, list[str]] = {"a": ["b"], "b": ["a"], "trouble": ["a"]}


class Step(StrEnum):
    ONE = "one"
    TWO = "two"
    BROKEN = "broken"


def ring(**options: Any) -> Definition:
    return Definition(**{"transitions": RING, "initial": "a", "error": "trouble", **options})


def problems(**options: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        ring(**options)
    assert all(each in str(caught.value) for each in caught.value.problems)
    return caught.value.problems


class TestDefault:
    def test_it_is_the_one_of_the_design(self) -> None:
        definition = Definition()
        assert {state: set(definition.targets(state)) for state in definition.states} == {
            "initial": {"processing", "error_handler"},
            "processing": {"disambiguation", "executing", "error_handler"},
            "disambiguation": {"executing", "processing", "error_handler"},
            "executing": {"completion", "disambiguation", "processing", "error_handler"},
            "completion": {"idle", "error_handler"},
            "idle": {"processing", "error_handler"},
            "error_handler": {"idle", "processing", "executing", "initial"},
        }
        assert (definition.initial, definition.error, definition.final) == ("initial", "error_handler", frozenset())

    def test_it_can_be_written_out(self) -> None:
        assert Definition.from_mapping({"transitions": DEFAULT_TRANSITIONS}).states == Definition().states

    def test_its_repr_names_its_states(self) -> None:
        assert repr(ring()) == "<Definition: a, b, trouble>"


class TestOwn:
    def test_targets_stand_in_the_order_in_which_they_are_written_and_the_error_state_last(self) -> None:
        definition = ring(transitions={**RING, "a": ["b", "a"]})
        assert definition.targets("a") == ("b", "a", "trouble")

    def test_the_error_state_may_be_written_among_the_targets(self) -> None:
        assert ring(transitions={**RING, "a": ["trouble", "b"]}).targets("a") == ("trouble", "b")

    def test_a_star_stands_for_every_other_state(self) -> None:
        definition = ring(transitions={**RING, "*": ["b"]})
        assert definition.targets("a") == ("b", "trouble")
        assert definition.targets("trouble") == ("a", "b")
        assert "b" not in definition.targets("b")
        assert "*" not in definition

    def test_a_final_state_needs_no_way_out(self) -> None:
        definition = ring(transitions={"a": ["end"], "trouble": ["a"]}, final=["end"])
        assert definition.states == ("a", "trouble", "end")
        assert definition.targets("end") == ("trouble",)

    def test_a_final_state_may_have_a_way_out(self) -> None:
        definition = ring(final=["b"])
        assert definition.targets("b") == ("a", "trouble")
        assert definition.final == {"b"}

    def test_names_may_come_from_generators(self) -> None:
        def names(*given: str) -> Iterator[str]:
            yield from given

        definition = ring(
            transitions={**RING, "a": names("b", "end")}, final=names("end"), states=names("a", "b", "trouble", "end")
        )
        assert definition.targets("a") == ("b", "end", "trouble")
        assert definition.final == {"end"}

    def test_names_may_be_members_of_an_enum_and_become_plain(self) -> None:
        definition = Definition(
            {Step.ONE: [Step.TWO], Step.TWO: [Step.ONE], Step.BROKEN: [Step.ONE]}, initial=Step.ONE, error=Step.BROKEN
        )
        names = [*definition.states, *definition.targets("one"), definition.initial, definition.error]
        assert {type(each) for each in names} == {str}

    def test_only_states_are_in_it(self) -> None:
        assert "a" in ring()
        assert "c" not in ring()
        assert ["a"] not in ring()

    def test_what_was_given_may_change_later(self) -> None:
        targets = ["b"]
        definition = ring(transitions={**RING, "a": targets})
        targets.append("trouble")
        assert definition.targets("a") == ("b", "trouble")
        with pytest.raises(KeyError):
            definition.targets("c")


class TestProblems:
    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"initial": "aa"}, "the state 'aa' is the initial state, but is no state"),
            ({"error": "troubel"}, "the state 'troubel' is the error state, but is no state (did you mean trouble?)"),
            ({"states": ["a", "b", "trouble"], "final": ["x"]}, "the state 'x' is named in final, but is no state"),
            ({"states": ["a", "trouble"], "transitions": RING}, "the state 'b' has transitions, but is no state"),
            ({"transitions": {**RING, "b": ["c"]}}, "the state 'c' is a target of 'b', but is no state"),
            ({"transitions": {**RING, "*": ["c"]}}, "the state 'c' is a target of '*', but is no state"),
            ({"states": ["a", "b", "b", "trouble"]}, "states holds 'b' twice"),
            ({"final": ["b", "b"]}, "final holds 'b' twice"),
            ({"transitions": {**RING, "a": ["b", "b"]}}, "the targets of 'a' holds 'b' twice"),
            ({"transitions": {**RING, "x": ["a"]}}, "the state 'x' cannot be reached from 'a'"),
            ({"transitions": {**RING, "b": []}}, "the state 'b' is a dead end"),
            ({"transitions": {**RING, "b": ["b"]}}, "the state 'b' is a dead end"),
            ({"transitions": {**RING, "trouble": []}}, "the state 'trouble' is a dead end"),
            ({"transitions": {**RING, "a": "b"}}, "the targets of 'a' must be several names of states, not 'b'"),
            ({"transitions": {**RING, "a": None}}, "the targets of 'a' must be several names of states, not None"),
            ({"transitions": {**RING, "a": {"b": 1}}}, "the targets of 'a' must be several names of states"),
            ({"transitions": {**RING, "a": ["b", 5]}}, "the targets of 'a' must hold names of states, and 5 is not"),
            ({"transitions": {**RING, "a": ["b", []]}}, "the targets of 'a' must hold names of states, and [] is not"),
            ({"transitions": {**RING, "a": ["*"]}}, "the targets of 'a' must hold names of states, and '*' is not"),
            ({"transitions": {**RING, 5: ["a"]}}, "transitions has the source 5, which is not the name of a state"),
            ({"transitions": {**RING, " ": ["a"]}}, "transitions has the source ' ', which is not the name"),
            ({"transitions": [("a", "b")]}, "transitions must be a mapping of states to states"),
            ({"initial": None}, "initial must be the name of a state (a str that is neither blank nor '*'), not None"),
            ({"error": ""}, "error must be the name of a state (a str that is neither blank nor '*'), not ''"),
            ({"final": "b"}, "final must be several names of states, not 'b'"),
            ({"states": "ab"}, "states must be several names of states, not 'ab'"),
            ({"states": 5}, "states must be several names of states, not 5"),
            ({"states": [*RING, "*"]}, "states must hold names of states, and '*' is not"),
        ],
        ids=lambda each: each if isinstance(each, str) else "",
    )
    def test_each_is_named(self, options: dict[str, Any], problem: str) -> None:
        assert any(each.startswith(problem) for each in problems(**options)), problems(**options)

    def test_all_that_were_found_are_told_at_once(self) -> None:
        found = problems(initial="x", error="y", transitions={**RING, "a": ["z"]})
        assert [each.split("'")[1] for each in found] == ["x", "y", "z"]

    def test_an_empty_definition_is_refused(self) -> None:
        assert len(problems(transitions={})) == 2

    def test_no_sentence_is_told_twice(self) -> None:
        found = problems(transitions={**RING, "a": ["x", "b"], "b": ["x", "a"]})
        assert len(found) == len(set(found)) == 2


class TestFromMapping:
    def test_the_keys_are_the_arguments(self) -> None:
        table = {"transitions": RING, "initial": "a", "error": "trouble", "final": ["b"], "states": list(RING)}
        definition = Definition.from_mapping(table)
        assert definition.states == ("a", "b", "trouble")
        assert definition.final == {"b"}

    def test_an_empty_table_is_the_default(self) -> None:
        assert Definition.from_mapping({}).states == Definition().states

    def test_an_unknown_key_is_refused(self) -> None:
        with pytest.raises(DefinitionError, match=r"the key 'intial' is unknown \(did you mean initial\?\)"):
            Definition.from_mapping({"intial": "a"})

    def test_unknown_keys_and_wrong_values_are_told_together(self) -> None:
        with pytest.raises(DefinitionError) as caught:
            Definition.from_mapping({"x": 1, "initial": 2, "final": 3, "states": {"a": 1}, "transitions": "t"})
        assert [each.split()[0] for each in caught.value.problems] == [
            "the",
            "transitions",
            "final",
            "states",
            "initial",
        ]


NAMES = st.sampled_from("abcde")
TABLES = st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=4), min_size=1)


@given(TABLES, NAMES, NAMES, st.lists(NAMES, unique=True, max_size=2))
def test_what_is_built_can_be_walked_everywhere_and_what_is_not_has_a_reason(
    table: dict[str, list[str]], initial: str, error: str, final: list[str]
) -> None:
    """A definition that is accepted has no state out of reach, and none without a way out that is not final."""
    try:
        definition = Definition(table, initial=initial, error=error, final=final)
    except DefinitionError:
        return
    reached = {initial}
    for _ in definition.states:
        reached |= {target for state in reached for target in definition.targets(state)}
    assert reached == set(definition.states)
    for state in definition.states:
        assert state == error or error in definition.targets(state)
        assert state in final or set(definition.targets(state)) - {state, error}
