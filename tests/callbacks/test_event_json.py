"""The JSON form of an event: what goes into a file or a store comes back, and nothing foreign runs on the way."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core import RecordedError
from thea_core.callbacks.event_json import Event, NotKept, TextLength, decode, encode, text_writer

SURROGATES = st.text(st.characters(categories=["Cs"]), max_size=4)
TEXTS = st.text(st.characters(exclude_categories=())) | SURROGATES | st.just("\ud83d\ude00")
MOMENTS = st.datetimes() | st.datetimes(timezones=st.just(UTC))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | MOMENTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(TEXTS | st.sampled_from(["$datetime", "$object", "$"]), inner, max_size=3)
    ),
    max_leaves=15,
)

MARKS = ["$datetime", "$error", "$float", "$int", "$object", "$text", "$text_length", "$tuple", "$not_kept", "$"]
FORMS = st.recursive(
    st.none() | st.integers() | st.floats() | st.sampled_from(["inf", "ff", "2026-01-01", "type_name"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(MARKS), inner, min_size=1, max_size=1)
        | st.fixed_dictionaries({"type_name": inner, "message": inner, "traceback": inner})
    ),
    max_leaves=15,
)


def through_json(**arguments: Any) -> Event:
    """Return the event as it comes back from a line of a file."""
    line = json.dumps(encode("on_message", arguments), allow_nan=False)
    assert line.isascii()
    assert "\n" not in line
    return decode(json.loads(line))


def there_and_back(value: Any) -> Any:
    event = through_json(value=value)
    assert event.hook == "on_message"
    return event.arguments["value"]


class Rude:
    """Raises at whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")

    def __str__(self) -> str:
        raise RuntimeError("asked for a text")

    __repr__ = __str__


class RudeClass(type):
    """A class that raises when it is asked for its name."""

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise SystemExit("asked for its module")


class TestWhatComesBack:
    @given(VALUES)
    def test_json_shaped_values_texts_numbers_times_and_tuples_do(self, value: Any) -> None:
        back = there_and_back(value)
        assert back == value
        assert type(back) is type(value)

    @given(st.dictionaries(TEXTS, VALUES, max_size=4))
    def test_all_arguments_do_under_their_names(self, arguments: dict[str, Any]) -> None:
        event = decode(json.loads(json.dumps(encode("on_message", arguments))))
        assert event == ("on_message", arguments, 0)

    @given(TEXTS, TEXTS, TEXTS)
    def test_errors_that_were_written_down_do(self, kind: str, message: str, traceback: str) -> None:
        back = there_and_back(RecordedError(kind, message, traceback))
        assert type(back) is RecordedError
        assert (back.type_name, back.message, back.traceback) == (kind, message, traceback)

    @given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 -- bounds
    def test_times_do_in_utc_to_the_microsecond(self, moment: datetime) -> None:
        back = there_and_back(moment)
        assert back == moment.astimezone(UTC)
        assert back.tzinfo is UTC

    @pytest.mark.parametrize("number", [math.inf, -math.inf, 0.1, -0.0, 2**63, -(2**64), 2**20_000], ids=type)
    def test_numbers_that_json_does_not_know_do(self, number: float) -> None:
        assert there_and_back(number) == number

    def test_what_is_no_number_does(self) -> None:
        assert math.isnan(there_and_back(math.nan))

    def test_two_surrogates_stay_two_characters(self) -> None:
        pair = "\ud83d\ude00"
        assert json.loads(json.dumps(pair)) != pair
        assert there_and_back({pair: [pair]}) == {pair: [pair]}

    @pytest.mark.parametrize("value", [{"$datetime": "x"}, {"$object": []}, {"$nonsense": 1}, {"$a": 1, "$b": 2}])
    def test_a_dict_that_looks_like_a_mark_is_no_mark(self, value: dict[str, Any]) -> None:
        assert there_and_back(value) == value


