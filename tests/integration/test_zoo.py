"""The zoo: hostile plugins, installed as real distributions, beside two that behave, over real sentences.

None of them stops the assistant: the command comes to its end, every message has the answer and every event the record
that it has without them, and whoever is to blame is named in the log and in the report at the end of the run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.hostile.installing import ZOO, animals, install
from tests.integration.conftest import DATA, THEA

pytestmark = [
    pytest.mark.plugins,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="one of the plugins forks"),
]

SAMPLE = "home_intents_es.tsv"
PATIENCE = 300  # seconds until a run counts as hanging
SIDE_BY_SIDE = 3  # runs at once: most of their time they wait for what hangs
SOME = 26  # lines of the sample for a plugin alone; the whole zoo gets all of it

GOOD = ["logging", "agenda", "bystander"]
EVERYTHING: list[str] = tomllib.loads((ZOO / "thea.toml").read_text("utf-8"))["plugins"]["enabled"]
ALL_OF_IT = "the whole zoo"
NONE_OF_IT = "none of it"

CULPRITS = {
    "import-raises": r"left out: .* cannot be imported: ValueError: not today",
    "import-exits": r"left out: .* cannot be imported: SystemExit: 7",
    "import-hangs": r"left out: .* cannot be loaded: .* did not come back within 3 s",
    "init-raises": r"left out: .* cannot be constructed .*: ValueError: not made today",
    "startup-exits": r"left out: .* cannot be started: SystemExit: 7",
    "startup-hangs": r"left out: .* cannot be started: .* did not come back within 3 s",
    "raises": r"\d+ failures, .* cannot be shut down: ValueError: not like this",
    "unspeakable": r"\d+ failures, .* cannot be shut down: UnspeakableError: <str\(\) of the exception raised",
    "exits": r"\d+ failures, .* cannot be shut down: SystemExit: 7",
    "recurses": r"\d+ failures, .* cannot be shut down: RecursionError",
    "devours": r"\d+ failures, .* cannot be shut down: MemoryError",
    "wraps": r"\d+ failures",
    "sleeps": r"\d+ timeouts, [\d,]+ calls skipped",
    "awaits": r"\d+ timeouts, [\d,]+ calls skipped",
    "stays": r"\d+ timeouts, [\d,]+ calls skipped",
    "blocks": r"\d+ timeouts, [\d,]+ calls skipped",
    "backtracks": r"\d+ timeouts, [\d,]+ calls skipped",
    "returns": r"\d+ failures",
    "triggers": r"\d+ (failures|timeouts?), ",
    "cancels": r"\d+ failures",
    "stops": r"\d+ failures",
    "dawdles": r"[\d,]+ calls dropped",
    "flush-hangs": r"\d+ timeouts?",
    "shutdown-hangs": r"cannot be shut down: TimeoutError: its on_shutdown is still running",
}
"""What the report says of those that are to blame."""

HARMLESS = ["bystander", "mutates", "registers", "floods", "threads", "leaks", "forks"]
"""Whose mischief comes to nothing, so that nobody is to blame; among all the others they may be late."""


@dataclass(frozen=True)
class Visit:
    """What a run has left behind.

    Attributes:
        status: the exit status.
        rows: the JSON lines of standard output.
        log: the records of the log.
        errors: standard error.
    """

    status: int
    rows: list[dict[str, Any]]
    log: list[dict[str, Any]]
    errors: str

    @cached_property
    def troubles(self) -> dict[str, str]:
        """What the report says, by plugin, in its order."""
        _, _, report = self.errors.partition("\nPlugins in trouble:\n")
        return dict(line.strip().split(": ", 1) for line in report.splitlines())

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The answers, without what is random in them."""
        return [{key: value for key, value in row.items() if key != "session_id"} for row in self.rows]

    @property
    def events(self) -> dict[str, list[dict[str, Any]]]:
        """The records of the plugin logging by user, in their order, without what is random in them."""
        random = {"time", "thea.event.id", "session.id", "thea.message.timestamp", "thea.event.timestamp"}
        users: dict[str, list[dict[str, Any]]] = {row["user_id"]: [] for row in self.rows}
        for record in self.log:
            if record["logger"] == "thea.events" and record["user.id"] in users:
                told = {key: value for key, value in record.items() if key not in random}
                users[record["user.id"]].append(told)
        return users

    @property
    def remarks(self) -> str:
        """What Thea itself has logged."""
        return "\n".join(each["message"] for each in self.log if each["logger"].startswith("thea_core"))


def visit(directory: Path, site: Path, enabled: list[str], lines: int | None, **environ: str) -> Visit:
    """Run the command in a session of its own, so that whatever it leaves running can be ended."""
    shutil.copy(ZOO / "thea.toml", directory)
    sample = (DATA / SAMPLE).read_text(encoding="utf-8").splitlines(keepends=True)
    (directory / SAMPLE).write_text("".join(sample[:lines]), encoding="utf-8")
    # Not measured: what measures the coverage has locks of its own, which a forked child could find held.
    given = {name: value for name, value in os.environ.items() if not name.startswith(("THEA", "COVERAGE"))}
    given |= {"PYTHONPATH": str(site), "THEA__PLUGINS__ENABLED": json.dumps(enabled)}
    with (directory / "output").open("wb") as output, (directory / "errors").open("wb") as errors:
        command = [THEA, "run", SAMPLE, "--log", "log.jsonl"]
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": errors}
        process = subprocess.Popen(command, cwd=directory, env=given | environ, start_new_session=True, **streams)
        try:
            status = process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    rows, log = ((directory / name).read_text(encoding="ascii").splitlines() for name in ("output", "log.jsonl"))
    told = (directory / "errors").read_text(encoding="utf-8")
    return Visit(status, [json.loads(row) for row in rows], [json.loads(record) for record in log], told)


