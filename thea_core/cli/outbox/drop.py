"""``thea outbox drop``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.outbox.selection import (
    Outcome,
    all_at_once,
    check,
    counted,
    one_by_one,
    selection_options,
    stored_events,
)
from thea_core.cli.output import plain, print_json, say
from thea_core.cli.stores import outbox_of

__all__ = ["command"]


@verb(
    "outbox drop",
    statuses=(exits.CONFIG, exits.PLUGIN, exits.STORE),
    failed="an event that was named is not dropped, or the question was answered with no",
)
@selection_options("All that are parked; no other event.")
@click.option("--yes", is_flag=True, help="With --all, do not ask.")
@json_option
@click.pass_context
def command(context: click.Context, numbers: Sequence[int], plugin: str | None, *, every: bool, yes: bool) -> None:
    """Remove events for good; the plugin never gets them.

    They are those of the given NUMBERs, as thea outbox list shows them, or --all that are parked. An event that is just
    being delivered is left alone.

    With --all it asks, on a terminal; elsewhere it wants --yes.
    """
    check(numbers, plugin, every=every)
    if every and not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal on which to ask; --yes drops all parked events without asking")
    options: Options = context.obj
    with outbox_of(options) as outbox:
        if every:
            parked = [each.number for each in stored_events(outbox, plugin, parked=True)]
            dropped = not parked or yes or _confirmed(len(parked), plugin)
            outcome = all_at_once(outbox.drop, parked) if dropped else Outcome(0, {})
        else:
            dropped = True
            outcome = one_by_one(outbox, outbox.drop, numbers, "it is just being delivered; try again in a minute")
    if options.json:
        print_json({"dropped": outcome.done, "passed_over": outcome.passed_over_json()})
    else:
        say(f"{counted(outcome.done)} dropped.")
    outcome.tell()
    if outcome.passed_over or not dropped:
        context.exit(exits.FAILED)


def _confirmed(number: int, plugin: str | None) -> bool:
    whom = f" for {plain(plugin)}" if plugin else ""
    return click.confirm(f"Drop {counted(number, 'parked event')}{whom}, for good?", err=True)
