"""``--log FILE``: what Thea and the logging plugin log, as JSON lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from thea_core.cli.exits import Refusal

__all__ = ["JsonLines", "log_option", "log_to"]

F = TypeVar("F", bound=Callable[..., Any])

LOGGERS = ("thea.events", "thea.plugins", "thea_core")
"""The loggers whose records are written: the events as the plugin ``logging`` logs them, what plugins say, and Thea."""

_USUAL = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a record: when, where, its message, and every extra field under its own name. Thread-safe."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII. What JSON cannot hold is written as text."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "function": record.funcName,
            "message": record.getMessage(),
        }
        fields |= {key: value for key, value in vars(record).items() if key not in _USUAL and key not in fields}
        if record.exc_text or record.exc_info:
            fields["traceback"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        try:
            return _encode(fields)
        except (TypeError, ValueError, RecursionError):  # a key that is no text, a list that holds itself
            return json.dumps({key: _text(value) for key, value in fields.items()})


def log_option(function: F) -> F:
    """Add ``--log`` to a verb."""
    option = click.option(
        "--log",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Append the log to FILE, as JSON lines; the events in it are those of the plugin logging.",
    )
    return option(function)


@contextmanager
def log_to(path: Path | None) -> Iterator[None]:
    """Append the records to a file, while entered; None writes none.

    Raises:
        Refusal: the file cannot be written.
    """
    if path is None:
        yield
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"the log {path} cannot be written: {error.strerror}; name another file", code="file") from None
    handler.setFormatter(JsonLines())
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.INFO)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
        handler.close()


def _text(value: object) -> str:
    from thea_core.errors import error_text

    try:
        return error_text(value) if isinstance(value, BaseException) else str(value)
    except Exception as broken:  # a plugin's object
        return f"<str() of a {type(value).__name__} raised {type(broken).__name__}>"


_encode = json.JSONEncoder(default=_text).encode  # json.dumps would make one for each record
