"""One problem of a configuration, and the sentences that tell it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from thea_core.config.masking import KeyPath

__all__ = ["Problem", "article", "brief", "key_text", "suggestion", "toml_text"]

_LONGEST = 60
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "a table"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in one place. ``str()`` gives the text that a person reads.

    Attributes:
        source: file and line, or the variable.
        summary: what is wrong, with the key.
        found, expected, choices, meant, todo: the lines below it; those that are empty are left out.
    """

    source: str
    summary: str
    found: str = ""
    expected: str = ""
    choices: tuple[str, ...] = ()
    meant: str = ""
    todo: str = ""

    def __str__(self) -> str:
        details = {
            "found": self.found,
            "expected": self.expected,
            "valid": ", ".join(self.choices),
            "did you mean": f"{self.meant}?" if self.meant else "",
            "to do": self.todo,
        }
        lines = [f"    {title}: {text}" for title, text in details.items() if text]
        return "\n".join([f"{self.source}: {self.summary}", *lines])


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return the choice that ``word`` looks like, or an empty string."""
    from difflib import get_close_matches

    spellings = {each.lower(): each for each in choices}
    close = get_close_matches(word.lower().replace("-", "_"), spellings, n=1, cutoff=0.6)
    return spellings[close[0]] if close else ""


def article(value: Any) -> str:
    """Return what TOML calls the type of ``value``: ``"a string"``, ``"an array"``."""
    return next((text for kind, text in _KINDS if isinstance(value, kind)), f"a {type(value).__name__}")


def toml_text(value: Any) -> str:
    """Return ``value`` as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {toml_text(each)}' for key, each in value.items())}}}"
    return str(value)


def brief(text: str) -> str:
    """Return a text that fits in a message."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def key_text(path: KeyPath) -> str:
    """Return a path as it is written in TOML, positions in brackets: ``plugins.enabled[0]``."""
    text = ""
    for each in path:
        text += f"[{each}]" if isinstance(each, int) else f".{_key(each)}"
    return text.lstrip(".")


def _key(key: str) -> str:
    plain = key.replace("-", "").replace("_", "")
    return key if plain.isascii() and plain.isalnum() else _quoted(key)


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