class Zoo:
    """Runs the command with some of the plugins; several runs go on side by side."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._site = root / "site"
        for each in animals():
            install(each, self._site)
        self._workers = ThreadPoolExecutor(SIDE_BY_SIDE)
        self._visits: dict[str, Future[Visit]] = {}

    def send(self, name: str) -> None:
        """Begin a run: with one plugin, with all of them or with none beside the good ones."""
        patient = {"THEA__CALLBACKS__TIMEOUT": "30s", "THEA__CONVERSATION__DETECT_TIMEOUT": "30s"}
        if name in {ALL_OF_IT, NONE_OF_IT}:
            enabled, lines = (EVERYTHING if name == ALL_OF_IT else GOOD[:2]), None
        else:
            enabled, lines = [*GOOD[:2], *(["bystander"] if name == "registers" else []), name], SOME
        directory = self._root / name
        directory.mkdir()
        self._visits[name] = self._workers.submit(
            visit, directory, self._site, enabled, lines, **(patient if name in HARMLESS else {})
        )

    def __getitem__(self, name: str) -> Visit:
        return self._visits[name].result()

    def close(self) -> None:
        self._workers.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """The zoo, with all the runs under way that the selected tests need; the longest first."""
    items = [each for each in request.session.items if each.path == request.path and isinstance(each, pytest.Function)]
    alone = [each.callspec.params["name"] for each in items if hasattr(each, "callspec")]
    together = [ALL_OF_IT] if any(each.cls is TestTheWholeZoo for each in items) else []
    made = Zoo(tmp_path_factory.mktemp("zoo"))
    try:
        for name in [*together, NONE_OF_IT, *alone]:
            made.send(name)
        yield made
    finally:
        made.close()


def check_undisturbed(found: Visit, calm: Visit) -> None:
    """Every message has the answer, and every event the record, that it has without any hostile plugin."""
    count = len(found.rows)
    assert found.status == 0, found.errors
    assert found.answers == calm.answers[:count]
    assert found.events == dict(list(calm.events.items())[:count])


def test_every_animal_is_known() -> None:
    """Each is a distribution of its own, enabled in the zoo's configuration, and expected to be blamed or not."""
    assert {each.name for each in animals()} == {*CULPRITS, *HARMLESS}
    assert sorted(EVERYTHING) == sorted({*CULPRITS, *HARMLESS, *GOOD})


def test_without_hostile_plugins_nobody_is_blamed(zoo: Zoo) -> None:
    calm = zoo[NONE_OF_IT]
    assert calm.status == 0
    assert len(calm.rows) == 436
    assert all(row["ok"] and row["reply"] for row in calm.rows)
    assert {record["logger"] for record in calm.log} == {"thea.events"}
    assert re.fullmatch(r"436 messages handled in [\d.]+ s\n", calm.errors)
    assert not [name for name in {*CULPRITS, *HARMLESS} if name in calm.errors]


class TestTheWholeZoo:
    def test_every_message_is_answered_and_every_event_is_in_the_log(self, zoo: Zoo) -> None:
        found = zoo[ALL_OF_IT]
        assert len(found.rows) == 436
        check_undisturbed(found, zoo[NONE_OF_IT])

    def test_the_report_names_each_culprit_in_the_order_of_the_configuration(self, zoo: Zoo) -> None:
        troubles = zoo[ALL_OF_IT].troubles
        assert {*CULPRITS} <= {*troubles} <= {*CULPRITS, *HARMLESS} - {"bystander"}
        assert [name for name, pattern in CULPRITS.items() if not re.search(pattern, troubles[name])] == []
        assert list(troubles) == [name for name in EVERYTHING if name in troubles]

    def test_the_log_names_each_culprit(self, zoo: Zoo) -> None:
        remarks = zoo[ALL_OF_IT].remarks
        assert [name for name in CULPRITS if repr(name) not in remarks] == []
        assert [name for name in GOOD if f"plugin {name!r}" in remarks] == []


@pytest.mark.parametrize("name", CULPRITS)
def test_one_that_is_to_blame_stops_nobody_and_is_named(zoo: Zoo, name: str) -> None:
    found = zoo[name]
    assert len(found.rows) == SOME - 1
    check_undisturbed(found, zoo[NONE_OF_IT])
    assert found.troubles.keys() == {name}
    assert re.search(CULPRITS[name], found.troubles[name])
    assert f"plugin {name!r}" in found.remarks


@pytest.mark.parametrize("name", HARMLESS)
def test_one_whose_mischief_comes_to_nothing_is_not_blamed(zoo: Zoo, name: str) -> None:
    found = zoo[name]
    assert len(found.rows) == SOME - 1
    check_undisturbed(found, zoo[NONE_OF_IT])
    assert found.troubles == {}
    assert found.remarks == ""


@pytest.mark.network
def test_pip_installs_the_same_as_the_tests(tmp_path: Path) -> None:
    """Whoever wants to see one of them at work installs it like any other plugin."""
    folder = ZOO / "sleeps"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "pip", folder]
    subprocess.run(command, check=True)
    install(folder, tmp_path / "test")
    ours, pips = (only_distribution(tmp_path / name) for name in ("test", "pip"))
    assert (ours.name, ours.version, [*ours.entry_points]) == (pips.name, pips.version, [*pips.entry_points])
    assert [*map(Requirement, ours.requires or ())] == [*map(Requirement, pips.requires or ())]
    assert (tmp_path / "test" / "zoo_sleeps.py").read_text() == (tmp_path / "pip" / "zoo_sleeps.py").read_text()


def only_distribution(path: Path) -> metadata.Distribution:
    (found,) = metadata.distributions(path=[str(path)])
    return found
