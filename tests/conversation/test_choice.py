"""The question which intent was meant, and how its answer is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core import IntentMatch
from thea_core.conversation.choice import Answer, Choice
from thea_core.conversation.texts import Texts

EN, ES = Texts("en"), Texts("es")
AGENDA = IntentMatch("agenda", 0.8, label="Ver la agenda", synonyms=("calendario", "what is on"))
EVENT = IntentMatch("evento", 0.75, label="Crear un evento", slots={"day": "mañana"})
PLAIN = IntentMatch("weather", 0.74)
CHOICE = Choice.of([AGENDA, EVENT, PLAIN])


def test_the_question_is_numbered_and_ends_with_none_of_these() -> None:
    assert CHOICE.question(ES).splitlines() == [
        "¿A cuál te refieres?",
        "1. Ver la agenda",
        "2. Crear un evento",
        "3. weather",
        "4. Ninguna de estas",
    ]


def test_a_question_that_is_asked_again_says_so() -> None:
    assert CHOICE.failed_once_more().question(EN).splitlines()[0] == EN["not_understood"]


def test_a_label_cannot_forge_an_option() -> None:
    choice = Choice.of([IntentMatch("a", 1.0, label="one\n2. two"), EVENT])
    assert choice.question(EN).splitlines()[1:3] == ["1. one 2. two", "2. Crear un evento"]


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("1", AGENDA),
        (" 2. ", EVENT),
        ("#3", PLAIN),
        ("la 2", EVENT),
        ("Opción 2", EVENT),
        ("option 1!", AGENDA),
        ("nº 2", EVENT),
        ("the number 3", PLAIN),
        ("٢", EVENT),
        ("ver la agenda", AGENDA),
        ("VER LÁ AGENDA", AGENDA),
        ("Calendario.", AGENDA),
        ("What is on?", AGENDA),
        ("evento", EVENT),
        ("Weather", PLAIN),
    ],
)
def test_an_option_is_chosen_by_number_label_synonym_or_name(answer: str, option: IntentMatch) -> None:
    assert CHOICE.read(answer, EN) == option


@pytest.mark.parametrize("answer", ["4", "none", "None of these!", "ninguna de estas", "Ninguno", "neither"])
def test_none_of_these_can_be_said_in_both_languages(answer: str) -> None:
    assert CHOICE.read(answer, EN) is Answer.NONE_OF_THESE


def test_none_of_these_can_be_said_in_the_operators_words() -> None:
    texts = Texts("en", {"none_of_these": "Something else"})
    assert CHOICE.read("something else", texts) is Answer.NONE_OF_THESE


@pytest.mark.parametrize("answer", ["", "  ", "?", "0", "5", "-", "99999999999", "1 or 2", "1.5", "xyz", "12abc"])
def test_anything_else_is_no_answer(answer: str) -> None:
    assert CHOICE.read(answer, EN) is Answer.UNKNOWN


def test_a_word_that_two_options_share_is_no_answer() -> None:
    choice = Choice.of([IntentMatch("a", 1.0, label="Evento"), IntentMatch("b", 1.0, label="evento")])
    assert choice.read("evento", EN) is Answer.UNKNOWN
    assert choice.read("2", EN) == choice.options[1]


def test_an_option_called_none_can_be_chosen() -> None:
    choice = Choice.of([IntentMatch("none", 1.0), EVENT])
    assert choice.read("none", EN) == choice.options[0]


names = st.text(min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
matches = st.builds(
    IntentMatch,
    intent=names,
    score=st.floats(0, 1),
    label=st.none() | names,
    synonyms=st.lists(names, max_size=2).map(tuple),
    slots=st.dictionaries(names, st.integers() | names | st.none(), max_size=2),
    interrupts=st.booleans(),
)
choices = st.builds(
    Choice, st.lists(matches, min_size=2, max_size=6, unique_by=lambda each: each.intent).map(tuple), st.integers(0, 2)
)


@given(choices)
def test_a_question_survives_being_stored(choice: Choice) -> None:
    assert Choice.from_json(json.loads(json.dumps(choice.to_json()))) == choice


@given(choices, st.data())
def test_every_number_of_the_question_chooses_its_line(choice: Choice, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, len(choice.options)))
    assert choice.read(f"{number}", EN) == choice.options[number - 1]
    assert choice.read(f"{len(choice.options) + 1}", EN) is Answer.NONE_OF_THESE


@given(choices, st.text(max_size=20))
def test_whatever_is_answered_is_an_option_of_the_question_or_none(choice: Choice, answer: str) -> None:
    read = choice.read(answer, EN)
    assert read in choice.options or isinstance(read, Answer)


@given(choices)
def test_the_question_has_a_line_for_each_option(choice: Choice) -> None:
    assert len(choice.question(ES).split("\n")) == len(choice.options) + 2
