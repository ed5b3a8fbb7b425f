"""``thea replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.application import warnings_to
from thea_core.cli.groups import json_option, verb
from thea_core.cli.messages.stopping import Stopping
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, warn

if TYPE_CHECKING:
    from thea_core.cli.replaying.player import Player

__all__ = ["command"]


@verb(
    "replay",
    statuses=(exits.CONFIG, exits.PLUGIN, exits.TERMINATED),
    failed="the plugin failed on an event, or a line could not be read",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plugin", metavar="NAME", required=True, help="The plugin, or a module with hooks: myapp.hooks.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Keep the pauses between events, N times shorter; 1 as they were. Without it there are none.",
)
@json_option
@click.pass_context
def command(context: click.Context, file: Path, plugin: str, speed: float | None) -> None:
    """Run one plugin on recorded events.

    FILE is what thea record has written. The plugin is loaded alone, enabled or not, with its settings of the
    configuration and a store in memory, and gets each event with the id, the session and the time that it had. At the
    end stands for each hook how many events there were, what became of them, and how long the plugin took. The
    traceback of each failure goes to standard error.

    An event that Thea cannot make anew, for a hook that is not known here or in a line that cannot be read, is told,
    and the rest goes on.
    """
    from thea_core.cli.replaying import report
    from thea_core.cli.replaying.alone import alone, running_alone
    from thea_core.cli.replaying.events import recorded
    from thea_core.cli.replaying.pace import paced
    from thea_core.cli.replaying.player import Player

    options: Options = context.obj
    if options.no_plugins:
        raise click.UsageError("--no-plugins leaves nothing to replay with; leave it out", context)
    config, name = alone(options.load(), plugin)
    players: list[Player] = []

    def tell(text: str) -> None:
        for player in players:  # while there is none, the plugin is loaded; what fails then is the verb's own error
            click.echo(f"{player.place}: {text}" if player.place else text, err=True)

    with Stopping() as stop:
        with warnings_to(tell, tracebacks=True), running_alone(config, name, options.environ) as thea:
            player = Player(thea, name, lambda place, text: warn(f"{place}: {text}"))
            players.append(player)
            for line in stop.until_stopped(paced(recorded(file), speed)):
                player.play(line)
                player.wait_for_room(lambda: stop.status is None)
            left = player.finish(lambda: stop.status is None)
        if left:
            warn(f"{left:,} events were still in the plugin's queue")
        for remark in report.remarks(player, name):
            warn(remark)
        if options.json:
            print_json(report.as_json(player, file, name))
        else:
            report.show(player)
    context.exit(stop.status or (exits.FAILED if player.failed or player.refused else exits.OK))
