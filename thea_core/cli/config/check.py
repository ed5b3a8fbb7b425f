"""``thea config check``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import plain, print_json, say, warn
from thea_core.errors import ConfigError, DefinitionError, PluginError

if TYPE_CHECKING:
    from thea_core.config import Config
    from thea_core.plugins.discovery import Discovery

__all__ = ["command"]


@verb("config check", config="there are problems")
@click.option(
    "--load",
    is_flag=True,
    help="Load the enabled plugins, too, each in a process of its own: their settings are checked.",
)
@json_option
@click.pass_context
def command(context: click.Context, load: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Check the configuration, and tell every problem at once.

    Checked are the file, the variables that replace values of it, the state machine, and whether the enabled plugins
    are installed and fit this version. Warnings are no problems: what they tell does no harm yet. The settings of
    plugins are checked with --load, for only the plugins themselves know what they should be.
    """
    options: Options = context.obj
    report = _Report(options, load=load)
    if options.json:
        print_json(
            {
                "ok": not report.problems,
                "file": report.file,
                "problems": report.problems,
                "warnings": report.warnings,
                "unchecked": report.unchecked,
            }
        )
    else:
        report.tell()
    if report.problems:
        context.exit(exits.CONFIG)


class _Report:
    """All that is wrong, all that looks wrong, and the plugins whose settings were not checked."""

    def __init__(self, options: Options, *, load: bool) -> None:
        self.file: str | None = None
        self.warnings: list[str] = []
        self.unchecked: list[str] = []
        try:
            config = options.load()
        except ConfigError as error:
            self.problems = list(error.problems)
            return
        self.file = None if config.source is None else str(config.source)
        self.problems = [*_definition_problems(config), *_plugin_problems(config, load=load)]
        self.warnings = list(_warnings(config))
        if not load:
            self.unchecked = [*config.plugins.enabled, *config.plugins.modules]

    def tell(self) -> None:
        for each in self.warnings:
            warn(each)
        for each in self.problems:
            click.echo(f"{click.style('problem', fg='red', bold=True)}: {plain(each)}\n", err=True)
        if self.problems:
            count = len(self.problems)
            click.echo(f"{count} problem{'s' if count > 1 else ''}", err=True)
        else:
            say(f"{self.file}: ok" if self.file else "There is no configuration file: every key has its default. ok")
        if self.unchecked:
            say("The settings of plugins were not checked. To check them, too: thea config check --load")


def _definition_problems(config: Config) -> Iterator[str]:
    from thea_core.fsm import Definition

    own = config.fsm.definition()
    try:
        if own is not None:
            Definition.from_mapping(own)
    except DefinitionError as error:
        place = config.origin("fsm")
        yield from (f"{place}: [fsm]: {each}" for each in error.problems)


def _plugin_problems(config: Config, *, load: bool) -> Iterator[str]:
    from thea_core.plugins.compatibility import check
    from thea_core.plugins.discovery import discover

    found = discover()
    loadable = []
    for position, name in enumerate(config.plugins.enabled):
        try:
            candidate = found.find(name)
            check(candidate)
            loadable.append(candidate)
        except PluginError as error:
            yield f"{config.origin('plugins', 'enabled', position)}: plugins.enabled: {error}"
    if load:
        from thea_core.cli.plugins.loads import inspect_all, modules_of

        inspected = inspect_all(config, [*loadable, *modules_of(config.plugins.modules)])
        yield from (each.error for each in inspected.values() if each.error is not None)


def _warnings(config: Config) -> Iterator[str]:
    from thea_core.plugins.discovery import discover, normalised

    found = discover()
    yield from found.problems
    for name, problems in config.deferred.items():
        yield from (f"the plugin {name} is not enabled; if it were: {each}" for each in problems)
    told = {each.rpartition(".")[2] for each in config.plugins.modules}
    # What is enabled is a problem where it is missing, and so no warning.
    told |= {normalised(each).removeprefix("thea-") for each in config.plugins.enabled}
    for name in config.plugins.entries:
        if not found.named(name) and normalised(name) not in told:
            place = config.origin("plugins", name)
            yield f"{place}: [plugins.{name}] is for a plugin that is not installed{_meant(name, found)}"


def _meant(name: str, found: Discovery) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, found.names, n=1)
    return f"; did you mean [plugins.{close[0]}]?" if close else ""
