"""What Mixpanel takes: values of properties, ids of users and of events, and times."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time
from enum import Enum
from hashlib import blake2b
from typing import Any

__all__ = ["MOST", "as_utc", "clean", "clean_all", "event_key", "is_rejected", "is_reserved", "user_hash"]

MOST = 255
"""The most properties of an event, items of a list and characters of a text that Mixpanel keeps."""

_DEEPEST = 3
_RESERVED = frozenset({"token", "distinct_id", "time", "ip"})
_RESERVED_PREFIXES = ("$", "mp_")
_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)
_HASH_SIZE = 8

# Mixpanel throws away the events of such a user.
_REJECTED_IDS = frozenset(
    {
        *("", "-1", "0", "00000000-0000-0000-0000-000000000000", "<nil>", "[]", "anon", "anonymous", "false"),
        *("lmy47d", "n/a", "na", "nil", "none", "null", "true", "undefined", "unknown", "{}"),
    }
)


def is_rejected(user_id: object) -> bool:
    """Tell whether Mixpanel would throw away the events of such a user: ``None``, ``""``, ``0``, ``"anonymous"``."""
    return str(user_id).strip().lower() in _REJECTED_IDS


def user_hash(user_id: str, key: bytes) -> str:
    """Return a keyed hash of an id, 16 hexadecimal digits: BLAKE2b, as ``user.hash`` of thea-logging."""
    return blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=_HASH_SIZE, key=key).hexdigest()


def is_reserved(name: str) -> bool:
    """Tell whether a property of that name would be taken for one of Mixpanel's own."""
    return name in _RESERVED or name.startswith(_RESERVED_PREFIXES)


def event_key(event_id: object) -> str:
    """Return the ``$insert_id`` of an event: its id, or a hash of it where Mixpanel would not take that."""
    text = str(event_id)
    if _INSERT_ID.fullmatch(text):
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def as_utc(moment: datetime) -> datetime:
    """Return a time in UTC; one without a time zone is taken to be in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def clean_all(properties: Mapping[Any, Any]) -> dict[str, Any]:
    """Return properties as Mixpanel takes them, at most 255; those that are no number (NaN, infinity) are left out."""
    return _clean_table(properties, 0)


def clean(value: object, depth: int = 0) -> Any:
    """Return a value that JSON can hold and Mixpanel reads.

    A time is written in UTC with its offset, a member of an Enum as its value, NaN and infinity as None, what JSON has
    no form for as text. At most 255 characters or items are kept.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime):
        value = as_utc(value)
    if value is None or isinstance(value, bool | int | float):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return _clean_table(value, depth + 1)
    if isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray) and depth < _DEEPEST:
        return [clean(each, depth + 1) for each in list(value)[:MOST]]
    return _text(str(value))


def _clean_table(table: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    numbers = {key: value for key, value in table.items() if not isinstance(value, float) or math.isfinite(value)}
    return {_text(str(key)): clean(value, depth) for key, value in list(numbers.items())[:MOST]}


def _text(value: str) -> str:
    # Not every reader of JSON takes a lone surrogate.
    return value[:MOST].encode("utf-8", "replace").decode()
