"""``thea run`` handles the messages of a file in order, repeats nothing, and survives bad lines."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from click.testing import Result

from tests.cli.assistant import assistant
from tests.cli.conftest import Command, Process
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits

posix = pytest.mark.skipif(os.name != "posix", reason="signals and named pipes")


def told(result: Result) -> list[dict[str, Any]]:
    """Return the JSON lines of standard output, which has nothing else."""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def run(cli: Command, site: FakeSite) -> Command:
    """The command, with an assistant."""
    assistant(cli, site)
    return cli


def test_each_line_is_a_user_of_its_own_and_answered_in_order(run: Command) -> None:
    run.write("hello\nask\nbob\n\n", "m.txt")
    result = run("run", "m.txt")
    assert result.exit_code == exits.OK
    lines = told(result)
    assert [(each["line"], each["user_id"]) for each in lines] == [(n, f"m.txt:{n}") for n in (1, 2, 3, 4)]
    assert [each["reply"] for each in lines[:3]] == ["echo: hello", "for whom?", "echo: bob"]
    assert [each["state"] for each in lines] == ["idle", "executing", "idle", "idle"]
    assert [each["agent"] for each in lines] == ["echoing", "echoing", "echoing", "fallback"]
    assert all(each["ok"] and each["session_id"] and not each["repeated"] for each in lines)
    assert result.stderr.startswith("4 messages handled in ")


def test_user_makes_it_one_conversation(run: Command) -> None:
    run.write("ask\nbob\n", "m.txt")
    lines = told(run("run", "m.txt", "--user", "ana"))
    assert {each["user_id"] for each in lines} == {"ana"}
    assert lines[0]["session_id"] == lines[1]["session_id"]


def test_a_second_run_repeats_nothing_and_tells_the_same(run: Command) -> None:
    run.write("hello\nask\n", "m.txt")
    first = told(run("run", "m.txt"))
    result = run("run", "m.txt")
    again = told(result)
    assert [each | {"repeated": False} for each in again] == first
    assert all(each["repeated"] for each in again)
    assert "2 of them before: they were not handled again" in result.stderr


def test_another_file_is_handled_afresh(run: Command) -> None:
    run.write("hello\n", "a.txt")
    run.write("hello\n", "b.txt")
    run("run", "a.txt")
    assert told(run("run", "b.txt"))[0]["repeated"] is False


def test_a_changed_line_is_handled(run: Command) -> None:
    run.write("one\ntwo\n", "m.txt")
    run("run", "m.txt")
    run.write("one\nthree\n", "m.txt")
    assert [each["repeated"] for each in told(run("run", "m.txt"))] == [True, False]


def test_again_handles_all_anew_and_no_line_answers_its_own_question(run: Command) -> None:
    run.write('{"message": "ask"}\n{"message": "hi", "message_id": "7", "user_id": "ana"}\n', "m.jsonl")
    run("run", "m.jsonl")
    lines = told(run("run", "m.jsonl", "--again"))
    assert [each["repeated"] for each in lines] == [False, False]
    assert [each["reply"] for each in lines] == ["for whom?", "echo: hi"]


def test_standard_input_has_a_random_name(run: Command) -> None:
    first, second = (told(run("run", "-", typed="hello\n"))[0] for _ in range(2))
    assert first["user_id"].startswith("stdin-")
    assert first["user_id"] != second["user_id"]
    assert told(run("run", typed="hello\n"))[0]["line"] == 1


def test_a_tsv_and_json_lines_bring_users_and_ids(run: Command) -> None:
    run.write("user_id\ttext\tmessage_id\nana\thello\t7\n", "m.tsv")
    run.write('{"user_id": "ana", "message": "other", "message_id": "7"}\n', "m.jsonl")
    assert told(run("run", "m.tsv"))[0]["message_id"] == "7"
    (repeated,) = told(run("run", "m.jsonl"))
    assert (repeated["repeated"], repeated["reply"]) == (True, "echo: hello")


BAD = b"""\
{"message": "one"}
not json
\xff
{"message": "a\\u0000b"}
{"message": "\\ud800"}
{"message": "%s"}
{"message": 5}
{"message": "x", "user_id": ""}
{"message": "x", "user_id": 5}
{"message": "x", "message_id": "%s"}
{"message": "x", "timestamp": "2026-01-01T00:00:00"}
{"message": "last"}
""" % (b"x" * 70_000, b"y" * 257)


def test_bad_lines_are_told_with_number_code_and_advice_and_the_rest_goes_on(run: Command) -> None:
    (run.directory / "m.jsonl").write_bytes(BAD)
    result = run("run", "m.jsonl")
    lines = told(result)
    assert result.exit_code == exits.FAILED
    assert [each["line"] for each in lines] == list(range(1, 13))
    assert [each.get("error", {}).get("code") for each in lines] == [
        None,
        "not-json",
        "not-utf8",
        *["invalid-request"] * 8,
        None,
    ]
    messages = [each["error"]["message"] for each in lines[1:-1]]
    assert all(text.startswith(f"m.jsonl:{number}: ") for number, text in enumerate(messages, 2))
    assert "2 messages handled" in result.stderr
    assert "10 lines refused" in result.stderr
    assert "The first refused line: m.jsonl:2: the line is not JSON" in result.stderr


def test_what_was_refused_is_not_stored(run: Command) -> None:
    (run.directory / "m.jsonl").write_bytes(BAD)
    run("run", "m.jsonl")
    assert [each["repeated"] for each in told(run("run", "m.jsonl")) if "error" not in each] == [True, True]


def test_strict_stops_at_the_first_bad_line(run: Command) -> None:
    (run.directory / "m.jsonl").write_bytes(BAD)
    result = run("run", "m.jsonl", "--strict")
    assert result.exit_code == exits.FAILED
    assert [each["line"] for each in told(result)] == [1, 2]
    assert result.stderr.splitlines()[-1].startswith("error[not-json]: m.jsonl:2: ")


def test_a_tsv_without_the_column_is_refused_before_anything_starts(run: Command) -> None:
    run.write("utterance\tintent\nhello\tx\n", "m.tsv")
    result = run("run", "m.tsv")
    assert result.exit_code == exits.FAILED
    assert result.stderr.startswith("error[no-text-column]: m.tsv:1: a TSV needs a column 'text'")
    assert not (run.directory / "thea.db").exists()


@pytest.mark.parametrize("arguments", [["nowhere.txt"], ["."], ["m.csv"], ["m.csv", "--format", "csv"]])
def test_a_file_that_cannot_be_meant_is_wrong_usage(run: Command, arguments: list[str]) -> None:
    run.write("a,b\n", "m.csv")
    assert run("run", *arguments).exit_code == exits.USAGE


@pytest.mark.parametrize("user", ["", "x" * 257, "a\0b"])
def test_a_user_that_nobody_can_be_is_wrong_usage(run: Command, user: str) -> None:
    result = run("run", "-", "--user", user, typed="hello\n")
    assert result.exit_code == exits.USAGE
    assert "user_id" in result.stderr


def test_apologies_and_vetoes_are_answers(run: Command) -> None:
    run.write("fail\nveto\n", "m.txt")
    result = run("run", "m.txt")
    assert result.exit_code == exits.OK
    assert [each["ok"] for each in told(result)] == [False, False]
    assert "2 answered by an apology or a refusal" in result.stderr


def test_a_plugin_that_fails_is_a_warning_without_a_traceback(run: Command) -> None:
    run.write("stumble\nstumble\n", "m.txt")
    result = run("run", "m.txt")
    assert result.exit_code == exits.OK
    assert result.stderr.count("warning: plugin 'echo', callback Echo.on_message failed in on_message") == 1
    assert "Traceback" not in result.stderr


def test_what_a_plugin_says_of_itself_is_a_warning_and_in_the_log(run: Command) -> None:
    run.write("grumble\n", "m.txt")
    result = run("run", "m.txt", "--log", "log.jsonl")
    assert "warning: the wall is near" in result.stderr
    records = [json.loads(line) for line in (run.directory / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [each["logger"] for each in records if each["message"] == "the wall is near"] == ["thea.plugins.echo"]


def test_an_empty_file_has_no_messages(run: Command) -> None:
    run.write("", "m.txt")
    result = run("run", "m.txt")
    assert (result.exit_code, result.stdout) == (exits.OK, "")
    assert result.stderr.startswith("0 messages handled")


def test_the_log_goes_to_its_file(run: Command) -> None:
    run.write("stumble\n", "m.txt")
    run("run", "m.txt", "--log", "log.jsonl")
    (record,) = [json.loads(line) for line in (run.directory / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert record["level"] == "ERROR"
    assert "ValueError: oh" in record["traceback"]


@pytest.mark.plugins
def test_the_log_has_each_event_that_the_plugin_logging_logs(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["logging"]\n')
    cli.write("one\ntwo\n", "m.txt")
    cli.ok("run", "m.txt", "--log", "log.jsonl")
    records = [json.loads(line) for line in (cli.directory / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(each["function"] == "on_message" for each in records) == 2
    assert sum(each.get("thea.agent.name") == "fallback" for each in records) == 2


def test_a_store_that_cannot_be_opened_ends_the_run(run: Command) -> None:
    run.write("hello\n", "m.txt")
    result = run("run", "m.txt", THEA__STORE__URL="sqlite:///no/such/folder/thea.db")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith("error[store-unavailable]")


def test_a_store_that_fails_in_between_ends_the_run_with_what_was_done(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thea_core.errors import StoreUnavailableError
    from thea_core.storage.sqlite import SQLiteStore

    commit = SQLiteStore.commit

    def failing(self: SQLiteStore, change: Any) -> None:
        if change.lease.user_id == "m.txt:2":
            raise StoreUnavailableError("the disk is full")
        commit(self, change)

    monkeypatch.setattr(SQLiteStore, "commit", failing)
    run.write("one\ntwo\nthree\n", "m.txt")
    result = run("run", "m.txt")
    assert result.exit_code == exits.STORE
    assert len(told(result)) == 1
    assert "1 message handled" in result.stderr
    assert "error[store-unavailable]: the disk is full" in result.stderr


def test_a_wrong_configuration_is_told_before_anything_is_read(run: Command) -> None:
    run.write("nonsense = 1\n")
    assert run("run", typed="hello\n").exit_code == exits.CONFIG


@posix
def test_a_file_that_may_not_be_read_is_told(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    file = run.write("hello\n", "m.txt")

    def refusing(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", refusing)
    result = run("run", str(file))
    assert result.exit_code == exits.FAILED
    assert result.stderr == f"error[file]: {file} cannot be read: Permission denied\n"


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.TERMINATED)])
def test_a_signal_lets_the_message_under_way_end_and_the_next_run_goes_on(
    run: Command, process: Process, number: int, status: int
) -> None:
    run.write("one\nwait\nthree\n", "m.txt")
    os.mkfifo(run.directory / "gate")
    with process.start("run", "m.txt") as started:
        assert started.stderr is not None
        assert started.stderr.readline() == b"waiting\n"
        started.send_signal(number)
        (run.directory / "gate").open("w").close()
        output, errors = started.communicate(timeout=60)
    assert started.returncode == status
    assert [json.loads(line)["reply"] for line in output.splitlines()] == ["echo: one", "echo: wait"]
    assert b"2 messages handled" in errors
    assert b"Stopped; the same command goes on with the rest." in errors
    assert b"Traceback" not in errors
    assert [each["repeated"] for each in told(run("run", "m.txt"))] == [True, True, False]


@posix
def test_ctrl_c_ends_the_wait_for_a_pipe(run: Command, process: Process) -> None:
    with process.start("run") as started:
        assert started.stdin is not None
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdin.write(b"hello\n")
        started.stdin.flush()
        assert json.loads(started.stdout.readline())["reply"] == "echo: hello"
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=60) == exits.INTERRUPTED
        assert b"1 message handled" in started.stderr.read()


@posix
def test_a_reader_that_goes_away_is_no_traceback(run: Command, process: Process) -> None:
    run.write("hello\n" * 50, "m.txt")
    with process.start("run", "m.txt") as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.wait(timeout=60) == exits.FAILED
        assert b"Traceback" not in started.stderr.read()


def test_memory_does_not_grow_with_the_file(run: Command) -> None:
    """The lines of a file are asked for one by one, as they are handled."""
    from thea_core.cli.messages.formats import parse
    from thea_core.cli.messages.lines import read_lines

    asked: list[int] = []

    class Endless:
        def readline(self, _: int) -> bytes:
            asked.append(1)
            return b"hello\n"

    lines = parse(read_lines(Endless(), 100), "m.txt", None)  # type: ignore[arg-type]
    for number in range(1, 4):
        assert next(lines).number == number
        assert len(asked) == number
