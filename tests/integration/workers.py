"""What the processes of these tests run: an application over a SQLite file, beside another one over the same file.

Run as ``python workers.py WORK NAME``; the tests write the lines that decide who does what to standard input.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from thea_core import AgentReply, IntentMatch, Thea, hookimpl

CONFIG = {"store": {"url": "sqlite:///thea.db"}}
ROUNDS = 40


class Counting:
    """Adds one to the count of the conversation, and notes which message did so."""

    name = "counting"
    intents = ("count",)

    def __init__(self, kill: bool = False) -> None:
        self._kill = kill

    @hookimpl
    def detect_intents(self) -> list[IntentMatch]:
        return [IntentMatch("count", 1.0)]

    @hookimpl
    def provide_agents(self) -> list[Any]:
        return [self]

    def handle(self, message: str, context: dict[str, Any], turn: Any) -> AgentReply:
        if self._kill:
            say("begun")
            sys.stdin.readline()  # nobody answers: here the process is killed
        count = context.get("count", 0) + 1
        seen = [*context.get("seen", []), message]
        return AgentReply(str(count), context | {"count": count, "seen": seen})


def say(text: str) -> None:
    """Tell the test."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def count(name: str) -> None:
    """Handle messages of one user at the same time as another process; each has an id of its own, and a common one."""
    with Thea(CONFIG, plugins=[Counting()]) as app:
        say("ready")
        sys.stdin.readline()
        for number in range(ROUNDS):
            app.handle_request("ana", f"{name}{number}", f"{name}{number}")
            say(app.handle_request("ana", "both", f"both{number}").text)


def die(name: str) -> None:
    """Handle one message, and be killed in the middle of it."""
    with Thea(CONFIG, plugins=[Counting(kill=True)]) as app:
        app.handle_request("ana", name, name)


if __name__ == "__main__":
    os.umask(0o077)
    {"count": count, "die": die}[sys.argv[1]](sys.argv[2])
