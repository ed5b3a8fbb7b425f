"""``thea fsm``."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import click

from thea_core.cli import exits
from thea_core.cli.exits import Refusal
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import print_json

if TYPE_CHECKING:
    from thea_core.fsm import Definition

__all__ = ["command"]


@verb("fsm", statuses=(exits.CONFIG,), failed="there is no such state, or SVG was asked for and dot cannot draw it")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid", "dot", "svg"]),
    default="text",
    show_default=True,
    help="How it is drawn; svg needs the program dot, of Graphviz.",
)
@click.option("--current", metavar="STATE", help="Mark this state.")
@json_option
@click.pass_obj
def command(options: Options, form: str, current: str | None) -> None:
    """Draw the state machine.

    It is the one of the configuration, or Thea's own where the configuration defines none. Of plugins it needs nothing.
    """
    definition = _definition(options)
    if options.json:
        print_json(_as_json(definition))
    else:
        click.echo(_drawn(definition, form, current), nl=False)


def _definition(options: Options) -> Definition:
    from thea_core.fsm import Definition

    own = options.load().fsm.definition()
    return Definition() if own is None else Definition.from_mapping(own)


def _drawn(definition: Definition, form: str, current: str | None) -> str:
    from thea_core.fsm.diagram import draw

    if current is not None and current not in definition:
        raise Refusal(
            f"there is no state {current!r}; the states are: {', '.join(definition.states)}", code="unknown-state"
        )
    if form != "svg":
        return draw(definition, form, current=current)
    return _svg(draw(definition, "dot", current=current))


def _svg(text: str) -> str:
    program = shutil.which("dot")
    if program is None:
        raise Refusal(
            "SVG is drawn by the program dot, and there is none on the PATH: install Graphviz (apt install graphviz, "
            "brew install graphviz), or use --format mermaid",
            code="program-missing",
        )
    done = subprocess.run([program, "-Tsvg"], input=text, capture_output=True, encoding="utf-8", check=False)  # noqa: S603 -- the user's own dot
    if done.returncode != 0:
        raise Refusal(f"dot ended with exit status {done.returncode}: {done.stderr.strip()}", code="program-failed")
    return done.stdout


def _as_json(definition: Definition) -> dict[str, Any]:
    return {
        "initial": definition.initial,
        "error": definition.error,
        "final": sorted(definition.final),
        "transitions": {state: list(definition.targets(state)) for state in definition.states},
    }
