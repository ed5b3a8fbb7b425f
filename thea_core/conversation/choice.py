"""The question which of several intents was meant, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from thea_core.conversation.texts import Texts, shipped
from thea_core.conversation.words import fold
from thea_core.types import IntentMatch

__all__ = ["MAX_FAILED", "Answer", "Choice"]

MAX_FAILED: Final = 3
"""After so many answers in a row that are none, the fallback agent takes over."""

_NUMBER: Final = re.compile(r"(?:(?:the|number|no|option|el|la|numero|opcion)\s)*(\d{1,4})")
_NONE_PHRASES: Final = (
    *("none", "none of them", "none of those", "neither", "neither of them", "nothing"),
    *("ninguna", "ninguno", "ninguna de ellas", "ninguno de ellos", "ninguno de estos", "ninguna de esas", "nada"),
)


class Answer(Enum):
    """What an answer is that chooses nothing."""

    NONE_OF_THESE = "none of these"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Choice:
    """A question that is open, as ``context["pending"]`` holds it.

    Attributes:
        options: what the user may choose, in the order of the numbers.
        failed: how many answers in a row were none.
    """

    options: tuple[IntentMatch, ...]
    failed: int = 0

    @classmethod
    def of(cls, candidates: Sequence[IntentMatch]) -> Choice:
        """Return the question which of ``candidates`` was meant."""
        return cls(tuple(candidates))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choice:
        """Make it again from what :meth:`to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is not that.
        """
        options = tuple(IntentMatch(**{**each, "synonyms": tuple(each["synonyms"])}) for each in data["options"])
        return cls(options, int(data["failed"]))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"kind": "choice", "options": [_option(each) for each in self.options], "failed": self.failed}

    def question(self, texts: Texts) -> str:
        """Return the question with its numbered options; "none of these" is the last."""
        heading = texts["not_understood" if self.failed else "question"]
        labels = [*(" ".join((each.label or each.intent).split()) for each in self.options), texts["none_of_these"]]
        return "\n".join([heading, *(f"{number}. {label}" for number, label in enumerate(labels, 1))])

    def read(self, message: str, texts: Texts) -> IntentMatch | Answer:
        """Return the option that ``message`` chooses: by number, label, synonym or the intent's name."""
        answer = fold(message)
        number = _NUMBER.fullmatch(answer)
        if number is not None:
            return self._numbered(int(number[1]))
        chosen = [each for each in self.options if answer and answer in _names(each)]
        if len(chosen) == 1:
            return chosen[0]
        none = {*_NONE_PHRASES, *map(fold, shipped("none_of_these")), fold(texts["none_of_these"])}
        return Answer.NONE_OF_THESE if answer in none and not chosen else Answer.UNKNOWN

    def failed_once_more(self) -> Choice:
        """Return the question as it stands after an answer that was none."""
        return Choice(self.options, self.failed + 1)

    def _numbered(self, number: int) -> IntentMatch | Answer:
        if 1 <= number <= len(self.options):
            return self.options[number - 1]
        return Answer.NONE_OF_THESE if number == len(self.options) + 1 else Answer.UNKNOWN


def _names(option: IntentMatch) -> set[str]:
    return {fold(each) for each in (option.intent, option.label or "", *option.synonyms)}


def _option(match: IntentMatch) -> dict[str, Any]:
    return {
        "intent": match.intent,
        "score": match.score,
        "label": match.label,
        "synonyms": list(match.synonyms),
        "slots": dict(match.slots),
        "interrupts": match.interrupts,
    }
