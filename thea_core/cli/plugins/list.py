"""``thea plugins list``."""

from __future__ import annotations

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import plain, print_json, say, table, warn
from thea_core.cli.plugins.figures import COLUMNS
from thea_core.cli.plugins.survey import Row, Survey, delivery_text, limit_text

__all__ = ["command"]


@verb("plugins list", plugin="an enabled plugin does not load (with --load)")
@click.option("--load", is_flag=True, help="Load the enabled plugins, each in a process of its own, for at most 10 s.")
@json_option
@click.pass_context
def command(context: click.Context, load: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Show every plugin that is installed or enabled.

    No plugin is imported: the status, and which hooks a plugin has, are what was seen when the application ran last. So
    the list is there whatever a plugin does, and however wrong the configuration is.

    Circuit breakers, failures and times come from the record of calls, where [callbacks] record names one.
    """
    options: Options = context.obj
    survey = Survey(options)
    if load:
        survey.load([each for each in survey.rows if each.source])
    if options.json:
        file = None if survey.known.source is None else str(survey.known.source)
        print_json(
            {
                "file": file,
                "record": survey.figures.to_json(),
                "plugins": [each.to_json() for each in survey.rows],
                "problems": _problems(survey),
            }
        )
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
    figures = survey.figures.summary is not None
    table(
        ["name", "distribution", "version", "enabled", "status", *(COLUMNS if figures else ()), "priority", "hooks"],
        [_cells(each, figures=figures) for each in survey.rows],
    )
    _show_callbacks(survey.rows)
    for row in survey.rows:
        if row.reason:
            click.echo(f"\n{click.style(row.name, bold=True)}: {plain(row.reason)}")
    _show_record(survey)


def _show_callbacks(rows: list[Row]) -> None:
    """Show each callback of what was loaded, with its limit and its delivery."""
    loaded = [(row.name, each) for row in rows if row.inspection is not None for each in row.inspection.hooks]
    if loaded:
        say()
        cells = [[name, each.hook, each.callback, limit_text(each), delivery_text(each)] for name, each in loaded]
        table(["name", "hook", "callback", "time limit", "delivery"], cells)


def _show_record(survey: Survey) -> None:
    """Say from when the figures are, or why there are none."""
    figures, config = survey.figures, survey.known.config
    if figures.summary is not None:
        say(f"\nBreakers, failures and times: {figures.told}")
    elif figures.path is not None and not figures.error:
        say(f"\nNo breakers, failures and times: the application has not written {figures.path} yet")
    elif figures.path is None and config is not None and any(each.source for each in survey.rows):
        say('\nTo see breakers, failures and times here: [callbacks] record = "calls.jsonl"')


def _cells(row: Row, *, figures: bool) -> list[str]:
    candidate = row.candidate
    origin = candidate.distribution or (f"module {candidate.value}" if candidate.value else "-")
    enabled = "yes" if row.source else "no"
    return [
        row.name,
        origin,
        candidate.version or "-",
        enabled,
        row.told,
        *(row.figures.cells() if figures else ()),
        row.priority or "-",
        ", ".join(row.hooks) or "-",
    ]


def _problems(survey: Survey) -> list[str]:
    problems = list(survey.found.problems)
    if survey.known.error is not None:
        problems.append(f"the configuration is wrong, so this may not be all of it:\n{survey.known.error}")
    if survey.figures.error:
        problems.append(f"the record {survey.figures.path} cannot be read: {survey.figures.error}")
    if survey.figures.unreadable:
        problems.append(f"{survey.figures.unreadable} lines of {survey.figures.path} are none of a record")
    return problems
