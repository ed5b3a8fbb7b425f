"""``thea hooks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json, say, table

if TYPE_CHECKING:
    from thea_core.callbacks.hooks import Hook

__all__ = ["command"]


@verb("hooks", failed="there is no such hook")
@click.argument("name", required=False)
@json_option
@click.pass_obj
def command(options: Options, name: str | None) -> None:
    """Show the hooks that callbacks can implement.

    With a NAME, all that is to be known of that hook: when it is called, its arguments, and what becomes of a result.
    These are the hooks of Thea itself: those that plugins add stand in their own documentation.
    """
    from thea_core.callbacks import CallbackManager

    callbacks = CallbackManager(history_size=0)
    hooks = callbacks.hooks if name is None else [callbacks.hook(name)]
    if options.json:
        print_json({"hooks": [_as_json(each) for each in hooks]})
    elif name is None:
        table(["hook", "kind", "called"], [[each.name, each.kind.value, _when(each)] for each in hooks])
    else:
        [hook] = hooks
        say(f"{hook.signature}\n{hook.kind.value}; a callback may name: {', '.join(hook.arguments)}\n\n{hook.doc}")


def _summary(hook: Hook) -> str:
    return hook.doc.partition("\n\n")[0].replace("\n", " ")


def _when(hook: Hook) -> str:
    return _summary(hook).removeprefix("Called ").replace("``", "")


def _as_json(hook: Hook) -> dict[str, Any]:
    return {
        "name": hook.name,
        "kind": hook.kind.name.lower(),
        "signature": hook.signature,
        "arguments": list(hook.arguments),
        "summary": _summary(hook),
        "doc": hook.doc,
    }
