"""How results are printed: tables and JSON on standard output, remarks on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

__all__ = ["duration", "fields", "moment", "plain", "print_json", "say", "table", "warn"]

_THREE_FIGURES = 100.0
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return ``text`` without what would steer a terminal: a control character becomes its escape."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def moment(time: datetime) -> str:
    """Return a time as it is shown, to the second, in UTC: ``2026-01-01 12:00:00Z``."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def duration(seconds: float) -> str:
    """Return a duration as it is shown, with three figures: ``1.91 ms``, ``2.5 s``."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    return f"{value:.0f} {unit}" if value >= _THREE_FIGURES else f"{value:.3g} {unit}"


def say(text: str = "") -> None:
    """Print a line of the result."""
    click.echo(plain(text))


def warn(text: str) -> None:
    """Print a remark on standard error."""
    click.echo(f"{click.style('warning', fg='yellow', bold=True)}: {plain(text)}", err=True)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON, in ASCII: for a person to read, too, and for any terminal."""
    import json

    click.echo(json.dumps(value, indent=2))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: wrapped to the width of a terminal; elsewhere each row is one line, whatever its length."""
    if sys.stdout.isatty():
        _wrapped(headers, rows)
        return
    cells = [[title.upper() for title in headers], *([plain(cell).replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Print titles and their values below each other; an empty value is left out."""
    shown = [(title, plain(text)) for title, text in pairs if text]
    width = max((len(title) for title, _ in shown), default=0)
    for title, text in shown:
        first, *rest = text.split("\n")
        click.echo(f"  {click.style(title.ljust(width), dim=True)}  {first}")
        for line in rest:
            click.echo(f"  {'':{width}}  {line}")


def _wrapped(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in headers:
        shown.add_column(title.upper(), overflow="fold", no_wrap=title == headers[0])
    for row in rows:
        shown.add_row(*(Text(plain(cell)) for cell in row))
    Console().print(shown)
