"""An event in the making: what is known of it, and how that is kept in the context between turns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, time
from typing import TYPE_CHECKING, Any

from thea_agenda.language import fold, tidy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from thea_agenda.language import Language
    from thea_core import Context

__all__ = ["KEY", "MAX_TITLE", "Draft", "clean_title", "remember", "remembered_language"]

KEY = "agenda"
"""The one key of the context that belongs to this plugin: ``{"language": ..., "draft": ...}``."""

MAX_TITLE = 200
"""Characters of a title; what is longer is cut, and ends in "…"."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known so far of an event that a user wants.

    Attributes:
        session_id: the session in which it was begun; a draft of another one is forgotten.
        title: what it is called; empty where that is not known.
        day: the day it is on; None where that is not known.
        at: the time of day; None where none was said.
        failed: how many answers in a row were no answer to the question.
    """

    session_id: str
    title: str = ""
    day: date | None = None
    at: time | None = None
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "session_id": self.session_id,
            "title": self.title,
            "day": self.day and self.day.isoformat(),
            "at": self.at and self.at.isoformat("minutes"),
            "failed": self.failed,
        }

    @classmethod
    def from_context(cls, context: Context) -> Self | None:
        """Return the draft that ``context`` holds; None where there is none, or none that can be read."""
        data: Any = _memory(context).get("draft")
        try:
            return cls(
                session_id=data["session_id"],
                title=data["title"],
                day=data["day"] and date.fromisoformat(data["day"]),
                at=data["at"] and time.fromisoformat(data["at"]),
                failed=data["failed"],
            )
        except (KeyError, TypeError, ValueError):  # other callbacks may write into the context, too
            return None


def remember(context: Context, language: Language, draft: Draft | None) -> Context:
    """Return a context that holds the conversation's language, and ``draft`` where there is one.

    The slots of the intent are taken out of it: they have been used.
    """
    memory: dict[str, Any] = {"language": language}
    if draft is not None:
        memory["draft"] = draft.to_json()
    return {**{key: value for key, value in context.items() if key != "slots"}, KEY: memory}


def remembered_language(context: Context) -> Language | None:
    """Return the language in which the agenda spoke last in this conversation, or None."""
    language = _memory(context).get("language")
    return language if language in ("es", "en") else None


def _memory(context: Context) -> Mapping[str, Any]:
    memory = context.get(KEY)
    return memory if isinstance(memory, dict) else {}


_LEAD = re.compile(
    r"^(?:(?:called|named|titled|about|for(?:\s+me\b)?|to|that|que\s+se\s+llam[ae]|de\s+nombre|llamad[oa]|titulad[oa]|"
    r"con\s+(?:el\s+)?(?:nombre|titulo)(?:\s+de)?|para(?:\s+mi\b)?|de|y|and|,|:|-)(?:\s+|$))+"
)
_TAIL = re.compile(
    r"(?:(?:^|\s+)(?:please|por\s+favor|for\s+me|called|named|titled|llamad[oa]|titulad[oa]|for|on|at|by|to|from|and|"
    r"the|para|el|la|de|del|en|al?|y|desde|,|:|-))+$"
)
_QUOTES = "\"'«»“”’ .,;:"


def clean_title(text: str) -> str:
    """Return the title that ``text`` holds: without the words that only lead to it ("called", "para") and quotes."""
    text = tidy(text).strip(_QUOTES)
    for pattern in (_LEAD, _TAIL):
        match = pattern.search(fold(text))
        if match is not None:
            text = (text[: match.start()] + text[match.end() :]).strip(_QUOTES)
    return shorten(text)


def shorten(title: str) -> str:
    """Return ``title`` on one line, of at most :data:`MAX_TITLE` characters."""
    title = tidy(title)
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1].rstrip() + "…"
