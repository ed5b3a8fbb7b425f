"""The sentences of a problem."""

from __future__ import annotations

import datetime as dt

import pytest

from thea_core.config.problems import Problem, article, brief, key_text, suggestion, toml_text


def test_a_problem_tells_its_place_first_and_leaves_out_what_is_empty() -> None:
    problem = Problem("thea.toml:3", "store.url is odd", found="5", todo="mend it")
    assert str(problem) == "thea.toml:3: store.url is odd\n    found: 5\n    to do: mend it"


def test_choices_and_the_one_that_was_meant_are_told() -> None:
    text = str(Problem("x", "y", choices=("a", "b"), meant="a", expected="one"))
    assert text == "x: y\n    expected: one\n    valid: a, b\n    did you mean: a?"


@pytest.mark.parametrize(("word", "meant"), [("timeot", "timeout"), ("TIMEOUT", "timeout"), ("zzz", "")])
def test_a_close_spelling_is_suggested(word: str, meant: str) -> None:
    assert suggestion(word, ["timeout", "sweep_interval"]) == meant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "a boolean"),
        (1, "a whole number"),
        (0.5, "a number"),
        ("", "a string"),
        ([], "an array"),
        ({}, "a table"),
    ],
)
def test_types_are_told_in_words(value: object, text: str) -> None:
    assert article(value) == text


def test_a_type_without_words_of_its_own_is_told_by_its_name() -> None:
    assert article(dt.date(2026, 1, 1)) == "a date"


def test_values_are_written_as_toml() -> None:
    assert toml_text({"a b": [True, 1, 'q"'], "c": 0.5}) == '{"a b" = [true, 1, "q\\""], c = 0.5}'


def test_a_long_text_is_cut() -> None:
    assert brief("x" * 61) == "x" * 60 + "…"
    assert brief("x" * 60) == "x" * 60


def test_a_path_is_written_as_in_toml() -> None:
    assert key_text(("plugins", "my.plugin", "enabled", 0)) == 'plugins."my.plugin".enabled[0]'
