"""The phrases that name a day or a time, in Spanish and English: the guard before the date library.

Everything here matches *folded* text (lower case, no accents, see :func:`thea_agenda.language.fold`). The library's own
search is not used: on real utterances it takes "we", "may I" and a PIN for dates, and misreads "pasado mañana".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thea_agenda.language import Language

__all__ = ["DAY_PHRASES", "HOURS", "PART_OF_DAY", "TIME_PHRASES", "Kind", "Phrase", "names_day"]

Kind = Literal["relative", "absolute", "day_of_month", "period", "month"]
"""How a phrase becomes a day: by the library, counted from today; by the library, as a calendar date; the next day of
that number; a stretch of days; a whole month."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One way to name a day.

    Attributes:
        pattern: what it looks like; its named groups are what the reader needs.
        kind: how it becomes a day.
        means: for ``relative``, what the library is told in place of the words; for ``period``, which one.
    """

    pattern: re.Pattern[str]
    kind: Kind
    means: str = ""


def _numbers(words: str, *, one: str) -> Mapping[str, int]:
    return {one: 1, **{word: number for number, word in enumerate(words.split(), 1)}}


HOURS: Mapping[Language, Mapping[str, int]] = {
    "es": _numbers("una dos tres cuatro cinco seis siete ocho nueve diez once doce", one="un"),
    "en": _numbers("one two three four five six seven eight nine ten eleven twelve", one="a"),
}
"""The numbers that people write as words."""


def _phrase(pattern: str, kind: Kind, means: str = "") -> Phrase:
    return Phrase(re.compile(pattern), kind, means)


_NUMERIC = (
    r"(?P<numeric>\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}(?:/(?:\d{4}|\d{2}))?|\d{1,2}(?P<sep>[-.])\d{1,2}(?P=sep)(?:\d{4}|\d{2}))"
    r"(?![\w/]|[-.]\d)"
)


def _spanish() -> Sequence[Phrase]:
    weekday = r"(?P<weekday>lunes|martes|miercoles|jueves|viernes|sabado|domingo)"
    month = r"(?P<month>enero|febrero|marzo|abril|mayo|junio|julio|agosto|sep?tiembre|octubre|noviembre|diciembre)"
    lead = r"\b(?:(?:para|de|en|a|desde)\s+)?(?:(?:el|la|del|al|este|esta)\s+)?(?:proxim[oa]\s+)?"
    number = rf"(?P<n>\d{{1,3}}|{'|'.join(HOURS['es'])})"
    later = r"(?:\s+(?:que\s+viene|proxim[oa]))"
    return (
        _phrase(lead + r"pasado\s+manana\b", "relative", "en 2 días"),
        _phrase(r"\b(?:(?:para|de)\s+)?(?<!\bla )(?<!\besta )manana\b", "relative", "mañana"),
        _phrase(r"\b(?:(?:para|de)\s+)?(?:hoy|esta\s+(?:noche|tarde|manana))\b", "relative", "hoy"),
        _phrase(r"\b(?:de\s+)?(?:anteayer|antes\s+de\s+ayer)\b", "relative", "anteayer"),
        _phrase(r"\b(?:de\s+)?ayer\b", "relative", "ayer"),
        _phrase(
            rf"\b(?:dentro\s+de|en)\s+{number}\s+(?P<unit>dias?|semanas?|mes(?:es)?)\b", "relative", "en {n} {unit}"
        ),
        _phrase(
            rf"{lead}(?:{weekday},?\s+)?(?:dia\s+)?(?P<day>\d{{1,2}}|primero)[ºo]?(?:\s+de)?\s+{month}\b"
            r"(?:(?:\s+del?|,)?\s+(?P<year>\d{4}))?\b",
            "absolute",
        ),
        _phrase(rf"{lead}(?:{weekday},?\s+)?(?:dia\s+)?(?<![\w/:.,-]){_NUMERIC}", "absolute"),
        _phrase(
            rf"\b(?:(?:para|de|en|a)\s+)?(?:(?:el|al|del)\s+(?:{weekday},?\s+)?(?:dia\s+)?|dia\s+)(?P<dom>\d{{1,2}})\b"
            r"(?:\s+de\s+este\s+mes)?(?!\s*(?:[/%°]|[:.,]\d|h\b|[ap]\.?m\b|por\s*ciento|grados|de\s+[a-z]))",
            "day_of_month",
        ),
        _phrase(rf"{lead}{weekday}\s+(?P<dom>\d{{1,2}})(?![\w/:.,%])", "day_of_month"),
        _phrase(rf"{lead}{weekday}\b{later}?", "relative", "{weekday}"),
        _phrase(rf"{lead}fin\s+de\s+semana{later}\b", "period", "weekend+1"),
        _phrase(r"\b(?:(?:para|de|en)\s+)?(?:el\s+)?proximo\s+fin\s+de\s+semana\b", "period", "weekend+1"),
        _phrase(rf"{lead}fin\s+de\s+semana\b", "period", "weekend"),
        _phrase(rf"{lead}semana{later}\b|\b(?:(?:para|de|en)\s+)?(?:la\s+)?proxima\s+semana\b", "period", "week+1"),
        _phrase(r"\b(?:(?:para|de|en)\s+)?esta\s+semana\b", "period", "week"),
        _phrase(rf"{lead}mes{later}\b|\b(?:(?:para|de|en)\s+)?(?:el\s+)?proximo\s+mes\b", "period", "month+1"),
        _phrase(r"\b(?:(?:para|de|en)\s+)?este\s+mes\b", "period", "month"),
        _phrase(rf"\b(?:en|para)\s+{month}\b", "month"),
    )


def _english() -> Sequence[Phrase]:
    weekday = r"(?P<weekday>monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
    months = (
        r"january|february|march|april|may|june|july|august|september|october|november|december"
        r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
    )
    month = rf"(?P<month>{months})"
    lead = r"\b(?:(?:on|for|of|from|by|at|in)\s+)?(?:(?:the|this|next|coming|upcoming)\s+)*"
    number = rf"(?P<n>\d{{1,3}}|{'|'.join(HOURS['en'])})"
    day = r"(?P<day>\d{1,2})(?:st|nd|rd|ths?)?\b"
    year = r"(?:,?\s+(?P<year>\d{4}))?\b"
    return (
        _phrase(rf"{lead}day\s+after\s+tomorrow\b", "relative", "in 2 days"),
        _phrase(r"\b(?:(?:on|for|of|from|by)\s+)?tomm?orr?ow(?:'s)?\b", "relative", "tomorrow"),
        _phrase(
            r"\b(?:(?:on|for|of|from|by)\s+)?(?:today(?:'s)?|tonight|this\s+(?:morning|afternoon|evening))\b",
            "relative",
            "today",
        ),
        _phrase(r"\b(?:(?:on|for|of|from)\s+)?yesterday(?:'s)?\b", "relative", "yesterday"),
        _phrase(rf"\bin\s+{number}\s+(?P<unit>days?|weeks?|months?)\b", "relative", "in {n} {unit}"),
        _phrase(rf"\b{number}\s+(?P<unit>days?|weeks?|months?)\s+from\s+(?:now|today)\b", "relative", "in {n} {unit}"),
        _phrase(rf"{lead}(?:{weekday},?\s+)?(?:the\s+)?{month}\.?\s+(?:the\s+)?{day}{year}(?!:\d)", "absolute"),
        _phrase(rf"{lead}(?:{weekday},?\s+)?(?:the\s+)?{day}\s+(?:of\s+)?{month}\b{year}", "absolute"),
        _phrase(rf"{lead}(?:{weekday},?\s+)?(?<![\w/:.,$-]){_NUMERIC}", "absolute"),
        _phrase(
            rf"\b(?:(?:on|for|of|from|by)\s+)?(?:{weekday},?\s+)?the\s+(?P<dom>\d{{1,2}})(?:st|nd|rd|ths?)\b"
            r"(?:\s+of\s+this\s+month)?",
            "day_of_month",
        ),
        _phrase(rf"{lead}{weekday}\b(?:'s)?", "relative", "{weekday}"),
        _phrase(r"\b(?:(?:on|for|of|over)\s+)?(?:the\s+)?next\s+weekend\b", "period", "weekend+1"),
        _phrase(r"\b(?:(?:on|for|of|over)\s+)?(?:the|this)\s+weekend\b", "period", "weekend"),
        _phrase(r"\b(?:(?:on|for|of|during)\s+)?(?:the\s+)?next\s+week\b", "period", "week+1"),
        _phrase(r"\b(?:(?:on|for|of|during)\s+)?this\s+week\b", "period", "week"),
        _phrase(r"\b(?:(?:on|for|of|during)\s+)?(?:the\s+)?next\s+month\b", "period", "month+1"),
        _phrase(r"\b(?:(?:on|for|of|during)\s+)?this\s+month\b", "period", "month"),
        _phrase(rf"\b(?:in|for|during)\s+{month}\b", "month"),
    )


DAY_PHRASES: Mapping[Language, Sequence[Phrase]] = {"es": _spanish(), "en": _english()}
"""For each language, in order: what stands first wins, so longer phrases stand before their parts."""

_MERIDIEM = r"[ap]\.?\s?m\b\.?"

TIME_PHRASES: Mapping[Language, Sequence[re.Pattern[str]]] = {
    "es": (
        re.compile(r"\b(?:a|al|de)\s+(?P<noon>mediodia)\b|\b(?:a|de)\s+(?P<midnight>medianoche)\b"),
        re.compile(
            rf"\b(?:(?:a|para|sobre|desde)\s+)?las?\s+(?P<hour>\d{{1,2}}(?!\d)|(?:{'|'.join(HOURS['es'])})\b)"
            r"(?:[:.](?P<minute>\d{2})\b|\s+y\s+(?P<past>media|cuarto|\d{1,2})\b|\s+menos\s+(?P<to>cuarto)\b)?"
            rf"(?:\s*(?:horas|h)\b)?(?:\s*(?P<part>{_MERIDIEM}))?(?!\s+(?:dias?|semanas?|mes(?:es)?)\b)"
        ),
        re.compile(rf"(?<![\w:.])(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?!\d)\s*(?:h\b|(?P<part>{_MERIDIEM}))?"),
        re.compile(rf"(?<![\w:.])(?P<hour>\d{{1,2}})\s*(?:h\b|(?P<part>{_MERIDIEM}))"),
    ),
    "en": (
        re.compile(r"\b(?:at\s+)?(?:(?P<noon>noon|midday)|(?P<midnight>midnight))\b"),
        re.compile(
            rf"\b(?:at|around)\s+(?P<hour>\d{{1,2}}(?!\d)|(?:{'|'.join(list(HOURS['en'])[1:])})\b)(?::(?P<minute>\d{{2}})\b)?"
            rf"\s*(?:o'?clock\b)?\s*(?P<part>{_MERIDIEM})?"
        ),
        re.compile(
            rf"(?<![\w:.])(?:(?:for|by|from)\s+)?(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?!\d)\s*(?P<part>{_MERIDIEM})?"
        ),
        re.compile(rf"(?<![\w:.])(?:(?:for|by|from)\s+)?(?P<hour>\d{{1,2}})\s*(?P<part>{_MERIDIEM})"),
        re.compile(r"(?<![\w:.])(?P<hour>\d{1,2})\s*o'?clock\b"),
    ),
}
"""For each language, in order: the first pattern that matches is the time."""

PART_OF_DAY: Mapping[Language, re.Pattern[str]] = {
    "es": re.compile(
        r"\b(?:(?:por|de|en|a)\s+la|esta)\s+"
        r"(?:(?P<morning>manana|madrugada)|(?P<afternoon>tarde)|(?P<night>noche))\b"
    ),
    "en": re.compile(
        r"\b(?:in\s+the|this|at|[a-z]+day|tomm?orr?ow)\s+"
        r"(?:(?P<morning>morning)|(?P<afternoon>afternoon)|evening|(?P<night>night))\b|\btonight\b"
    ),
}
"""What says which half of the day an hour is in."""


def names_day(folded: str, language: Language) -> bool:
    """Return whether ``folded`` has a phrase that looks like a day. Cheap: the library is not asked."""
    return any(phrase.pattern.search(folded) for phrase in DAY_PHRASES[language])
