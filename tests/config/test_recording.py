"""What the environment says of recording events."""

from __future__ import annotations

from pathlib import Path

import pytest

from thea_core.config.recording import Recording, recording, without_recording
from thea_core.errors import ConfigError

KEY = "0123456789abcdef"


@pytest.mark.parametrize("environ", [{}, {"THEA_RECORD": ""}, {"THEA_RECORD_MESSAGES": "1", "THEA_RECORD_LIMIT": "x"}])
def test_without_a_file_nothing_is_recorded(environ: dict[str, str]) -> None:
    assert recording(environ) is None


def test_by_default_nothing_personal_is_kept_and_the_size_is_bounded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = recording({"THEA_RECORD": "events.jsonl"})
    assert found is not None
    assert (found.path, found.messages, found.user_ids) == (tmp_path / "events.jsonl", False, False)
    assert found.limit == 100_000_000


def test_each_variable_counts() -> None:
    environ = {
        "THEA_RECORD": "/tmp/events.jsonl",
        "THEA_RECORD_MESSAGES": "1",
        "THEA_RECORD_USER_IDS": "yes",
        "THEA_RECORD_KEY": KEY,
        "THEA_RECORD_LIMIT": "3",
    }
    assert recording(environ) == Recording(Path("/tmp/events.jsonl"), True, True, KEY.encode(), 3_000_000)


def test_without_a_key_each_process_has_one_of_its_own() -> None:
    one, other = (recording({"THEA_RECORD": "x"}) for _ in range(2))
    assert one is not None
    assert other is not None
    assert len(one.key) == 32
    assert one.key != other.key


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(recording({"THEA_RECORD": "x", "THEA_RECORD_KEY": KEY}))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("THEA_RECORD_KEY", "hunter", "found: 6 bytes\n    expected: 16 to 64 bytes\n    to do: make one with: python"),
        ("THEA_RECORD_KEY", "é" * 33, "66 bytes"),
        ("THEA_RECORD_LIMIT", "0", "found: '0'\n    expected: a whole number of megabytes, 1 to 1000000"),
        ("THEA_RECORD_LIMIT", "10MB", "found: '10MB'"),
        ("THEA_RECORD_LIMIT", "9" * 5000, "found: '999"),
        ("THEA_RECORD_LIMIT", "٣", "found: "),
        ("THEA_RECORD_MESSAGES", "perhaps", "means neither yes nor no"),
        ("THEA_RECORD_USER_IDS", "perhaps", "means neither yes nor no"),
    ],
)
def test_what_does_not_fit_is_told_with_its_variable(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recording({"THEA_RECORD": "x", name: value})
    assert str(caught.value).startswith(f"{name}: ")
    assert told in str(caught.value)
    assert name != "THEA_RECORD_KEY" or value not in str(caught.value)


def test_what_else_the_environment_says_stays() -> None:
    assert without_recording({"THEA_RECORD": "x", "HOME": "/home"}) == {"HOME": "/home"}
