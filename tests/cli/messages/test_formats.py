"""Messages come in three forms, and the form of a file is told by its extension, else by its first line."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core.cli import exits
from thea_core.cli.messages.formats import Message, Parsed, parse
from thea_core.cli.messages.lines import read_lines


def parsed(content: str | bytes, name: str = "messages", form: str | None = None) -> list[Parsed]:
    """Return what the lines of a file hold."""
    raw = content.encode() if isinstance(content, str) else content
    return list(parse(read_lines(io.BytesIO(raw), 10_000), name, form))


def messages(content: str | bytes, name: str = "messages", form: str | None = None) -> list[Message | str | None]:
    """Return each line's message, or the code of why it is refused; None for a line that is neither."""
    return [each.refused.code if each.refused else each.message for each in parsed(content, name, form)]


@pytest.mark.parametrize(
    ("content", "name", "form", "expected"),
    [
        ("text\thi\n", "a.txt", None, [Message("text\thi")]),
        ("text\nhi\n", "a.tsv", None, [None, Message("hi")]),
        ("text\nhi\n", "a.TAB", None, [None, Message("hi")]),
        ('{"message": "hi"}\n', "a.jsonl", None, [Message("hi")]),
        ('{"message": "hi"}\n', "a.ndjson", None, [Message("hi")]),
        ("text\tx\nhi\t1\n", "a", None, [None, Message("hi")]),
        ('{"message": "hi"}\n', "a", None, [Message("hi")]),
        ('{"message": "hi"}\n', "a.dat", None, [Message("hi")]),
        ("{oh no}\n", "a", None, [Message("{oh no}")]),
        ("hi\tthere\n", "a", None, [Message("hi\tthere")]),
        ("", "a", None, []),
        ('{"message": "hi"}\n', "a.jsonl", "lines", [Message('{"message": "hi"}')]),
        ("text\n", "a.txt", "tsv", [None]),
        ("a,b\n", "a.csv", "lines", [Message("a,b")]),
    ],
)
def test_the_form_is_told_by_option_extension_and_content(
    content: str, name: str, form: str | None, expected: list[Message | None]
) -> None:
    assert messages(content, name, form) == expected


def test_a_file_with_commas_is_refused_rather_than_misread() -> None:
    with pytest.raises(exits.Refusal, match="with tabs") as caught:
        parsed("text,intent\n", "a.csv")
    assert caught.value.status == exits.USAGE


def test_blank_lines_are_messages() -> None:
    assert messages("a\n\n \n", "a.txt") == [Message("a"), Message(""), Message(" ")]
    assert messages("text\n\n", "a.tsv") == [None, Message("")]


def test_a_tsv_gives_user_and_id_where_it_has_the_columns() -> None:
    content = "user_id\tintent\ttext\tmessage_id\nana\tx\thi\t7\nbob\tx\tyo\t\n\tx\tbe\n"
    expected = [None, Message("hi", "ana", "7"), Message("yo", "bob"), Message("be", "")]
    assert messages(content, "a.tsv") == expected


def test_a_row_without_the_text_is_refused_alone() -> None:
    assert messages("id\ttext\n1\n2\thi\n", "a.tsv") == [None, "no-text-cell", Message("hi")]


@pytest.mark.parametrize("header", ["Text\tintent", "", "a" * 3000])
def test_a_tsv_without_the_column_is_refused_as_a_whole(header: str) -> None:
    with pytest.raises(exits.Refusal, match=r"a\.tsv:1: a TSV needs a column 'text'") as caught:
        parsed(f"{header}\nhi\n", "a.tsv")
    assert caught.value.code == "no-text-column"
    assert len(str(caught.value)) < 1000


def test_a_tsv_whose_header_is_no_text_is_refused_as_a_whole() -> None:
    with pytest.raises(exits.Refusal, match=r"a\.tsv:1: the line is not UTF-8"):
        parsed(b"\xff\nhi\n", "a.tsv")


def test_a_json_line_gives_all_that_it_has() -> None:
    line = '{"user_id": "ana", "message": "hi", "message_id": "7", "timestamp": "2026-01-01T00:00:00Z", "more": 1}'
    assert messages(line, "a.jsonl") == [Message("hi", "ana", "7", datetime(2026, 1, 1, tzinfo=UTC))]


def test_null_is_as_good_as_absent() -> None:
    line = '{"user_id": null, "message": "hi", "message_id": null, "timestamp": null}'
    assert messages(line, "a.jsonl") == [Message("hi")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("not json", "not-json"),
        ('{"message": ', "not-json"),
        ("[" * 5000, "not-json"),
        ('{"message": ' + "1" * 5000 + "}", "not-json"),
        ('["hi"]', "not-an-object"),
        ('{"text": "hi"}', "no-message"),
        ('{"message": "hi", "timestamp": "soon"}', "bad-timestamp"),
        ('{"message": "hi", "timestamp": 5}', "bad-timestamp"),
    ],
)
def test_a_json_line_that_is_no_message_is_refused_alone(line: str, code: str) -> None:
    assert messages(f'{line}\n\n{{"message": "ok"}}\n', "a.jsonl") == [code, None, Message("ok")]


def test_bytes_that_are_no_text_are_refused_in_every_form() -> None:
    assert messages(b"hi\n\xff\n", "a.txt") == [Message("hi"), "not-utf8"]
    assert messages(b"text\n\xff\n", "a.tsv") == [None, "not-utf8"]
    assert messages(b"\xff\n", "a.jsonl") == ["not-utf8"]
    assert messages(b"\xff\nhi\n", "a") == ["not-utf8", Message("hi")]


@given(st.binary(max_size=300), st.sampled_from(["lines", "jsonl"]))
def test_whatever_a_file_holds_each_line_is_told_once(content: bytes, form: str) -> None:
    lines = parsed(content, "a", form)
    assert [each.number for each in lines] == list(range(1, len(lines) + 1))
    assert sum(each.size for each in lines) == len(content)
