"""Switching plugins on and off in the file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core.config import load_config
from thea_core.config.edit import disable, enable
from thea_core.errors import ConfigError


def write(directory: Path, text: str, name: str = "thea.toml") -> Path:
    path = directory / name
    path.write_bytes(text.encode())
    return path


def text(path: Path) -> str:
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[plugins]\nenabled = ["x"]\n'),
        ("# only a comment\n", '# only a comment\n\n[plugins]\nenabled = ["x"]\n'),
        ("[plugins]\nenabled = []\n", '[plugins]\nenabled = ["x"]\n'),
        ("[plugins]  # mine\nmodules = []\n", '[plugins]  # mine\nmodules = []\nenabled = ["x"]\n'),
        ('[plugins]\nenabled = ["a"]  # why\n', '[plugins]\nenabled = ["a", "x"]  # why\n'),
        ("plugins.enabled = ['a']\n", "plugins.enabled = ['a', \"x\"]\n"),
        ("plugins = { enabled = [] }\n", 'plugins = { enabled = ["x"] }\n'),
        ('[plugins]\nenabled = "a"\n', '[plugins]\nenabled = ["a", "x"]\n'),
        (
            '[plugins]\nenabled = [\n    "a",  # first\n    # then\n    "b",\n]\n[store]\n',
            '[plugins]\nenabled = [\n    "a",  # first\n    # then\n    "b",\n    "x",\n]\n[store]\n',
        ),
    ],
)
def test_enabling_adds_the_name_and_keeps_the_rest(before: str, after: str, tmp_path: Path) -> None:
    path = write(tmp_path, before)
    assert enable(path, "x")
    assert text(path) == after
    assert not enable(path, "x")
    assert text(path) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[plugins]\nenabled = ["x"]\n', "[plugins]\nenabled = []\n"),
        ('[plugins]\nenabled = ["a", "x", "b"]  # why\n', '[plugins]\nenabled = ["a", "b"]  # why\n'),
        ('[plugins]\nenabled = ["x", "a", "x"]\n', '[plugins]\nenabled = ["a"]\n'),
        ('[plugins]\nenabled = ["x", 5]\n', "[plugins]\nenabled = [5]\n"),
        ('[plugins]\nenabled = "x"\n', "[plugins]\nenabled = []\n"),
        ('plugins = { enabled = ["x"] }\n', "plugins = { enabled = [] }\n"),
        (
            '[plugins]\nenabled = [\n    "a",  # first\n    "x",\n    "b",\n]\n',
            '[plugins]\nenabled = [\n    "a",  # first\n    "b",\n]\n',
        ),
    ],
)
def test_disabling_takes_the_name_out_and_keeps_the_rest(before: str, after: str, tmp_path: Path) -> None:
    path = write(tmp_path, before)
    assert disable(path, "x")
    assert text(path) == after
    assert not disable(path, "x")


@pytest.mark.parametrize(
    "before", ["", "plugins = 5\n", '[plugins]\nenabled = ["a"]\n', "[plugins]\nenabled = 5\n", "[plugins.x]\n"]
)
def test_disabling_what_is_not_enabled_changes_nothing(before: str, tmp_path: Path) -> None:
    path = write(tmp_path, before)
    assert not disable(path, "x")
    assert text(path) == before


def test_disabling_without_a_file_makes_none(tmp_path: Path) -> None:
    assert not disable(tmp_path / "thea.toml", "x")
    assert list(tmp_path.iterdir()) == []


def test_enabling_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "thea.toml"
    assert enable(path, "x")
    assert load_config(path, environ={}).plugins.enabled == ["x"]
    assert [each.name for each in tmp_path.iterdir()] == ["thea.toml"]


@pytest.mark.parametrize(
    "before",
    [
        '[project]\nname = "p"  # mine\n',
        "[tool.ruff]\nline-length = 100\n",
        "[tool.thea.plugins.x]\npriority = 1\n[tool.ruff]\n",
        "[tool]\nother = 1\n",
        "",
    ],
)
def test_in_a_pyproject_the_table_of_the_tool_is_edited(before: str, tmp_path: Path) -> None:
    path = write(tmp_path, before, "pyproject.toml")
    assert enable(path, "x")
    assert text(path).replace("\n\n", "\n").startswith(before.replace("\n\n", "\n")) or "tool.thea" in before
    assert load_config(path, environ={}).plugins.enabled == ["x"]
    assert disable(path, "x")
    assert load_config(path, environ={}).plugins.enabled == []


def test_a_plugins_own_table_does_not_hide_the_key(tmp_path: Path) -> None:
    path = write(tmp_path, "[store]\n\n[plugins.x]  # mine\npriority = 1\n")
    assert enable(path, "x")
    config = load_config(path, environ={})
    assert config.plugins.enabled == ["x"]
    assert config.plugins.entry("x").priority == 1
    assert text(path) == '[store]\n\n[plugins]\nenabled = ["x"]\n\n[plugins.x]  # mine\npriority = 1\n'


def test_a_file_that_is_no_valid_configuration_can_still_be_edited(tmp_path: Path) -> None:
    path = write(tmp_path, '[plugins]\nenabled = ["x"]\nnonsense = 1\n[plugins.x.settings]\ndsn = "${NOT_SET}"\n')
    with pytest.raises(ConfigError):
        load_config(path, environ={})
    assert disable(path, "x")
    assert tomllib.loads(text(path))["plugins"]["enabled"] == []


@pytest.mark.parametrize(("before", "where"), [("plugins = 5\n", "plugins"), ("[plugins]\nenabled = 5\n", "enabled")])
def test_enabling_where_something_else_stands_is_refused(before: str, where: str, tmp_path: Path) -> None:
    path = write(tmp_path, before)
    with pytest.raises(ConfigError, match=f"{where} has a value that does not fit"):
        enable(path, "x")
    assert text(path) == before


def test_a_file_that_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "[plugins\n")
    with pytest.raises(ConfigError, match=r"thea\.toml:1:9"):
        disable(path, "x")


def test_line_ends_and_the_byte_order_mark_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff[store]\r\nurl = 'memory:'\r\n")
    assert enable(path, "x")
    assert text(path) == "\ufeff[store]\r\nurl = 'memory:'\r\n\r\n[plugins]\r\nenabled = [\"x\"]\r\n"


def test_the_mode_of_the_file_stays(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.chmod(0o640)
    enable(path, "x")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = write(tmp_path, "", "real.toml")
    link = tmp_path / "thea.toml"
    link.symlink_to(real)
    assert enable(link, "x")
    assert link.is_symlink()
    assert '"x"' in text(real)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        enable(tmp_path, "x")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        enable(tmp_path / "no" / "thea.toml", "x")


def test_a_write_protected_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ConfigError, match="write-protected"):
        enable(path, "x")
    assert text(path) == ""


def test_when_writing_fails_the_file_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "# mine\n")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left"):
        enable(path, "x")
    assert text(path) == "# mine\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_edit_that_would_change_anything_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tomlkit

    path = write(tmp_path, "# mine\n")
    monkeypatch.setattr(tomlkit, "dumps", lambda _: "[plugins]\nenabled = []\n")
    with pytest.raises(ConfigError, match=r"edit it by hand, so that it says: plugins\.enabled = "):
        enable(path, "x")
    assert text(path) == "# mine\n"


NAMES = st.lists(st.sampled_from(["a", "b", "x"]), max_size=4)
EXTRA = st.sampled_from(["", "# c\n", "modules = []\n", "[plugins.x]\npriority = 1\n", '[store]\nurl = "memory:"\n'])


@given(names=NAMES, extra=EXTRA, layout=st.sampled_from([", ", ",\n  ", ", # c\n  "]))
def test_every_layout_says_the_same_afterwards(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], extra: str, layout: str
) -> None:
    path = write(tmp_path_factory.mktemp("edit"), f"[plugins]\nenabled = [{layout.join(map(repr, names))}]\n{extra}")
    enable(path, "x")
    assert _enabled(path) == (names if "x" in names else [*names, "x"])
    disable(path, "x")
    assert _enabled(path) == [each for each in names if each != "x"]


def _enabled(path: Path) -> Any:
    return tomllib.loads(text(path))["plugins"]["enabled"]
