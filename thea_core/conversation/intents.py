"""From a message to its intent: what the detectors found, merged, and what follows from it."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from thea_core.conversation.agent_step import CallStep
from thea_core.conversation.listing import listed
from thea_core.conversation.texts import Texts, shipped
from thea_core.conversation.words import fold
from thea_core.fsm import copy_context
from thea_core.types import Context, HookResult, IntentMatch

if TYPE_CHECKING:
    from thea_core.callbacks.failures import FailureLog
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.steps import Steps

__all__ = ["CANCEL", "CancelDetector", "Detectors", "Matches", "merge"]

CANCEL: Final = "cancel"
"""The intent that the core itself detects."""

_CANCEL_PHRASES: Final = (
    *("cancel", "cancel it", "cancel that", "cancel this", "never mind", "nevermind", "forget it", "forget that"),
    *("cancela", "cancelalo", "cancela eso", "cancelar", "olvidalo", "olvida eso", "dejalo", "dejalo estar"),
    *("please cancel", "cancel please", "por favor cancela", "cancela por favor"),
)
_ROUNDING: Final = 1e-9  # 0.9 and 0.8 are within 0.1 of each other


class CancelDetector:
    """Detects that the user wants to stop what is going on, in Spanish and English, by whole phrases only."""

    def __init__(self, texts: Texts) -> None:
        label = texts["cancel_label"]
        self._phrases = frozenset({*_CANCEL_PHRASES, *map(fold, shipped("cancel_label")), fold(label)})
        self._longest = 2 * max(map(len, self._phrases))  # punctuation comes on top
        self._match = IntentMatch(CANCEL, 1.0, label=label, interrupts=True)

    def detect(self, message: str) -> IntentMatch | None:
        """Return the match where ``message`` says so, and nothing else."""
        if len(message) <= self._longest and fold(message) in self._phrases:
            return self._match
        return None


class Matches:
    """What was found in one message: of each intent the best match, best first. Immutable.

    Args:
        matches: in any order; among equals, the earlier comes first.
        min_score: matches below it do not count.
        margin: how close to the best score another match makes it ambiguous.
    """

    __slots__ = ("_margin", "_min_score", "all")

    def __init__(self, matches: Iterable[IntentMatch], *, min_score: float, margin: float) -> None:
        best: dict[str, IntentMatch] = {}
        for each in matches:
            known = best.get(each.intent)
            if each.score >= min_score and (known is None or each.score > known.score):
                best[each.intent] = each
        self.all = sorted(best.values(), key=lambda each: -each.score)
        self._min_score = min_score
        self._margin = margin

    @property
    def interrupting(self) -> Matches:
        """Those that count even where an agent waits for the message."""
        found = (each for each in self.all if each.interrupts)
        return Matches(found, min_score=self._min_score, margin=self._margin)

    @property
    def candidates(self) -> list[IntentMatch]:
        """The best match and those that are too close to it; one where it is clear, none where nothing was found."""
        if not self.all:
            return []
        limit = self.all[0].score - self._margin - _ROUNDING
        return [each for each in self.all if each.score >= limit]


class Detectors:
    """Asks every detector about a message: the plugins', the local ones, and the core's own. Thread-safe.

    Args:
        callbacks: where ``detect_intents`` is called.
        texts: the assistant's own.
        min_score: matches below it do not count, 0 to 1.
        margin: how close to the best score another match makes it ambiguous, 0 to 1.
    """

    def __init__(self, callbacks: CallbackManager, texts: Texts, *, min_score: float, margin: float) -> None:
        self._callbacks = callbacks
        self._cancel = CancelDetector(texts)
        self._failures = callbacks.failures
        self._min_score = min_score
        self._margin = margin
        self._seen: tuple[int, bool] | None = None  # an edition of the chains, and whether it has detectors

    def detect(self, message: str, context: Context) -> Steps[Matches]:
        """Return steps that give what was found. The detectors get a copy of ``context``."""
        found: list[IntentMatch] = []
        if self._any():
            found = merge((yield self._call(message, context)), self._failures)
        cancel = self._cancel.detect(message)
        if cancel is not None:
            found.append(cancel)
        return Matches(found, min_score=self._min_score, margin=self._margin)

    def _call(self, message: str, context: Context) -> CallStep:
        return CallStep(self._callbacks, "detect_intents", message=message, context=copy_context(context))

    def _any(self) -> bool:
        edition = self._callbacks.edition
        if self._seen is None or self._seen[0] != edition:
            self._seen = edition, bool(self._callbacks.chain("detect_intents"))
        return self._seen[1]


def merge(results: Sequence[HookResult], failures: FailureLog) -> list[IntentMatch]:
    """Return the matches of all detectors; what is malformed is left out, and logged as its plugin's failure."""
    merged: list[IntentMatch] = []
    for result in results:
        try:
            values = [result.value] if isinstance(result.value, IntentMatch) else _listed(result.value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a plugin's object does when it is looked at
            failures.report(result.plugin, "detect_intents", result.callback, error)
            continue
        for value in values:
            try:
                merged.append(_checked(value))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # the same for its attributes
                failures.report(result.plugin, "detect_intents", result.callback, error)
    return merged


def _listed(value: Any) -> list[Any]:
    values = listed(value)
    if values is None:
        raise TypeError(f"detect_intents must return a list of IntentMatch, not {type(value).__name__}")
    return values


def _checked(value: Any) -> IntentMatch:
    """Return a match with plain values, or raise what is wrong with it."""
    if not isinstance(value, IntentMatch):
        raise TypeError(f"detect_intents must return a list of IntentMatch; one is {type(value).__name__}")
    match: Any = value  # its attributes may be anything
    if not isinstance(match.intent, str) or not match.intent.strip():
        raise ValueError(f"an IntentMatch has the intent {match.intent!r}; it must be a str that is not blank")
    score = match.score
    if isinstance(score, bool) or not isinstance(score, (int, float)) or math.isnan(score) or not 0 <= score <= 1:
        raise ValueError(
            f"the IntentMatch of {match.intent!r} has the score {score!r}; it must be a number from 0 to 1"
        )
    if match.label is not None and not isinstance(match.label, str):
        raise TypeError(f"the IntentMatch of {match.intent!r} has the label {match.label!r}; it must be a str or None")
    return IntentMatch(
        intent=match.intent,
        score=float(score),
        label=match.label,
        synonyms=_synonyms(match),
        slots=_slots(match),
        interrupts=bool(match.interrupts),
    )


def _synonyms(match: IntentMatch) -> tuple[str, ...]:
    synonyms = listed(match.synonyms)
    if synonyms is None or not all(isinstance(each, str) for each in synonyms):
        raise TypeError(
            f"the IntentMatch of {match.intent!r} has the synonyms {match.synonyms!r}; they must be a list of str"
        )
    return tuple(synonyms)


def _slots(match: IntentMatch) -> dict[str, Any]:
    """Return the slots, copied at every depth and JSON-shaped; no code of a mapping of the plugin's own runs here."""
    slots: Any = match.slots
    if slots is None or (type(slots) is dict and not slots):
        return {}
    if type(slots) is MappingProxyType:
        (slots,) = gc.get_referents(slots)  # to ask the proxy would be to ask what stands behind it
    if not issubclass(type(slots), dict):  # not isinstance: an object may lie about its class
        raise TypeError(f"the IntentMatch of {match.intent!r} has slots that are {type(slots).__name__}, no dict")
    copied: dict[str, Any] = copy_context({"user_id": "", "state": "", "slots": slots})["slots"]
    return copied
