"""Whose message a line is, and the id by which a second run knows it."""

from __future__ import annotations

import os

import pytest

from thea_core.cli.messages.formats import Message
from thea_core.cli.messages.ids import Names, name_of_file

NAMES = Names("a.txt")


def test_a_line_without_a_user_is_a_user_of_its_own() -> None:
    assert NAMES.user_of(Message("hi"), 7) == "a.txt:7"
    assert NAMES.makes_user(Message("hi"))


def test_a_line_with_a_user_is_that_users() -> None:
    assert NAMES.user_of(Message("hi", "ana"), 7) == "ana"
    assert not NAMES.makes_user(Message("hi", "ana"))


def test_the_option_makes_all_messages_one_users() -> None:
    names = Names("a.txt", user="bob")
    assert names.user_of(Message("hi", "ana"), 7) == "bob"
    assert not names.makes_user(Message("hi"))


def test_an_id_is_made_of_file_line_and_text() -> None:
    made = NAMES.id_of(Message("hi"), 7)
    assert made == Names("a.txt").id_of(Message("hi"), 7)
    others = [
        Names("b.txt").id_of(Message("hi"), 7),
        NAMES.id_of(Message("hi"), 8),
        NAMES.id_of(Message("ho"), 7),
        Names("a.txt", salt="x").id_of(Message("hi"), 7),
    ]
    assert len({made, *others}) == 5


def test_parts_of_an_id_do_not_run_into_each_other() -> None:
    assert Names("a\0001").id_of(Message("x"), 2) != Names("a").id_of(Message("x"), 12)


def test_an_id_of_the_line_itself_is_kept_but_for_a_run_anew() -> None:
    message = Message("hi", message_id="7")
    assert NAMES.id_of(message, 1) == "7"
    anew = Names("a.txt", salt="x")
    assert anew.id_of(message, 1) == anew.id_of(message, 2) != "7"
    assert anew.id_of(Message("hi", message_id=7), 1) == 7  # refused later, as what it is


@pytest.mark.parametrize("text", ["\ud800", 5, None])
def test_an_id_is_made_even_of_what_is_refused_later(text: object) -> None:
    assert str(NAMES.id_of(Message(text), 1)).startswith("run-")


def test_a_file_is_named_without_its_folder() -> None:
    assert name_of_file("/some/where/a.txt") == "a.txt"


def test_a_name_that_is_long_or_no_text_is_fit_for_a_user_id() -> None:
    assert len(name_of_file("x" * 255)) == 200
    assert name_of_file("x" * 255) != name_of_file("x" * 254 + "y")
    assert name_of_file(os.fsdecode(b"a\xff.txt")) == "a\ufffd.txt"
