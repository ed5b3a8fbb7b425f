"""The lines of a file, one at a time and never the whole file; bytes that are no text refuse their line only."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Line", "Refused", "read_lines"]

_CHUNK = 65_536


class Refused(Exception):  # noqa: N818 -- a line is refused; the command goes on
    """A line that is no message.

    Attributes:
        code: stands in the output, beside the message.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: from 1.
        size: how many bytes it takes in the file.
        text: without the line break; empty where it was refused.
        refused: why its bytes are no text; None where they are.
    """

    number: int
    size: int
    text: str = ""
    refused: Refused | None = None


def read_lines(file: BinaryIO, limit: int) -> Iterator[Line]:
    """Give the lines of ``file`` as they can be read; a line of more than ``limit`` bytes is refused, unread."""
    number = 0
    while raw := file.readline(limit + 1):
        number += 1
        if len(raw) > limit and not raw.endswith(b"\n"):
            yield Line(number, len(raw) + _skip(file), refused=_too_long(limit))
        else:
            yield _line(number, raw)


def _line(number: int, raw: bytes) -> Line:
    content = raw.removesuffix(b"\n").removesuffix(b"\r")
    if number == 1:
        content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return Line(number, len(raw), content.decode())
    except UnicodeDecodeError as error:
        return Line(number, len(raw), refused=_not_utf8(content[error.start], error.start))


def _skip(file: BinaryIO) -> int:
    """Pass over the rest of a line; return its size."""
    size = 0
    while raw := file.readline(_CHUNK):
        size += len(raw)
        if raw.endswith(b"\n"):
            break
    return size


def _too_long(limit: int) -> Refused:
    return Refused(
        "line-too-long", f"the line has more than {limit} bytes; shorten it, or raise [conversation] max_message"
    )


def _not_utf8(byte: int, position: int) -> Refused:
    return Refused(
        "not-utf8", f"the line is not UTF-8 (byte 0x{byte:02x} at position {position + 1}); save the file as UTF-8"
    )
