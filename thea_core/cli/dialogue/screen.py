"""What ``thea chat`` shows: with colours on a terminal, and plainly where the output goes elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

import click

from thea_core.cli.output import plain

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Screen", "screen"]


class Screen(Protocol):
    """Shows the parts of a conversation."""

    def reply(self, text: str, *, ok: bool) -> None:
        """Show what the assistant answers; ``ok`` is False for an apology or a refusal."""
        ...

    def status(self, text: str) -> None:
        """Show the line below a reply."""
        ...

    def notice(self, text: str) -> None:
        """Show what the command itself has to say."""
        ...

    @staticmethod
    def remark(text: str) -> None:
        """Show a warning, on standard error."""
        ...


def screen() -> Screen:
    """Return what fits standard output."""
    return _Terminal() if sys.stdout.isatty() else _Plain()


class _Plain:
    """Lines of text."""

    def reply(self, text: str, *, ok: bool) -> None:  # noqa: ARG002 -- as the other
        click.echo(plain(text))

    def status(self, text: str) -> None:
        click.echo(text)

    def notice(self, text: str) -> None:
        click.echo(text)

    @staticmethod
    def remark(text: str) -> None:
        click.echo(text, err=True)


class _Terminal(_Plain):
    """Words wrapped to the width of the terminal, in colours that say who speaks."""

    def __init__(self) -> None:
        self._console: Console | None = None

    def reply(self, text: str, *, ok: bool) -> None:
        self._print(plain(text), "bold" if ok else "yellow")

    def status(self, text: str) -> None:
        self._print(f"{text}\n", "dim")

    def notice(self, text: str) -> None:
        self._print(text, "cyan")

    def _print(self, text: str, style: str) -> None:
        from rich.console import Console
        from rich.text import Text

        console = self._console = self._console or Console(highlight=False)
        console.print(Text(text, style=style))
