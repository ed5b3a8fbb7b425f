"""``thea plugins disable``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from thea_core.cli import exits
from thea_core.cli.exits import Refusal
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, say, warn
from thea_core.cli.plugins.enable import warn_of_variable
from thea_core.errors import ConfigError

__all__ = ["command"]


@verb(
    "plugins disable",
    config="the file cannot be edited; it is as it was",
    plugin="no plugin of that name is enabled or installed",
)
@click.argument("name")
@json_option
@click.pass_obj
def command(options: Options, name: str) -> None:
    """Disable a plugin in the configuration file.

    Works whatever the plugin does, whether it is installed or not, and however wrong the configuration is: the file
    need only be TOML. It keeps its comments.
    """
    from thea_core.config.edit import disable

    file = options.file()
    removed = [each for each in _names(name) if disable(file, each)]
    if not removed:
        _check_known(options, name)
    if options.json:
        print_json({"plugin": name, "file": str(file), "changed": bool(removed)})
    else:
        say(f"{name} is disabled in {file}" if removed else f"{name} is not enabled in {file}")
    _warn(options, name)


def _names(name: str) -> Iterator[str]:
    """Give the names under which a plugin may be enabled: its own, and its distribution's where that offers one."""
    from thea_core.plugins.discovery import discover, normalised

    yield name
    found = discover()
    for each in found.candidates:
        distribution = each.distribution or ""
        alone = len(found.of_distribution(distribution)) == 1
        if alone and name in {each.name, distribution}:
            yield from {each.name, distribution, normalised(distribution)} - {name}


def _check_known(options: Options, name: str) -> None:
    """Refuse a name that is neither enabled nor installed: it is most likely misspelt."""
    from difflib import get_close_matches

    from thea_core.plugins.discovery import discover

    known = options.known()
    modules = [each for each in known.modules if name in {each, each.rpartition(".")[2]}]
    if modules:
        raise Refusal(
            f"{name} is a module of [plugins] modules: take {modules[0]!r} out of it in {options.file()}",
            code="plugin-not-found",
            status=exits.PLUGIN,
        )
    if name in discover().names or discover().of_distribution(name):
        return
    close = get_close_matches(name, known.enabled, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"enabled are: {', '.join(known.enabled) or 'none'}"
    raise Refusal(f"no plugin {name!r} is enabled or installed; {hint}", code="plugin-not-found", status=exits.PLUGIN)


def _warn(options: Options, name: str) -> None:
    try:
        config = options.load()
    except ConfigError:
        return  # a plugin is disabled just because something is wrong; thea config check tells what
    if name in config.plugins.enabled:
        warn_of_variable(config)
    if config.plugins.entry(name).on_failure == "veto":
        warn(f"{name} was a guard: what it refused is let through from now on")
