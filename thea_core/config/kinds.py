"""The kinds of value that a key may have: what is read for each, and how it is shown.

A kind checks a raw value and gives the typed one. What does not fit is noted at the node, with what was expected and
an example; reading goes on, so that all problems are told at once, and what is returned then is never used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from thea_core.config.masking import mask_url
from thea_core.config.problems import article, key_text, toml_text
from thea_core.config.tree import Node

__all__ = [
    "Boolean",
    "Choice",
    "Duration",
    "File",
    "Integer",
    "Kind",
    "Limit",
    "Names",
    "Number",
    "SettingsTable",
    "Text",
    "TextsTable",
    "TransitionsTable",
    "Url",
    "duration_text",
    "parse_duration",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)[ ]?(ms|s|m|h|d)?")
_LONGEST = 36500 * 86400.0
_NO_LIMIT = "none"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f]*")


def parse_duration(value: object) -> float | None:
    """Return the seconds of ``"500ms"``, ``"2s"``, ``"5m"``, ``"1h"``, ``"90d"`` or a number of seconds.

    None for anything else, for zero and less, and for more than a hundred years.
    """
    seconds: float | None = None
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNITS[match[2] or "s"]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= _LONGEST else None
    return seconds if seconds is not None and 0 < seconds <= _LONGEST else None


def duration_text(seconds: float) -> str:
    """Return seconds as a duration in the largest unit that keeps it whole: ``1800.0`` is ``"30m"``."""
    milliseconds = seconds * 1000
    for unit in reversed(_UNITS):
        amount = milliseconds / (_UNITS[unit] * 1000)
        if amount >= 1 and amount == int(amount):
            return f"{int(amount)}{unit}"
    return f"{seconds:g}s"


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    Attributes:
        example: a good value, as TOML.
        name: what the reference calls the type.
    """

    example: str
    name: str

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        """Return a typed value as it is written in TOML, without secrets."""
        return value


@dataclass(frozen=True)
class Text(Kind):
    """A string with something in it."""

    name: str = "string"

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        if isinstance(node.value, str) and node.value.strip():
            return node.value
        return node.refuse("a string that is not empty", self.example)


@dataclass(frozen=True)
class File(Text):
    """The path of a file."""

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        value = super().read(node)
        return node.refuse("the path of a file", self.example) if "\0" in str(value) else value


@dataclass(frozen=True)
class Url(Kind):
    """The address of a store. Its user and password are never shown."""

    name: str = "URL"

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        value = node.value
        if isinstance(value, str) and _URL.fullmatch(value):
            return value
        expected = 'an address with its scheme: "sqlite:///FILE", "postgresql://HOST/DATABASE", "memory:"'
        if not isinstance(value, str) or node.origin.substituted:
            return node.refuse(expected, self.example)
        shown = mask_url(value)
        file = value == shown and re.fullmatch(r"[\w./-]+", value)
        return node.refuse(expected, toml_text(f"sqlite:///{value}") if file else self.example, found=toml_text(shown))

    def show(self, value: Any) -> Any:
        """Return a typed value as it is written in TOML, without secrets."""
        return mask_url(value)


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few strings."""

    name: str = "string"
    choices: Callable[[], Iterable[str]] = tuple

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        choices = sorted(self.choices())
        if node.value in choices:
            return node.value
        return node.refuse("one of the valid values", self.example, choices=choices)


@dataclass(frozen=True)
class Duration(Kind):
    """A length of time; seconds as a float."""

    name: str = "duration"
    expected: ClassVar[str] = (
        'a duration such as "500ms", "2s", "5m", "1h" or "90d", or seconds: more than 0, at most 36500d'
    )

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        seconds = parse_duration(node.value)
        return node.refuse(self.expected, self.example) if seconds is None else seconds

    def show(self, value: Any) -> Any:
        """Return a typed value as it is written in TOML, without secrets."""
        return duration_text(value)


@dataclass(frozen=True)
class Limit(Duration):
    """A duration after which something is given up, or ``"none"``; seconds as a float, ``math.inf`` for no limit."""

    name: str = "limit"
    expected: ClassVar[str] = f'{Duration.expected}; or "{_NO_LIMIT}" for no limit'

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        return math.inf if node.value == _NO_LIMIT else super().read(node)

    def show(self, value: Any) -> Any:
        """Return a typed value as it is written in TOML, without secrets."""
        return _NO_LIMIT if value == math.inf else super().show(value)


@dataclass(frozen=True)
class Number(Kind):
    """A number within bounds."""

    name: str = "number"
    low: float = 0.0
    high: float = 1.0

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        value = node.scalar()
        if isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high:
            return float(value)
        return node.refuse(f"a number from {self.low:g} to {self.high:g}", self.example)


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number, within bounds where there are any."""

    name: str = "whole number"
    low: int | None = None
    high: int | None = None

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        value = node.scalar()
        if isinstance(value, int) and not isinstance(value, bool) and self._fits(value):
            return value
        bounds = "" if self.low is None else f" from {self.low} to {self.high}"
        return node.refuse(f"a whole number{bounds}", self.example)

    def _fits(self, value: int) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Boolean(Kind):
    """True or false."""

    name: str = "boolean"

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        value = node.scalar()
        return value if isinstance(value, bool) else node.refuse("true or false", self.example)


