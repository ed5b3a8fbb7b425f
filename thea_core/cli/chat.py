"""``thea chat``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.application import application, terminable, warnings_to
from thea_core.cli.dialogue.conversation import Conversation
from thea_core.cli.dialogue.screen import screen
from thea_core.cli.dialogue.typing import lines_of
from thea_core.cli.groups import verb
from thea_core.cli.messages.log import log_option, log_to
from thea_core.cli.options import Options
from thea_core.cli.users import user_option

if TYPE_CHECKING:
    from thea_core.app import Thea

__all__ = ["command"]


@verb("chat", statuses=(exits.CONFIG, exits.PLUGIN, exits.STORE, exits.TERMINATED))
@user_option("Whose conversation it is; it goes on where it was left.", default="chat")
@log_option
@click.pass_obj
def command(options: Options, user: str, log: Path | None) -> None:
    """Hold a conversation in the terminal.

    Below each reply stand the state, the intent and the agent. /state shows where the conversation is in the state
    machine, /help what else there is; Ctrl-D ends. Where standard input is no terminal, each of its lines is a message.
    """
    shown = screen()
    terminal = sys.stdin.isatty()
    with log_to(log), warnings_to(shown.remark), terminable(), application(options) as thea:
        conversation = Conversation(thea, user, shown)
        if terminal:
            shown.notice(_welcome(thea))
        for line in lines_of(shown.notice):
            if terminal and not line.strip():
                continue  # Enter alone is no message of a person's
            if not conversation.take(line):
                break
        else:
            if terminal:
                shown.notice("")  # the line on which Ctrl-D was typed


def _welcome(thea: Thea) -> str:
    running = [each.name for each in thea.plugins if each.state == "running"]
    plugins = f"with {', '.join(running)}" if running else "without plugins (thea plugins list shows what there is)"
    return f"Thea, {plugins}. /help shows the commands, Ctrl-D ends."
