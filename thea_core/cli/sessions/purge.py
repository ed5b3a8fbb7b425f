"""``thea sessions purge``."""

from __future__ import annotations

import click

from thea_core.cli import exits
from thea_core.cli.application import application, terminable, warnings_to
from thea_core.cli.durations import seconds_of
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, say
from thea_core.cli.stores import refuse_memory

__all__ = ["command"]


@verb("sessions purge", statuses=(exits.CONFIG, exits.PLUGIN, exits.STORE, exits.TERMINATED))
@click.option(
    "--older-than",
    metavar="DURATION",
    required=True,
    callback=lambda _context, _parameter, text: seconds_of(text),
    help="For how long a user did nothing: 90d, 12h, ...",
)
@json_option
@click.pass_obj
def command(options: Options, older_than: float) -> None:
    """Forget the conversations of users of whom nothing was heard for long.

    Their contexts go, and the ids and replies of their messages. First the sessions whose time is up are ended, and the
    plugins are told; for that the application is started. A user with a session under way is left alone. Events that
    wait for a plugin stay: thea outbox list shows them.
    """
    refuse_memory(options)
    with (
        warnings_to(lambda text: click.echo(text, err=True)),
        terminable(),
        application(options, worker=False) as thea,
    ):
        forgotten = thea.sessions.purge(older_than)
    if options.json:
        print_json({"older_than": older_than, "conversations": forgotten})
    else:
        say(f"{forgotten:,} {'conversation' if forgotten == 1 else 'conversations'} forgotten.")
