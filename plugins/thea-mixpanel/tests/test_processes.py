"""What happens at the end of a process, in its children, and in ``thea run``; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest
from recording_server import Answer

HEAD = """
import os, sys, threading
from thea_core import Thea
from thea_mixpanel import MixpanelPlugin, MixpanelSettings

def say(user):
    thea.callbacks.trigger("on_state_change", user_id=user, old_state="idle", new_state="processing")

"""


def run(*command, cwd, text=None, **environment):
    """Run a command to its end; return its standard error."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        input=text,
        env={**os.environ, "PYTHONWARNINGS": "error", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def users(events):
    return Counter(each["properties"]["distinct_id"] for each in events)


def test_what_was_queued_is_delivered_where_the_process_ends_without_a_close(server, tmp_path, read):
    script = (
        HEAD
        + """
thea = Thea({"store": {"url": "memory:"}}, plugins=[MixpanelPlugin(MixpanelSettings(token="t", endpoint=sys.argv[1]))])
thea.start()
for number in range(130):
    say(f"user-{number}")
"""
    )
    run("-c", script, server.url, cwd=tmp_path)
    assert users(read(*server.requests)) == {f"user-{number}": 1 for number in range(130)}


def test_a_process_ends_although_mixpanel_does_not_answer(server, tmp_path):
    server.usual = Answer(hang=True)
    script = (
        HEAD
        + """
thea = Thea({"store": {"url": "memory:"}}, plugins=[MixpanelPlugin(MixpanelSettings(token="t", endpoint=sys.argv[1]))])
thea.start()
for number in range(130):
    say(f"user-{number}")
"""
    )
    said = run("-c", script, server.url, cwd=tmp_path)
    assert "calls that were queued are not delivered" in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_each_process_delivers_its_own_events(server, tmp_path, read):
    script = (
        HEAD
        + """
begun, go_on = threading.Event(), threading.Event()

def hold(user_id):
    if user_id == "held":
        begun.set()
        go_on.wait(60)
    return False

settings = MixpanelSettings(token="t", endpoint=sys.argv[1], opt_out=hold)
plugin = MixpanelPlugin(settings)
thea = Thea({"store": {"url": "memory:"}}, plugins=[plugin])
thea.start()
say("sent before")
thea.callbacks.flush(60)
say("gathered")
say("held")
assert begun.wait(60)
say("queued")
child = os.fork()
if not child:
    say("child")
    thea.callbacks.flush(60)
    say("child")
    thea.close()
    assert (plugin.sent, plugin.lost) == (2, {}), (plugin.sent, plugin.lost)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go_on.set()
thea.close()
assert (plugin.sent, plugin.lost) == (4, {}), (plugin.sent, plugin.lost)
"""
    )
    run("-W", "ignore::DeprecationWarning", "-c", script, server.url, cwd=tmp_path, PYTHONWARNINGS="")
    assert users(read(*server.requests)) == {"sent before": 1, "gathered": 1, "held": 1, "queued": 1, "child": 2}


class TestCommand:
    CONFIG = """
[plugins]
enabled = ["mixpanel"]

[plugins.mixpanel.settings]
token = "${MIXPANEL_TOKEN:-}"
endpoint = "URL"
"""

    @pytest.fixture
    def folder(self, tmp_path, server):
        (tmp_path / "thea.toml").write_text(self.CONFIG.replace("URL", server.url), encoding="utf-8")
        return tmp_path

    def test_a_run_that_is_well_says_nothing(self, folder, server, read):
        said = run(
            "-m", "thea_core.cli", "run", cwd=folder, text="one\ntwo\nthree\n", MIXPANEL_TOKEN="0123456789abcdef"
        )
        assert "mixpanel" not in said
        counts = Counter(each["event"] for each in read(*server.requests))
        assert counts["Message Sent"] == counts["Agent Delegated"] == 3

    def test_a_run_ends_with_what_was_lost(self, folder, server):
        server.usual = Answer(500)
        said = run(
            "-m", "thea_core.cli", "run", cwd=folder, text="one\n", MIXPANEL_TOKEN="0123456789abcdef"
        ).splitlines()
        assert said[-2] == "Plugins in trouble:"
        assert said[-1].startswith("  mixpanel: ")
        assert said[-1].endswith(" events lost: HTTP 500")

    def test_without_a_token_a_run_warns_once_and_sends_nothing(self, folder, server):
        said = run("-m", "thea_core.cli", "run", cwd=folder, text="one\ntwo\n")
        assert said.count("thea-mixpanel has no token, so nothing is sent") == 1
        assert "in trouble" not in said
        assert server.requests == []

    def test_info_shows_every_setting(self, folder):
        done = subprocess.run(
            [sys.executable, "-m", "thea_core.cli", "plugins", "info", "mixpanel", "--load"],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        for setting in ("token", "region", "endpoint", "flush_at", "opt_out", "on_drop"):
            assert setting in done.stdout


def test_the_library_is_imported_only_where_the_plugin_starts_with_a_token(tmp_path):
    script = """
import sys
import thea_mixpanel
from thea_core import Thea

def heavy():
    return {"mixpanel", "requests", "httpx", "urllib3"} & set(sys.modules)

thea_mixpanel.MixpanelSettings.model_json_schema()
inert = thea_mixpanel.MixpanelPlugin()
with Thea({"store": {"url": "memory:"}}, plugins=[inert]) as thea:
    thea.handle_request("ana", "hello")
assert not heavy(), heavy()
settings = thea_mixpanel.MixpanelSettings(token="t")
with Thea({"store": {"url": "memory:"}}, plugins=[thea_mixpanel.MixpanelPlugin(settings)]):
    assert "mixpanel" in heavy()
"""
    run("-c", script, cwd=tmp_path, PYTHONWARNINGS="")
