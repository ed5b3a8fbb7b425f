"""``thea history`` shows what an application has written down of its calls, and asks nobody else."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.assistant import assistant
from tests.cli.conftest import Command, Process
from tests.plugins.conftest import FakeSite
from thea_core import CallbackRecord, CallRecord
from thea_core.callbacks.record_file import RecordFile
from thea_core.callbacks.record_lines import CallLine, HealthLine, LossLine, ProcessLine, RecordLine, encode
from thea_core.cli import exits

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONFIGURED = '[callbacks]\nrecord = "calls.jsonl"\n'


def call(
    outcome: str = "ok",
    *,
    plugin: str = "shop",
    hook: str = "on_message",
    duration: float = 0.001,
    error: str | None = None,
    after: float = 0.0,
) -> CallLine:
    name = "-> idle" if hook == "transition" else f"Shop.{hook}"
    callback = CallbackRecord(plugin, name, duration, outcome, error)
    return CallLine(7, CallRecord(hook, NOW + timedelta(seconds=after), duration, (callback,)))


LINES: list[RecordLine] = [
    ProcessLine(7, NOW, running=True),
    call(),
    call("error", error="ValueError: no\x1b[31m"),
    call("timeout", plugin="slow", duration=2.0, after=1),
    HealthLine(7, NOW, "slow", "on_message", "open", "5 failures in a row"),
    call("skipped", plugin="slow"),
    call("veto", hook="pre_transition", error="not that"),
    call("ok", plugin="core", hook="transition", duration=3.0),
    HealthLine(7, NOW, "slow", "on_message", "closed", "it works again"),
    call("dropped", hook="on_error"),
    LossLine(7, NOW, 12),
    ProcessLine(7, NOW, running=False),
]
FAILED = ["error", "timeout", "open", "dropped", "lost"]


def write(path: Path, lines: list[RecordLine]) -> None:
    RecordFile(path).append(b"".join(encode(each).encode() + b"\n" for each in lines))


@pytest.fixture
def record(cli: Command) -> Path:
    """A record that the configuration names."""
    cli.write(CONFIGURED)
    path = cli.directory / "calls.jsonl"
    write(path, LINES)
    return path


def rows(cli: Command, *arguments: str) -> list[dict[str, Any]]:
    return cli.json("history", *arguments)["rows"]


def outcomes(cli: Command, *arguments: str) -> list[str]:
    return [each["outcome"] for each in rows(cli, *arguments)]


@pytest.mark.usefixtures("record")
class TestShowing:
    def test_the_last_calls_stand_below_each_other_the_oldest_first(self, cli: Command) -> None:
        head, *lines = cli.ok("history").splitlines()
        assert head.split() == ["TIME", "OUTCOME", "DURATION", "PLUGIN", "HOOK", "CALLBACK", "ERROR"]
        assert len(lines) == len(LINES)
        assert lines[1].split() == ["2026-01-01", "12:00:00.000Z", "ok", "1.000", "ms", "shop", "on_message", "Shop.on_message"]  # fmt: skip  # noqa: E501
        assert lines[2].endswith("ValueError: no\\x1b[31m")
        assert lines[3].split()[1:4] == ["12:00:01.000Z", "timeout", "2000.000"]
        assert lines[4].split()[2:] == ["open", "slow", "on_message", "(circuit", "breaker)", "5", "failures", "in", "a", "row"]  # fmt: skip  # noqa: E501
        assert lines[0].split()[2:] == ["started", "(process", "7)"]
        assert "(12 calls are missing)" in lines[10]

    def test_as_json(self, cli: Command) -> None:
        shown = cli.json("history")
        assert (shown["file"], shown["unreadable"]) == ("calls.jsonl", 0)
        assert shown["rows"][2] == {
            "kind": "call",
            "time": "2026-01-01T12:00:00+00:00",
            "pid": 7,
            "outcome": "error",
            "duration": 0.001,
            "plugin": "shop",
            "hook": "on_message",
            "callback": "Shop.on_message",
            "error": "ValueError: no\x1b[31m",
        }
        assert [each["kind"] for each in shown["rows"] if each["kind"] != "call"] == [
            "begin",
            "health",
            "health",
            "lost",
            "end",
        ]

    def test_twenty_unless_another_number_is_given(self, cli: Command, record: Path) -> None:
        write(record, [call(plugin=str(number)) for number in range(25)])
        assert [each["plugin"] for each in rows(cli)] == [str(number) for number in range(5, 25)]
        assert [each["plugin"] for each in rows(cli, "-n", "2")] == ["23", "24"]
        assert len(cli.ok("history", "-n", "0").splitlines()) == 1

    def test_failures_are_what_did_not_go_well_and_neither_vetoes_nor_what_followed(self, cli: Command) -> None:
        assert outcomes(cli, "--failures") == FAILED

    def test_the_slowest_come_first_and_no_transition_that_contains_them(self, cli: Command) -> None:
        found = rows(cli, "--slowest", "-n", "2")
        assert [(each["plugin"], each["duration"]) for each in found] == [("slow", 2.0), ("shop", 0.001)]
        assert outcomes(cli, "--slowest", "--failures") == ["timeout", "error", "dropped"]
        assert [each["duration"] for each in rows(cli, "--slowest", "--hook", "transition")] == [3.0]

    def test_one_plugin_or_one_hook(self, cli: Command) -> None:
        assert outcomes(cli, "--plugin", "slow") == ["timeout", "open", "skipped", "closed"]
        assert outcomes(cli, "--hook", "on_error") == ["dropped"]
        assert outcomes(cli, "--hook", "on_message", "--plugin", "shop") == ["ok", "error"]

    def test_a_plugin_of_which_there_is_nothing_is_told_with_those_there_are(self, cli: Command) -> None:
        assert cli.ok("history", "--plugin", "shpo") == (
            "There is no such call in the record. It has calls of: core, shop, slow.\n"
        )
        assert cli.ok("history", "--plugin", "shop", "--hook", "on_x") == "There is no such call in the record.\n"

    def test_lines_that_are_none_of_a_record_are_left_out_with_a_warning(self, cli: Command, record: Path) -> None:
        with record.open("ab") as file:
            file.write(b"what is this\n")
        result = cli("history")
        assert result.exit_code == exits.OK
        assert "1 lines of calls.jsonl are none of a record" in result.stderr
        assert len(result.stdout.splitlines()) == len(LINES) + 1

    def test_another_file_may_be_named_whatever_the_configuration_is(self, cli: Command) -> None:
        cli.write("no TOML")
        write(cli.directory / "other.jsonl", [call("veto")])
        assert outcomes(cli, "other.jsonl") == ["veto"]


class TestNothingToShow:
    def test_where_no_record_is_configured_the_key_is_told(self, cli: Command) -> None:
        file = cli.write("[callbacks]\n")
        result = cli("history")
        assert result.exit_code == exits.FAILED
        assert result.stderr.startswith("error[no-record]: ")
        assert f'write [callbacks] record = "calls.jsonl" into {file}' in result.stderr

    def test_where_nothing_is_configured_either(self, cli: Command) -> None:
        assert "into thea.toml" in cli("history", "--follow").stderr

    def test_a_wrong_configuration_is_told(self, cli: Command) -> None:
        cli.write("[callback]\n")
        assert cli("history").exit_code == exits.CONFIG

    def test_a_file_that_is_not_there_yet(self, cli: Command) -> None:
        cli.write(CONFIGURED)
        result = cli("history", "--json")
        assert result.exit_code == exits.FAILED
        error = json.loads(result.stdout)["error"]
        assert error["code"] == "file"
        assert "there is no record calls.jsonl yet" in error["message"]

    def test_an_empty_file(self, cli: Command) -> None:
        cli.write("", "calls.jsonl")
        assert cli.ok("history", "calls.jsonl") == "There is no call in the record.\n"
        assert cli.ok("history", "calls.jsonl", "--plugin", "x").endswith("It has calls of: none.\n")

    def test_a_file_that_cannot_be_read(self, cli: Command) -> None:
        result = cli("history", ".")
        assert result.exit_code == exits.FAILED
        assert result.stderr.startswith("error[file]: . cannot be read: Is a directory")

    def test_the_slowest_cannot_be_followed(self, cli: Command) -> None:
        result = cli("history", "x", "--follow", "--slowest")
        assert result.exit_code == exits.USAGE
        assert "leave out one" in result.stderr


def interrupt(process: Any) -> tuple[int, bytes]:
    """Press Ctrl-C; return the exit status, and what stands on standard error."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.skipif(os.name != "posix", reason="signals")
