"""``thea plugins enable``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, say, warn
from thea_core.errors import ConfigError

if TYPE_CHECKING:
    from thea_core.config import Config

__all__ = ["command", "enable_plugin", "warn_of_variable"]


@verb(
    "plugins enable",
    config="the file cannot be edited; it is as it was",
    plugin="it is not installed, or two distributions offer the name",
)
@click.argument("name")
@json_option
@click.pass_obj
def command(options: Options, name: str) -> None:
    """Enable a plugin in the configuration file.

    NAME is the plugin's, or that of a distribution that offers one plugin. The file keeps its comments, and is made if
    there is none. The plugin is not imported: the application loads it when it starts next.
    """
    from thea_core.plugins.discovery import discover

    plugin = discover().find(name).name
    changed = enable_plugin(options, plugin)
    if options.json:
        print_json({"plugin": plugin, "file": str(options.file()), "changed": changed})


def enable_plugin(options: Options, plugin: str) -> bool:
    """Enable an installed plugin, say so, and warn of what will be in its way; return whether the file has changed."""
    from thea_core.config.edit import enable

    file = options.file()
    changed = enable(file, plugin)
    if not options.json:
        say(f"{plugin} is enabled in {file}" if changed else f"{plugin} is enabled in {file} already")
    try:
        config = options.load()
    except ConfigError as error:
        warn(f"the configuration has problems, and nothing starts with them:\n{error}")
        return changed
    warn_of_variable(config)
    for problem in config.deferred.get(plugin, ()):
        warn(problem)
    return changed


def warn_of_variable(config: Config) -> None:
    """Warn where a variable replaces the list that was edited."""
    origin = config.origin("plugins", "enabled")
    if origin.kind == "variable":
        listed = ", ".join(config.plugins.enabled) or "no plugin"
        warn(f"the variable {origin.source} replaces what the file says, and enables {listed}: change or unset it")
