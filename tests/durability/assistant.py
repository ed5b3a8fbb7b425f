"""The application of these tests: its agent counts, and its plugins write down what they are told.

Every line of a journal is written by a single call to a file that is only ever appended to, so that a kill leaves whole
lines. Each begins with a line break too: what a kill may cut off after all does not spoil the line behind it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from thea_core import AgentReply, IntentMatch, hookimpl

DURABLE = "durable.jsonl"
INLINE = "inline.jsonl"


class Counting:
    """Counts the messages of a user and notes each, with a digest of all: half of a context does not fit itself."""

    name = "counting"
    intents = ("count",)

    @hookimpl
    def detect_intents(self) -> list[IntentMatch]:
        return [IntentMatch("count", 1.0)]

    @hookimpl
    def provide_agents(self) -> list[Any]:
        return [self]

    def handle(self, message: str, context: dict[str, Any], turn: Any) -> AgentReply:
        return AgentReply(*counted(message, context))


def counted(message: str, context: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the answer to a message, which tells its place, and the context after it."""
    seen = [*context.get("seen", []), message]
    return f"{len(seen)}: {message}", {**context, "count": context.get("count", 0) + 1, "seen": seen, **proof(seen)}


def proof(seen: list[str]) -> dict[str, str]:
    """Return what follows from the messages: a digest, and the same again at some length."""
    digest = sha256("\n".join(seen).encode()).hexdigest()
    return {"digest": digest, "padding": digest * 16}


class Journal:
    """A file of JSON lines to which several processes append. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **line: object) -> None:
        """Append one line."""
        os.write(self._file, b"\n" + json.dumps(line).encode() + b"\n")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a journal; what a kill has cut off was told to nobody."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return [line for line in lines if isinstance(line, dict)]


class Listener:
    """Is told the messages durably, and writes them down."""

    name = "witness"
    delivery = "durable"

    def __init__(self, journal: Journal) -> None:
        self._write = journal.write

    @hookimpl
    def on_message(self, user_id: str, message: str, event_id: str) -> None:
        self._write(hook="on_message", user=user_id, what=message, event_id=event_id)


class Witness(Listener):
    """Is told everything durably, and writes it down."""

    @hookimpl
    def on_state_change(self, user_id: str, new_state: str, event_id: str) -> None:
        self._write(hook="on_state_change", user=user_id, what=new_state, event_id=event_id)

    @hookimpl
    def on_intent_detected(self, user_id: str, intent: str, event_id: str) -> None:
        self._write(hook="on_intent_detected", user=user_id, what=intent, event_id=event_id)

    @hookimpl
    def on_agent_delegated(self, user_id: str, agent: str, event_id: str) -> None:
        self._write(hook="on_agent_delegated", user=user_id, what=agent, event_id=event_id)

    @hookimpl
    def on_error(self, user_id: str, error: Exception, event_id: str) -> None:
        self._write(hook="on_error", user=user_id, what=str(error), event_id=event_id)

    @hookimpl
    def on_session_timeout(self, user_id: str, session_id: str, event_id: str) -> None:
        self._write(hook="on_session_timeout", user=user_id, what=session_id, event_id=event_id)


class Herald:
    """Is told the ends of sessions inline, and writes them down."""

    name = "herald"

    def __init__(self, journal: Journal) -> None:
        self._write = journal.write

    @hookimpl(timeout=None)
    def on_session_timeout(self, user_id: str, session_id: str, event_id: str) -> None:
        self._write(hook="on_session_timeout", user=user_id, what=session_id, event_id=event_id)


def plugins(directory: Path) -> list[object]:
    """Return the application's plugins; their journals are in ``directory``."""
    return [Counting(), Herald(Journal(directory / INLINE)), Witness(Journal(directory / DURABLE))]
