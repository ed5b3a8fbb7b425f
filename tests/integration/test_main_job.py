"""The main job on real input: ``thea run`` over real utterances, with logging and agenda, over a SQLite file."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import DATA, Command, Outcome

pytestmark = pytest.mark.plugins

CONFIG = """
[plugins]
enabled = ["logging", "agenda"]

[store]
url = "sqlite:///thea.db"
"""
SAMPLES = ["clinc150_sample.tsv", "home_intents_es.tsv"]


@pytest.fixture
def job(thea: Command) -> Command:
    """The command, configured for the job, with the samples beside the configuration."""
    thea.write(CONFIG)
    for each in SAMPLES:
        shutil.copy(DATA / each, thea.directory)
    return thea


def messages(sample: str) -> int:
    return len((DATA / sample).read_text(encoding="utf-8").splitlines()) - 1


def events(log: Path) -> list[dict[str, Any]]:
    """Return the records of events in a log, which has nothing else: nothing went wrong."""
    records = [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()]
    assert {each["logger"] for each in records} == {"thea.events"}
    return records


def named(records: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [each for each in records if each["event.name"] == name]


@pytest.mark.parametrize(("sample", "other"), [(SAMPLES[0], "agenda"), (SAMPLES[1], "cancel")])
def test_every_message_has_a_reply_and_its_events_in_the_log(job: Command, sample: str, other: str) -> None:
    outcome = job("run", sample, "--log", "log.jsonl")
    assert outcome.status == 0, outcome.errors
    rows, count = outcome.rows, messages(sample)
    assert [each["line"] for each in rows] == list(range(2, count + 2))
    assert all(each["ok"] and each["reply"].strip() for each in rows)
    assert outcome.errors.startswith(f"{count} messages handled in ")

    records = events(job.directory / "log.jsonl")
    by_session = Counter(each["session.id"] for each in named(records, "thea.message"))
    assert by_session == {each["session_id"]: 1 for each in rows}
    assert len({each["thea.event.id"] for each in records}) == len(records)
    detected = {each["session.id"]: each for each in named(records, "thea.intent_detected")}
    delegated = {each["session.id"]: each for each in named(records, "thea.agent_delegated")}
    assert len(named(records, "thea.agent_delegated")) == count
    for row in rows:
        record = delegated[row["session_id"]]
        assert record["thea.agent.name"] == row["agent"]
        assert record["thea.intent.name"] == (row["intent"] or "")
        assert (row["agent"] == "fallback") == (row["session_id"] not in detected)
    assert {key: each["thea.intent.name"] for key, each in detected.items()} == {
        each["session_id"]: each["intent"] for each in rows if each["intent"]
    }
    agents = Counter(each["agent"] for each in rows)
    assert agents["fallback"] > agents[other] > 0


def test_a_second_run_repeats_nothing_and_tells_the_same(job: Command) -> None:
    first = job("run", "home_intents_es.tsv", "--log", "log.jsonl")
    recorded = (job.directory / "log.jsonl").read_bytes()
    second = job("run", "home_intents_es.tsv", "--log", "log.jsonl")
    assert [each | {"repeated": False} for each in second.rows] == first.rows
    assert all(each["repeated"] for each in second.rows)
    assert (job.directory / "log.jsonl").read_bytes() == recorded
    assert "436 of them before: they were not handled again" in second.errors


def interrupted(job: Command, sample: str, log: str) -> Outcome:
    """Press Ctrl-C when some messages are answered, and the pipe has no room for the answers to all of them."""
    with job.started("run", sample, "--log", log) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGINT)
        rest = job.ended(process)
    return Outcome(rest.status, b"".join(first).decode() + rest.output, rest.errors)


def test_the_rest_after_ctrl_c_repeats_nothing(job: Command) -> None:
    sample = "clinc150_sample.tsv"
    first = interrupted(job, sample, "log.jsonl")
    assert first.status == 130
    done = len(first.rows)
    assert 20 <= done < messages(sample)
    assert "Stopped; the same command goes on with the rest." in first.errors
    assert "Traceback" not in first.errors

    second = job("run", sample, "--log", "log.jsonl")
    assert second.status == 0
    assert [each["repeated"] for each in second.rows] == [True] * done + [False] * (messages(sample) - done)
    assert [each | {"repeated": False} for each in second.rows[:done]] == first.rows
    told = Counter(each["session.id"] for each in named(events(job.directory / "log.jsonl"), "thea.message"))
    assert told == {each["session_id"]: 1 for each in second.rows}
