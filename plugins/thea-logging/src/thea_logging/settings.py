"""The options of the plugin: ``[plugins.logging.settings]`` in ``thea.toml``."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

__all__ = ["DEFAULT_LEVELS", "LoggingSettings", "level_number"]

DEFAULT_LEVELS = {
    "on_message": logging.INFO,
    "on_state_change": logging.INFO,
    "on_error": logging.ERROR,
    "on_session_timeout": logging.WARNING,
    "on_intent_detected": logging.INFO,
    "on_agent_delegated": logging.INFO,
}
"""The level of each event, unless the operator chooses another."""

_KEY_BYTES = (16, 64)
_MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_hex(32))"'


def level_number(value: object) -> int:
    """Return a level of ``logging`` as its number; names are taken in any case.

    Raises:
        ValueError: it is no level.
    """
    names = logging.getLevelNamesMapping()
    if isinstance(value, str):
        number = int(value) if value.isascii() and value.isdigit() else names.get(value.upper(), 0)
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else 0
    if number < 1:
        known = sorted(names.keys() - {"NOTSET"}, key=names.__getitem__)
        raise ValueError(f"{value!r} is no logging level; expected a number from 1, or {_one_of(value, known)}")
    return number


def _event_problem(event: object) -> str | None:
    if event in DEFAULT_LEVELS:
        return None
    return f"{event!r} is no event; expected {_one_of(event, DEFAULT_LEVELS)}"


def _level_problem(event: object, level: object) -> str | None:
    try:
        level_number(level)
    except ValueError as error:
        return f"{event}: {error}"
    return None


def _share_problem(event: object, share: float) -> str | None:
    if event == "on_error":
        return "on_error cannot be sampled: every error is logged; remove this key"
    return None if 0 <= share <= 1 else f"{event}: {share!r} is no share; expected a number from 0 to 1"


def _refuse(problems: Iterable[str | None]) -> None:
    """Raise one ValueError that names every problem."""
    if found := [each for each in problems if each is not None]:
        raise ValueError("; ".join(found))


def _one_of(value: object, choices: Iterable[str]) -> str:
    names = list(choices)
    folded = {each.lower(): each for each in names}
    close = difflib.get_close_matches(str(value).lower(), folded, n=1)
    listed = "one of " + ", ".join(names)
    return f"{listed} (did you mean {folded[close[0]]!r}?)" if close else listed


class LoggingSettings(BaseModel):
    """The plugin's options. Immutable; every value is checked when it is made.

    ::

        LoggingSettings(levels={"on_message": "DEBUG"}, sample={"on_state_change": 0.1})

    Raises:
        pydantic.ValidationError: an option is unknown or has a value that does not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    logger_name: str = Field(default="thea.events", description="The name of the logger that gets the records.")
    level: int | str | None = Field(
        default=None,
        description="The level to set on that logger while the plugin runs. Without it the host's configuration "
        "decides; with a `handler` it is the lowest level of an event.",
    )
    levels: dict[str, int | str] = Field(
        default={}, description="The level of single events, as a name or a number: on_message = 'DEBUG'."
    )
    include_message_text: bool = Field(
        default=False, description="Whether to log the text of messages, redacted, truncated and escaped."
    )
    max_text: int = Field(
        default=200, ge=1, description="The most characters to keep of a message's or an error's text."
    )
    user_id_mode: Literal["hash", "raw"] = Field(
        default="hash", description="'hash' logs a keyed hash as user.hash, 'raw' the user id itself as user.id."
    )
    user_id_key: SecretStr | None = Field(
        default=None,
        description="The key of the hash, 16 to 64 bytes. Without it each process makes a random one, and hashes "
        "can be compared within one run only.",
    )
    sample: dict[str, float] = Field(
        default={},
        description="The share of users, 0 to 1, whose records of an event are kept: on_message = 0.1. "
        "Errors are never sampled.",
    )
    handler: Literal["json-stderr"] | logging.Handler | None = Field(
        default=None,
        description="'json-stderr' writes JSON lines to standard error. Without it the records go to the handlers "
        "of the host.",
    )
    exc_info: bool = Field(
        default=True,
        description="Whether the record of an error carries the exception itself. Without it, and where `redact` is "
        "set, the traceback is the field error.stack_trace; ecs-logging needs it so.",
    )
    redact: str | Callable[[str], Any] | None = Field(
        default=None,
        description="A function, as 'module:name', that gets a text and returns what may be logged of it. "
        "Where it fails the text is left out.",
    )

    @field_validator("logger_name")
    @classmethod
    def _check_logger_name(cls, value: str) -> str:
        if value in {"", "root"} or value != value.strip() or not value.isprintable():
            raise ValueError(
                f"{value!r} cannot be the logger's name: the plugin never touches the root logger; "
                "expected a name such as 'thea.events'"
            )
        return value

    @field_validator("level", mode="before")
    @classmethod
    def _check_level(cls, value: object) -> object:
        return None if value is None else level_number(value)

    @field_validator("levels", mode="before")
    @classmethod
    def _check_levels(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        _refuse(_event_problem(event) or _level_problem(event, level) for event, level in value.items())
        return {event: level_number(level) for event, level in value.items()}

    @field_validator("sample")
    @classmethod
    def _check_sample(cls, value: dict[str, float]) -> dict[str, float]:
        _refuse(_event_problem(event) or _share_problem(event, share) for event, share in value.items())
        return value

    @field_validator("user_id_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        size = None if value is None else len(value.get_secret_value().encode("utf-8", "surrogatepass"))
        if size is not None and not _KEY_BYTES[0] <= size <= _KEY_BYTES[1]:
            raise ValueError(
                f"the key has {size} bytes; expected {_KEY_BYTES[0]} to {_KEY_BYTES[1]}. Make one with: {_MAKE_A_KEY}"
            )
        return value

    @field_validator("handler", mode="before")
    @classmethod
    def _check_handler(cls, value: object) -> object:
        if value is None or value == "json-stderr" or isinstance(value, logging.Handler):
            return value
        raise ValueError(
            f"{value!r} is no handler; expected 'json-stderr', or nothing to leave the records to the host's own "
            "handlers (from Python also a logging.Handler)"
        )

    @field_validator("redact", mode="before")
    @classmethod
    def _check_redact(cls, value: object) -> object:
        if value is None or callable(value):
            return value
        module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            return value
        raise ValueError(
            f"{value!r} names no function; expected 'module:name', such as 'myapp.privacy:hide_cards' "
            "(from Python also the function itself)"
        )
