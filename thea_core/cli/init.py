"""``thea init``."""

from __future__ import annotations

import click

from thea_core.cli.exits import Refusal
from thea_core.cli.groups import verb
from thea_core.cli.options import Options
from thea_core.cli.output import say

__all__ = ["command"]


@verb("init", failed="the file is there already, or cannot be written")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def command(options: Options, force: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Write a commented thea.toml.

    It holds every key with its default and its meaning, and changes nothing until you edit it. With --config it is
    written under that name.
    """
    from thea_core.config.template import template

    path = options.base / (options.config or "thea.toml")
    if path.name == "pyproject.toml":
        raise Refusal(f"{path} is not Thea's alone: run thea init without it, or add [tool.thea] by hand", code="file")
    text = template()
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Refusal(f"{path} is there already; --force replaces it", code="file") from None
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror}", code="file") from None
    say(f"{path} is written. Check it with: thea config check")
    _say_what_is_installed()


def _say_what_is_installed() -> None:
    from thea_core.plugins.discovery import discover

    names = discover().names
    if names:
        say("Plugins are installed, but not enabled. To enable:")
    for name in names:
        say(f"  thea plugins enable {name}")
