"""The options of the plugin: ``[plugins.mixpanel.settings]`` in ``thea.toml``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from thea_mixpanel.values import is_reserved

__all__ = ["MixpanelSettings"]

_HOSTS = {
    "us": "https://api.mixpanel.com",
    "eu": "https://api-eu.mixpanel.com",
    "in": "https://api-in.mixpanel.com",
}
_PATH = "/track"
_KEY_BYTES = (16, 64)
_MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_hex(32))"'
_MOST_SUPER_PROPERTIES = 200  # of the 255 that an event may have
_LONGEST_NAME = 255


class MixpanelSettings(BaseModel):
    """The plugin's options. Immutable; every value is checked when it is made.

    ::

        MixpanelSettings(token="", region="eu", super_properties={"environment": "staging"})

    Raises:
        pydantic.ValidationError: an option is unknown or has a value that does not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: SecretStr | None = Field(
        default=None, description="The token of the Mixpanel project. Without one nothing is sent."
    )
    region: Literal["us", "eu", "in"] = Field(
        default="us", description="Where the project keeps its data: 'us', 'eu' or 'in' (India)."
    )
    endpoint: str | None = Field(
        default=None,
        description="The address to use in place of the region's, as https://mixpanel-proxy.example.com; /track is "
        "added to it.",
    )
    flush_at: int = Field(default=50, ge=1, le=2000, description="The most events to send with one request.")
    request_timeout: float = Field(
        default=10.0, gt=0, le=120, description="Seconds to wait for a connection, and then for an answer."
    )
    max_retries: int = Field(
        default=3,
        ge=0,
        le=20,
        description="How many times a request is repeated that failed for a reason that may pass: no connection or "
        "answer, 5xx, 408, 429.",
    )
    user_id_mode: Literal["raw", "hash"] = Field(
        default="raw",
        description="'raw' sends the user id itself as distinct_id, 'hash' a keyed hash of it, which needs "
        "user_id_key.",
    )
    user_id_key: SecretStr | None = Field(
        default=None,
        description="The key of the hash, 16 to 64 bytes. With that of thea-logging a user has the same hash in "
        "both places.",
    )
    id_mode: Literal["distinct_id", "simplified"] = Field(
        default="distinct_id",
        description="'simplified' sends the id as $user_id too, for projects with Simplified ID Merge.",
    )
    super_properties: dict[str, Any] = Field(
        default={}, description="Properties that every event gets: environment = 'staging'."
    )
    opt_out: str | Callable[[str], Any] | None = Field(
        default=None,
        description="A function, as 'module:name', that gets a user id and returns True where nothing may be sent of "
        "that user. Where it fails nothing is sent either.",
    )
    on_drop: str | Callable[[str, int], Any] | None = Field(
        default=None,
        description="A function, as 'module:name', that gets a reason and how many events were lost for it.",
    )

    @property
    def url(self) -> str:
        """The address to which events are posted."""
        return (self.endpoint or _HOSTS[self.region]).rstrip("/").removesuffix(_PATH) + _PATH

    @field_validator("token")
    @classmethod
    def _strip_token(cls, value: SecretStr | None) -> SecretStr | None:
        text = "" if value is None else value.get_secret_value().strip()
        return SecretStr(text) if text else None

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value is None or _is_address(value):
            return value
        raise ValueError(
            f"{value!r} is no address of a server; expected one such as 'https://mixpanel-proxy.example.com', without "
            "a user, a query or a fragment"
        )

    @field_validator("user_id_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        size = None if value is None else len(value.get_secret_value().encode("utf-8", "surrogatepass"))
        if size is not None and not _KEY_BYTES[0] <= size <= _KEY_BYTES[1]:
            raise ValueError(
                f"the key has {size} bytes; expected {_KEY_BYTES[0]} to {_KEY_BYTES[1]}. Make one with: {_MAKE_A_KEY}"
            )
        return value

    @field_validator("super_properties")
    @classmethod
    def _check_super_properties(cls, value: dict[str, Any]) -> dict[str, Any]:
        problems = [
            f"{name!r} is one of Mixpanel's own properties; choose another name" for name in value if is_reserved(name)
        ]
        problems += [
            f"the name {name[:20]!r}... has {len(name)} characters; expected at most {_LONGEST_NAME}"
            for name in value
            if len(name) > _LONGEST_NAME
        ]
        if len(value) > _MOST_SUPER_PROPERTIES:
            problems.append(f"there are {len(value)} properties; expected at most {_MOST_SUPER_PROPERTIES}")
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @field_validator("opt_out", "on_drop", mode="before")
    @classmethod
    def _check_function(cls, value: object) -> object:
        if value is None or callable(value):
            return value
        module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            return value
        raise ValueError(
            f"{value!r} names no function; expected 'module:name', such as 'myapp.privacy:has_objected' "
            "(from Python also the function itself)"
        )

    @model_validator(mode="after")
    def _check_that_a_hash_has_its_key(self) -> Self:
        if self.user_id_mode == "hash" and self.user_id_key is None:
            raise ValueError(
                "user_id_mode = 'hash' needs user_id_key: a hash without a key could be turned back by trying out "
                f"ids. Make one with: {_MAKE_A_KEY}"
            )
        return self


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port  # reading it checks it
    except ValueError:
        return False
    return (
        value.isprintable()
        and " " not in value
        and parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port != 0
        and "@" not in parts.netloc
        and not parts.query
        and not parts.fragment
    )
