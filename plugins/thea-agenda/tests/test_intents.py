"""The detector: what it takes for the agenda, measured on real utterances, and what it leaves alone."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_agenda import IntentDetector

DATA = Path(__file__).parent / "data"
NEAR = {"calendar", "calendar_update", "schedule_meeting", "meeting_schedule", "reminder", "reminder_update"}
detect = IntentDetector().detect


def utterances(name: str) -> Sequence[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def intents(message: str) -> list[str]:
    return [match.intent for match in detect(message)]


class TestRealUtterances:
    def test_fewer_than_one_in_a_hundred_about_other_things_is_taken_for_the_agenda(self):
        others = [row for row in utterances("clinc150_sample.tsv") if row["intent"] not in NEAR]
        wrong = [row["text"] for row in others if detect(row["text"])]
        assert len(others) > 500
        assert len(wrong) / len(others) < 0.01, wrong

    def test_at_least_three_in_five_about_the_calendar_are_found(self):
        calendar = [row["text"] for row in utterances("clinc150_sample.tsv") if row["intent"] == "calendar"]
        found = [text for text in calendar if intents(text) == ["agenda"]]
        assert len(calendar) == 50
        assert len(found) / len(calendar) >= 0.6

    def test_no_spanish_sentence_about_the_house_is_taken_for_the_agenda(self):
        rows = utterances("home_intents_es_sample.tsv")
        assert len(rows) == 80
        assert [row["text"] for row in rows if detect(row["text"])] == []


@pytest.mark.parametrize(
    "message",
    [
        "¿qué tengo mañana?",
        "que tengo hoy",
        "¿Tengo reuniones el viernes?",
        "muéstrame mi agenda",
        "agenda",
        "agenda de mañana",
        "¿cuáles son mis próximos eventos?",
        "estoy libre el sábado",
        "what's on my calendar tomorrow",
        "do i have anything on friday",
        "am i free on may 3",
        "my events",
        "meetings today",
    ],
)
def test_what_asks_for_the_agenda(message):
    assert intents(message) == ["agenda"]


@pytest.mark.parametrize(
    ("message", "details"),
    [
        ("crear evento", ""),
        ("crear evento mañana", "mañana"),
        ("Quiero crear un evento", ""),
        ("crear evento cena mañana a las 21:00", "cena mañana a las 21:00"),
        ("Agendar reunión", "reunión"),
        ("agenda una reunión con Ana el viernes", "reunión con Ana el viernes"),
        ("apunta cena el jueves", "cena el jueves"),
        ("añade cena con Ana a mi calendario el viernes", "cena con Ana el viernes"),
        ("create an event tomorrow", "tomorrow"),
        ("add a meeting with carla to my schedule for july 4", "meeting with carla for july 4"),
        ("please put dinner on my calendar", "dinner"),
    ],
)
def test_what_asks_for_an_event_and_what_it_says_of_it(message, details):
    (match,) = detect(message)
    assert (match.intent, match.slots["details"]) == ("evento", details)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "   ",
        "hola",
        "borra el evento de mañana",
        "remove the meeting from my calendar",
        "how do i create a meeting",
        "book a meeting room for 12pm",
        "qué es una agenda",
        "qué tengo que comprar mañana",
        "crear evento " + "x" * 400,
    ],
)
def test_what_is_not_for_the_agenda(message):
    assert detect(message) == []


@pytest.mark.parametrize(
    ("message", "label"), [("reunión mañana", "crear un evento"), ("meeting friday", "create an event")]
)
def test_a_noun_and_a_day_may_be_either_so_that_the_user_is_asked(message, label):
    agenda, event = detect(message)
    assert (agenda.intent, event.intent, event.label) == ("agenda", "evento", label)
    assert agenda.score == event.score


@pytest.mark.parametrize(("message", "language"), [("mi agenda", "es"), ("my agenda", "en"), ("agenda", None)])
def test_the_slots_tell_the_language_where_the_message_does(message, language):
    assert detect(message)[0].slots["language"] == language


def test_a_noun_alone_is_nothing():
    assert detect("reunión") == []


@given(st.text())
def test_scores_are_between_zero_and_one_for_every_text(message):
    assert all(0 <= match.score <= 1 for match in detect(message))
