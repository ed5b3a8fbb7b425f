"""Telling Spanish and English apart, and naming days."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_agenda.language import TEXTS, describe_day, fold, tell_language, tidy

TODAY = date(2026, 3, 4)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("crear evento mañana", "es"),
        ("¿qué tengo?", "es"),
        ("agendar reunion", "es"),
        ("create an event tomorrow", "en"),
        ("what's on my calendar", "en"),
        ("Ana", None),
        ("", None),
        ("12:30", None),
    ],
)
def test_the_language_is_told_by_words_and_letters(text, language):
    assert tell_language(text) == language


@given(st.text())
def test_folding_keeps_the_length_so_that_positions_stay_valid(text):
    assert len(fold(text)) == len(text)


def test_folding_takes_away_case_and_accents():
    assert fold("Mañana MIÉRCOLES") == "manana miercoles"


def test_tidy_text_is_one_line_without_control_characters():
    assert tidy("  cena\n- 10:00 \x1b[31mrobo\u202e  ") == "cena - 10:00 [31mrobo"


def test_decomposed_letters_are_composed():
    assert tidy("man\u0303ana") == "mañana"


@pytest.mark.parametrize(
    ("days", "spanish", "english"),
    [
        (-1, "ayer", "yesterday"),
        (0, "hoy", "today"),
        (1, "mañana", "tomorrow"),
        (2, "pasado mañana", "the day after tomorrow"),
        (3, "el sábado 7 de marzo", "Saturday, March 7"),
        (365, "el jueves 4 de marzo de 2027", "Thursday, March 4, 2027"),
    ],
)
def test_a_day_is_named_as_a_person_would(days, spanish, english):
    day = TODAY + timedelta(days=days)
    assert describe_day(day, TODAY, "es") == spanish
    assert describe_day(day, TODAY, "en") == english


def test_both_languages_have_seven_weekdays_and_twelve_months():
    assert {(len(texts.weekdays), len(texts.months)) for texts in TEXTS.values()} == {(7, 12)}
