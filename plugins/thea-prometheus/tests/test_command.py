"""As an operator uses it: switched on in thea.toml, scraped while ``thea run`` is at work."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

THEA = [sys.executable, "-m", "thea_core.cli"]


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def configure(folder, settings):
    text = '[plugins]\nenabled = ["prometheus"]\n\n[store]\nurl = "memory:"\n\n[plugins.prometheus.settings]\n'
    (folder / "thea.toml").write_text(text + settings, encoding="utf-8")


def test_what_thea_run_has_handled_is_on_the_page_while_its_input_is_open(tmp_path, fetch, free_port):
    configure(tmp_path, f"port = {free_port}\n")
    with subprocess.Popen(
        [*THEA, "run", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdin.write("".join(f"message {number}\n" for number in range(20)))
        process.stdin.flush()
        for _ in range(20):
            assert process.stdout.readline()
        page = fetch(f"http://127.0.0.1:{free_port}/metrics").splitlines()
        _, told = process.communicate(timeout=60)
    assert "thea_messages_total 20.0" in page
    assert 'thea_agent_delegations_total{agent="fallback"} 20.0' in page
    assert process.returncode == 0
    assert "Plugins in trouble" not in told


def test_a_port_that_is_taken_is_told_by_thea_run_which_goes_on(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configure(tmp_path, f"port = {port}\n")
        done = subprocess.run(
            [*THEA, "run", "-"], cwd=tmp_path, input="hola\n", capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0
    assert f"127.0.0.1 port {port} cannot be listened on" in " ".join(done.stderr.split())


def test_thea_plugins_info_prints_the_settings(tmp_path):
    configure(tmp_path, "")
    done = subprocess.run(
        [*THEA, "plugins", "info", "prometheus", "--load"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    text = re.sub(r"\s+", " ", done.stdout)
    for name in ("port", "addr", "max_label_values", "duration_buckets", "registry"):
        assert name in text
    assert "How many values each label may take" in text
