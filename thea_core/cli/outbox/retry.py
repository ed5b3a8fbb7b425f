"""``thea outbox retry``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.outbox.selection import all_at_once, check, counted, one_by_one, selection_options, stored_events
from thea_core.cli.output import print_json, say
from thea_core.cli.stores import outbox_of

if TYPE_CHECKING:
    from thea_core.types import StoredEvent

__all__ = ["command"]

_NOT_NOW = "it is just being delivered, or waits behind an earlier event of that user, which comes first"


@verb("outbox retry", statuses=(exits.CONFIG, exits.PLUGIN, exits.STORE), failed="an event that was named is not tried")
@selection_options("All that are parked, and all that have failed and wait for their next try.")
@json_option
@click.pass_context
def command(context: click.Context, numbers: Sequence[int], plugin: str | None, *, every: bool) -> None:
    """Let events be tried again at once.

    They are those of the given NUMBERs, as thea outbox list shows them, or --all. An event that was parked comes back
    to its old place, and its attempts are counted anew. The application, or thea worker, delivers it.
    """
    check(numbers, plugin, every=every)
    options: Options = context.obj
    with outbox_of(options) as outbox:
        if every:
            waiting = [each.number for each in stored_events(outbox, plugin, parked=None) if _waits(each)]
            outcome = all_at_once(outbox.retry, waiting)
        else:
            outcome = one_by_one(outbox, outbox.retry, numbers, _NOT_NOW)
    if options.json:
        print_json({"retried": outcome.done, "passed_over": outcome.passed_over_json()})
    else:
        say(f"{counted(outcome.done)} to be tried again at once.")
    outcome.tell()
    if outcome.passed_over:
        context.exit(exits.FAILED)


def _waits(event: StoredEvent) -> bool:
    """Whether it was tried, and is not tried again by itself, or later only."""
    return event.parked or (event.attempts > 0 and event.due is not None)
