"""A real application writes its record; ``thea plugins list`` and ``doctor`` find in it who is to blame."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.conftest import Command
from tests.plugins.conftest import FakeSite

HANGING = """
import threading
from thea_core import hookimpl

@hookimpl
def on_message(user_id):
    threading.Event().wait()
"""
RAISING = """
from thea_core import hookimpl

@hookimpl
def on_message(user_id):
    raise ValueError("it rains")
"""
FLOODED = """
import threading
from thea_core import hookimpl

delivery = "background"

@hookimpl
def on_state_change(user_id):
    threading.Event().wait(0.05)
"""
GOOD = """
from thea_core import hookimpl

@hookimpl
def on_message(user_id): ...
"""
CONFIGURATION = """
[store]
url = "memory:"

[callbacks]
record = "calls.jsonl"
breaker_failures = 2

[plugins]
enabled = ["hanging", "raising", "flooded", "good"]

[plugins.hanging]
timeout = "50ms"

[plugins.flooded]
queue_size = 1
"""
KILLED = """
import os, signal
from thea_core import Thea
from thea_core.callbacks.record_reader import RecordReader, summarize
from pathlib import Path

thea = Thea.from_config("thea.toml")
thea.start()
for number in range(2):
    thea.handle_request("ana", "hola")
while "raising" not in (found := summarize(RecordReader(Path("calls.jsonl"))).plugins) or not found["raising"].health:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def plugins(thea: Command, site: FakeSite) -> dict[str, str]:
    """Install the plugins and configure them; return the environment in which they are found."""
    sources = {"hanging": HANGING, "raising": RAISING, "flooded": FLOODED, "good": GOOD}
    for name, source in sources.items():
        site.plugin(source, name=name, value=f"{name}_plugin")
    thea.write(CONFIGURATION)
    thea.write("hola\n" * 4, "messages.txt")
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def problems(thea: Command, *arguments: str, **environ: str) -> dict[str, dict[str, Any]]:
    """Return the problems by plugin and code; the exit status must be 1."""
    outcome = thea("plugins", "doctor", "--json", *arguments, **environ)
    assert outcome.status == 1, outcome.errors
    found: dict[str, dict[str, Any]] = {}
    for each in json.loads(outcome.output)["problems"]:
        found.setdefault(each["plugin"], {})[each["code"]] = each
    return found


def test_each_culprit_of_a_run_is_named_and_nobody_else(thea: Command, plugins: dict[str, str]) -> None:
    run = thea("run", "messages.txt", **plugins)
    assert (run.status, len(run.rows)) == (0, 4)
    found = problems(thea, **plugins)
    assert {name: set(each) - {"slow"} for name, each in found.items()} == {  # where the machine is busy, some are
        "hanging": {"timeouts", "skipped"},
        "raising": {"failures", "skipped"},
        "flooded": {"drops"},
    }
    assert found["hanging"]["timeouts"]["text"].startswith("2 of its 2 calls took too long; the last, on_message at ")
    assert "raise [plugins.hanging] timeout (now 50 ms)" in found["hanging"]["timeouts"]["todo"]
    assert found["raising"]["failures"]["text"].startswith("2 of its 2 calls failed; the last, on_message at ")
    assert found["raising"]["failures"]["text"].endswith("ValueError: it rains")
    assert found["raising"]["skipped"]["text"].startswith("2 calls left out; ")
    assert "queue_size (now 1)" in found["flooded"]["drops"]["todo"]

    told = thea("plugins", "doctor", **plugins)
    assert told.status == 1
    assert "problem: raising: 2 of its 2 calls failed" in told.output
    assert " problems; looked at: flooded, good, hanging, raising; calls.jsonl, as of " in told.output

    good = thea("plugins", "doctor", "good", **plugins)
    assert good.status == 0
    assert good.output.startswith("Nothing is wrong; looked at: good; calls.jsonl, as of ")


def test_the_list_shows_their_figures(thea: Command, plugins: dict[str, str]) -> None:
    assert thea("run", "messages.txt", **plugins).status == 0
    listed = {each["name"]: each for each in json.loads(thea("plugins", "list", "--json", **plugins).output)["plugins"]}
    assert {
        name: (each["failures"], each["timeouts"], each["skipped"]) for name, each in listed.items() if each["enabled"]
    } == {
        "hanging": (0, 2, 2),
        "raising": (2, 0, 2),
        "flooded": (0, 0, 0),
        "good": (0, 0, 0),
    }
    assert listed["flooded"]["drops"] > 0
    assert listed["hanging"]["worst"] >= listed["hanging"]["mean"] >= 0.05
    assert [listed[name]["status"] for name in ("hanging", "raising", "good")] == ["stopped"] * 3
    assert thea("plugins", "list", **plugins).output.count("ok (ran until ") == 4


def test_what_a_killed_process_left_is_told(thea: Command, plugins: dict[str, str]) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], env=os.environ | plugins, check=False)
    assert killed.returncode == -9
    breaker = problems(thea, "raising", **plugins)["raising"]["breaker"]
    assert "which does not run on this machine now: 2 failures in a row" in breaker["text"]
    listed = thea("plugins", "list", **plugins).output
    assert "open: on_message" in listed
    assert "running (since " in listed
    assert thea("run", "messages.txt", **plugins).status == 0
    assert "breaker" not in problems(thea, "raising", **plugins)["raising"]
