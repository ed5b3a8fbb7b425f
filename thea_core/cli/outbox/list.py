"""``thea outbox list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import moment, print_json, say, table
from thea_core.cli.stores import outbox_of

if TYPE_CHECKING:
    from thea_core.types import StoredEvent

__all__ = ["command"]

_COLUMNS = ("number", "plugin", "user", "hook", "event_id", "stored", "attempts", "state", "error")


@verb("outbox list", statuses=(exits.CONFIG, exits.PLUGIN, exits.STORE))
@click.option("--plugin", metavar="NAME", help="Only events for this plugin.")
@click.option("--parked", is_flag=True, help="Only events that were set aside.")
@click.option("-n", "--count", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many.")
@json_option
@click.pass_obj
def command(options: Options, plugin: str | None, *, parked: bool, count: int) -> None:
    """Show the events that wait for plugins with durable delivery.

    The oldest is the first. An event is due at a time, or waits behind an earlier one of the same user for the same
    plugin, or is parked: it has failed as often as [plugins.NAME] max_attempts allows, and was set aside.

    What is in an event is not shown, since that may be what a user wrote. The store is read as it is; no plugin is
    loaded, unless one makes the store.
    """
    with outbox_of(options) as outbox:
        found = outbox.list(plugin=plugin, parked=True if parked else None, limit=count + 1)
    shown, more = found[:count], len(found) > count
    if options.json:
        print_json({"events": [_as_json(each) for each in shown], "more": more})
    elif shown:
        table(_COLUMNS, [_cells(each) for each in shown])
        if more:
            say("\nThere are more; -n shows as many as you like.")
    else:
        say(_nothing(plugin, parked=parked))


def _state(event: StoredEvent) -> str:
    if event.parked:
        return "parked"
    return "waiting" if event.due is None else "due"


def _cells(event: StoredEvent) -> list[str]:
    return [
        str(event.number),
        event.plugin,
        event.user_id or "-",
        event.hook,
        event.event_id,
        moment(event.stored),
        str(event.attempts),
        _state(event) if event.due is None else f"due {moment(event.due)}",
        event.error or "-",
    ]


def _as_json(event: StoredEvent) -> dict[str, Any]:
    return {
        "number": event.number,
        "plugin": event.plugin,
        "user_id": event.user_id or None,
        "hook": event.hook,
        "event_id": event.event_id,
        "stored": event.stored.isoformat(),
        "attempts": event.attempts,
        "state": _state(event),
        "due": None if event.due is None else event.due.isoformat(),
        "error": event.error,
    }


def _nothing(plugin: str | None, *, parked: bool) -> str:
    whom = f" for {plugin}" if plugin else ""
    return f"No event{whom} is parked." if parked else f"No event{whom} is waiting."
