"""The command as a whole: its help, its errors, its exit statuses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.cli.conftest import Command
from thea_core import errors
from thea_core.cli import exits, main
from thea_core.cli.groups import Root, VerbGroup, verb
from thea_core.cli.root import thea

ROOT = Path(__file__).resolve().parents[2]


def verbs(group: VerbGroup = thea, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command, str]]:
    """Give every verb: how it is called, the command, and the line that its group's help shows."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        shown = re.search(rf"^  {name} +(.*(?:\n   .*)*)", CliRunner().invoke(group, ["--help"]).stdout, re.MULTILINE)
        assert shown is not None
        if isinstance(command, VerbGroup):
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name), command, " ".join(shown[1].split())


VERBS = list(verbs())
NAMES = [" ".join(path) for path, _, _ in VERBS]


def test_there_is_every_verb_that_is_promised() -> None:
    plugins = ("list", "info", "doctor", "enable", "disable", "install", "uninstall", "order")
    promised = {f"plugins {each}" for each in plugins} | {"config check", "config show", "sessions purge", "worker"}
    promised |= {f"outbox {each}" for each in ("list", "retry", "drop")}
    assert set(NAMES) == promised | {"init", "chat", "run", "record", "replay", "history", "hooks", "fsm"}


@pytest.mark.parametrize(("path", "command", "line"), VERBS, ids=NAMES)
def test_a_verb_has_help_whose_first_line_its_group_shows(
    path: tuple[str, ...], command: click.Command, line: str
) -> None:
    result = CliRunner().invoke(thea, [*path, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: thea {' '.join(path)}")
    assert (command.help or "").partition("\n")[0] == line


@pytest.mark.parametrize("path", [path for path, _, _ in VERBS], ids=NAMES)
def test_the_help_of_a_verb_documents_its_exit_statuses(path: tuple[str, ...]) -> None:
    text = CliRunner().invoke(thea, [*path, "--help"]).stdout
    section = text.partition("Exit status:\n")[2]
    assert {"0", "2", "130"} <= set(re.findall(r"^  (\d+) ", section, re.MULTILINE))


@pytest.mark.parametrize("path", [path for path, _, _ in VERBS], ids=NAMES)
def test_a_verb_takes_the_shared_options(path: tuple[str, ...]) -> None:
    text = CliRunner().invoke(thea, [*path, "--help"]).stdout
    assert all(option in text for option in ("--config PATH", "--no-plugins", "--without-guards"))


def test_help_imports_no_verb_and_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules);"
        "from thea_core.cli import main; main(['--help']); main(['plugins', '--help']);"
        "print(*(name for name in set(sys.modules) - before if name.startswith('thea_core.cli.') or name in "
        "{'rich', 'pydantic', 'tomllib', 'tomlkit', 'sqlite3', 'asyncio', 'importlib_metadata'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.removeprefix("thea_core.cli.") for name in done.stderr.split()}
    assert loaded == {"exits", "groups", "options", "output", "root"}


def test_without_a_verb_the_help_is_shown_and_the_status_is_that_of_wrong_usage(cli: Command) -> None:
    result = cli()
    assert result.exit_code == exits.USAGE
    assert "Verbs:" in result.output


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["plugns"], "'plugins'"), (["plugins", "lst"], "'list'"), (["fsm", "--curent", "idle"], "'--current'")],
)
def test_what_is_misspelt_is_refused_with_what_was_meant(cli: Command, arguments: list[str], meant: str) -> None:
    result = cli(*arguments)
    assert result.exit_code == exits.USAGE
    assert result.stderr.startswith("error[usage]: ")
    assert f"Did you mean {meant}?" in result.stderr
    assert result.stdout == ""


def test_a_verb_like_no_other_is_refused_with_those_that_there_are(cli: Command) -> None:
    assert "The verbs are: init, chat, run" in cli("zzz").stderr


def test_an_unknown_option_of_a_group_is_wrong_usage(cli: Command) -> None:
    assert cli("--nonsense", "fsm").exit_code == exits.USAGE


def test_the_version_is_told(cli: Command) -> None:
    assert re.fullmatch(r"thea (\d+\.\d+\S*|\(not installed\)) \(Python 3\.\S+\)\n", cli.ok("--version"))


