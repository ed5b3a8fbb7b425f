"""The lines of a recording, one after another; a line that is no event is told, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from thea_core.callbacks.event_json import Event, decode
from thea_core.callbacks.record_lines import rotated_path
from thea_core.cli.exits import Refusal
from thea_core.cli.messages.lines import Line, read_lines

__all__ = ["Recorded", "recorded"]

_LONGEST = 2**27  # bytes of a line


class Recorded(NamedTuple):
    """One line of a recording.

    Attributes:
        place: ``FILE:LINE``.
        event: the event; None where the line is none.
        at: when it was recorded; None where that cannot be told.
        problem: why the line is no event; empty where it is one.
    """

    place: str
    event: Event | None = None
    at: datetime | None = None
    problem: str = ""


def recorded(path: Path) -> Iterator[Recorded]:
    """Give the lines of a recording, oldest first: those of ``FILE.1``, where there is one, and then those of ``FILE``.

    Raises:
        Refusal: a file cannot be read.
    """
    for each in (rotated_path(path), path):
        if each == path or each.exists():
            yield from _lines(each)


def _lines(path: Path) -> Iterator[Recorded]:
    try:
        with path.open("rb") as file:
            for line in read_lines(file, _LONGEST):
                if line.text.strip() or line.refused is not None:
                    yield _read(line, f"{path}:{line.number}")
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}", code="file") from None


def _read(line: Line, place: str) -> Recorded:
    if line.refused is not None:
        return Recorded(place, problem=f"the line is no text, or longer than {_LONGEST:,} bytes")
    try:
        form = json.loads(line.text)
        return Recorded(place, decode(form), _time(form.get("at")))
    except json.JSONDecodeError as error:
        return Recorded(place, problem=f"the line is not JSON ({error.msg} at column {error.colno})")
    except RecursionError:
        return Recorded(place, problem="the line is nested too deeply")
    except ValueError as error:
        return Recorded(place, problem=str(error))


def _time(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None
