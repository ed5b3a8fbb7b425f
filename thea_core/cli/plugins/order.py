"""``thea plugins order``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import duration, print_json, say, table

if TYPE_CHECKING:
    from thea_core.callbacks.chain import ChainEntry
    from thea_core.callbacks.hooks import Hook

__all__ = ["command"]


@verb("plugins order", statuses=(exits.CONFIG, exits.PLUGIN), failed="there is no such hook")
@click.argument("hook")
@json_option
@click.pass_obj
def command(options: Options, hook: str) -> None:
    """Show the callbacks of a hook in the order in which they run.

    For this the enabled plugins are loaded and started in this process, as the application does it, and shut down
    again. The store is not opened, and nothing is written into the record of calls.
    """
    known, chain = _chain(options, hook)
    if options.json:
        print_json({"hook": hook, "callbacks": [_as_json(each) for each in chain]})
    elif chain:
        rows = [[str(number), *_cells(known, each)] for number, each in enumerate(chain, 1)]
        table(["", "plugin", "callback", "why here", "limited to", "time limit", "delivery", "place"], rows)
    else:
        say(f"No callback of {hook} is enabled.")


def _chain(options: Options, hook: str) -> tuple[Hook, list[ChainEntry]]:
    from thea_core.cli.application import application, warnings_to
    from thea_core.storage import open_store
    from thea_core.types import SystemClock

    store = open_store("memory:", clock=SystemClock())
    with warnings_to(lambda text: click.echo(text, err=True)), application(options, store, record=False) as thea:
        return thea.callbacks.hook(hook), thea.callbacks.chain(hook)


def _cells(hook: Hook, entry: ChainEntry) -> list[str]:
    why = f"wrapper, {entry.reason}" if entry.wrapper else entry.reason
    return [entry.plugin, entry.callback, why, ", ".join(entry.states) or "-", *_calling(hook, entry), entry.place]


def _calling(hook: Hook, entry: ChainEntry) -> tuple[str, str]:
    """Return limit and delivery; of a life-cycle hook neither counts: the application has limits of its own for it."""
    from thea_core.callbacks.hooks import Kind

    if hook.kind is Kind.LIFECYCLE:
        return "-", "-"
    return "unlimited" if entry.timeout is None else duration(entry.timeout), entry.delivery


def _as_json(entry: ChainEntry) -> dict[str, Any]:
    return {
        "plugin": entry.plugin,
        "callback": entry.callback,
        "priority": entry.priority,
        "reason": entry.reason,
        "wrapper": entry.wrapper,
        "async": entry.is_async,
        "states": list(entry.states),
        "timeout": entry.timeout,
        "delivery": entry.delivery,
        "place": entry.place,
    }