class TestFollowing:
    def test_the_last_calls_and_what_comes_until_ctrl_c(self, record: Path, process: Process) -> None:
        with process.start("history", "--follow", "-n", "2", "--plugin", "shop") as following:
            assert following.stdout is not None
            assert following.stdout.readline().split()[0] == b"TIME"
            assert [following.stdout.readline().split()[2] for _ in range(2)] == [b"veto", b"dropped"]
            write(record, [call("error", error="ValueError: new"), call(plugin="other"), call("cancelled")])
            assert following.stdout.readline().strip().endswith(b"ValueError: new")
            assert following.stdout.readline().split()[2] == b"cancelled"
            assert interrupt(following) == (exits.OK, b"")

    def test_as_lines_of_json_also_across_a_rotation(self, record: Path, process: Process) -> None:
        with process.start("history", "--follow", "--json", "--failures") as following:
            assert following.stdout is not None
            found = [json.loads(following.stdout.readline())["outcome"] for _ in FAILED]
            assert found == FAILED
            RecordFile(record, max_size=1).append(encode(call("timeout")).encode() + b"\n")
            assert json.loads(following.stdout.readline())["outcome"] == "timeout"
            assert interrupt(following) == (exits.OK, b"")

    def test_a_file_that_comes_later_is_awaited(self, cli: Command, process: Process) -> None:
        with process.start("history", "later.jsonl", "--follow") as following:
            assert following.stdout is not None
            assert following.stdout.readline().split()[0] == b"TIME"
            write(cli.directory / "later.jsonl", [call("veto")])
            assert following.stdout.readline().split()[2] == b"veto"
            status, errors = interrupt(following)
        assert status == exits.OK
        assert errors.startswith(b"There is no record later.jsonl yet; it is awaited.")


class TestOfAnApplication:
    def test_what_a_run_did_is_shown_afterwards(self, cli: Command, site: FakeSite) -> None:
        assistant(cli, site, CONFIGURED)
        cli.write("hello\nstumble\nveto\n", "m.txt")
        cli.ok("run", "m.txt")
        (stumbled,) = rows(cli, "--hook", "on_message", "--failures")
        assert (stumbled["plugin"], stumbled["callback"]) == ("echo", "Echo.on_message")
        assert (stumbled["outcome"], stumbled["error"]) == ("error", "ValueError: oh")
        assert [each["outcome"] for each in rows(cli, "--plugin", "echo", "--hook", "pre_transition", "-n", "1")] == [
            "veto"
        ]
        assert outcomes(cli, "-n", "100")[0] == "started"
        assert outcomes(cli, "-n", "1") == ["stopped"]

    def test_looking_for_the_order_of_callbacks_writes_nothing(self, cli: Command, site: FakeSite) -> None:
        assistant(cli, site, CONFIGURED)
        cli.ok("plugins", "order", "on_message")
        assert not (cli.directory / "calls.jsonl").exists()
