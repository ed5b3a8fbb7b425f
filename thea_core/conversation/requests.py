"""What comes in from outside, checked before anything is fired or stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from thea_core.errors import InvalidRequestError

__all__ = ["MAX_ID", "Request", "check_user_id", "read_request"]

MAX_ID: Final = 256
"""How many characters a user id or a message id may have."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message, checked.

    Attributes:
        user_id: who sent it.
        message: the text, as it came.
        message_id: the caller's id of it, or None.
        timestamp: when it came, aware, in UTC.
    """

    user_id: str
    message: str
    message_id: str | None
    timestamp: datetime


def read_request(
    user_id: object, message: object, message_id: object, timestamp: object, *, max_message: int
) -> Request:
    """Check a request, for every store alike.

    Raises:
        InvalidRequestError: something of it cannot be handled; says what, and what to do.
    """
    return Request(
        check_user_id(user_id),
        _check_message(message, max_message),
        None if message_id is None else _check_id("message_id", message_id),
        _check_timestamp(timestamp),
    )


def check_user_id(user_id: object) -> str:
    """Return ``user_id``, or raise InvalidRequestError where it is not a ``str`` of 1 to 256 characters."""
    return _check_id("user_id", user_id)


def _check_id(name: str, value: object) -> str:
    text = _check_text(name, value)
    if not 1 <= len(text) <= MAX_ID:
        found = "is empty" if not text else f"has {len(text)} characters"
        raise InvalidRequestError(f"the {name} {found}; it must have 1 to {MAX_ID}: shorten or hash a longer one")
    return text


def _check_message(value: object, limit: int) -> str:
    text = _check_text("message", value)
    if len(text) * 4 > limit and len(text.encode()) > limit:  # a character takes four bytes at most
        raise InvalidRequestError(
            f"the message has {len(text.encode())} bytes of UTF-8; at most {limit} are handled: "
            "shorten it, or raise max_message ([conversation] max_message)"
        )
    return text


def _check_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        hint = "; decode it first, such as value.decode('utf-8')" if isinstance(value, bytes) else ""
        raise InvalidRequestError(f"the {name} is {type(value).__name__}; it must be a str{hint}")
    text = str.__str__(value)  # a subclass may change under our hands
    if "\0" in text:
        raise _unfit(name, "a NUL character", text.index("\0"))
    try:
        text.encode()  # costs next to nothing for the lengths that are allowed
    except UnicodeEncodeError as error:
        raise _unfit(name, "a lone surrogate, which no UTF-8 text can hold", error.start) from None
    return text


def _unfit(name: str, what: str, position: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"the {name} has {what} at character {position}; remove it, or replace it by U+FFFD, and send it again"
    )


def _check_timestamp(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        found = "has no time zone" if isinstance(value, datetime) else f"is {type(value).__name__}"
        raise InvalidRequestError(f"the timestamp {found}; it must be an aware datetime, such as datetime.now(UTC)")
    return value.astimezone(UTC)
