"""``thea hooks`` shows the hooks."""

from __future__ import annotations

from tests.cli.conftest import Command
from thea_core.callbacks import CallbackManager
from thea_core.cli import exits


def test_every_hook_is_listed_with_its_kind_and_when_it_is_called(cli: Command) -> None:
    text = cli.ok("hooks")
    assert all(hook.name in text for hook in CallbackManager().hooks)
    assert "on_message           event                      when a user sends a message" in text


def test_one_hook_is_shown_with_all_that_is_said_of_it(cli: Command) -> None:
    text = cli.ok("hooks", "on_message")
    assert text.startswith("on_message(user_id, message, timestamp)\nevent; ")
    assert "event_id, session_id" in text
    assert "who sent it" in text


def test_hooks_in_json(cli: Command) -> None:
    hooks = {each["name"]: each for each in cli.json("hooks")["hooks"]}
    assert hooks["create_store"]["kind"] == "firstresult"
    assert hooks["on_message"]["arguments"] == ["user_id", "message", "timestamp", "event_id", "session_id"]
    assert "\n" not in hooks["on_message"]["summary"]
    assert [each["name"] for each in cli.json("hooks", "on_error")["hooks"]] == ["on_error"]


def test_an_unknown_hook_is_refused_with_the_one_that_was_meant(cli: Command) -> None:
    result = cli("hooks", "on_mesage")
    assert result.exit_code == exits.FAILED
    assert "did you mean on_message?" in result.stderr


def test_a_broken_configuration_is_no_hindrance(cli: Command) -> None:
    cli.write("no TOML")
    assert cli("hooks").exit_code == exits.OK
