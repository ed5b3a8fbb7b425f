"""``thea run`` with all plugins of the repository, whose services are a server that can fail: seen from outside."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.conftest import DATA, Command, Outcome
from tests.services.recording_server import Answer, RecordingServer

pytestmark = pytest.mark.plugins

SAMPLE = "clinc150_sample.tsv"
MESSAGES = len((DATA / SAMPLE).read_text(encoding="utf-8").splitlines()) - 1
ACCEPTED = b'{"error": null, "status": 1}'

CONFIG = """
[plugins]
enabled = ["logging", "sentry", "mixpanel", "prometheus", "agenda"]
modules = ["faults"]

[plugins.logging.settings]
user_id_mode = "raw"

[plugins.sentry.settings]
dsn = "http://publickey@{host}/42"
send_user = "always"

[plugins.mixpanel]
queue_size = 100000

[plugins.mixpanel.settings]
token = "token"
endpoint = "http://{host}"

[plugins.prometheus.settings]
port = {port}
"""

# Every hundredth message breaks its agent. As the last of the plugins it is the first to be switched off: then the
# assistant handles no message any more, and the others still run.
FAULTS = """
from itertools import count
from pathlib import Path
from urllib.request import urlopen

from thea_core import IntentMatch, hookimpl

numbers = count(1)


class Broken:
    name = "broken"
    intents = ("broken",)

    def handle(self, message, context, turn):
        raise RuntimeError("cannot answer " + message)


@hookimpl
def provide_agents():
    return [Broken()]


@hookimpl
def detect_intents(message):
    if next(numbers) % 100 == 0:
        return [IntentMatch("broken", 1.0)]


@hookimpl
def on_shutdown():
    with urlopen("http://127.0.0.1:{port}/metrics") as answer:
        Path("metrics.txt").write_bytes(answer.read())
"""

NAMES = {
    "thea.message": ("Message Sent", "thea_messages_total"),
    "thea.state_change": ("State Change", "thea_state_transitions_total"),
    "thea.intent_detected": ("Intent Detected", "thea_intents_total"),
    "thea.agent_delegated": ("Agent Delegated", "thea_agent_delegations_total"),
}
"""What an event is called in the log, at Mixpanel and at Prometheus."""


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """The services."""
    with RecordingServer(Answer(body=ACCEPTED)) as server:
        yield server


@pytest.fixture
def job(thea: Command, server: RecordingServer) -> Command:
    """The command, with all plugins and the faults."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    thea.write(CONFIG.format(host=server.host, port=port))
    thea.write(FAULTS.format(port=port), "faults.py")
    shutil.copy(DATA / SAMPLE, thea.directory)
    return thea


def records(job: Command) -> list[dict[str, Any]]:
    lines = (job.directory / "log.jsonl").read_text(encoding="ascii").splitlines()
    return [each for each in map(json.loads, lines) if each["logger"] == "thea.events"]


def tracked(server: RecordingServer) -> list[dict[str, Any]]:
    """Return the events that came to Mixpanel."""
    batches = [json.loads(each.form["data"][0]) for each in server.requests if each.path == "/track"]
    return [event for batch in batches for event in batch]


def reported(server: RecordingServer) -> list[dict[str, Any]]:
    """Return the events that came to Sentry."""
    envelopes = [each.body.split(b"\n") for each in server.requests if each.path == "/api/42/envelope/"]
    return [json.loads(lines[2]) for lines in envelopes if json.loads(lines[1])["type"] == "event"]


def metrics(job: Command) -> Counter[str]:
    """Return the sum of all series of each metric."""
    sums: Counter[str] = Counter()
    for line in (job.directory / "metrics.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            sums[series.partition("{")[0]] += float(value)  # type: ignore[assignment]
    return sums


def test_all_services_are_told_the_same(job: Command, server: RecordingServer) -> None:
    outcome = job("run", SAMPLE, "--log", "log.jsonl")
    assert outcome.status == 0, outcome.errors
    assert "Plugins in trouble" not in outcome.errors
    logged = Counter(each["event.name"] for each in records(job))
    at_mixpanel = Counter(each["event"] for each in tracked(server))
    at_prometheus = metrics(job)
    assert logged["thea.message"] == MESSAGES
    for name, (event, metric) in NAMES.items():
        assert logged[name] == at_mixpanel[event] == at_prometheus[metric] > 0, name
    assert logged["thea.error"] == at_prometheus["thea_errors_total"] == len(reported(server))
    assert set(at_mixpanel) == {event for event, _ in NAMES.values()}
    ids = {each["properties"]["$insert_id"] for each in tracked(server)}
    assert len(ids) == at_mixpanel.total()


def test_every_fault_is_reported_once_with_its_user_and_without_a_word_of_the_message(
    job: Command, server: RecordingServer
) -> None:
    outcome = job("run", SAMPLE, "--log", "log.jsonl")
    failed = [each for each in outcome.rows if not each["ok"]]
    assert len(failed) == MESSAGES // 100
    messages = [line.split("\t") for line in (DATA / SAMPLE).read_text(encoding="utf-8").splitlines()]
    column = messages[0].index("text")
    users = {each["session.id"]: each["user.id"] for each in records(job)}
    found = {each["contexts"]["thea"]["session_id"]: each for each in reported(server)}
    assert len(found) == len(reported(server)) == len(failed)
    for row in failed:
        event = found[row["session_id"]]
        assert event["user"] == {"id": users[row["session_id"]]}
        assert event["exception"]["values"][-1]["type"] == "RuntimeError"
        assert messages[row["line"] - 1][column] not in json.dumps(event)
    bodies = b"".join(each.body for each in server.requests)
    texts = [each[column].encode() for each in messages[1:] if len(each[column].split()) > 3]
    assert [each for each in texts if each in bodies] == []


def refused(server: RecordingServer) -> None:
    server.refuse()


def hanging(server: RecordingServer) -> None:
    server.usual = Answer(hang=True)


def broken(server: RecordingServer) -> None:
    server.usual = Answer(status=500)


@pytest.mark.parametrize("fail", [refused, hanging, broken])
def test_services_that_fail_stop_nothing_and_what_is_lost_is_told(job: Command, server: RecordingServer, fail) -> None:
    fail(server)
    outcome: Outcome = job("run", SAMPLE, "--log", "log.jsonl")
    assert outcome.status == 0, outcome.errors
    assert len(outcome.rows) == MESSAGES
    assert sum(not each["ok"] for each in outcome.rows) == MESSAGES // 100
    logged = Counter(each["event.name"] for each in records(job))
    assert told_as_lost("mixpanel", outcome) == sum(logged[name] for name in NAMES)
    assert metrics(job)["thea_messages_total"] == MESSAGES


def told_as_lost(plugin: str, outcome: Outcome) -> int:
    """Return how many events of a plugin are lost, as the last lines of the report add up."""
    (line,) = [each for each in outcome.errors.splitlines() if each.startswith(f"  {plugin}: ")]
    return sum(int(each.replace(",", "")) for each in re.findall(r"([\d,]+) (?:calls? dropped|events? lost)", line))
