"""Switching plugins on and off in the file itself, with its comments and its layout kept.

The file need not be a valid configuration, only TOML: a plugin that breaks everything can still be disabled. Nothing of
a plugin is imported or checked here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thea_core.config.problems import Problem, article, toml_text
from thea_core.config.sources import decode, parse, prefix_of
from thea_core.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

__all__ = ["disable", "enable"]

_MARK = b"\xef\xbb\xbf"
_LONE_NEWLINE = re.compile(r"(?<!\r)\n")


def enable(path: Path, name: str) -> bool:
    """Put ``name`` at the end of ``[plugins] enabled``; make file, table and key where they are missing.

    Args:
        path: the file; in one that is called pyproject.toml the table is ``[tool.thea.plugins]``.
        name: the plugin's name.

    Returns:
        Whether the file was changed: False if the plugin is enabled already.

    Raises:
        ConfigError: the file cannot be read or written, is not TOML, or has something else in that place.
    """
    file = _File(path)
    names = file.names()
    if name in names:
        return False
    file.write([*names, name])
    return True


def disable(path: Path, name: str) -> bool:
    """Take ``name`` out of ``[plugins] enabled``, however often it is there; a missing file is left missing.

    Returns:
        Whether the file was changed: False if the plugin is not enabled in it.

    Raises:
        ConfigError: the file cannot be read or written, or is not TOML.
    """
    file = _File(path)
    names = file.names(strict=False)
    if name not in names:
        return False
    file.write([each for each in names if each != name])
    return True


class _File:
    """One TOML file that is edited. Not thread-safe; the new text replaces the old in one step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = (*prefix_of(path), "plugins", "enabled")
        self._raw = _read(path)
        self._text = decode(self._raw, path)
        self._data = parse(self._text, path)

    def names(self, *, strict: bool = True) -> list[Any]:
        """Return what is enabled; a single string counts as an array of it.

        What is neither stands for nothing enabled if not ``strict``, and is refused if it is.
        """
        value: Any = self._data
        for depth, key in enumerate(self._keys):
            if not isinstance(value, dict):
                return self._odd(value, self._keys[:depth], "a table") if strict else []
            value = value.get(key, {} if depth < len(self._keys) - 1 else [])
        if isinstance(value, list):
            return value
        if isinstance(value, str):
            return [value]
        return self._odd(value, self._keys, "an array of strings") if strict else []

    def _odd(self, value: Any, keys: tuple[str, ...], expected: str) -> list[Any]:
        where = ".".join(keys)
        problem = Problem(
            str(self._path),
            f"{where} has a value that does not fit",
            article(value),
            expected,
            todo=f"correct or remove {where} in {self._path}",
        )
        raise ConfigError([str(problem)])

    def write(self, names: list[Any]) -> None:
        """Write the file with these names enabled."""
        import tomlkit

        document = tomlkit.parse(self._text)
        _change(document, self._keys, names)
        text = tomlkit.dumps(document)
        if "\r\n" in self._text and not _LONE_NEWLINE.search(self._text):
            text = _LONE_NEWLINE.sub("\r\n", text)
        self._check(text, names)
        mark = _MARK if self._raw.startswith(_MARK) else b""
        _replace(self._path, mark + text.encode())

    def _check(self, text: str, names: list[Any]) -> None:
        """Refuse to write a text that says anything else than the old one did, but for the names."""
        wanted = parse(self._text, self._path)
        table = wanted
        for key in self._keys[:-1]:
            table = table.setdefault(key, {})
        table[self._keys[-1]] = names
        if parse(text, self._path) != wanted:
            line = f"{'.'.join(self._keys)} = {toml_text(names)}"
            summary = "the file is laid out in a way that cannot be edited safely; it is as it was"
            raise ConfigError(
                [str(Problem(str(self._path), summary, todo=f"edit it by hand, so that it says: {line}"))]
            )


def _change(document: TOMLDocument, keys: tuple[str, ...], names: list[Any]) -> None:
    import tomlkit
    from tomlkit.items import Table

    table: Any = document
    for key in keys[:-1]:
        if key not in table:
            table[key] = tomlkit.table(is_super_table=key != "plugins")
        table = table[key]
    if isinstance(table, Table) and table.is_super_table():
        table.trivia.comment = table.trivia.comment_ws = ""  # it copies those of the first table below it
    present = table.get(keys[-1])
    if not isinstance(present, list):
        table[keys[-1]] = names
        return
    for index in range(len(present) - 1, -1, -1):
        if present[index] not in names:
            del present[index]
    for each in names[len(present) :]:
        present.append(each)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _failed(path, "read", error) from None


def _replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the file's place in one step; a link stays a link, the mode stays the mode."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(13, "it is write-protected")
        _write(temporary, content, target)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _failed(path, "written", error) from None


def _write(temporary: Path, content: bytes, target: Path) -> None:
    with temporary.open("wb") as file:
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _failed(path: Path, what: str, error: OSError) -> ConfigError:
    summary = f"the file cannot be {what}: {error.strerror}"
    return ConfigError([str(Problem(str(path), summary, todo="correct the path, or the rights of file and folder"))])
