"""The three forms in which messages come: plain lines, TSV and JSON lines; and how a file's form is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from thea_core.cli.exits import USAGE, Refusal
from thea_core.cli.messages.lines import Line, Refused

__all__ = ["FORMATS", "Message", "Parsed", "parse"]

_EXTENSIONS = {".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".txt": "lines"}
_TEXT = "text"


@dataclass(frozen=True, slots=True)
class Message:
    """A message, as it was read; nothing of it is checked but its form.

    Attributes:
        text: the message.
        user_id, message_id, timestamp: what came with it; None where that is to be made.
    """

    text: Any
    user_id: Any = None
    message_id: Any = None
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of one line.

    Attributes:
        number: of the line.
        size: bytes that it takes in the file.
        message: the message; None where the line is none.
        refused: why it is none; None for a line that only looks like one, such as a header.
    """

    number: int
    size: int
    message: Message | None = None
    refused: Refused | None = None


def parse(lines: Iterator[Line], name: str, form: str | None) -> Iterator[Parsed]:
    """Give what each line holds, in order.

    Args:
        lines: the file's lines.
        name: the file's name, whose extension tells its form.
        form: one of :data:`FORMATS`; None tells it by the extension, else by the first line.

    Raises:
        Refusal: the form cannot be read, or a TSV has no column ``text``.
    """
    first = next(lines, None)
    if first is None:
        return
    read = FORMATS[form or _by_extension(name) or _by_content(first)]
    yield from read(first, lines, name)


def _by_extension(name: str) -> str | None:
    extension = f".{name.rpartition('.')[2].lower()}" if "." in name else ""
    if extension == ".csv":
        raise Refusal(
            f"{name}: files with commas are not read; save it with tabs as .tsv, or say --format lines",
            code="usage",
            status=USAGE,
        )
    return _EXTENSIONS.get(extension)


def _by_content(first: Line) -> str:
    if first.text.lstrip().startswith("{") and isinstance(_json(first.text), dict):
        return "jsonl"
    return "tsv" if _TEXT in first.text.split("\t") else "lines"


# ------------------------------------------------------------------------------------------------------ the forms


def _each(lines: Iterable[Line], make: Callable[[Line], Message | None]) -> Iterator[Parsed]:
    for line in lines:
        refused = line.refused
        message = None
        try:
            if refused is None:
                message = make(line)
        except Refused as error:
            refused = error
        yield Parsed(line.number, line.size, message, refused)


def _plain(first: Line, rest: Iterator[Line], name: str) -> Iterator[Parsed]:  # noqa: ARG001 -- as the others
    return _each(chain([first], rest), lambda line: Message(line.text))


def _tsv(first: Line, rest: Iterator[Line], name: str) -> Iterator[Parsed]:
    columns = _columns(first, name)
    yield Parsed(first.number, first.size)
    yield from _each(rest, lambda line: _row(line.text, columns))


def _columns(header: Line, name: str) -> Mapping[str, int]:
    if header.refused is not None:
        raise Refusal(f"{name}:1: {header.refused}", code=header.refused.code)
    titles = header.text.split("\t")
    if _TEXT not in titles:
        found = ", ".join(repr(each) for each in titles[:20])
        raise Refusal(
            f"{name}:1: a TSV needs a column 'text', and its first line names: {found[:500]}; name the column of the "
            "messages 'text', or say --format lines where each line is a message",
            code="no-text-column",
        )
    return {title: titles.index(title) for title in titles}


def _row(text: str, columns: Mapping[str, int]) -> Message:
    cells = text.split("\t")
    if len(cells) <= columns[_TEXT]:
        raise Refused(
            "no-text-cell",
            f"the line has {len(cells)} of the columns, and the text is in column {columns[_TEXT] + 1}; mend it",
        )
    user_id, message_id = (_cell(cells, columns.get(each)) for each in ("user_id", "message_id"))
    return Message(cells[columns[_TEXT]], user_id, message_id or None)


def _cell(cells: list[str], position: int | None) -> str | None:
    if position is None:
        return None
    return cells[position] if position < len(cells) else ""


def _jsonl(first: Line, rest: Iterator[Line], name: str) -> Iterator[Parsed]:  # noqa: ARG001 -- as the others
    return _each(chain([first], rest), _object)


def _object(line: Line) -> Message | None:
    if not line.text.strip():
        return None
    value = _json(line.text)
    if isinstance(value, Refused):
        raise value
    if not isinstance(value, dict):
        raise Refused("not-an-object", f"the line is JSON, but no object; {_EXPECTED}")
    if "message" not in value:
        raise Refused("no-message", f"the object has no 'message'; {_EXPECTED}")
    return Message(value["message"], value.get("user_id"), value.get("message_id"), _time(value.get("timestamp")))


def _json(text: str) -> Any:
    """Return the value, or why there is none."""
    import json

    try:
        return json.loads(text)
    except RecursionError:
        return Refused("not-json", "the line is nested too deeply; flatten it")
    except json.JSONDecodeError as error:
        return Refused("not-json", f"the line is not JSON ({error.msg} at column {error.colno}); {_EXPECTED}")
    except ValueError as error:  # a number of thousands of digits
        return Refused("not-json", f"the line cannot be read ({error}); {_EXPECTED}")


_EXPECTED = 'write one object a line, such as {"user_id": "ana", "message": "hello"}'


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Refused(
            "bad-timestamp", "the timestamp must be a text such as 2026-01-31T12:00:00+00:00 (ISO 8601, with its zone)"
        ) from None


FORMATS: Mapping[str, Callable[[Line, Iterator[Line], str], Iterator[Parsed]]] = {
    "lines": _plain,
    "tsv": _tsv,
    "jsonl": _jsonl,
}
"""What reads each form, by its name."""
