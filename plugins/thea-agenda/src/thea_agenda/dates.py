"""Days and times out of what people write, in Spanish and English."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from thea_agenda.language import LANGUAGES, fold, tidy
from thea_agenda.phrases import DAY_PHRASES, HOURS, PART_OF_DAY, TIME_PHRASES

if TYPE_CHECKING:
    from thea_agenda.language import Language
    from thea_agenda.phrases import Phrase

__all__ = ["MAX_TEXT", "DateReader", "Reading"]

MAX_TEXT = 400
"""Characters of a message that are looked at; no request for an event is longer."""

_NOON = 12
_LAST_HOUR, _LAST_MINUTE, _LAST_DAY = 23, 59, 31
_LAST_AFTERNOON_HOUR = 7
_Days = tuple[date, date]
_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says about when.

    Attributes:
        first, last: the days that are meant, both included; None where no day was understood.
        at: the time of day; None where none was said.
        rest: the text without what names days and times.
    """

    first: date | None
    last: date | None
    at: time | None
    rest: str

    @property
    def day(self) -> date | None:
        """The day, where exactly one is meant."""
        return self.first if self.first == self.last else None


class DateReader:
    """Understands "mañana", "el 3 de mayo a las 5 de la tarde", "next friday at 5pm" and the like.

    ``dateparser`` turns a phrase into a day; it is imported at the first phrase, since it takes about a tenth of a
    second. What is a phrase at all is decided here. Without am or pm, the hours 1 to 7 are taken for the afternoon,
    unless written as "05:00". Thread-safe; holds no state.

    Args:
        timezone: the IANA name of the zone whose days are meant.
    """

    def __init__(self, timezone: str = "UTC") -> None:
        self._zone = ZoneInfo(timezone)

    def today(self, now: datetime) -> date:
        """Return the day that it is at ``now`` (aware) in the reader's time zone."""
        return now.astimezone(self._zone).date()

    def read(self, text: str, now: datetime, language: Language) -> Reading:
        """Return what ``text`` says about when, seen from ``now`` (aware).

        Phrases of ``language`` are looked for first, then those of the other one. Never raises for a text.
        """
        text, today = tidy(text)[:MAX_TEXT], self.today(now)
        own = self._read_as(text, today, language)
        if own.first is not None:
            return own
        other = next(self._read_as(text, today, each) for each in LANGUAGES if each != language)
        return other if other.first is not None or (own.at is None and other.at is not None) else own

    @staticmethod
    def _read_as(text: str, today: date, language: Language) -> Reading:
        folded = fold(text)
        days, day_span = _find_days(folded, today, language)
        # The part of the day may be in the day's own words ("esta noche"), so it is looked for in the whole text.
        part = PART_OF_DAY[language].search(folded)
        masked = _mask(folded, [day_span] if day_span else [])
        at, time_span = _find_time(masked, part, language)
        spans = [span for span in (day_span, time_span) if span is not None]
        if part is not None and spans:
            spans.append(part.span())
        first, last = days or (None, None)
        return Reading(first, last, at, _cut(text, spans))


def _find_days(folded: str, today: date, language: Language) -> tuple[_Days | None, _Span | None]:
    """Return the days of the first phrase that names some, and where it stands.

    A phrase that names an impossible day ("30 de febrero") has a place and no days.
    """
    impossible: _Span | None = None
    for phrase in DAY_PHRASES[language]:
        match = phrase.pattern.search(folded)
        if match is None:
            continue
        days = _resolve(phrase, match, today, language)
        if days is not None:
            return days, match.span()
        impossible = impossible or match.span()
        folded = _mask(folded, [match.span()])
    return None, impossible


def _resolve(phrase: Phrase, match: re.Match[str], today: date, language: Language) -> _Days | None:
    if phrase.kind == "period":
        return _period(phrase.means, today)
    if phrase.kind == "month":
        first = _ask_library(f"1 {match['month']}", today.replace(day=1), language, upcoming=True)
        return (first, _end_of_month(first)) if first is not None else None
    day = _single_day(phrase, match, today, language)
    return (day, day) if day is not None else None


def _single_day(phrase: Phrase, match: re.Match[str], today: date, language: Language) -> date | None:
    groups = match.groupdict()
    if phrase.kind == "day_of_month":
        return _next_day_of_month(int(groups["dom"]), today)
    if phrase.kind == "relative":
        count = groups.get("n") or ""
        words = {**groups, "n": HOURS[language].get(count, count)}
        return _ask_library(phrase.means.format(**words), today, language)
    if groups.get("numeric"):
        return _numeric(groups["numeric"], today, language)
    number = 1 if groups["day"] == "primero" else int(groups["day"])
    day = _ask_library(f"{number} {groups['month']} {groups['year'] or ''}", today, language, upcoming=True)
    # The library reads "32 mayo" as May of the year 2032.
    return day if day is not None and day.day == number else None


