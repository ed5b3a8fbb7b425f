"""``thea chat`` holds a conversation: on a terminal, and from a pipe."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.cli.assistant import assistant
from tests.cli.conftest import Command, Process, Pty
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits
from thea_core.conversation.contexts import ContextManager

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals")


@pytest.fixture
def chat(cli: Command, site: FakeSite) -> Command:
    """The command, with an assistant."""
    assistant(cli, site)
    return cli


def test_from_a_pipe_each_line_is_a_message_and_nothing_but_replies_and_status_is_shown(chat: Command) -> None:
    text = chat.ok("chat", typed="ask\nbob\n")
    assert text.splitlines() == [
        "for whom?",
        "[state executing | intent echo | agent echoing]",
        "echo: bob",
        "[state idle | intent echo | agent echoing]",
    ]


def test_where_nothing_understands_the_fallback_answers(chat: Command) -> None:
    assert "[state idle | intent - | agent fallback]" in chat.ok("chat", typed="\n")


def test_the_diagram_has_the_current_state_marked(chat: Command) -> None:
    text = chat.ok("chat", typed="/state\nask\n/state\n")
    assert "> initial " in text
    assert "> executing " in text


def test_the_conversation_goes_on_where_it_was_left_and_each_user_has_one(chat: Command) -> None:
    chat.ok("chat", typed="ask\n")
    assert "> executing" in chat.ok("chat", typed="/state\n")
    assert "> initial" in chat.ok("chat", "--user", "bob", typed="/state\n")


def test_a_state_that_the_machine_no_longer_has_is_told(chat: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContextManager, "load", lambda _, user: {"user_id": user, "state": "gone"})
    assert "the state 'gone', which the state machine has not" in chat.ok("chat", typed="/state\n")


def test_quit_ends_it(chat: Command) -> None:
    assert "echo" not in chat.ok("chat", typed="/quit\nhello\n")
    assert "echo" not in chat.ok("chat", typed="/exit\nhello\n")


def test_help_shows_the_commands(chat: Command) -> None:
    text = chat.ok("chat", typed="/help\n")
    assert all(command in text for command in ("/state", "/help", "/quit", "//"))


@pytest.mark.parametrize(
    ("typed", "hint"), [("/stat", "Did you mean /state?"), ("/zzz now", "/help shows the commands.")]
)
def test_an_unknown_command_is_no_message(chat: Command, typed: str, hint: str) -> None:
    text = chat.ok("chat", typed=f"{typed}\n")
    assert hint in text
    assert "echo" not in text


def test_two_slashes_make_a_message_that_begins_with_one(chat: Command) -> None:
    assert "echo: /state" in chat.ok("chat", typed="//state\n")


def test_a_message_that_cannot_be_handled_is_told_and_the_conversation_goes_on(chat: Command) -> None:
    text = chat.ok("chat", typed=b"a\0b\n\xff\nhello\n")
    assert "This message cannot be handled: the message has a NUL character" in text
    assert "line 2: the line is not UTF-8" in text
    assert "echo: hello" in text


def test_what_a_reply_holds_cannot_steer_the_terminal(chat: Command) -> None:
    assert "echo: \\x1b[2J" in chat.ok("chat", typed="\x1b[2J\n")


def test_a_veto_is_an_answer(chat: Command) -> None:
    assert chat.ok("chat", typed="veto\n").startswith("not that\n")


def test_a_user_that_nobody_can_be_is_wrong_usage(chat: Command) -> None:
    assert chat("chat", "--user", "").exit_code == exits.USAGE


def test_a_store_that_cannot_be_opened_is_told(chat: Command) -> None:
    result = chat("chat", typed="hello\n", THEA__STORE__URL="nonsense:")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith("error[store-unavailable]")


def test_the_log_keeps_tracebacks(chat: Command) -> None:
    result = chat("chat", "--log", "log.jsonl", typed="stumble\n")
    assert "Traceback" not in result.output
    (record,) = (chat.directory / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert "ValueError: oh" in json.loads(record)["traceback"]


@posix
def test_on_a_terminal_there_is_a_prompt_with_a_history_of_lines(
    chat: Command, process: Process, terminal: Pty
) -> None:
    side = terminal.theirs
    with process.start("chat", stdin=side, stdout=side, stderr=side) as started:
        terminal.until("Thea, with echo.")
        terminal.until("you> ")
        terminal.type("hello\n")
        terminal.until("[state idle | intent echo | agent echoing]")
        terminal.until("you> ")
        terminal.type("\n")  # Enter alone is no message
        terminal.until("you> ")
        terminal.type("\x1b[A\n")  # arrow up, Enter
        terminal.until("echo: hello")
        terminal.until("you> ")
        terminal.type("\x04")
        assert started.wait(timeout=60) == exits.OK


@posix
def test_ctrl_c_at_the_prompt_ends_it_like_ctrl_d(chat: Command, process: Process, terminal: Pty) -> None:
    side = terminal.theirs
    with process.start("chat", "--no-plugins", stdin=side, stdout=side, stderr=side) as started:
        terminal.until("without plugins")
        terminal.until("you> ")
        started.send_signal(signal.SIGINT)
        terminal.type("\n")  # wakes a wait that began just after the signal
        assert started.wait(timeout=60) == exits.OK


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.TERMINATED)])
def test_a_signal_within_a_turn_ends_it_and_the_message_is_as_if_it_never_came(
    chat: Command, process: Process, number: int, status: int
) -> None:
    os.mkfifo(chat.directory / "gate")
    with process.start("chat") as started:
        assert started.stdin is not None
        assert started.stderr is not None
        started.stdin.write(b"wait\n")
        started.stdin.flush()
        assert started.stderr.readline() == b"waiting\n"
        started.send_signal(number)
        assert started.wait(timeout=60) == status
        errors = started.stderr.read()
    assert b"error[interrupted]: stopped by" in errors
    assert b"Traceback" not in errors
    assert "> initial" in chat.ok("chat", typed="/state\n")
