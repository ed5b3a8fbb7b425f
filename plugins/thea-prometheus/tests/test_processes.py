"""Forks, several processes, and what is imported when."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

from thea_core import Thea

MEMORY = {"store": {"url": "memory:"}}
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def run_python(program, **environ):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_child(check):
    """Whether ``check`` returns true in a forked child, untraced: the lock of what measures coverage may be held."""
    tracing = sys.gettrace()
    sys.settrace(None)
    child = os.fork()
    if child == 0:
        passed = False
        try:
            signal.alarm(60)  # it must not hang for ever
            passed = check()
        finally:
            os._exit(0 if passed else 1)
    sys.settrace(tracing)
    return os.waitpid(child, 0)[1] == 0


@forking
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestFork:
    def test_the_child_counts_from_zero_and_the_parent_goes_on(self, run, fire, scraped):
        thea = run()
        fire(thea, "on_message")
        fire(thea, "on_intent_detected")

        def check():
            before = scraped("thea_messages_total"), scraped("thea_intents_total", intent="agenda")
            fire(thea, "on_message")
            calls = scraped("thea_plugin_hook_duration_seconds_count", plugin="prometheus", hook="on_message")
            return (before, scraped("thea_messages_total"), calls) == ((0.0, None), 1.0, 1.0)

        assert in_child(check)
        fire(thea, "on_message")
        assert scraped("thea_messages_total") == 2

    def test_a_lock_that_a_thread_of_the_parent_held_does_not_stop_the_child(self, run, fire, registry, scraped):
        thea = run()
        inside, go = threading.Event(), threading.Event()

        class Slow(float):
            """Is added while the counter's lock is held, and takes its time."""

            def __radd__(self, other):
                inside.set()
                assert go.wait(60)
                return other + 1.0

        metrics = next(each.metrics for each in registry.collect())
        thread = threading.Thread(target=lambda: metrics.messages.inc(Slow(1)))
        thread.start()
        assert inside.wait(60)
        try:
            assert in_child(lambda: [fire(thea, "on_message"), scraped("thea_messages_total")][1] == 1.0)
        finally:
            go.set()
            thread.join()

    def test_the_child_does_not_hold_the_port_which_the_parent_serves(self, make, fetch):
        plugin = make(port=0)
        with Thea(MEMORY, plugins=[plugin]):
            parts = urlsplit(plugin.url)
            ready, go = os.pipe(), os.pipe()
            child = os.fork()
            if child == 0:
                os.write(ready[1], b"x" if plugin.url is None else b"-")
                os.read(go[0], 1)  # it lives until the port has been closed and opened again
                os._exit(0)
            assert os.read(ready[0], 1) == b"x"
            fetch(plugin.url)
        try:
            with socket.socket() as again:
                assert again.connect_ex((parts.hostname, parts.port)) != 0  # nobody has it any more
            plugin = make(port=parts.port)
            with Thea(MEMORY, plugins=[plugin]):
                fetch(plugin.url)
        finally:
            os.write(go[1], b"x")
            os.waitpid(child, 0)
            for end in (*ready, *go):
                os.close(end)

    def test_the_child_may_close_the_assistant(self, make):
        program = """
import os
from thea_core import Thea
from thea_prometheus import PrometheusPlugin, PrometheusSettings

with Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin(PrometheusSettings(port=0))]) as thea:
    child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("both closed it")
"""
        assert run_python(program, PYTHONWARNINGS="") == "both closed it\n"


