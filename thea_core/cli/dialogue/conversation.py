"""One conversation in a terminal: messages, and the commands that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thea_core.cli.output import plain
from thea_core.errors import InvalidRequestError

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.cli.dialogue.screen import Screen
    from thea_core.types import Reply

__all__ = ["Conversation"]

_HELP = """\
/state   where the conversation is in the state machine
/help    this
/quit    end; so does Ctrl-D
//...    a message that begins with a slash"""


class Conversation:
    """Takes lines, shows replies.

    Args:
        thea: the running application.
        user: whose conversation it is.
        screen: where it is shown.
    """

    def __init__(self, thea: Thea, user: str, screen: Screen) -> None:
        self._thea = thea
        self._user = user
        self._screen = screen
        self._commands: dict[str, Callable[[], None]] = {
            "/state": self._show_state,
            "/help": lambda: screen.notice(_HELP),
        }

    def take(self, line: str) -> bool:
        """Handle a line: a message, or a command; return False where it ends the conversation.

        Raises:
            StoreError: the store failed; the message is not handled.
        """
        if line.startswith("/") and not line.startswith("//"):
            return self._command(line.split(maxsplit=1)[0])
        self._send(line.removeprefix("/"))
        return True

    def _send(self, message: str) -> None:
        try:
            reply = self._thea.handle_request(self._user, message)
        except InvalidRequestError as error:
            self._screen.notice(f"This message cannot be handled: {error}")
        else:
            self._screen.reply(reply.text, ok=reply.ok)
            self._screen.status(_status(reply))

    def _command(self, name: str) -> bool:
        if name in {"/quit", "/exit"}:
            return False
        self._commands.get(name, lambda: self._refuse(name))()
        return True

    def _refuse(self, name: str) -> None:
        from difflib import get_close_matches

        close = get_close_matches(name, [*self._commands, "/quit"], n=1)
        hint = f"Did you mean {close[0]}?" if close else "/help shows the commands."
        self._screen.notice(f"There is no command {plain(name)}. {hint} A message that begins with / is typed //.")

    def _show_state(self) -> None:
        state = self._thea.contexts.load(self._user)["state"]
        if state in self._thea.fsm.definition:
            self._screen.notice(self._thea.fsm.diagram("text", current=state).rstrip("\n"))
        else:
            self._screen.notice(f"The conversation is in the state {state!r}, which the state machine has not.")


def _status(reply: Reply) -> str:
    return plain(f"[state {reply.context['state']} | intent {reply.intent or '-'} | agent {reply.agent or '-'}]")
