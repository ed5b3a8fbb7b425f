"""Lines are read one at a time; bytes that are no text refuse their line only."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from thea_core.cli.messages.lines import Line, read_lines


def read(content: bytes, limit: int = 1000) -> list[Line]:
    """Return all lines of a content."""
    return list(read_lines(io.BytesIO(content), limit))


def test_lines_have_numbers_and_no_line_breaks() -> None:
    lines = read(b"one\r\ntwo\n\nfour")
    assert [(each.number, each.text) for each in lines] == [(1, "one"), (2, "two"), (3, ""), (4, "four")]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert read("\ufeffone".encode())[0].text == "one"


def test_a_line_that_is_not_utf8_is_refused_alone() -> None:
    first, second = read(b"ab\xff\nok\n")
    assert first.refused is not None
    assert first.refused.code == "not-utf8"
    assert "byte 0xff at position 3" in str(first.refused)
    assert second.text == "ok"


def test_a_line_that_is_too_long_is_refused_alone_and_not_held() -> None:
    lines = read(b"x" * 300_000 + b"\nok\n" + b"y" * 300_000, limit=100)
    assert [each.refused.code if each.refused else each.text for each in lines] == [
        "line-too-long",
        "ok",
        "line-too-long",
    ]
    assert [each.size for each in lines] == [300_001, 3, 300_000]


def test_a_line_of_just_the_limit_is_read() -> None:
    assert read(b"abc\nabcd\nabc", limit=3)[0].text == "abc"
    assert read(b"abc\nabcd\nabc", limit=3)[1].refused is not None
    assert read(b"abc\nabcd\nabc", limit=3)[2].text == "abc"


@given(st.binary(max_size=200), st.integers(1, 50))
def test_every_byte_is_counted_whatever_they_are(content: bytes, limit: int) -> None:
    lines = read(content, limit)
    assert sum(each.size for each in lines) == len(content)
    assert [each.number for each in lines] == list(range(1, len(lines) + 1))
    assert len(lines) == content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
