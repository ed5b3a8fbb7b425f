"""One of the processes of the race test: its threads send messages of the same few users as those of the others.

Run as ``python -m tests.durability.racer OPTIONS``, with the options as a JSON object: ``url``, ``directory``,
``name``, ``threads``, ``messages`` (of each thread), ``users``, ``seed``, ``lease`` (the seconds that leases live; null
for what is usual), ``worker`` (whether it delivers events) and ``holds`` (whether it stays in the middle of a turn
until it is told to go on).

It says ``ready``, and waits for a line. Then it says ``{"answered"}`` of every message of one user, ``{"holding"}`` in
the middle of a turn, and waits for a line, and ``{"done"}`` when all is sent: the messages of each thread by user, in
order, and how often a commit was refused. It waits for a line again, and says how many events are ``{"left"}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

from tests.durability.assistant import DURABLE, Counting, Journal, Listener
from tests.durability.places import CONFIG, drained, opened
from tests.durability.wrapping import ShortLeases
from thea_core import AgentReply, CommitRefusedError, StoreError, Thea

HELD = "user0"
_TRIES = 20


def say(**line: object) -> None:
    """Tell the driver, in one piece."""
    os.write(1, json.dumps(line).encode() + b"\n")


class Holding(Counting):
    """Stays in a turn of one user until it may go on; not in the user's first, of which there is no version."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def handle(self, message: str, context: dict[str, Any], turn: Any) -> AgentReply:
        if turn.user_id == HELD and "count" in context and not self.go_on.is_set():
            say(holding=True)
            self.go_on.wait()
        return super().handle(message, context, turn)


class Racer:
    """Sends the messages of this process."""

    def __init__(self, app: Thea, options: dict[str, Any]) -> None:
        self._app = app
        self._options = options
        self.sent: list[dict[str, list[str]]] = []
        self.refused = 0
        self._threads = [threading.Thread(target=self._race, args=(n,), daemon=True) for n in range(options["threads"])]

    def start(self) -> None:
        """Let all threads send."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all have sent."""
        for thread in self._threads:
            thread.join()

    def _race(self, number: int) -> None:
        """Send messages of users by chance, each when the one before is answered."""
        name = f"{self._options['name']}{number}"
        random = Random(f"{self._options['seed']} {name}")
        sent: dict[str, list[str]] = defaultdict(list)
        self.sent.append(sent)
        for count in range(self._options["messages"]):
            early = self._options["holds"] and number == 0 and count < 2
            user, text = HELD if early else f"user{random.randrange(self._options['users'])}", f"{name}.{count}"
            self._send(user, text)
            sent[user].append(text)
            if user == HELD:
                say(answered=text)

    def _send(self, user: str, text: str) -> None:
        for _ in range(_TRIES):
            try:
                reply = self._app.handle_request(user, text, text)
            except CommitRefusedError:
                self.refused += 1
            except StoreError as error:
                say(error=f"{text}: {error!r}")
            else:
                if reply.text.partition(": ")[2] != text:
                    say(error=f"{text}: was answered with {reply.text}")
                return
        say(error=f"{text}: was not answered at all")


def race(app: Thea, agent: Counting, options: dict[str, Any]) -> None:
    """Send everything, and tell what was sent."""
    racer = Racer(app, options)
    say(ready=True)
    sys.stdin.readline()
    racer.start()
    if isinstance(agent, Holding):
        sys.stdin.readline()
        agent.go_on.set()
    racer.join()
    say(done={"sent": racer.sent, "refused": racer.refused})
    sys.stdin.readline()
    say(left=drained(app) if options["worker"] else 0)


def main() -> None:
    options = json.loads(sys.argv[1])
    holds = options["holds"]
    agent = Holding() if holds else Counting()
    listener = Listener(Journal(Path(options["directory"]) / DURABLE))
    with opened(options["url"]) as store:
        own = store if options["lease"] is None else ShortLeases(store, options["lease"])
        with Thea(CONFIG, plugins=[agent, listener], store=own, worker=options["worker"]) as app:
            race(app, agent, options)


if __name__ == "__main__":
    main()
