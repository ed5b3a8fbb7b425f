"""Spanish and English: telling them apart, and what the agenda says in each."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

__all__ = ["LANGUAGES", "TEXTS", "Language", "Texts", "describe_day", "fold", "tell_language", "tidy"]

Language = Literal["es", "en"]
LANGUAGES: tuple[Language, Language] = ("es", "en")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS: Mapping[Language, frozenset[str]] = {
    "es": _words(
        "a al algo anade apunta cita citas como con crea crear cual cuando de del dia el ella en enero es esta este "
        "evento eventos gracias hacer hay hoy la las lo los manana me mi mis no para pasado por pon programa proximo "
        "que quiero reunion se semana tengo toca tu un una uno y ayer lunes martes miercoles jueves viernes sabado "
        "domingo febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre agendar"
    ),
    "en": _words(
        "an and any anything appointment are at calendar called can create day do event events for from have how i "
        "in is it list may me meeting my new next of on please put schedule set show tell that the there this to "
        "today tomorrow tonight want what when with you yesterday monday tuesday wednesday thursday friday saturday "
        "sunday january february march april june july august september october november december add"
    ),
}
_WORD = re.compile(r"[a-z]+")
_SPANISH_LETTERS = re.compile("[ñÑ¿¡áéíóúÁÉÍÓÚ]")


def tidy(text: str) -> str:
    """Return ``text`` on one line: composed (NFC), single spaces, without what cannot be printed."""
    printable = text
    if not text.isprintable():
        printable = "".join(char for char in text if char.isprintable() or char.isspace())
    return unicodedata.normalize("NFC", " ".join(printable.split()))


def fold(text: str) -> str:
    """Return ``text`` in lower case and without accents, of the same length, so that positions stay valid."""
    if text.isascii():
        return text.lower()
    return "".join(char.lower() if char.isascii() else _fold_letter(char) for char in text)


def _fold_letter(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[0].lower()[0]


def tell_language(text: str) -> Language | None:
    """Return the language of ``text``, or None where its words do not tell."""
    words = _WORD.findall(fold(text))
    spanish = sum(word in _WORDS["es"] for word in words) + 2 * bool(_SPANISH_LETTERS.search(text))
    english = sum(word in _WORDS["en"] for word in words)
    if spanish == english:
        return None
    return "es" if spanish > english else "en"


@dataclass(frozen=True, slots=True)
class Texts:
    """All that the agenda says in one language."""

    ask_title: str
    ask_day: str
    ask_title_again: str
    ask_day_again: str
    day_is_past: str
    gave_up: str
    created: str
    at: str
    nothing_on: str
    nothing_between: str
    nothing_coming: str
    events_on: str
    events_between: str
    events_coming: str
    more: str
    unavailable: str
    agenda_label: str
    event_label: str
    agenda_synonyms: Sequence[str]
    event_synonyms: Sequence[str]
    near_days: Mapping[int, str]
    day: str
    year: str
    weekdays: Sequence[str]
    months: Sequence[str]


TEXTS: Mapping[Language, Texts] = {
    "es": Texts(
        ask_title="¿Cómo se llama el evento?",
        ask_day="¿Para qué día es?",
        ask_title_again="Necesito un nombre para el evento. ¿Cómo se llama?",
        ask_day_again='No he entendido el día. ¿Para qué día es? Por ejemplo: "mañana", "el viernes" o "3 de mayo".',
        day_is_past="Ese día ya ha pasado. ¿Para qué día es?",
        gave_up="Lo dejamos por ahora: no he creado ningún evento. Cuando quieras, lo intentamos otra vez.",
        created="Evento creado para {when} ✓",
        at="{day} a las {time}",
        nothing_on="No tienes nada para {when}.",
        nothing_between="Entre {first} y {last} no tienes nada.",
        nothing_coming="No tienes nada próximamente.",
        events_on="Para {when} tienes:",
        events_between="Entre {first} y {last} tienes:",
        events_coming="Próximamente tienes:",
        more="… y {count} más",
        unavailable="La agenda no está disponible en este momento. Inténtalo de nuevo dentro de un rato.",
        agenda_label="ver la agenda",
        event_label="crear un evento",
        agenda_synonyms=("agenda", "ver", "consultar", "mostrar"),
        event_synonyms=("evento", "crear", "nuevo", "añadir"),
        near_days={-1: "ayer", 0: "hoy", 1: "mañana", 2: "pasado mañana"},
        day="el {weekday} {day} de {month}",
        year="{day} de {year}",
        weekdays=("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
        months=(
            *("enero", "febrero", "marzo", "abril", "mayo", "junio"),
            *("julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
        ),
    ),
    "en": Texts(
        ask_title="What is the event called?",
        ask_day="What day is it on?",
        ask_title_again="The event needs a name. What is it called?",
        ask_day_again='I did not understand the day. What day is it on? For example: "tomorrow", "friday" or "may 3".',
        day_is_past="That day is in the past. What day is it on?",
        gave_up="Let us leave it for now: no event was created. We can try again whenever you like.",
        created="Event created for {when} ✓",
        at="{day} at {time}",
        nothing_on="You have nothing for {when}.",
        nothing_between="You have nothing between {first} and {last}.",
        nothing_coming="You have nothing coming up.",
        events_on="For {when} you have:",
        events_between="Between {first} and {last} you have:",
        events_coming="Coming up:",
        more="… and {count} more",
        unavailable="The agenda is not available right now. Please try again in a while.",
        agenda_label="see the agenda",
        event_label="create an event",
        agenda_synonyms=("agenda", "see", "show", "calendar"),
        event_synonyms=("event", "create", "new", "add"),
        near_days={-1: "yesterday", 0: "today", 1: "tomorrow", 2: "the day after tomorrow"},
        day="{weekday}, {month} {day}",
        year="{day}, {year}",
        weekdays=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        months=(
            *("January", "February", "March", "April", "May", "June"),
            *("July", "August", "September", "October", "November", "December"),
        ),
    ),
}


def describe_day(day: date, today: date, language: Language) -> str:
    """Return how a person would call ``day``: "mañana", "el viernes 6 de marzo", "Monday, May 3, 2027"."""
    texts = TEXTS[language]
    near = texts.near_days.get((day - today).days)
    if near is not None:
        return near
    weekday, month = texts.weekdays[day.weekday()], texts.months[day.month - 1]
    text = texts.day.format(weekday=weekday, day=day.day, month=month)
    return text if day.year == today.year else texts.year.format(day=text, year=day.year)
