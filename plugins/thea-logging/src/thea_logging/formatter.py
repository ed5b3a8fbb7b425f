"""Records as JSON lines, for hosts that have no formatter of their own."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

__all__ = ["JsonLinesFormatter"]

# What logging itself puts on a record; everything else came from `extra`, a filter or a record factory.
_OWN_ATTRIBUTES = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"asctime", "message", "taskName"}


class JsonLinesFormatter(logging.Formatter):
    """Formats any record as one line of ASCII JSON.

    ::

        handler = logging.StreamHandler()
        handler.setFormatter(JsonLinesFormatter())
        logging.getLogger("thea.events").addHandler(handler)

    Each line is an object with ``@timestamp`` (UTC, to the millisecond), ``log.level``, ``log.logger``, ``message``,
    the fields of the record under their own names, and ``error.stack_trace`` where the record has a traceback. What
    JSON cannot hold is written as text, never refused. Thread-safe.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, without a line break."""
        fields = self._fields(record)
        try:
            return json.dumps(fields, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return json.dumps({key: _jsonable(value) for key, value in fields.items()})

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "@timestamp": _timestamp(record.created),
            "log.level": record.levelname,
            "log.logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in _OWN_ATTRIBUTES:
                fields.setdefault(key, value)
        if stack_trace := self._stack_trace(record):
            fields.setdefault("error.stack_trace", stack_trace)
        return fields

    def _stack_trace(self, record: logging.LogRecord) -> str | None:
        if record.exc_text:
            return record.exc_text
        return self.formatException(record.exc_info) if record.exc_info else None


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _jsonable(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return _text(value)
    return value


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as broken:  # somebody else's object
        return f"<str() of a {type(value).__name__} raised {type(broken).__name__}>"
