"""Several processes over one SQLite file: nothing is lost or done twice, and a kill leaves nothing half done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.conftest import PATIENCE
from tests.integration.workers import CONFIG, ROUNDS, Counting
from tests.support import FakeClock, run_in_child
from thea_core import Thea

WORKERS = Path(__file__).with_name("workers.py")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def worker(work: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """Give a process; it is killed at the end."""
    command = [sys.executable, str(WORKERS), work, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_that_handle_one_users_messages_lose_no_update_and_repeat_nothing() -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(worker("count", name)) for name in ("left", "right")]
        assert [heard(each) for each in processes] == ["ready", "ready"]
        for each in processes:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        replies = [each.communicate(timeout=PATIENCE)[0].splitlines() for each in processes]
        assert [each.returncode for each in processes] == [0, 0]
    assert [len(each) for each in replies] == [ROUNDS, ROUNDS]
    assert replies[0] == replies[1]  # of a message with one id, whoever handled it

    with Thea(CONFIG) as app:
        context = app.contexts.load("ana")
    seen = Counter(context["seen"])
    assert seen == {"both": ROUNDS} | {f"{name}{number}": 1 for name in ("left", "right") for number in range(ROUNDS)}
    assert context["count"] == 3 * ROUNDS == len(context["seen"])
    for name in ("left", "right"):
        own = [each for each in context["seen"] if each.startswith(name)]
        assert own == [f"{name}{number}" for number in range(ROUNDS)]


def test_a_message_whose_process_was_killed_is_handled_once_by_the_next() -> None:
    """The lease of a process that was killed runs out; a clock that is put forward waits for that."""
    clock = FakeClock(datetime.now(UTC))
    for number in range(10):
        with worker("die", f"m{number}") as process:
            assert heard(process) == "begun"
            process.kill()
        clock.advance(3600)
        with Thea(CONFIG, plugins=[Counting()], clock=clock) as app:
            before = app.contexts.load("ana")
            assert before.get("count", 0) == number
            assert before["state"] in ("initial", "idle")
            assert app.handle_request("ana", f"m{number}", f"m{number}").text == str(number + 1)
            assert app.handle_request("ana", f"m{number}", f"m{number}").text == str(number + 1)
            assert app.contexts.load("ana")["seen"] == [f"m{each}" for each in range(number + 1)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_handles_messages_of_the_same_user_and_the_parent_goes_on() -> None:
    with Thea(CONFIG, plugins=[Counting()]) as app:
        assert app.handle_request("ana", "one", "one").text == "1"

        def child() -> bool:
            return (
                app.handle_request("ana", "one", "one").text == "1"
                and app.handle_request("ana", "two", "two").text == "2"
            )

        assert run_in_child(child)
        assert app.handle_request("ana", "two", "two").text == "2"
        assert app.handle_request("ana", "three", "three").text == "3"
        assert app.contexts.load("ana")["seen"] == ["one", "two", "three"]
