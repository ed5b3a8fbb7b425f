"""What ``[plugins.agenda.settings]`` may say."""

from __future__ import annotations

import difflib
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["AgendaSettings"]


class AgendaSettings(BaseModel):
    """The settings of the agenda; every one has a default. Immutable.

    Attributes:
        path: the SQLite file that keeps the events; relative to the working directory.
        timezone: an IANA name, such as ``"Europe/Madrid"``; "tomorrow" is a day of this zone.
        language: ``"es"`` or ``"en"``: the language of the answer where neither the message nor the conversation
            so far tells it.
        upcoming: how many events "what is coming?" shows, 1 to 100.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = "agenda.db"
    timezone: str = "UTC"
    language: Literal["es", "en"] = "en"
    upcoming: int = Field(default=10, ge=1, le=100)

    @field_validator("path")
    @classmethod
    def _path_is_a_file(cls, path: str) -> str:
        # Every call opens the file anew, so a database in memory would be empty each time.
        if not path.strip() or path.strip() == ":memory:" or "\0" in path:
            raise ValueError(f'found {path!r}, expected the path of a file, such as "agenda.db"')
        return path

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(_unknown_timezone(name)) from error
        return name


def _unknown_timezone(name: str) -> str:
    near = difflib.get_close_matches(name, available_timezones(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f'found {name!r}, expected the IANA name of a time zone, such as "Europe/Madrid"{hint}'
