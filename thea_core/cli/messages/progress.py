"""How far a run has come: a bar on a terminal, nothing elsewhere. All of it on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Progress", "progress"]


class Progress(Protocol):
    """Shows how far the run has come."""

    def advance(self, size: int, messages: int) -> None:
        """Tell that ``size`` more bytes are done, with ``messages`` in all."""
        ...

    def write(self, text: str) -> None:
        """Write a line above the bar."""
        ...

    def close(self) -> None:
        """Take the bar away."""
        ...


class _Quiet:
    """For what is no terminal."""

    def advance(self, size: int, messages: int) -> None:
        pass

    def write(self, text: str) -> None:
        click.echo(text, err=True)

    def close(self) -> None:
        pass


class _Bar:
    """A bar over the bytes of the file, which are known before its lines are."""

    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def advance(self, size: int, messages: int) -> None:
        self._bar.update(self._task, advance=size, messages=f"{messages:,}")

    def write(self, text: str) -> None:
        from rich.text import Text

        self._bar.console.print(Text.from_ansi(text))

    def close(self) -> None:
        self._bar.stop()


@contextmanager
def progress(size: int | None) -> Iterator[Progress]:
    """Show a bar while entered, where standard error is a terminal and the messages are not typed into one.

    Args:
        size: bytes in all; None where that is not known.
    """
    if not sys.stderr.isatty() or (size is None and sys.stdin.isatty()):
        yield _Quiet()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[messages]} messages"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    above = sys.stdout.isatty()  # else what is written there is a program's, and left alone
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=above) as bar:
        yield _Bar(bar, bar.add_task("", total=size, messages="0"))
