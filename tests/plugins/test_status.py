from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime

import pytest

from thea_core.plugins.status import PluginStatus, StatusFile

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RUNNING = PluginStatus("running", NOON, hooks=("on_error", "on_message"))
FAILED = PluginStatus("failed", NOON, reason="cannot be imported")


def test_what_is_recorded_is_read_by_another_process(tmp_path):
    StatusFile(tmp_path).record({"sentry": RUNNING, "weather": FAILED})
    assert StatusFile(tmp_path).read() == {"sentry": RUNNING, "weather": FAILED}


def test_the_file_stands_in_a_directory_beside_the_configuration_out_of_version_control(tmp_path):
    StatusFile(tmp_path).record({"sentry": RUNNING})
    assert sorted(each.name for each in (tmp_path / ".thea").iterdir()) == [".gitignore", "plugins.json"]
    assert (tmp_path / ".thea" / ".gitignore").read_text() == "*\n"


def test_recording_one_plugin_leaves_the_others(tmp_path):
    file = StatusFile(tmp_path)
    file.record({"sentry": RUNNING})
    file.record({"weather": FAILED})
    file.record({"sentry": FAILED})
    assert file.read() == {"sentry": FAILED, "weather": FAILED}


def test_a_plugin_can_be_forgotten(tmp_path):
    file = StatusFile(tmp_path)
    file.record({"sentry": RUNNING, "weather": FAILED})
    file.forget("sentry")
    file.forget("unknown")
    assert file.read() == {"weather": FAILED}


def test_of_a_very_long_reason_the_start_is_kept(tmp_path):
    file = StatusFile(tmp_path)
    file.record({"weather": PluginStatus("failed", NOON, reason="x" * 10_000)})
    assert file.read()["weather"].reason == "x" * 2_000


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"null", b'{"plugins": 3}', b"{}", b"\xff", b'{"plugins": []}', b"[" * 100_000]
)
def test_a_damaged_file_reads_as_empty_and_is_replaced(tmp_path, content):
    file = StatusFile(tmp_path)
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    assert file.read() == {}
    file.record({"sentry": RUNNING})
    assert file.read() == {"sentry": RUNNING}


@pytest.mark.parametrize(
    "damage",
    [
        {"state": 3},
        {"reason": None},
        {"hooks": [1]},
        {"hooks": None},
        {"when": "yesterday"},
        {"when": 3},
    ],
)
def test_a_damaged_entry_is_left_out_and_the_others_are_read(tmp_path, damage):
    file = StatusFile(tmp_path)
    file.record({"sentry": RUNNING})
    data = json.loads(file.path.read_text())
    data["plugins"]["weather"] = {**FAILED.to_json(), **damage}
    data["plugins"]["nothing"] = None
    file.path.write_text(json.dumps(data))
    assert file.read() == {"sentry": RUNNING}


def test_a_missing_file_reads_as_empty(tmp_path):
    assert StatusFile(tmp_path / "nowhere").read() == {}


def test_a_place_that_cannot_be_written_is_logged_once_and_raises_nothing(tmp_path, caplog):
    (tmp_path / ".thea").write_text("a file in the way")
    file = StatusFile(tmp_path)
    with caplog.at_level(logging.DEBUG, logger="thea_core.plugins"):
        file.record({"sentry": RUNNING})
        file.record({"sentry": RUNNING})
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert str(file.path) in record.getMessage()


def test_forgetting_in_a_place_that_cannot_be_written_raises_nothing(tmp_path, monkeypatch, caplog):
    file = StatusFile(tmp_path)
    file.record({"sentry": RUNNING})

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(type(file.path), "replace", refuse)
    with caplog.at_level(logging.DEBUG, logger="thea_core.plugins"):
        file.forget("sentry")
    assert len(caplog.records) == 1
    assert file.read() == {"sentry": RUNNING}


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    file = StatusFile(tmp_path)
    file.record({"sentry": RUNNING})

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(type(file.path), "replace", refuse)
    file.record({"sentry": FAILED})
    assert file.read() == {"sentry": RUNNING}
    assert sorted(each.name for each in file.path.parent.iterdir()) == [".gitignore", "plugins.json"]


def test_threads_that_record_at_once_lose_nothing(tmp_path):
    file = StatusFile(tmp_path)
    start = threading.Barrier(8)

    def record(number: int) -> None:
        start.wait()
        for count in range(5):
            file.record({f"plugin-{number}-{count}": RUNNING})

    threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.read()) == 40


def test_after_a_fork_the_lock_is_free(tmp_path, monkeypatch):
    """The lock of the parent may have been held by a thread that the child does not have."""
    file = StatusFile(tmp_path)
    replace = type(file.path).replace
    writing, go_on = threading.Event(), threading.Event()

    def replace_slowly(path, target):
        if threading.current_thread() is thread:
            writing.set()
            go_on.wait()
        return replace(path, target)

    monkeypatch.setattr(type(file.path), "replace", replace_slowly)
    thread = threading.Thread(target=file.record, args=({"weather": FAILED},))
    thread.start()
    writing.wait()
    file.after_fork_in_child()
    file.record({"sentry": RUNNING})
    assert file.read() == {"sentry": RUNNING}
    go_on.set()
    thread.join()
