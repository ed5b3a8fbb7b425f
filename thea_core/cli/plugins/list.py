"""``thea plugins list``."""

from __future__ import annotations

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import plain, print_json, say, table, warn
from thea_core.cli.plugins.survey import Row, Survey

__all__ = ["command"]


@verb("plugins list", plugin="an enabled plugin does not load (with --load)")
@click.option("--load", is_flag=True, help="Load the enabled plugins, each in a process of its own, for at most 10 s.")
@json_option
@click.pass_context
def command(context: click.Context, load: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Show every plugin that is installed or enabled.

    No plugin is imported: the status, and which hooks a plugin has, are what was seen when the application ran last. So
    the list is there whatever a plugin does, and however wrong the configuration is.
    """
    options: Options = context.obj
    survey = Survey(options)
    if load:
        survey.load([each for each in survey.rows if each.source])
    if options.json:
        file = None if survey.known.source is None else str(survey.known.source)
        print_json({"file": file, "plugins": [each.to_json() for each in survey.rows], "problems": _problems(survey)})
    else:
        _show(survey)
    if load and any(each.wrong for each in survey.rows):
        context.exit(exits.PLUGIN)


def _show(survey: Survey) -> None:
    for each in _problems(survey):
        warn(each)
    if not survey.rows:
        say("No plugin is installed. To install one: thea plugins install NAME")
        return
    table(
        ["name", "distribution", "version", "enabled", "status", "priority", "hooks"],
        [_cells(each) for each in survey.rows],
    )
    for row in survey.rows:
        if row.reason:
            click.echo(f"\n{click.style(row.name, bold=True)}: {plain(row.reason)}")


def _cells(row: Row) -> list[str]:
    candidate = row.candidate
    origin = candidate.distribution or (f"module {candidate.value}" if candidate.value else "-")
    enabled = "yes" if row.source else "no"
    return [
        row.name,
        origin,
        candidate.version or "-",
        enabled,
        row.status,
        row.priority or "-",
        ", ".join(row.hooks) or "-",
    ]


def _problems(survey: Survey) -> list[str]:
    problems = list(survey.found.problems)
    if survey.known.error is not None:
        problems.append(f"the configuration is wrong, so this may not be all of it:\n{survey.known.error}")
    return problems