@dataclass(frozen=True)
class Names(Kind):
    """An array of strings, each once."""

    name: str = "array of strings"
    what: str = "a name"
    pattern: str = r"[\w.-]+"
    reserved: frozenset[str] = frozenset()

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        if not isinstance(node.value, list):
            return node.refuse("an array of strings", self.example)
        taken: set[str] = set()
        return [self._element(each, taken) for each in node.children()]

    def _element(self, node: Node, taken: set[str]) -> Any:
        value = node.value
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            return node.refuse(self.what, '"name"')
        if value in self.reserved:
            reserved = ", ".join(sorted(self.reserved))
            return node.refuse(f"{self.what}; {reserved} are keys of [plugins] and cannot be names", '"name"')
        if value in taken:
            return node.report("is there twice", node.found(), todo=f"keep {toml_text(value)} once")
        taken.add(value)
        return value


@dataclass(frozen=True)
class TextsTable(Kind):
    """The texts of the assistant: name to text, or language to such a table."""

    name: str = "table"

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        from thea_core.conversation.texts import LANGUAGES, TEXT_NAMES

        if not isinstance(node.value, dict):
            return node.refuse("a table of texts", self.example)
        names, languages = sorted(TEXT_NAMES), sorted(LANGUAGES)
        text = Text(example='"..."')
        read: dict[str, Any] = {}
        for each in node.children():
            key = str(each.path[-1])
            if key in names:
                read[key] = text.read(each)
            elif key in languages and isinstance(each.value, dict):
                read[key] = {str(one.path[-1]): _known(one, names, text) for one in each.children()}
            elif key in languages:
                each.refuse(f"a table of the texts in this language, [{key_text(each.path)}]", self.example)
            else:
                each.unknown([*names, *languages])
        return read


def _known(node: Node, names: list[str], kind: Kind) -> Any:
    return kind.read(node) if node.path[-1] in names else node.unknown(names)


@dataclass(frozen=True)
class TransitionsTable(Kind):
    """The transitions of a state machine: state to the states that may follow. Whether they make sense is not asked."""

    name: str = "table"

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        if not isinstance(node.value, dict):
            return node.refuse('a table, state = ["next state", ...]', self.example)
        states = Names(example='["processing"]', what="the name of a state", pattern=r".*\S.*")
        return {str(each.path[-1]): states.read(each) for each in node.children()}


@dataclass(frozen=True)
class SettingsTable(Kind):
    """A plugin's own settings; checked against the plugin's model once it is loaded."""

    name: str = "table"

    def read(self, node: Node) -> Any:
        """Return the typed value of ``node``; what does not fit is noted there."""
        if not isinstance(node.value, dict):
            return node.refuse(f"a table, [{key_text(node.path)}]", self.example, found=article(node.value))
        return node.value
