"""``thea run``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

import click

from thea_core.cli import exits
from thea_core.cli.application import application, warnings_to
from thea_core.cli.groups import verb
from thea_core.cli.messages.formats import FORMATS, Parsed, parse
from thea_core.cli.messages.handling import Handling, Summary
from thea_core.cli.messages.ids import Names, name_of_file
from thea_core.cli.messages.lines import read_lines
from thea_core.cli.messages.log import log_option, log_to
from thea_core.cli.messages.progress import progress
from thea_core.cli.messages.stopping import Stopping
from thea_core.cli.messages.troubles import troubles_told
from thea_core.cli.options import Options
from thea_core.cli.users import user_option

__all__ = ["command"]


@verb(
    "run",
    statuses=(exits.CONFIG, exits.PLUGIN, exits.STORE, exits.TERMINATED),
    failed="a line was refused, or the file cannot be read",
)
@click.argument("file", metavar="[FILE|-]", type=click.Path(exists=True, dir_okay=False, allow_dash=True), default="-")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="The form of the file; else its extension tells it, else its first line.",
)
@user_option("Make it one conversation, of this user.")
@click.option("--again", is_flag=True, help="Handle all of it anew, also what was handled before.")
@click.option("--strict", is_flag=True, help="Stop at the first line that is refused.")
@log_option
@click.pass_context
def command(
    context: click.Context,
    file: str,
    form: str | None,
    user: str | None,
    *,
    again: bool,
    strict: bool,
    log: Path | None,
) -> None:
    """Handle the messages of a file, or of standard input.

    \b
    The file holds one message a line:
      lines  the line is the message
      tsv    the column text is; the columns user_id and message_id count, too
      jsonl  {"message": ..., "user_id": ..., "message_id": ..., "timestamp": ...}

    Without a user_id each line is a user of its own, FILE:LINE, so that no line answers the question of another.
    Without a message_id one is made of the file's name, the line's number and its text: a second run, or the rest
    after Ctrl-C, repeats nothing.

    Standard output has one JSON object a message, in order; the progress bar and the summary go to standard error. Of a
    line that is refused the object has the number and the error, and the rest goes on. The last lines of the summary
    name the plugins that were in trouble.
    """  # noqa: D301 -- \b keeps click from filling that paragraph
    options: Options = context.obj
    random = token_hex(8)
    names = Names(f"stdin-{random}" if file == "-" else name_of_file(file), user, random if again else "")
    with (
        _opened(file) as (source, size),
        log_to(log),
        progress(size) as bar,
        warnings_to(bar.write),
        Stopping() as stop,
    ):
        lines = _parsed(options, source, names.file, form)
        first = list(islice(stop.until_stopped(lines), 1))  # a file that cannot be read is told before anything starts
        with troubles_told() as told, application(options) as thea:
            told.append(thea)
            handling = Handling(thea, names, strict=strict, anew=again)
            try:
                for line in stop.until_stopped(chain(first, lines)):
                    handling.take(line)
                    bar.advance(line.size, handling.summary.handled)
            finally:
                bar.close()
                _tell(handling.summary, stopped=stop.status is not None, file=file)
    context.exit(stop.status or (exits.FAILED if handling.summary.refused else exits.OK))


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Give the file and its size, which for standard input is not known."""
    if file == "-":
        if sys.stdin.isatty():
            click.echo("One message a line; Ctrl-D ends.", err=True)
        yield sys.stdin.buffer, None
        return
    path = Path(file)
    try:
        with path.open("rb") as source:
            yield source, path.stat().st_size
    except OSError as error:
        if error.filename != file:
            raise
        raise exits.Refusal(f"{file} cannot be read: {error.strerror}", code="file") from None


def _parsed(options: Options, source: BinaryIO, name: str, form: str | None) -> Iterator[Parsed]:
    """Give the lines of the file. One that could be no message, whatever is escaped in it, is not even read."""
    limit = 6 * options.load().conversation.max_message + 65_536
    return parse(read_lines(source, limit), name, form)


def _tell(summary: Summary, *, stopped: bool, file: str) -> None:
    click.echo(str(summary), err=True)
    if stopped:
        rest = "" if file == "-" else "; the same command goes on with the rest"
        click.echo(f"Stopped{rest}.", err=True)
