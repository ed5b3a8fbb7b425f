"""How it ends: shutdown, exit, fork and signals, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from recording_server import Answer

BEGIN = """
import os, sys, threading
from thea_core import Thea
from thea_sentry import SentryPlugin, SentrySettings

def make(**settings):
    plugin = SentryPlugin(SentrySettings(dsn=sys.argv[1], include_error_text=True, **settings))
    return Thea({"store": {"url": "memory:"}}, plugins=[plugin])

def fail(thea, text):
    try:
        raise ValueError(text)
    except ValueError as error:
        thea.callbacks.trigger("on_error", user_id="ana", error=error, traceback="")
"""

MODULE = """
from thea_core import IntentMatch, hookimpl

class Faulty:
    name, intents = "faulty", ("fail",)

    def handle(self, message, context, turn):
        raise ValueError(message)

@hookimpl
def provide_agents():
    return [Faulty()]

@hookimpl
def detect_intents(message, context):
    return [IntentMatch("fail", 1.0)] if "fault" in message else []
"""


def run(sentry, program, timeout=60):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + program, sentry.dsn],  # fork with threads
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def texts(sentry):
    return sorted(
        each.json["exception"]["values"][0]["value"] if "exception" in each.json else each.json["message"]
        for each in sentry.events
    )


@pytest.mark.parametrize("mode", ["isolated", "init"])
class TestExit:
    def test_what_waits_is_sent_when_the_application_is_closed(self, sentry, mode):
        sentry.server.usual = Answer(delay=0.05)
        run(
            sentry,
            f"""
with make(mode={mode!r}, flush_timeout=20) as thea:
    for number in range(5):
        fail(thea, f"e{{number}}")
os._exit(0)
""",
        )
        assert texts(sentry) == [f"e{number}" for number in range(5)]

    def test_a_service_that_hangs_holds_up_nothing_and_the_sdk_prints_nothing(self, sentry, mode):
        sentry.server.usual = Answer(hang=True)
        started = time.monotonic()
        run(
            sentry,
            f"""
import logging
logging.getLogger("thea.plugins.sentry").disabled = True  # which tells what was lost
with make(mode={mode!r}, flush_timeout=0.2, sentry_options=dict(shutdown_timeout=0.2)) as thea:
    fail(thea, "e")
""",
        )
        assert time.monotonic() - started < 25  # the SDK's own limit for a request is 30 s

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_after_a_fork_each_process_sends_its_own(self, sentry, mode):
        sentry.server.usual = Answer(delay=0.1)
        run(
            sentry,
            f"""
thea = make(mode={mode!r}, flush_timeout=20)
thea.start()
for number in range(8):
    fail(thea, f"parent {{number}}")
child = os.fork()
if not child:
    fail(thea, "child")
    thea.close(20)
    os._exit(0)
fail(thea, "parent 8")
assert os.waitpid(child, 0)[1] == 0
thea.close(20)
os._exit(0)
""",
        )
        assert texts(sentry) == ["child", *(f"parent {number}" for number in range(9))]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_child_that_reports_nothing_sends_nothing(self, sentry, mode):
        sentry.server.usual = Answer(delay=0.1)
        run(
            sentry,
            f"""
thea = make(mode={mode!r}, flush_timeout=20)
thea.start()
for number in range(8):
    fail(thea, f"parent {{number}}")
child = os.fork()
thea.close(20)
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
        )
        assert texts(sentry) == [f"parent {number}" for number in range(8)]


@pytest.mark.parametrize("mode", ["isolated", "init"])
def test_sending_imports_nothing(sentry, mode):
    """A fork while the sending thread imports a module leaves the child with a lock that nobody gives back."""
    run(
        sentry,
        f"""
class Finder:
    imported = []
    def find_spec(self, name, path=None, target=None):
        self.imported.append((threading.current_thread().name, name))

with make(mode={mode!r}) as thea:
    sys.meta_path.insert(0, Finder())
    fail(thea, "e")
    thea.callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
assert not [each for each in Finder.imported if each[0].startswith("sentry-sdk")], Finder.imported
""",
    )
    assert len(sentry.events) == 2


def test_sentry_that_was_initialised_for_the_process_goes_on(sentry):
    run(
        sentry,
        """
import logging, sentry_sdk
hook = sys.excepthook
with make(mode="init", environment="staging") as thea:
    fail(thea, "e")
    assert sys.excepthook is not hook
    assert sentry_sdk.get_client().options["environment"] == "staging"
sentry_sdk.capture_message("afterwards")
""",
    )
    assert texts(sentry) == ["afterwards", "e"]
    assert not [each for each in sentry.events if b'"vars"' in each.body]


def test_closing_takes_no_longer_than_the_flush_timeout(sentry, assistant, failing):
    sentry.server.usual = Answer(hang=True)
    thea = assistant(failing(), flush_timeout=0.2)
    thea.start()
    thea.handle_request("ana", "hola")
    started = time.monotonic()
    thea.close(timeout=60)
    assert time.monotonic() - started < 10


def test_closing_takes_no_longer_than_the_application_has(sentry, assistant, failing):
    sentry.server.usual = Answer(hang=True)
    thea = assistant(failing(), flush_timeout=60)
    thea.start()
    thea.handle_request("ana", "hola")
    started = time.monotonic()
    thea.close(timeout=0.5)
    assert time.monotonic() - started < 10


def test_the_plugin_can_be_switched_off_and_on(sentry, failing):
    from thea_core import Thea

    config = {
        "store": {"url": "memory:"},
        "plugins": {"enabled": ["sentry"], "sentry": {"settings": {"dsn": sentry.dsn}}},
    }
    with Thea(config, plugins=[failing()]) as thea:
        thea.handle_request("ana", "hola")
        thea.plugins.disable("sentry")
        assert len(sentry.events) == 1
        thea.handle_request("ana", "hola")
        thea.plugins.enable("sentry")
        thea.handle_request("ana", "hola")
    assert len(sentry.events) == 2


class TestCommand:
    """``thea run``, with a module whose agent fails now and then."""

    @pytest.fixture
    def start(self, sentry, tmp_path):
        (tmp_path / "faulty.py").write_text(MODULE, encoding="utf-8")
        (tmp_path / "thea.toml").write_text(
            f"""
[plugins]
enabled = ["logging", "sentry"]
modules = ["faulty"]
[plugins.sentry.settings]
dsn = "{sentry.dsn}"
send_user = "always"
[store]
url = "memory:"
""",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "thea_core.cli", "run"]
        return lambda *arguments: subprocess.Popen(
            [*command, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def test_each_fault_arrives_once_with_its_user_and_without_a_word_of_the_message(self, sentry, start):
        lines = [f"secret-word fault {n}" if n % 10 == 0 else f"secret-word {n}" for n in range(60)]
        with start("--user", "ana") as process:
            _, err = process.communicate("\n".join(lines) + "\n", timeout=60)
        assert process.returncode == 0, err
        assert len(sentry.events) == 6
        assert {each.json["user"]["id"] for each in sentry.events} == {"ana"}
        assert not any(b"secret-word" in each.body for each in sentry.events)

    def test_what_waits_is_sent_at_sigterm(self, sentry, start):
        with start("--user", "ana") as process:
            process.stdin.write("fault\n")
            process.stdin.flush()
            sentry.server.wait_for(1)
            sentry.server.usual = Answer(delay=0.3)
            process.stdin.write("fault\n")
            process.stdin.flush()
            assert process.stdout.readline()
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        assert len(sentry.events) == 2, err
