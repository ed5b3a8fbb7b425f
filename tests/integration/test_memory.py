"""Memory stays flat, however long the run."""

from __future__ import annotations

import gc
import json
import logging
import tracemalloc
from pathlib import Path

import pytest

from tests.integration.conftest import DATA, Command
from thea_core import Thea

pytestmark = pytest.mark.plugins

WATCH = '''
"""Notes how much memory the process has, at some of the messages."""

import gc
import os
from thea_core import hookimpl

count = 0

@hookimpl
def on_message(message):
    global count
    count += 1
    if count in (1_600, 2_800):
        gc.collect()
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        print(count, pages * os.sysconf("SC_PAGESIZE"), file=open("memory.txt", "a"))
'''


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_thousands_of_messages_more_take_no_more_memory(thea: Command) -> None:
    """Another 1,200 users, each with a message, a context and a reply of its own, add less than 200 bytes each.

    The history has its size by then: it keeps the last 1,000 calls of each chain, and gives up others 512 at a time.
    """
    thea.write(WATCH, "watch.py")
    thea.write('[plugins]\nenabled = ["logging", "agenda"]\nmodules = ["watch"]\n[store]\nurl = "sqlite:///thea.db"\n')
    texts = ["what is on my calendar tomorrow", "crear evento mañana a las 10", *["qué tiempo hace"] * 30]
    lines = [{"message": f"{texts[number % len(texts)]} {number}"} for number in range(2_800)]
    thea.write("\n".join(map(json.dumps, lines)), "long.jsonl")
    outcome = thea("run", "long.jsonl")
    assert outcome.status == 0, outcome.errors
    assert all(each["ok"] for each in outcome.rows)
    (_, early), (_, late) = (map(int, line.split()) for line in Path("memory.txt").read_text("ascii").splitlines())
    assert late - early < 1_200 * 200


def test_a_turn_leaves_no_object_behind(thea: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 turns of new users keep less than 50 bytes each, beside the history, which gives up its calls in batches."""
    logger = logging.getLogger("thea.events")
    monkeypatch.setattr(logger, "propagate", False)  # pytest keeps what comes to the root
    monkeypatch.setattr(logger, "level", logging.INFO)
    texts = [line.split("\t")[0] for line in (DATA / "clinc150_sample.tsv").read_text("utf-8").splitlines()[1:401]]
    config = {
        "plugins": {"enabled": ["logging", "agenda"]},
        "store": {"url": "sqlite:///thea.db"},
        "callbacks": {"history_size": 0},
    }
    with Thea(config) as app:

        def handle(name: str) -> int:
            for number, text in enumerate(texts):
                assert app.handle_request(f"{name} {number}", text, f"message {number}").ok
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            handle("first")  # fills caches, of statements of SQLite's for one
            before = handle("early")
            kept = handle("late") - before
        finally:
            tracemalloc.stop()
    assert kept < 400 * 50
