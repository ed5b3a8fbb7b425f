"""``thea record``."""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex

import click

from thea_core.cli import exits
from thea_core.cli.exits import Refusal
from thea_core.cli.groups import verb
from thea_core.cli.options import Options
from thea_core.config import recording

__all__ = ["command"]


@verb(
    "record",
    statuses=(exits.CONFIG,),
    ok="COMMAND has ended with 0; every other status of COMMAND's is that of this verb, too",
    failed="OUT cannot be written or is there already, or COMMAND cannot be run",
)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--messages", is_flag=True, help="Keep the texts of messages and errors; else only their lengths.")
@click.option("--user-ids", is_flag=True, help="Keep user ids as they are; else keyed hashes of them.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    metavar="MB",
    default=recording.DEFAULT_LIMIT,
    show_default=True,
    help="The most that is kept; the oldest goes first.",
)
@click.option("--force", is_flag=True, help="Replace a recording that is there.")
@click.pass_obj
def command(
    options: Options, out: Path, command: tuple[str, ...], *, messages: bool, user_ids: bool, limit: int, force: bool
) -> None:
    """Run a command, and record the events of its assistant.

    Every application of Thea's that COMMAND starts appends its events to OUT: thea run, or a service of your own, which
    needs no change. thea replay runs a plugin on them.

    Of messages and errors only the length of the text is kept, and of users a keyed hash, unless you say otherwise.
    The shared options count for COMMAND, too. A service manager does the same with variables: THEA_RECORD=OUT.
    """
    out = out.absolute()
    environ = {
        **options.environ,
        recording.PATH_VARIABLE: str(out),
        recording.MESSAGES_VARIABLE: str(int(messages)),
        recording.USER_IDS_VARIABLE: str(int(user_ids)),
        recording.LIMIT_VARIABLE: str(limit),
        # One key for all processes that COMMAND starts: in each of them a user has the same hash.
        recording.KEY_VARIABLE: options.environ.get(recording.KEY_VARIABLE) or token_hex(32),
        **_shared(options),
    }
    recording.recording(environ)  # what is wrong in it is told here, not in the middle of COMMAND
    _make(out, force=force)
    try:
        options.become(command, environ)
    except OSError as error:
        raise Refusal(f"{command[0]} cannot be run: {error.strerror}", code="program-missing") from None


def _shared(options: Options) -> dict[str, str]:
    """Return the shared options of this verb as variables."""
    switches = {"THEA_NO_PLUGINS": options.no_plugins, "THEA_WITHOUT_GUARDS": options.without_guards}
    variables = {name: "1" for name, wanted in switches.items() if wanted}
    return variables if options.config is None else {**variables, "THEA_CONFIG": str(options.config.absolute())}


def _make(out: Path, *, force: bool) -> None:
    """Make the file, which only its owner may read.

    Raises:
        Refusal: it cannot be made, or is there already.
    """
    from thea_core.callbacks.record_lines import rotated_path

    try:
        for each in (out, rotated_path(out)):
            if each.exists() and not each.is_file():
                raise Refusal(f"{each} is no regular file; name another one", code="file")
            if force:
                each.unlink(missing_ok=True)
            elif each.exists() and each.stat().st_size:
                raise Refusal(f"{each} is there already; --force replaces it", code="file")
        out.touch(0o600)
    except OSError as error:
        raise Refusal(f"{out} cannot be written: {error.strerror}; name another file", code="file") from None
