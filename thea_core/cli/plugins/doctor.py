"""``thea plugins doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.durations import seconds_of
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import plain, print_json, say

if TYPE_CHECKING:
    from thea_core.cli.plugins.findings import Finding
    from thea_core.cli.plugins.survey import Row, Survey

__all__ = ["command"]

_MOST_NAMES = 8


def _moment_before(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Return the moment that lies so long ago."""
    from thea_core.types import SystemClock

    return None if value is None else SystemClock().now() - timedelta(seconds=seconds_of(value))


@verb(
    "plugins doctor",
    ok="nothing is wrong",
    failed="something is wrong; it is told, with what to do",
    plugin="there is no plugin of a name that was given",
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--since",
    metavar="DURATION",
    callback=_moment_before,
    help="Of the record, look only at the calls of the last 10m, 2h, 1d, ...",
)
@json_option
@click.pass_context
def command(context: click.Context, names: Sequence[str], since: datetime | None) -> None:
    """Find out which plugins misbehave, and say what to do.

    Each enabled plugin is loaded in a process of its own, for at most 10 s, and bound as an application would do it; it
    is not started. Then the record of calls, where [callbacks] record names one, and what became of each plugin when
    the application ran last are looked at. NAME limits that to some plugins, also to such that are not enabled.

    The exit status is 1 where something is wrong. Notes tell what is only worth knowing.
    """
    from thea_core.cli.plugins.findings import findings_of, general_findings
    from thea_core.cli.plugins.survey import Survey

    options: Options = context.obj
    survey = Survey(options, since)
    rows = _named(survey, names) if names else _concerned(survey)
    if survey.known.error is None:  # else their settings are not known
        survey.load([each for each in rows if each.status != "does not fit"])
    every = [*general_findings(survey), *(each for row in rows for each in findings_of(row, survey))]
    found = sorted(dict.fromkeys(every), key=lambda each: not each.wrong)
    problems = [each for each in found if each.wrong]
    if options.json:
        _print(survey, rows, found)
    else:
        for each in found:
            _show(each)
        say(_summary(survey, rows, problems))
    if problems:
        context.exit(exits.FAILED)


def _named(survey: Survey, names: Sequence[str]) -> list[Row]:
    return list({id(row): row for row in map(survey.row, names)}.values())


def _concerned(survey: Survey) -> list[Row]:
    """Return what an application runs: what is enabled, and what it has called besides."""
    return [each for each in survey.rows if each.source or each.status == "not configured"]


def _print(survey: Survey, rows: Sequence[Row], found: Sequence[Finding]) -> None:
    problems = [each for each in found if each.wrong]
    print_json(
        {
            "ok": not problems,
            "file": None if survey.known.source is None else str(survey.known.source),
            "record": survey.figures.to_json(),
            "plugins": [each.name for each in rows],
            "problems": [each.to_json() for each in problems],
            "notes": [each.to_json() for each in found if not each.wrong],
        }
    )


def _show(finding: Finding) -> None:
    title = click.style("problem", fg="red", bold=True) if finding.wrong else click.style("note", bold=True)
    whose = f"{finding.plugin}: " if finding.plugin else ""
    click.echo(f"{title}: {plain(whose + finding.text)}")
    if finding.todo:
        say(f"  {finding.todo}")


def _summary(survey: Survey, rows: Sequence[Row], problems: Sequence[Finding]) -> str:
    if problems:
        count = len(problems)
        return f"{count} problem{'' if count == 1 else 's'}; looked at: {_looked_at(survey, rows)}"
    return f"Nothing is wrong; looked at: {_looked_at(survey, rows)}"


def _looked_at(survey: Survey, rows: Sequence[Row]) -> str:
    plugins = ", ".join(each.name for each in rows) or "no plugin, for none is enabled"
    if len(rows) > _MOST_NAMES:
        plugins = f"{len(rows)} plugins"
    return plugins if survey.figures.summary is None else f"{plugins}; {survey.figures.told}"