class TestText:
    @given(st.dictionaries(st.from_regex(r"[a-zñ_]+", fullmatch=True), VALUES | st.floats(), max_size=4))
    def test_it_is_the_json_form(self, arguments: dict[str, Any]) -> None:
        text = text_writer("on_message", tuple(arguments))(tuple(arguments.values()))
        assert text.isascii()
        assert text == json.dumps(encode("on_message", arguments), separators=(",", ":"))

    @pytest.mark.parametrize("value", [Rude, type("Text", (str,), {}), ValueError, object, dict])
    def test_whatever_the_values_are(self, value: Any) -> None:
        value = value()  # pytest would ask it for things
        assert json.loads(text_writer("on_message", ["value"])([value])) == encode("on_message", {"value": value})

    def test_there_is_a_limit_for_all_arguments_together(self) -> None:
        many = [0] * 60_000
        written = json.loads(text_writer("on_message", "ab")((many, many)))
        assert written["arguments"] == {"a": many, "b": {"$not_kept": "list"}}


class TestWhatBecomesPlain:
    def test_a_live_exception_is_written_down_with_its_traceback(self) -> None:
        with pytest.raises(ValueError, match="boom") as caught:
            raise ValueError("boom")
        back = there_and_back(caught.value)
        assert (back.type_name, back.message) == ("builtins.ValueError", "boom")
        assert "test_event_json.py" in back.traceback

    def test_subclasses_of_plain_types_are_written_as_these(self) -> None:
        class Colour(StrEnum):
            RED = "red"

        class Size(IntEnum):
            BIG = 3

        class Text(str):  # noqa: SLOT000 -- as somebody may write it
            def __str__(self) -> str:
                raise RuntimeError("never called")

            __format__ = __str__  # type: ignore[assignment]

        class Number(float):
            def __repr__(self) -> str:
                raise RuntimeError("never called")

        class Items(list[Any]):
            def __iter__(self) -> Any:
                raise RuntimeError("never called")

        class Keys(dict[str, Any]):
            def items(self) -> Any:
                raise RuntimeError("never called")

            __iter__ = items

        point = namedtuple("point", "x y")  # noqa: PYI024
        given = [Colour.RED, Size.BIG, Text("a"), Number(2), Items([1]), Keys(a=1), OrderedDict(b=2), point(1, 2)]
        back = there_and_back(given)
        assert back == ["red", 3, "a", 2.0, [1], {"a": 1}, {"b": 2}, (1, 2)]
        assert [type(each) for each in back] == [str, int, str, float, list, dict, dict, tuple]


