"""Finding the file that configures an application, and reading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thea_core.config.locate import locate
from thea_core.config.masking import KeyPath, mask_line
from thea_core.config.problems import Problem, article
from thea_core.errors import ConfigError

__all__ = ["Document", "decode", "find", "parse", "prefix_of"]

_PLACE = re.compile(r"\s*\(at line (\d+), column (\d+)\)")
_CREATE = "create it with: thea init, or name another file with --config"


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read.

    Attributes:
        path: the file, as it was named.
        data: Thea's settings in it.
        lines: the line of each key in it.
    """

    path: Path
    data: dict[str, Any] = field(repr=False)
    lines: dict[KeyPath, int]


def prefix_of(path: Path) -> tuple[str, ...]:
    """Return the table in which the settings stand: ``tool.thea`` in a pyproject.toml, the whole of any other file."""
    return ("tool", "thea") if path.name == "pyproject.toml" else ()


def find(path: Path | None, environ: Mapping[str, str], directory: Path | None) -> Document | None:
    """Return the file that configures: the one named, else that of ``THEA_CONFIG``, else what the directory holds.

    Args:
        path: the file that ``--config`` names, or None.
        environ: the environment; an empty ``THEA_CONFIG`` is like none.
        directory: where files are looked for; None is the working directory.

    Raises:
        ConfigError: the file is not there, cannot be read or is not TOML, or two files hold settings.
    """
    base = directory or Path()
    if path is not None:
        return _read(base / path, _CREATE)
    if named := environ.get("THEA_CONFIG"):
        return _read(base / named, "THEA_CONFIG names this file: correct or unset that variable, or run: thea init")
    return _search(base)


def _search(base: Path) -> Document | None:
    own, shared = base / "thea.toml", base / "pyproject.toml"
    first = _read(own, _CREATE) if own.exists() else None
    try:
        second = _read(shared, _CREATE) if shared.exists() else None
    except ConfigError:
        if first is None or not first.data:
            raise
        return first  # a pyproject.toml that nobody can read is no configuration, and not Thea's to complain about
    if first is not None and first.data and second is not None and second.data:
        raise ConfigError([str(_both(second))])
    return second if second is not None and second.data else first


def _both(second: Document) -> Problem:
    return Problem(
        str(second.path),
        "there are settings in thea.toml and in [tool.thea] of pyproject.toml",
        expected="settings in one of the two files",
        todo="move all settings into thea.toml and remove [tool.thea], or name one file with --config",
    )


def _read(path: Path, missing: str) -> Document:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError([str(Problem(str(path), "there is no such file", todo=missing))]) from None
    except OSError as error:
        problem = Problem(
            str(path), f"the file cannot be read: {error.strerror}", todo="correct the path or the rights"
        )
        raise ConfigError([str(problem)]) from None
    text = decode(raw, path)
    return _document(path, parse(text, path), text)


def _document(path: Path, data: dict[str, Any], text: str) -> Document:
    prefix = prefix_of(path)
    settings: Any = data
    for key in prefix:
        settings = settings.get(key, {})
        if not isinstance(settings, dict):
            problem = Problem(str(path), f"[{'.'.join(prefix)}] is no table", found=article(settings))
            raise ConfigError([str(problem)])
    size = len(prefix)
    lines = {where[size:]: line for where, line in locate(text).items() if where[:size] == prefix}
    return Document(path, settings, lines)


def decode(raw: bytes, path: Path) -> str:
    """Return the text of a file, without a byte order mark; raises ConfigError where it is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = Problem(
            f"{path}:{line}",
            "the file is not UTF-8",
            found=f"byte 0x{raw[error.start]:02x}",
            todo="save the file as UTF-8 in your editor",
        )
    raise ConfigError([str(problem)])  # outside: the exception holds the whole file, secrets and all


def parse(text: str, path: Path) -> dict[str, Any]:
    """Return what a TOML text says; raises ConfigError with line, column and the line itself where it is not TOML."""
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = Problem(str(path), "arrays or tables are nested too deeply", todo="flatten them")
    except ValueError as error:  # tomllib's own error, or an integer of thousands of digits
        problem = _syntax(str(error), text, path)
    raise ConfigError([str(problem)])


def _syntax(message: str, text: str, path: Path) -> Problem:
    place = _PLACE.search(message)
    reason = _PLACE.sub("", message)
    if place is None:
        return Problem(str(path), f"the file is not TOML: {reason}", todo="correct the file")
    line, column = int(place[1]), int(place[2])
    shown = mask_line(text.split("\n")[line - 1].strip())
    where = f"{path}:{line}:{column}"
    return Problem(where, f"the file is not TOML: {reason}", found=shown, todo=f"correct line {line} of {path}")