def _numeric(written: str, today: date, language: Language) -> date | None:
    day = _ask_library(written, today, language, upcoming=True)
    # The library reads "3/15" in Spanish as March of the year 2115: day and month must be two of the numbers.
    numbers = Counter(int(number) for number in re.findall(r"\d+", written))
    return day if day is not None and Counter((day.day, day.month)) <= numbers else None


def _ask_library(phrase: str, today: date, language: Language, *, upcoming: bool = False) -> date | None:
    """Return the day that ``dateparser`` understands; with ``upcoming``, today itself counts as still to come."""
    from dateparser import parse

    base = datetime.combine(today - timedelta(days=upcoming), time())
    found = parse(
        phrase.strip(),
        languages=[language],
        settings={
            "RELATIVE_BASE": base,
            "PREFER_DATES_FROM": "future",
            "PARSERS": ["relative-time", "absolute-time"],
            "TIMEZONE": "UTC",
        },
    )
    return found.date() if found is not None else None


def _next_day_of_month(number: int, today: date) -> date | None:
    """Return the next day of that number, today included; the library may answer with one of the past."""
    if not 1 <= number <= _LAST_DAY:
        return None
    first = today.replace(day=1)
    while True:
        if number <= _end_of_month(first).day and first.replace(day=number) >= today:
            return first.replace(day=number)
        first = _end_of_month(first) + timedelta(days=1)


def _period(name: str, today: date) -> _Days:
    """Return the days of "week", "weekend" or "month", with "+1" the next one; never a day before today."""
    unit, _, later = name.partition("+")
    if unit == "month":
        first = _end_of_month(today) + timedelta(days=1) if later else today
        return first, _end_of_month(first)
    monday = today - timedelta(days=today.weekday()) + timedelta(weeks=1 if later else 0)
    start = monday + timedelta(days=5 if unit == "weekend" else 0)
    return max(start, today), monday + timedelta(days=6)


def _end_of_month(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _find_time(folded: str, part: re.Match[str] | None, language: Language) -> tuple[time | None, _Span | None]:
    for pattern in TIME_PHRASES[language]:
        match = pattern.search(folded)
        if match is None:
            continue
        at = _time_of(match.groupdict(), part, language)
        if at is not None:
            return at, match.span()
    return None, None


def _time_of(groups: dict[str, str | None], part: re.Match[str] | None, language: Language) -> time | None:
    if groups.get("noon"):
        return time(_NOON)
    if groups.get("midnight"):
        return time(0)
    written = groups["hour"] or ""
    hour = HOURS[language].get(written) or int(written)
    minute = _minute(groups)
    if hour > _LAST_HOUR or minute > _LAST_MINUTE:
        return None
    total = (hour + _shift(hour, _half(hour, written, groups.get("part"), part))) * 60 + minute
    return time(total // 60 % 24, total % 60)


def _minute(groups: dict[str, str | None]) -> int:
    """Return the minutes that were said; -15 for "menos cuarto"."""
    if groups.get("to"):
        return -15
    past = groups.get("minute") or groups.get("past") or "0"
    return {"media": 30, "cuarto": 15}.get(past) or int(past)


def _half(hour: int, written: str, meridiem: str | None, part: re.Match[str] | None) -> str:
    """Return "morning", "afternoon" or "night" where that was said or can be guessed, else ""."""
    if meridiem is not None:
        return "morning" if meridiem[0] == "a" else "afternoon"
    if part is not None:
        return next((name for name, word in part.groupdict().items() if word), "night")
    guessed = 1 <= hour <= _LAST_AFTERNOON_HOUR and not written.startswith("0")  # nobody dines at 5 in the morning
    return "afternoon" if guessed else ""


def _shift(hour: int, half: str) -> int:
    """Return how many hours to add to ``hour`` as it was said: 12, -12 or 0."""
    if hour == _NOON:
        return -_NOON if half in ("morning", "night") else 0  # "las 12 de la noche" is midnight
    return _NOON if half in ("afternoon", "night") and hour < _NOON else 0


def _mask(text: str, spans: list[_Span]) -> str:
    """Return ``text`` with the spans blanked out by something that no phrase has, of the same length."""
    for start, end in spans:
        text = text[:start] + "\0" * (end - start) + text[end:]
    return text


def _cut(text: str, spans: list[_Span]) -> str:
    return " ".join(_mask(text, spans).replace("\0", " ").split()).strip(" ,;:.-–")
