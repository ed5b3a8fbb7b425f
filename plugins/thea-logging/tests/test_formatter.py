"""Records as JSON lines."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_logging import JsonLinesFormatter


def _format(extra=None, **changes):
    record = logging.LogRecord("app", logging.INFO, "app.py", 1, "started", (), None)
    vars(record).update(extra or {})
    vars(record).update(changes)
    return JsonLinesFormatter().format(record)


class _Unprintable:
    def __str__(self):
        raise RuntimeError("no text")


def test_a_record_has_time_level_logger_and_message():
    assert json.loads(_format(created=0.5)) == {
        "@timestamp": "1970-01-01T00:00:00.500Z",
        "log.level": "INFO",
        "log.logger": "app",
        "message": "started",
    }


def test_the_arguments_of_a_message_are_filled_in():
    assert json.loads(_format(msg="%s is %d", args=("x", 3)))["message"] == "x is 3"


def test_fields_keep_their_names_and_values():
    fields = {"user.hash": "ab", "thea.message.length": 5, "tags": ["a"]}
    assert fields.items() <= json.loads(_format(fields)).items()


def test_a_field_cannot_take_the_place_of_the_formatters_own():
    assert json.loads(_format({"log.level": "FORGED"}))["log.level"] == "INFO"


def test_a_traceback_becomes_a_field():
    with pytest.raises(ValueError, match="two") as caught:
        raise ValueError("two\nlines")
    line = _format(exc_info=(ValueError, caught.value, caught.tb))
    assert json.loads(line)["error.stack_trace"].endswith("ValueError: two\nlines")
    assert len(line.splitlines()) == 1


def test_a_traceback_that_is_formatted_already_is_taken_as_it_is():
    assert json.loads(_format(exc_text="ready"))["error.stack_trace"] == "ready"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"raw", "b'raw'"),
        ({1}, "{1}"),
        (_Unprintable(), "<str() of a _Unprintable raised RuntimeError>"),
    ],
)
def test_what_json_cannot_hold_is_written_as_text_and_the_rest_stays(value, written):
    line = json.loads(_format({"odd": value, "even": [2]}), parse_constant=pytest.fail)
    assert (line["odd"], line["even"]) == (written, [2])


def test_a_value_that_holds_itself_is_written_as_text():
    loop: list[object] = []
    loop.append(loop)
    assert json.loads(_format({"loop": loop}))["loop"] == "[[...]]"


@given(st.dictionaries(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=()))))
def test_whatever_the_fields_hold_a_record_is_one_line_of_ascii_json(extra):
    line = _format({f"x.{key}": value for key, value in extra.items()})
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert extra.items() <= {key.removeprefix("x."): value for key, value in json.loads(line).items()}.items()
