"""What is done with a message, given what is pending and what was found."""

from __future__ import annotations

from typing import Any

import pytest

from thea_core import IntentMatch
from thea_core.conversation.choice import Choice
from thea_core.conversation.decision import NOTHING_FOUND, Decision, Waiting, decide, read_pending
from thea_core.conversation.intents import Matches
from thea_core.conversation.texts import Texts

A, B = IntentMatch("a", 0.9), IntentMatch("b", 0.85)
STOP = IntentMatch("stop", 0.6, interrupts=True)
QUESTION = Choice.of([A, B])


def decided(message: str, *found: IntentMatch, pending: Waiting | Choice | None = None) -> Decision:
    return decide(pending, message, Matches(found, min_score=0.5, margin=0.1), Texts("en"))


def test_a_clear_match_is_the_intent() -> None:
    assert decided("x", A) == A


def test_several_close_matches_make_a_question() -> None:
    assert decided("x", A, B) == QUESTION


def test_no_match_is_left_to_the_fallback() -> None:
    assert decided("x") is NOTHING_FOUND


def test_an_agent_that_waits_gets_the_message_whatever_was_found() -> None:
    assert decided("x", A, pending=Waiting("agent")) == Waiting("agent")


def test_what_interrupts_comes_before_an_agent_that_waits() -> None:
    assert decided("x", A, STOP, pending=Waiting("agent")) == STOP


def test_what_interrupts_comes_before_the_question() -> None:
    assert decided("x", A, B, STOP, pending=QUESTION) == STOP


def test_several_that_interrupt_make_a_question() -> None:
    other = IntentMatch("leave", 0.62, interrupts=True)
    assert decided("x", STOP, other, pending=Waiting("agent")) == Choice.of([other, STOP])


def test_an_answer_to_the_question_comes_first() -> None:
    assert decided("2", STOP, IntentMatch("numbers", 1.0), pending=QUESTION) == B


def test_none_of_these_is_left_to_the_fallback() -> None:
    assert decided("none of these", A, pending=QUESTION) is NOTHING_FOUND


def test_a_new_request_is_no_failed_answer() -> None:
    new = IntentMatch("weather", 0.9)
    assert decided("how is the weather", new, pending=QUESTION) == new


def test_an_answer_that_is_none_asks_again() -> None:
    assert decided("hm", pending=QUESTION) == QUESTION.failed_once_more()


def test_the_same_doubt_again_is_a_failed_answer() -> None:
    assert decided("x", A, B, pending=QUESTION) == QUESTION.failed_once_more()


def test_the_third_failed_answer_is_left_to_the_fallback() -> None:
    twice = QUESTION.failed_once_more().failed_once_more()
    assert decided("hm", pending=twice) is NOTHING_FOUND


@pytest.mark.parametrize("pending", [Waiting("agent"), QUESTION, QUESTION.failed_once_more()])
def test_what_is_pending_survives_being_stored(pending: Waiting | Choice) -> None:
    assert read_pending(pending.to_json()) == pending


@pytest.mark.parametrize(
    "stored",
    [
        None,
        7,
        {},
        {"kind": "agent"},
        {"kind": "agent", "agent": 3},
        {"kind": "choice"},
        {"kind": "choice", "options": [{"x": 1}], "failed": 0},
        {"kind": "choice", "options": 3, "failed": 0},
    ],
)
def test_what_makes_no_sense_is_as_if_nothing_were_pending(stored: Any) -> None:
    assert read_pending(stored) is None
