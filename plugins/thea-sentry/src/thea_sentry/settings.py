"""The options of the plugin: ``[plugins.sentry.settings]`` in ``thea.toml``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

__all__ = ["SentrySettings"]

_KEY_BYTES = (16, 64)
_MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_hex(32))"'
_OWN = ("dsn", "environment", "release")


class SentrySettings(BaseModel):
    """The plugin's options. Immutable; every value is checked when it is made.

    ::

        SentrySettings(dsn="https://key@sentry.example/42", environment="staging")

    Raises:
        pydantic.ValidationError: an option is unknown or has a value that does not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    mode: Literal["auto", "host", "isolated", "init"] = Field(
        default="auto",
        description="Who sends. 'host': the Sentry that the application has initialised. 'isolated': a client of the "
        "plugin's own, which nothing else uses. 'init': Sentry is initialised for the whole process. 'auto': 'host' "
        "where the application has a Sentry, else 'isolated'.",
    )
    dsn: SecretStr | None = Field(
        default=None,
        description="Where to send, if it is not the application's Sentry that sends. SENTRY_DSN is not looked at.",
    )
    environment: str | None = Field(default=None, description="The environment, unless the application's Sentry sends.")
    release: str | None = Field(default=None, description="The release, unless the application's Sentry sends.")
    sentry_options: dict[str, Any] = Field(
        default={},
        description="More options of sentry_sdk, unless the application's Sentry sends. Functions (before_send, "
        "traces_sampler, ...) as 'module:name'.",
    )
    handled: bool = Field(
        default=False,
        description="Whether errors are marked as handled. Thea contains them, yet nobody has dealt with them.",
    )
    timeouts: Literal["message", "breadcrumb", "log", "off"] = Field(
        default="message",
        description="What a session that times out becomes: a warning, a breadcrumb of the user's next error, a line "
        "of Sentry's logs (enable_logs), or nothing.",
    )
    trail_length: int = Field(default=30, ge=0, description="The most breadcrumbs that are kept of one user.")
    trail_users: int = Field(default=1000, ge=1, description="The most users of whom breadcrumbs are kept.")
    trail_ttl: float = Field(
        default=3600.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which the breadcrumbs of a silent user are forgotten.",
    )
    include_locals: bool = Field(
        default=False, description="Whether to send the local variables of the frames of a traceback."
    )
    include_message_text: bool = Field(
        default=False,
        description="Whether to send the text of messages, redacted: in breadcrumbs (at most 200 characters each), and "
        "with the web request in which they came.",
    )
    include_error_text: bool = Field(
        default=False,
        description="Whether to send what exceptions say, redacted. It often repeats what a user wrote.",
    )
    redact: str | Callable[[str], Any] | None = Field(
        default=None,
        description="A function, as 'module:name', that gets a text and returns what may be sent of it. "
        "Where it fails the text is left out.",
    )
    send_user: Literal["auto", "never", "always"] = Field(
        default="auto",
        description="'never' sends no user, 'always' the user id itself. 'auto' sends a keyed hash, or the id itself "
        "where the options of the client that sends ask for it (data_collection.user_info, send_default_pii).",
    )
    user_id_key: SecretStr | None = Field(
        default=None,
        description="The key of the hash, 16 to 64 bytes. Without it each process makes a random one, and hashes "
        "can be compared within one run only.",
    )
    ignore_errors: tuple[str | type[BaseException], ...] = Field(
        default=(), description="Types of errors that are not reported, as 'module:name'; also what is derived of them."
    )
    suppress_log_duplicates: bool = Field(
        default=True,
        description="Whether the application's Sentry ignores the log records of what this plugin reports: those of "
        "`event_logger`, and of Thea's logger of failed turns.",
    )
    event_logger: str = Field(default="thea.events", description="The logger that the plugin logging logs to.")
    flush_timeout: float = Field(
        default=2.0,
        ge=0,
        allow_inf_nan=False,
        description="The most seconds to wait for what is still to be sent when the plugin stops.",
    )

    @field_validator("sentry_options")
    @classmethod
    def _check_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        if doubled := [each for each in _OWN if each in value]:
            raise ValueError(f"{doubled[0]!r} is a setting of its own: write it beside sentry_options, not in it")
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

    @field_validator("redact", mode="before")
    @classmethod
    def _check_redact(cls, value: object) -> object:
        if value is None or callable(value) or _is_path(value):
            return value
        raise ValueError(
            f"{value!r} names no function; expected 'module:name', such as 'myapp.privacy:hide_cards' "
            "(from Python also the function itself)"
        )

    @field_validator("ignore_errors", mode="before")
    @classmethod
    def _check_errors(cls, value: object) -> object:
        for each in value if isinstance(value, list | tuple) else ():
            if isinstance(each, str) and not _is_path(each):
                raise ValueError(
                    f"{each!r} names no type; expected 'module:name', such as 'builtins:KeyError' "
                    "(from Python also the type itself)"
                )
        return value

    @field_validator("event_logger")
    @classmethod
    def _check_logger(cls, value: str) -> str:
        if not value or value != value.strip() or not value.isprintable():
            raise ValueError(f"{value!r} is no logger's name; expected the logger_name of the plugin logging")
        return value


def _is_path(value: object) -> bool:
    """Whether it has the form ``module:name``."""
    module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))
