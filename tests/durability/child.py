"""The process that is killed: it handles the messages that come on standard input, several at once.

Run as ``python -m tests.durability.child OPTIONS``, with the options as a JSON object: ``url``, ``directory``,
``shift`` (seconds by which its time is ahead), ``threads`` and ``quiet`` (whether no sweep is made but the last).
Lines of JSON come in and go out. A message is ``{"id", "user", "text"}``, and its answer ``{"id", "text", "session"}``
or ``{"id", "error"}``. The line ``{"do": "settle"}`` lets it end what has expired and hand over what is stored, before
it answers with the number of events that are left.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.durability.assistant import plugins
from tests.durability.places import CONFIG, QUIET, application, drained
from thea_core import Thea


def say(**line: object) -> None:
    """Tell the driver, in one piece."""
    os.write(1, json.dumps(line).encode() + b"\n")


def answer(app: Thea, request: dict[str, Any]) -> None:
    """Handle one message, and say what came of it."""
    try:
        reply = app.handle_request(request["user"], request["text"], request["id"])
    except Exception as error:
        say(id=request["id"], error=f"{type(error).__name__}: {error}")
    else:
        say(id=request["id"], text=reply.text, session=reply.session_id)


def settle(app: Thea) -> None:
    """End what has expired, and wait until everything stored is handed over."""
    app.sessions.sweep()
    say(left=drained(app))


def work(app: Thea, requests: SimpleQueue[dict[str, Any] | None]) -> None:
    """Do one thing after another, until None comes."""
    while (request := requests.get()) is not None:
        if "do" in request:
            settle(app)
        else:
            answer(app, request)


def serve(app: Thea, threads: int) -> None:
    """Hand what comes to threads, until nothing comes any more; what is under way then is left to the closing."""
    requests: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    for _ in range(threads):
        threading.Thread(target=work, args=(app, requests), daemon=True).start()
    say(ready=True)
    for line in sys.stdin:
        requests.put(json.loads(line))
    for _ in range(threads):
        requests.put(None)


def main() -> None:
    options = json.loads(sys.argv[1])
    told, config = plugins(Path(options["directory"])), QUIET if options["quiet"] else CONFIG
    with application(options["url"], told, shift=options["shift"], config=config) as app:
        serve(app, options["threads"])


if __name__ == "__main__":
    main()