class TestWhatIsNotKept:
    @pytest.mark.parametrize(
        ("make", "name"),
        [
            (lambda: b"bytes", "bytes"),
            (lambda: {1, 2}, "set"),
            (lambda: {1: "a"}, "dict"),
            (object, "object"),
            (lambda: datetime, "type"),
            (Rude, f"{__name__}.Rude"),
            (RudeClass("Nameless", (), {}), "?"),
        ],
        ids=["bytes", "set", "dict", "object", "type", "rude", "nameless"],
    )
    def test_its_type_is_named_and_it_counts(self, make: Callable[[], object], name: str) -> None:
        event = through_json(value=[make(), "rest"])
        assert event.arguments["value"] == [NotKept(name), "rest"]
        assert event.left_out == 1

    def test_of_a_text_that_was_left_out_the_length_is_kept(self) -> None:
        event = through_json(value=TextLength(3), other=NotKept("socket"))
        assert event.arguments == {"value": "xxx", "other": NotKept("socket")}
        assert event.left_out == 2

    def test_a_time_of_a_zone_that_raises(self) -> None:
        class Nowhere(tzinfo):
            def utcoffset(self, _: datetime | None) -> timedelta:
                raise SystemExit("lost")

        assert there_and_back(datetime(2026, 1, 1, tzinfo=Nowhere())) == NotKept("datetime.datetime")

    def test_a_time_that_utc_does_not_have(self) -> None:
        assert there_and_back(datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))) == NotKept("datetime.datetime")

    def test_an_error_whose_class_raises(self) -> None:
        class BrokenError(Exception, metaclass=RudeClass):
            pass

        assert there_and_back(BrokenError()) == NotKept("?")

    def test_an_error_that_was_written_down_and_lies(self) -> None:
        error = RecordedError("a", "b")
        error.message = 5  # type: ignore[assignment]
        assert there_and_back(error) == NotKept("thea_core.errors.RecordedError")

    def test_the_text_of_an_error_that_has_none(self) -> None:
        class MuteError(Exception):
            def __str__(self) -> str:
                raise SystemExit

        assert there_and_back(MuteError()).message == "<str() of the exception raised SystemExit>"

    def test_what_holds_itself_or_is_nested_too_deep(self) -> None:
        knot: list[Any] = []
        knot.append(knot)
        deep = there_and_back(knot)
        depth = 0
        while isinstance(deep, list):
            (deep,), depth = deep, depth + 1
        assert deep == NotKept("list")
        assert depth == 100

    def test_what_would_be_too_much(self) -> None:
        tree: list[Any] = []
        for _ in range(50):
            tree = [tree, tree]
        assert len(json.dumps(encode("on_message", {"value": tree}))) < 10**7
        assert there_and_back([None] * 200_000) == NotKept("list")
        assert there_and_back((None,) * 200_000) == NotKept("tuple")

    def test_an_interrupt_passes(self) -> None:
        class Interrupting(tzinfo):
            def utcoffset(self, _: datetime | None) -> timedelta:
                raise KeyboardInterrupt

        class StoppingError(Exception):
            def __str__(self) -> str:
                raise KeyboardInterrupt

        class Unnamed(type):
            @property
            def __module__(cls) -> str:  # type: ignore[override]
                raise KeyboardInterrupt

        for value in (datetime(2026, 1, 1, tzinfo=Interrupting()), StoppingError(), Unnamed("X", (), {})()):
            with pytest.raises(KeyboardInterrupt):
                encode("on_message", {"value": value})


def form(value: Any) -> dict[str, Any]:
    return {"version": 1, "hook": "on_message", "arguments": {"value": value}}


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (["on_message"], "an event is a JSON object, not list"),
            ({}, "version None"),
            ({"version": 2}, "version 2, and this version of Thea reads 1"),
            ({"version": 1}, "names no hook"),
            ({"version": 1, "hook": "on_message"}, "has no arguments"),
            ({"version": 1, "hook": "on_message", "arguments": {"$text": ["a"]}}, "has no arguments"),
            (form({"$tme": ""}), r"'\$tme' is no kind of value; they are: \$datetime, "),
            (form({"$datetime": "yesterday"}), "Invalid isoformat"),
            (form({"$datetime": 5}), "datetime"),
            (form({"$datetime": "0001-01-01T00:00:00+01:00"}), "datetime"),
            (form({"$error": {"type_name": "a"}}), "message"),
            (form({"$error": {"type_name": "a", "message": 1, "traceback": ""}}), "are texts"),
            (form({"$error": "a"}), "error"),
            (form({"$float": "1"}), "float"),
            (form({"$int": "xyz"}), "int"),
            (form({"$tuple": "ab"}), "it is a list"),
            (form({"$object": {"a": 1}}), "it is a list"),
            (form({"$object": [[1, 2]]}), "its keys are texts"),
            (form({"$object": [[1]]}), "object"),
            (form({"$text": [1]}), "text"),
            (form({"$text_length": -1}), "whole number from 0 to"),
            (form({"$text_length": 10**9}), "whole number from 0 to"),
            (form({"$text_length": True}), "whole number from 0 to"),
        ],
        ids=str,
    )
    def test_what_is_no_event_with_the_reason(self, data: Any, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            decode(data)

    def test_what_is_nested_too_deep(self) -> None:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        with pytest.raises(ValueError, match="nested too deep"):
            decode(form(value))

    @given(FORMS)
    def test_nothing_else_is_raised_whatever_is_read(self, value: Any) -> None:
        for data in (value, form(value), form({"$object": value})):
            try:
                decode(data)
            except ValueError:
                continue