@pytest.mark.parametrize(
    "arguments", [["--config", "own.toml", "config", "show"], ["config", "show", "--config", "own.toml"]]
)
def test_shared_options_stand_before_or_after_the_verb(cli: Command, arguments: list[str]) -> None:
    cli.write('[store]\nurl = "memory:"\n', "own.toml")
    values = {each["key"]: each["value"] for each in cli.json(*arguments)["values"]}
    assert values["store.url"] == "memory:"


def test_an_error_is_one_message_with_its_code_on_standard_error(cli: Command) -> None:
    result = cli("fsm", "--config", "nowhere.toml")
    assert result.exit_code == exits.CONFIG
    assert result.stderr.startswith("error[config]: nowhere.toml: there is no such file")
    assert result.stdout == ""


def test_with_json_an_error_is_json_on_standard_output_too(cli: Command) -> None:
    import json

    result = cli("fsm", "--config", "nowhere.toml", "--json")
    assert json.loads(result.stdout)["error"]["code"] == "config"
    assert result.stderr.startswith("error[config]")
    assert result.exit_code == exits.CONFIG


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigError(["wrong"]), exits.CONFIG),
        (errors.DefinitionError(["wrong"]), exits.CONFIG),
        (errors.PluginNotFoundError("no", plugin="x"), exits.PLUGIN),
        (errors.GuardRequiredError("no", plugin="x"), exits.PLUGIN),
        (errors.StoreUnavailableError("no"), exits.STORE),
        (errors.CommitRefusedError("no"), exits.STORE),
        (errors.UnknownHookError("no", hook="x"), exits.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_status(error: errors.TheaError, status: int) -> None:
    assert exits.status_of(error) == status
    result = CliRunner().invoke(raising(error), ["fail"])
    assert (result.exit_code, result.exception.__class__) == (status, SystemExit)
    assert result.stderr == f"error[{error.code}]: {error}\n"


def raising(error: BaseException) -> Root:
    """Return a command whose only verb raises."""

    @verb("fail")
    def fail() -> None:
        """Fail."""
        raise error

    return Root("thea", "For a test.", {"fail": fail})


def test_what_is_neither_theas_nor_the_users_fault_is_a_traceback() -> None:
    result = CliRunner().invoke(raising(ZeroDivisionError("a bug")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), exits.INTERRUPTED), (exits.Terminated(), exits.TERMINATED)]
)
def test_what_is_stopped_by_a_signal_says_so_without_a_traceback(error: BaseException, status: int) -> None:
    result = CliRunner().invoke(raising(error), ["fail"])
    assert result.exit_code == status
    assert "error[interrupted]: stopped by" in result.stderr


def test_a_message_cannot_steer_the_terminal() -> None:
    result = CliRunner().invoke(raising(errors.StoreError("red \x1b[31m")), ["fail"])
    assert "\x1b[31m" not in result.stderr
    assert "red \\x1b[31m" in result.stderr


def test_main_returns_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsm"]) == exits.OK
    assert main(["nonsense"]) == exits.USAGE
    assert "initial" in capsys.readouterr().out


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "thea_core.cli", "fsm"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "processing" in done.stdout


def test_a_terminal_that_knows_few_characters_gets_escapes(tmp_path: Path) -> None:
    (tmp_path / "thea.toml").write_text('[conversation.texts]\nfallback = "✓"\n', encoding="utf-8")
    code = "import sys; from thea_core.cli import main; sys.exit(main(['config', 'show', '--changed']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert b"\\u2713" in done.stdout


def test_the_page_of_the_command_names_every_verb_and_every_exit_status() -> None:
    page = (ROOT / "docs" / "reference" / "command.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"thea {name}" not in page] == []
    table = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", page, re.MULTILINE))
    assert table == {str(status): meaning for status, meaning in exits.MEANINGS.items()}


@pytest.mark.parametrize(("path", "command"), [(path, command) for path, command, _ in VERBS], ids=NAMES)
def test_the_page_of_the_command_names_every_option(path: tuple[str, ...], command: click.Command) -> None:
    page = (ROOT / "docs" / "reference" / "command.md").read_text(encoding="utf-8")
    section = re.split(r"^#+ ", page.partition(f"## `thea {' '.join(path)}")[2], maxsplit=1, flags=re.MULTILINE)[0]
    shared = {"config", "no_plugins", "without_guards"}
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in shared]
    assert [each.opts[0] for each in options if each.opts[0] not in section] == []
