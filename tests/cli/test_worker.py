"""``thea worker`` ends sessions and delivers durable events, until a signal comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.cli.conftest import Command, Process
from tests.plugins.conftest import FakeSite
from thea_core import Thea
from thea_core.cli import exits

posix = pytest.mark.skipif(os.name != "posix", reason="signals")

WATCHER = """
import logging, os, sys, threading
from thea_core import hookimpl

def say(text):
    print(text, file=sys.stderr, flush=True)

class Watcher:
    @hookimpl
    def on_startup(self):
        if os.environ.get("WATCHER") == "start":
            say("starting")
            threading.Event().wait()

    @hookimpl
    def on_message(self, user_id, message):
        say(f"delivered: {user_id} {message}")

    @hookimpl
    def on_session_timeout(self, user_id):
        say(f"ended: {user_id}")
        if os.environ.get("WATCHER") == "stumble":
            raise ValueError("oh")
        logging.getLogger("thea.plugins.watcher").warning("one less")

    @hookimpl
    def on_shutdown(self):
        if os.environ.get("WATCHER") == "end":
            say("closing")
            threading.Event().wait()
"""

SETTINGS = """
[plugins]
enabled = ["watcher"]
startup_timeout = "1h"

[sessions]
timeout = "{timeout}"
sweep_interval = "{sweep_interval}"

{more}
"""


@pytest.fixture
def watched(cli: Command, site: FakeSite) -> Command:
    """The command, with a plugin that says what it hears."""
    site.plugin(WATCHER, name="watcher", value="watcher_plugin:Watcher")
    configure(cli)
    return cli


def configure(cli: Command, timeout: str = "30m", sweep_interval: str = "20ms", more: str = "") -> None:
    """Write the configuration; the worker looks for expired sessions often."""
    cli.write(SETTINGS.format(timeout=timeout, sweep_interval=sweep_interval, more=more))


def line(started: subprocess.Popen[bytes], stream: str = "stdout") -> str:
    """Return the next line that the process prints."""
    source = getattr(started, stream)
    return source.readline().decode().rstrip("\n")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("watched")
def test_it_says_that_it_is_ready_and_ends_well_with_the_first_signal(process: Process, number: int) -> None:
    with process.start("worker") as started:
        assert line(started) == ("worker: ready; looks for expired sessions every 20ms; no plugin has durable delivery")
        started.send_signal(number)
        output, errors = started.communicate(timeout=60)
    assert started.returncode == exits.OK
    assert output == b"worker: stopped; sessions ended: 0\n"
    assert errors == b""


@posix
def test_a_session_that_a_killed_application_has_left_is_ended_and_told(watched: Command, process: Process) -> None:
    configure(watched, timeout="1ms", sweep_interval="1h")
    with process.start("run", "--user", "ana") as started:
        assert started.stdin is not None
        started.stdin.write(b"hello\n")
        started.stdin.flush()
        assert json.loads(line(started))["user_id"] == "ana"
        started.kill()
    configure(watched)
    with process.start("worker", "--log", "log.jsonl") as started:
        assert line(started).startswith("worker: ready")
        assert line(started, "stderr") == "ended: ana"
        assert line(started, "stderr") == "warning: one less"
        started.send_signal(signal.SIGTERM)
        output, _ = started.communicate(timeout=60)
    assert output == b"worker: stopped; sessions ended: 1\n"
    assert '"message": "one less"' in (watched.directory / "log.jsonl").read_text(encoding="utf-8")
    with Thea.from_config(no_plugins=True, worker=False) as thea:
        assert thea.contexts.load("ana")["state"] == "initial"
        assert thea.sessions.expire("ana") is False


@posix
def test_an_event_that_an_application_without_a_worker_has_stored_is_delivered(
    watched: Command, process: Process
) -> None:
    configure(watched, more='[plugins.watcher]\ndelivery = "durable"')
    with Thea.from_config(worker=False) as thea:
        thea.handle_request("ana", "hello")
    assert [each["plugin"] for each in watched.json("outbox", "list")["events"]] == ["watcher"]
    with process.start("worker") as started:
        assert line(started).endswith("; delivers events to watcher")
        assert line(started, "stderr") == "delivered: ana hello"
        started.send_signal(signal.SIGTERM)
        output, _ = started.communicate(timeout=60)
    assert started.returncode == exits.OK
    assert output == b"worker: stopped; sessions ended: 0; events delivered: 1\n"
    assert watched.json("outbox", "list")["events"] == []


@posix
@pytest.mark.usefixtures("watched")
def test_a_signal_while_it_starts_ends_it_well(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER", "start")
    with process.start("worker") as started:
        assert line(started, "stderr") == "starting"
        started.send_signal(signal.SIGTERM)
        output, _ = started.communicate(timeout=60)
    assert started.returncode == exits.OK
    assert output == b"worker: stopped before it was ready\n"


@posix
@pytest.mark.usefixtures("watched")
def test_a_second_signal_does_not_wait_for_the_closing(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER", "end")
    with process.start("worker") as started:
        assert line(started).startswith("worker: ready")
        started.send_signal(signal.SIGTERM)
        assert line(started, "stderr") == "closing"
        with pytest.raises(subprocess.TimeoutExpired):  # it waits for the plugin, and is not taken by surprise
            started.wait(timeout=0.5)
        started.send_signal(signal.SIGTERM)
        _, errors = started.communicate(timeout=60)
    assert started.returncode == exits.TERMINATED
    assert b"error[interrupted]: stopped by SIGTERM" in errors
    assert b"Traceback" not in errors


def test_in_memory_there_is_nothing_to_work_on(watched: Command) -> None:
    result = watched("worker", THEA__STORE__URL="memory:")
    assert result.exit_code == exits.STORE
    assert result.stdout == ""
    assert result.stderr.startswith("error[memory-store]")


def test_a_store_that_cannot_be_opened_ends_it(watched: Command) -> None:
    result = watched("worker", THEA__STORE__URL="sqlite:///no/such/folder/thea.db")
    assert result.exit_code == exits.STORE
    assert result.stdout == ""
    assert result.stderr.startswith("error[store-unavailable]")


@posix
@pytest.mark.usefixtures("watched")
def test_plugins_in_trouble_are_named_at_the_end_and_without_a_history_no_delivery_is_counted(
    cli: Command, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(cli, timeout="1ms", more='[callbacks]\nhistory_size = 0\n\n[plugins.watcher]\ndelivery = "durable"')
    with Thea.from_config(worker=False) as thea:
        thea.sessions.create("ana")
    monkeypatch.setenv("WATCHER", "stumble")
    with process.start("worker") as started:
        assert line(started).startswith("worker: ready")
        assert line(started, "stderr") == "ended: ana"
        started.send_signal(signal.SIGTERM)
        output, errors = started.communicate(timeout=60)
    assert output == b"worker: stopped; sessions ended: 1\n"
    assert b"Plugins in trouble:\n  watcher: 1 failure\n" in errors
