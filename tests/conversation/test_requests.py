"""What comes in from outside is checked before anything is fired or stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conversation.parts import Driver, World
from thea_core import InvalidRequestError
from thea_core.conversation.requests import Request, read_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(user_id: Any = "ana", message: Any = "hola", message_id: Any = None, timestamp: Any = NOW) -> Request:
    return read_request(user_id, message, message_id, timestamp, max_message=100)


class Name(str):
    """A string that says it is another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other"


@pytest.mark.parametrize("text", ["", "   ", "ñ" * 50, "漢字", "\u202e", "x" * 100])
def test_a_message_of_fitting_size_is_taken_as_it_is(text: str) -> None:
    assert read(message=text).message == text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (None, "is NoneType; it must be a str"),
        (b"hola", r"decode it first"),
        ("x" * 101, "has 101 bytes of UTF-8; at most 100"),
        ("ñ" * 51, "has 102 bytes of UTF-8; at most 100"),
        ("a\0b", "NUL character at character 1"),
        ("ab\ud800", "lone surrogate, which no UTF-8 text can hold at character 2"),
    ],
)
def test_a_message_that_cannot_be_handled_is_refused(message: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        read(message=message)


@pytest.mark.parametrize("name", ["user_id", "message_id"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "is int; it must be a str"),
        ("", "is empty; it must have 1 to 256"),
        ("x" * 257, "has 257 characters; it must have 1 to 256"),
        ("a\0", "NUL"),
        ("\udfff", "lone surrogate"),
    ],
)
def test_an_id_that_cannot_be_handled_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"the {name} .*{words}"):
        read(**{name: value})


def test_the_longest_ids_are_taken() -> None:
    request = read("ñ" * 256, "hola", "漢" * 256)
    assert (len(request.user_id), len(request.message_id or "")) == (256, 256)


def test_a_message_needs_no_id() -> None:
    assert read().message_id is None


def test_a_subclass_of_str_is_taken_for_its_characters() -> None:
    request = read(Name("ana"), Name("hola"))
    assert (type(request.user_id), request.user_id, request.message) == (str, "ana", "hola")


@pytest.mark.parametrize(
    ("timestamp", "words"),
    [("now", "is str"), (datetime(2026, 1, 1), "has no time zone")],  # noqa: DTZ001
)
def test_a_timestamp_must_be_aware(timestamp: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{words}; it must be an aware datetime"):
        read(timestamp=timestamp)


@given(st.text(st.characters(codec=None), max_size=60))
def test_a_text_is_taken_or_refused_with_the_reason(text: str) -> None:
    """Nothing passes that UTF-8 cannot hold, nothing else is refused."""
    fits = "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)
    fits = fits and len(text.encode("utf-8", "surrogatepass")) <= 100
    if fits:
        assert read(message=text).message == text
    else:
        with pytest.raises(InvalidRequestError):
            read(message=text)


@pytest.mark.parametrize(
    "arguments",
    [("", "hola"), (7, "hola"), ("ana", None), ("ana", "a\0"), ("ana", "x" * 65537), ("ana", "hola", "")],
)
def test_nothing_is_fired_or_stored_for_a_refused_request(
    driver: Driver, world: World, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(InvalidRequestError):
        driver.handle(world.router, *arguments)
    assert world.events.entries == []
    assert world.store.load("ana") is None


def test_the_limit_of_a_message_can_be_set(driver: Driver) -> None:
    world = World(max_message=3)
    assert driver.handle(world.router, "ana", "abc").ok
    with pytest.raises(InvalidRequestError, match="at most 3"):
        driver.handle(world.router, "ana", "abcd")