@forking
class TestMultiprocess:
    def test_the_figures_of_two_forked_workers_are_added_up(self, tmp_path):
        program = """
import os, sys, urllib.request, warnings
from wsgiref.util import setup_testing_defaults
from thea_core import Thea
from thea_prometheus import PrometheusPlugin, PrometheusSettings, wsgi_app

def work(messages):
    with Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin()]) as thea:
        for number in range(messages):
            thea.handle_request("alvaro_123", "hola")
        thea.callbacks.trigger("on_intent_detected", user_id="ana", intent="agenda", score=0.5)
        thea.callbacks.trigger("on_plugin_health", plugin="p", hook="on_message", state="open", reason="")
    with Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin()]) as thea:  # a restart in the same process
        thea.handle_request("alvaro_123", "hola")

children = []
for messages in (3, 4):
    child = os.fork()
    if child == 0:
        try:
            work(messages)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]

request = {}
setup_testing_defaults(request)
mounted = b"".join(wsgi_app()(request, lambda status, headers: None)).decode()
plugin = PrometheusPlugin(PrometheusSettings(port=0))
with Thea({"store": {"url": "memory:"}}, plugins=[plugin]):
    served = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(plugin.url).read().decode()
assert mounted.splitlines()[-1] in served
print(mounted)
"""
        lines = run_python(program, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).splitlines()
        for line in (
            "thea_messages_total 9.0",
            "thea_message_length_characters_count 9.0",
            "thea_message_length_characters_sum 36.0",
            'thea_intents_total{intent="agenda"} 2.0',
            'thea_intent_confidence_ratio_bucket{intent="agenda",le="0.5"} 2.0',
            'thea_plugin_breaker_changes_total{hook="on_message",plugin="p",state="open"} 2.0',
            'thea_transition_duration_seconds_count{to_state="idle"} 9.0',
            'thea_plugin_hook_duration_seconds_count{hook="on_message",plugin="prometheus"} 9.0',
        ):
            assert line in lines, line
        assert not any("alvaro" in line for line in lines)

    def test_two_assistants_in_one_worker_add_up_too(self, tmp_path):
        program = """
from wsgiref.util import setup_testing_defaults
from thea_core import Thea
from thea_prometheus import PrometheusPlugin, wsgi_app

make = lambda: Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin()])
with make() as first, make() as second:
    for _ in range(3):
        first.handle_request("ana", "hola")
        second.handle_request("ana", "hola")
request = {}
setup_testing_defaults(request)
print(b"".join(wsgi_app()(request, lambda status, headers: None)).decode())
"""
        assert "thea_messages_total 6.0" in run_python(program, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).splitlines()

    def test_a_parent_that_has_started_and_its_child_have_a_file_each(self, tmp_path):
        program = """
import os
from wsgiref.util import setup_testing_defaults
from thea_core import Thea
from thea_prometheus import PrometheusPlugin, wsgi_app

with Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin()]) as thea:
    thea.handle_request("ana", "hola")
    child = os.fork()
    if child == 0:
        thea.handle_request("ana", "hola")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    thea.handle_request("ana", "hola")
request = {}
setup_testing_defaults(request)
print(b"".join(wsgi_app()(request, lambda status, headers: None)).decode())
"""
        out = run_python(program, PROMETHEUS_MULTIPROC_DIR=str(tmp_path), PYTHONWARNINGS="")
        assert "thea_messages_total 3.0" in out.splitlines()

    def test_a_directory_that_is_not_there_leaves_the_plugin_out_with_one_message(self, tmp_path):
        program = """
import logging, sys
from thea_core import Thea
from thea_prometheus import PrometheusPlugin

logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s")
with Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin()]) as thea:
    assert thea.handle_request("ana", "hola").ok
    print([each.state for each in thea.plugins.status()])
"""
        told, states = run_python(program, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "none")).splitlines()
        assert told.startswith("thea_core.plugins: ")
        assert "PROMETHEUS_MULTIPROC_DIR: " in told
        assert "let it name a directory that this process may write to, or unset it" in told
        assert states == "['failed']"


class TestImports:
    @pytest.mark.parametrize(
        "act",
        [
            "thea_prometheus.PrometheusSettings()",
            "thea_prometheus.dashboard(), thea_prometheus.alert_rules()",
            "thea_prometheus.PrometheusPlugin()",
        ],
    )
    def test_prometheus_client_is_not_imported_before_the_plugin_starts(self, act):
        program = f"import sys, thea_prometheus\n{act}\nprint('prometheus_client' in sys.modules)"
        assert run_python(program) == "False\n"

    def test_it_is_when_the_plugin_starts(self):
        program = """
import sys
from thea_core import Thea
from thea_prometheus import PrometheusPlugin
with Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin()]):
    print("prometheus_client" in sys.modules)
"""
        assert run_python(program) == "True\n"
