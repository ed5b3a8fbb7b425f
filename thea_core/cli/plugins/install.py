"""``thea plugins install``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, say
from thea_core.cli.plugins.enable import enable_plugin

if TYPE_CHECKING:
    from thea_core.plugins.discovery import Candidate

__all__ = ["candidate_json", "command"]


@verb("plugins install", statuses=(exits.CONFIG,), plugin="pip failed; it says why")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--enable", "enables", is_flag=True, help="Enable what was installed, too.")
@json_option
@click.pass_obj
def command(options: Options, names: Sequence[str], enables: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Install plugins with pip.

    NAME is whatever pip takes: a name, a version, a path. The short name of a plugin of the project itself, such as
    sentry, stands for its distribution, thea-sentry. What was installed runs only when it is enabled.
    """
    from thea_core.plugins.installing import how_to_enable, install

    installed = install(names, run=options.run_pip)
    if enables:
        for each in installed:
            enable_plugin(options, each.name)
    if options.json:
        print_json({"installed": [candidate_json(each) for each in installed], "enabled": enables})
    elif not (enables and installed):
        say(how_to_enable(installed))


def candidate_json(plugin: Candidate) -> dict[str, str | None]:
    """Return a plugin that was installed or uninstalled, in JSON form."""
    return {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
