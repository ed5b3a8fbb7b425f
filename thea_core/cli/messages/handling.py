"""Handling the messages of a file, one after another, and writing what came of each."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from thea_core.cli.exits import Refusal
from thea_core.cli.messages.formats import Message, Parsed
from thea_core.cli.messages.ids import Names
from thea_core.errors import InvalidRequestError

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.types import Reply

__all__ = ["Handling", "Summary"]


@dataclass(slots=True)
class Summary:
    """What came of a file so far.

    Attributes:
        handled: how many messages have a reply.
        repeated: how many of these had it before, and were only told it again.
        apologies: how many of these were answered by an apology or a refusal.
        refused: how many lines are no message that can be handled.
        first_refused: the first of these, in words.
        started: when it began, in seconds of no particular clock.
    """

    handled: int = 0
    repeated: int = 0
    apologies: int = 0
    refused: int = 0
    first_refused: str = ""
    started: float = field(default_factory=perf_counter)

    def __str__(self) -> str:
        seconds = perf_counter() - self.started
        parts = [f"{self.handled:,} {'message' if self.handled == 1 else 'messages'} handled in {seconds:.1f} s"]
        if self.repeated:
            parts.append(f"{self.repeated:,} of them before: they were not handled again")
        if self.apologies:
            parts.append(f"{self.apologies:,} answered by an apology or a refusal")
        if self.refused:
            parts.append(f"{self.refused:,} {'line' if self.refused == 1 else 'lines'} refused")
        text = "; ".join(parts)
        return f"{text}\nThe first refused line: {self.first_refused}" if self.refused else text


class Handling:
    """Handles messages in the order in which it is given them, and writes a JSON line for each.

    Args:
        thea: the running application.
        names: gives users and message ids.
        strict: whether to stop at the first line that is refused.
        anew: whether the conversation of a line that is a user of its own begins afresh.
    """

    def __init__(self, thea: Thea, names: Names, *, strict: bool, anew: bool) -> None:
        self.summary = Summary()
        self._thea = thea
        self._names = names
        self._strict = strict
        self._anew = anew
        self._fired = False
        thea.callbacks.register("on_message", self._note)

    def take(self, line: Parsed) -> None:
        """Handle a line's message, or tell why it has none.

        Raises:
            Refusal: it has none, or one that cannot be handled, and the run is strict.
            StoreError: the store failed; the message is not handled.
        """
        if line.refused is not None:
            self._refuse(line.number, line.refused.code, str(line.refused))
        elif line.message is not None:
            try:
                self._handle(line.number, line.message)
            except InvalidRequestError as error:
                self._refuse(line.number, error.code, str(error))

    def _handle(self, number: int, message: Message) -> None:
        user: Any = self._names.user_of(message, number)
        message_id: Any = self._names.id_of(message, number)
        if self._anew and self._names.makes_user(message):
            self._thea.contexts.clear(user)
        self._fired = False
        reply = self._thea.handle_request(user, message.text, message_id, timestamp=message.timestamp)
        self.summary.handled += 1
        self.summary.repeated += not self._fired
        self.summary.apologies += not reply.ok
        _write(
            {"line": number, "user_id": user, "message_id": message_id, **_as_json(reply), "repeated": not self._fired}
        )

    def _refuse(self, number: int, code: str, reason: str) -> None:
        text = f"{self._names.file}:{number}: {reason}"
        self.summary.refused += 1
        self.summary.first_refused = self.summary.first_refused or text
        _write({"line": number, "error": {"code": code, "message": text}})
        if self._strict:
            raise Refusal(text, code=code)

    def _note(self, user_id: str) -> None:  # noqa: ARG002 -- the argument of the event
        """Hear that a message is really handled; one whose id is known fires nothing."""
        self._fired = True


def _as_json(reply: Reply) -> dict[str, Any]:
    return {
        "ok": reply.ok,
        "reply": reply.text,
        "intent": reply.intent,
        "agent": reply.agent,
        "state": reply.context.get("state"),
        "session_id": reply.session_id,
    }


def _write(value: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()
