"""``thea record`` runs a command whose applications keep their events."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.assistant import assistant
from tests.cli.conftest import Command, Process
from tests.plugins.conftest import FakeSite
from thea_core.callbacks.event_json import Event, decode
from thea_core.cli import exits
from thea_core.cli.options import Options

posix = pytest.mark.skipif(os.name != "posix", reason="signals, and programs that take the place of others")

THEA = "import sys; from thea_core.cli import main; sys.exit(main())"


def events(path: Path) -> list[Event]:
    return [decode(json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]


class TestEnvironment:
    def test_the_command_gets_what_says_that_it_records(self, cli: Command) -> None:
        cli.ok("record", "out.jsonl", "--", "gunicorn", "--workers", "2", "my:app", PATH="/bin")
        ((command, environ),) = cli.became
        assert command == ["gunicorn", "--workers", "2", "my:app"]
        assert len(environ.pop("THEA_RECORD_KEY")) == 64
        assert environ == {
            "PATH": "/bin",
            "THEA_RECORD": str(cli.directory / "out.jsonl"),
            "THEA_RECORD_MESSAGES": "0",
            "THEA_RECORD_USER_IDS": "0",
            "THEA_RECORD_LIMIT": "100",
        }

    def test_options_say_what_is_kept(self, cli: Command) -> None:
        cli.ok("record", "--messages", "out.jsonl", "--user-ids", "--limit", "7", "--", "true")
        ((_, environ),) = cli.became
        assert environ["THEA_RECORD_MESSAGES"] == environ["THEA_RECORD_USER_IDS"] == "1"
        assert environ["THEA_RECORD_LIMIT"] == "7"

    def test_it_is_this_command_that_says_what_is_kept(self, cli: Command) -> None:
        cli.ok("record", "out.jsonl", "--", "true", THEA_RECORD_MESSAGES="1", THEA_RECORD="other.jsonl")
        ((_, environ),) = cli.became
        assert environ["THEA_RECORD_MESSAGES"] == "0"
        assert environ["THEA_RECORD"].endswith("out.jsonl")

    def test_each_recording_has_a_key_of_its_own_unless_one_is_given(self, cli: Command) -> None:
        for key in ("", "", "0123456789abcdef"):
            cli.ok("record", "out.jsonl", "--", "true", THEA_RECORD_KEY=key)
        one, other, given = (environ["THEA_RECORD_KEY"] for _, environ in cli.became)
        assert one != other
        assert given == "0123456789abcdef"

    def test_shared_options_count_for_the_command(self, cli: Command) -> None:
        cli.ok("--config", "own.toml", "record", "out.jsonl", "--no-plugins", "--without-guards", "--", "true")
        ((_, environ),) = cli.became
        assert environ["THEA_CONFIG"] == str(cli.directory / "own.toml")
        assert environ["THEA_NO_PLUGINS"] == environ["THEA_WITHOUT_GUARDS"] == "1"


class TestFile:
    def test_it_is_made_for_its_owner_only(self, cli: Command) -> None:
        cli.ok("record", "out.jsonl", "--", "true")
        assert (cli.directory / "out.jsonl").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.1"])
    def test_one_that_is_there_is_left_alone_unless_it_may_be_replaced(self, cli: Command, name: str) -> None:
        there = cli.write("{}\n", name)
        result = cli("record", "out.jsonl", "--", "true")
        assert result.exit_code == exits.FAILED
        assert result.stderr == f"error[file]: {there} is there already; --force replaces it\n"
        assert cli.became == []
        cli.ok("record", "out.jsonl", "--force", "--", "true")
        assert (cli.directory / "out.jsonl").read_bytes() == b""
        assert not (cli.directory / "out.jsonl.1").exists()

    def test_an_empty_one_is_in_nobodys_way(self, cli: Command) -> None:
        cli.write("", "out.jsonl")
        cli.ok("record", "out.jsonl", "--", "true")

    def test_one_that_cannot_be_written_is_told(self, cli: Command) -> None:
        result = cli("record", "missing/out.jsonl", "--", "true")
        assert result.exit_code == exits.FAILED
        assert "out.jsonl cannot be written: No such file or directory" in result.stderr

    @posix
    def test_what_is_no_file_is_never_replaced(self, cli: Command) -> None:
        os.mkfifo(cli.directory / "pipe")
        result = cli("record", "pipe", "--force", "--", "true")
        assert result.exit_code == exits.FAILED
        assert "pipe is no regular file" in result.stderr
        assert (cli.directory / "pipe").is_fifo()


class TestMisuse:
    @pytest.mark.parametrize(
        "arguments",
        [[], ["out.jsonl"], ["out.jsonl", "--"], ["out.jsonl", "--limit", "0", "--", "true"], [".", "--", "true"]],
    )
    def test_what_is_not_written_as_it_must_be(self, cli: Command, arguments: list[str]) -> None:
        assert cli("record", *arguments).exit_code == exits.USAGE

    def test_a_key_that_does_not_fit_is_told_here(self, cli: Command) -> None:
        result = cli("record", "out.jsonl", "--", "true", THEA_RECORD_KEY="hunter2")
        assert result.exit_code == exits.CONFIG
        assert "THEA_RECORD_KEY" in result.stderr
        assert "hunter2" not in result.stderr
        assert not (cli.directory / "out.jsonl").exists()

    def test_a_command_that_is_not_there_is_told(self, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise FileNotFoundError(2, "No such file or directory")

        monkeypatch.setattr(cli, "_become", refuse)
        result = cli("record", "out.jsonl", "--", "nonsense")
        assert result.exit_code == exits.FAILED
        assert result.stderr == "error[program-missing]: nonsense cannot be run: No such file or directory\n"


@posix
class TestProcess:
    @pytest.mark.parametrize("status", [0, 7])
    def test_the_exit_status_is_that_of_the_command(self, process: Process, status: int) -> None:
        command = [sys.executable, "-c", f"import sys; print('here'); sys.exit({status})"]
        with process.start("record", "out.jsonl", "--", *command) as started:
            output, errors = started.communicate(timeout=60)
        assert (started.returncode, output, errors) == (status, b"here\n", b"")

    def test_the_command_takes_the_place_of_the_process_so_signals_are_its_own(self, process: Process) -> None:
        code = "import os, signal, sys; print(os.getpid(), flush=True); signal.pause()"
        with process.start("record", "out.jsonl", "--", sys.executable, "-c", code) as started:
            assert started.stdout is not None
            assert int(started.stdout.readline()) == started.pid
            started.send_signal(15)
            assert started.wait(timeout=60) == -15

    def test_what_python_ignores_is_not_ignored_in_the_command(self, process: Process) -> None:
        with process.start("record", "out.jsonl", "--", "sh", "-c", "kill -PIPE $$; echo still here") as started:
            assert started.communicate(timeout=60)[0] == b""
        assert started.returncode == -13

    def test_a_program_that_is_not_there_is_told(self, process: Process) -> None:
        with process.start("record", "out.jsonl", "--", "no-such-program") as started:
            _, errors = started.communicate(timeout=60)
        assert started.returncode == exits.FAILED
        assert b"error[program-missing]: no-such-program cannot be run" in errors

    def test_the_applications_of_the_command_keep_their_events(
        self, cli: Command, process: Process, site: FakeSite
    ) -> None:
        assistant(cli, site)
        cli.write("hello\nfail\n", "m.txt")
        run = [sys.executable, "-c", THEA, "run", "m.txt"]
        with process.start("record", "out.jsonl", "--", *run) as started:
            output, _ = started.communicate(timeout=60)
        assert started.returncode == exits.OK
        assert len(output.splitlines()) == 2
        kept = events(cli.directory / "out.jsonl")
        hooks = [each.hook for each in kept]
        assert hooks.count("on_message") == 2
        (error,) = [each.arguments["error"] for each in kept if each.hook == "on_error"]
        assert error.message == "<4 characters left out>"
        assert "hello" not in (cli.directory / "out.jsonl").read_text(encoding="ascii")

    def test_two_processes_share_one_file_and_one_key(self, cli: Command, process: Process, site: FakeSite) -> None:
        assistant(cli, site)
        cli.write("hello\n" * 20, "a.txt")
        cli.write("hello\n" * 20, "b.txt")
        code = (
            "import subprocess, sys; thea = [sys.executable, '-c', sys.argv[1], 'run', '--user', 'ana'];"
            "both = [subprocess.Popen([*thea, name], stdout=subprocess.DEVNULL) for name in ('a.txt', 'b.txt')];"
            "sys.exit(max(each.wait() for each in both))"
        )
        with process.start("record", "out.jsonl", "--", sys.executable, "-c", code, THEA) as started:
            started.communicate(timeout=60)
        assert started.returncode == exits.OK
        messages = [each for each in events(cli.directory / "out.jsonl") if each.hook == "on_message"]
        assert len(messages) == 40
        assert len({each.arguments["user_id"] for each in messages}) == 1


def test_the_options_know_how_to_become_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(os, "execvpe", lambda *arguments: seen.append(arguments))
    monkeypatch.setattr("signal.signal", lambda number, handler: seen.append(number.name))
    Options().become(["ls", "-l"], {"A": "b"})
    assert seen == ["SIGPIPE", "SIGXFSZ", ("ls", ["ls", "-l"], {"A": "b"})]
