"""``thea plugins uninstall``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, say, warn
from thea_core.cli.plugins.install import candidate_json

__all__ = ["command"]


@verb("plugins uninstall", plugin="it is not installed, or pip failed")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
@click.pass_obj
def command(options: Options, names: Sequence[str]) -> None:
    """Uninstall plugins with pip.

    NAME is a plugin's, or that of a distribution that offers plugins; the whole distribution goes. pip is not asked to
    confirm. The configuration is left as it is.
    """
    from thea_core.plugins.installing import uninstall

    gone = uninstall(names, run=options.run_pip)
    if options.json:
        print_json({"uninstalled": [candidate_json(each) for each in gone]})
    else:
        say(f"Uninstalled: {', '.join(each.name for each in gone)}")
    known = options.known()
    for each in gone:
        if each.name in known.enabled or each.distribution in known.enabled:
            warn(f"{each.name} is still enabled: thea plugins disable {each.name}")
