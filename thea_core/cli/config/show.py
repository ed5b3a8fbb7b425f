"""``thea config show``."""

from __future__ import annotations

from dataclasses import replace

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, say, table

__all__ = ["command"]


@verb("config show", statuses=(exits.CONFIG,))
@click.option("--changed", is_flag=True, help="Leave out what has its default.")
@json_option
@click.pass_obj
def command(options: Options, changed: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Show every value, and where it comes from.

    Secrets are shown as ***. Which of a plugin's settings are secret, only the plugin knows: an enabled plugin that has
    settings is loaded in a process of its own, for at most 10 seconds, and asked. Where it cannot be asked, no text of
    its settings is shown.
    """
    from thea_core.cli.config.secrets import Secrets
    from thea_core.config.show import as_json, rows

    config = options.load()
    secrets = Secrets(config)
    if options.json:
        result = as_json(config)
        values = [each | {"value": secrets.shown(each["key"], each["value"])} for each in result["values"]]
        print_json(result | {"values": [each for each in values if not changed or each["source"] != "default"]})
    else:
        say(f"# {config.source or 'There is no configuration file: every key has its default.'}")
        shown = [replace(each, value=secrets.shown(each.key, each.value)) for each in rows(config)]
        wanted = [each for each in shown if not changed or each.source != "default"]
        table(["key", "value", "from"], [[each.key, each.text, each.source] for each in wanted])
    secrets.tell()
