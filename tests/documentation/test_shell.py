"""The harness itself: a page that says something else than the truth fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documentation.pages import Block
from tests.documentation.run_page import PageRun
from tests.documentation.shell import Shell, commands, matches
from thea_core import ConfigError


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_command_goes_on_in_the_lines_after_it() -> None:
    (command,) = commands("$ cat <<END\n> one\n> END\none\n")
    assert (command.text, command.shown) == ("cat <<END\none\nEND", ["one"])


def test_a_block_that_begins_with_no_command_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with a command"):
        commands("echo hello\n")


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        (["one", "two"], "one\ntwo\n", True),
        (["one"], "one\ntwo\n", False),
        (["one ... four"], "one two three four\n", True),
        (["one", "...", "four"], "one\ntwo\nthree\nfour\n", True),
        (["..."], "", True),
        (["on."], "one\n", False),
    ],
)
def test_dots_stand_for_any_text(shown: list[str], output: str, expected: bool) -> None:
    assert matches(shown, output) is expected


def test_other_output_than_shown_fails(shell: Shell) -> None:
    with pytest.raises(AssertionError, match="but this is printed:\nhello"):
        shell.run("$ echo hello\ngood bye\n")


def test_a_command_that_fails_fails_the_page(shell: Shell) -> None:
    with pytest.raises(AssertionError, match="failed with status 3"):
        shell.run("$ (exit 3)\n")


def test_a_command_may_fail_where_the_page_shows_its_status(shell: Shell) -> None:
    shell.run("$ (exit 3)\n$ echo $?\n3\n")


def test_a_block_that_leaves_the_shell_fails(shell: Shell) -> None:
    with pytest.raises(AssertionError, match="stopped within the block"):
        shell.run("$ exit 0\n$ echo never\n")


def test_directory_and_variables_last_from_block_to_block(shell: Shell) -> None:
    shell.run("$ mkdir there && cd there\n$ export NAME=thea\n")
    shell.run('$ echo "$NAME in $(basename "$PWD")"\nthea in there\n')


def test_the_shell_has_what_is_installed_beside_the_tests(shell: Shell) -> None:
    shell.run('$ python -c "import pluggy, sys; print(sys.prefix)"\n.../.environment\n$ pytest --version\npytest ...\n')


def test_a_failing_python_block_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        PageRun(tmp_path).run(Block("page.md", 1, "python", "1 / 0\n"))


def test_python_blocks_share_one_namespace(tmp_path: Path) -> None:
    run = PageRun(tmp_path)
    run.run(Block("page.md", 1, "python", "word = 'thea'\n"))
    run.run(Block("page.md", 5, "pycon", ">>> word.title()\n'Thea'\n"))


def test_a_wrong_result_in_a_python_session_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Expected"):
        PageRun(tmp_path).run(Block("page.md", 1, "pycon", ">>> 1 + 1\n3\n"))


def test_a_block_whose_first_line_names_a_file_becomes_that_file(tmp_path: Path) -> None:
    PageRun(tmp_path).run(Block("page.md", 1, "python", "# hello/plugin.py\nraise SystemExit\n"))
    assert (tmp_path / "hello" / "plugin.py").read_text(encoding="utf-8").endswith("raise SystemExit\n")


def test_toml_that_is_none_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected"):
        PageRun(tmp_path).run(Block("page.md", 1, "toml", "[project\n"))


def test_a_configuration_with_an_unknown_key_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="enabled"):
        PageRun(tmp_path).run(Block("page.md", 1, "toml", "[plugins]\nenable = []\n"))


def test_a_configuration_may_take_secrets_from_the_environment(tmp_path: Path) -> None:
    PageRun(tmp_path).run(Block("page.md", 1, "toml", '[plugins.sentry.settings]\ndsn = "${SENTRY_DSN}"\n'))
