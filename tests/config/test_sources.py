"""Which file configures, and how a file that cannot be read is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thea_core.config.sources import find
from thea_core.errors import ConfigError

STORE = '[store]\nurl = "memory:"\n'


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: Path | None, directory: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        find(path, environ or {}, directory)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_no_file_is_no_document(tmp_path: Path) -> None:
    assert find(None, {}, tmp_path) is None


def test_the_named_file_wins_over_the_variable(tmp_path: Path) -> None:
    named = write(tmp_path, "one.toml", STORE)
    write(tmp_path, "two.toml", "")
    found = find(named, {"THEA_CONFIG": "two.toml"}, tmp_path)
    assert found is not None
    assert found.path == named


def test_the_variable_wins_over_the_directory(tmp_path: Path) -> None:
    write(tmp_path, "thea.toml", STORE)
    other = write(tmp_path, "two.toml", "")
    found = find(None, {"THEA_CONFIG": "two.toml"}, tmp_path)
    assert found is not None
    assert found.path == other


def test_an_empty_variable_is_like_none(tmp_path: Path) -> None:
    own = write(tmp_path, "thea.toml", STORE)
    found = find(None, {"THEA_CONFIG": ""}, tmp_path)
    assert found is not None
    assert found.path == own


def test_the_working_directory_is_searched_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "thea.toml", STORE)
    found = find(None, {}, None)
    assert found is not None
    assert str(found.path) == "thea.toml"


def test_the_table_of_pyproject_is_taken_with_its_lines(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", '[project]\nname = "x"\n[tool.thea.store]\nurl = "memory:"\n')
    found = find(None, {}, tmp_path)
    assert found is not None
    assert found.data == {"store": {"url": "memory:"}}
    assert found.lines["store", "url"] == 4


def test_a_pyproject_without_the_table_leaves_the_other_file(tmp_path: Path) -> None:
    own = write(tmp_path, "thea.toml", STORE)
    write(tmp_path, "pyproject.toml", '[project]\nname = "x"\n')
    found = find(None, {}, tmp_path)
    assert found is not None
    assert found.path == own


def test_an_empty_file_leaves_the_table_of_pyproject(tmp_path: Path) -> None:
    write(tmp_path, "thea.toml", "# nothing yet\n")
    write(tmp_path, "pyproject.toml", '[tool.thea.store]\nurl = "memory:"\n')
    found = find(None, {}, tmp_path)
    assert found is not None
    assert found.path.name == "pyproject.toml"


def test_settings_in_both_files_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "thea.toml", STORE)
    write(tmp_path, "pyproject.toml", "[tool.thea.sessions]\n")
    assert "settings in thea.toml and in [tool.thea]" in problem(None, tmp_path)


def test_a_broken_pyproject_does_not_concern_a_project_with_its_own_file(tmp_path: Path) -> None:
    own = write(tmp_path, "thea.toml", STORE)
    write(tmp_path, "pyproject.toml", "[project\n")
    found = find(None, {}, tmp_path)
    assert found is not None
    assert found.path == own


def test_a_broken_pyproject_is_told_where_it_would_be_read(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "[project\n")
    assert "pyproject.toml:1:" in problem(None, tmp_path)


@pytest.mark.parametrize("text", ["tool = 1\n", "[tool]\nthea = 1\n"])
def test_a_tool_table_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    assert "[tool.thea] is no table" in problem(write(tmp_path, "pyproject.toml", text), tmp_path)


def test_a_missing_file_is_told_with_what_makes_one(tmp_path: Path) -> None:
    text = problem(Path("no.toml"), tmp_path)
    assert "no.toml: there is no such file" in text
    assert "thea init" in text


def test_a_missing_file_of_the_variable_names_the_variable(tmp_path: Path) -> None:
    assert "THEA_CONFIG" in problem(None, tmp_path, {"THEA_CONFIG": "no.toml"})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert f"the file cannot be read: {os.strerror(21)}" in problem(tmp_path, tmp_path)


def test_a_file_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "thea.toml"
    path.write_bytes(b"# one\nurl = '\xe9'\n")
    text = problem(path, tmp_path)
    assert f"{path}:2: the file is not UTF-8" in text
    assert "0xe9" in text


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "thea.toml"
    path.write_bytes(b"\xef\xbb\xbf" + STORE.encode())
    found = find(path, {}, tmp_path)
    assert found is not None
    assert found.data == {"store": {"url": "memory:"}}


def test_a_syntax_error_names_line_and_column_and_shows_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "thea.toml", "[store]\nmessage_ids = 7d\n")
    text = problem(path, tmp_path)
    assert text.startswith(f"{path}:2:16: the file is not TOML: ")
    assert "found: message_ids = 7d" in text


def test_a_syntax_error_in_a_secret_does_not_show_it(tmp_path: Path) -> None:
    path = write(tmp_path, "thea.toml", '[plugins.sentry.settings]\ndsn = "hunter2\n')
    text = problem(path, tmp_path)
    assert "hunter2" not in text
    assert "dsn = ***" in text


def test_a_syntax_error_at_the_end_has_no_line_to_show(tmp_path: Path) -> None:
    assert "the file is not TOML" in problem(write(tmp_path, "thea.toml", "a = "), tmp_path)
    assert "end of document" in problem(write(tmp_path, "thea.toml", 'a = """'), tmp_path)


def test_a_number_of_too_many_digits_is_told(tmp_path: Path) -> None:
    assert "the file is not TOML" in problem(write(tmp_path, "thea.toml", f"a = {'9' * 5000}\n"), tmp_path)


def test_nesting_without_end_is_told(tmp_path: Path) -> None:
    assert "too deeply" in problem(write(tmp_path, "thea.toml", f"a = {'[' * 100_000}\n"), tmp_path)


def test_the_error_keeps_nothing_of_the_file(tmp_path: Path) -> None:
    """An exception that decoding raised holds the file's bytes; it must not hang on the error."""
    path = tmp_path / "thea.toml"
    path.write_bytes(b"dsn = 'hunter2'\n\xff")
    with pytest.raises(ConfigError) as caught:
        find(path, {}, tmp_path)
    assert caught.value.__context__ is None
