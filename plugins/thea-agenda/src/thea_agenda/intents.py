"""Which messages are for the agenda: what is on (``agenda``), or a new event (``evento``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thea_agenda.dates import MAX_TEXT
from thea_agenda.language import LANGUAGES, TEXTS, fold, tell_language, tidy
from thea_agenda.phrases import names_day
from thea_core import IntentMatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thea_agenda.language import Language

__all__ = ["AGENDA", "EVENT", "IntentDetector", "Request", "understand"]

AGENDA = "agenda"
"""The intent "what is on"."""
EVENT = "evento"
"""The intent "create an event"."""

_SURE, _LIKELY, _UNSURE = 0.95, 0.8, 0.6
_Found = tuple[str, float, str]  # the intent, its score, the details


@dataclass(frozen=True, slots=True)
class Request:
    """What a message asks of the agenda.

    Attributes:
        intent: ``"agenda"`` or ``"evento"``.
        score: how sure that is, 0 to 1.
        language: the language in which it was understood.
        told: that language where the message's own words tell it; None for "agenda", which is a word of both.
        details: the message without the words of the command: "crear evento cena mañana" leaves "cena mañana".
    """

    intent: str
    score: float
    language: Language
    details: str
    told: Language | None


@dataclass(frozen=True, slots=True)
class _Rule:
    """One way to ask: a pattern over folded text, and how sure it makes.

    What the pattern matches is the command, except for its group ``keep``, which belongs to the details.
    With ``dated``, the message must name a day as well.
    """

    pattern: re.Pattern[str]
    score: float
    dated: bool = False


def _rule(pattern: str, score: float = _SURE, *, dated: bool = False) -> _Rule:
    return _Rule(re.compile(pattern), score, dated)


_EN_PLAN = r"(?:cal[ea]nd[ae]r|schedule|agenda)"
_EN_ITEMS = r"(?:events?|appointments?|meet?tings?|gatherings?)"
_EN_MAKE = (
    r"(?:creat(?:e|ing)|add|make|schedul(?:e|ing)|set\s+up|set|book|plan|organi[sz]e|arrange|put(?:\s+in)?|pencil\s+in|"
    r"enter|new|save|note(?:\s+down)?|write\s+down|sign\s+me\s+up\s+for|hook\s+me\s+up\s+with)"
)
_EN_ARTICLE = r"(?:\s+(?:me|us))?(?:\s+(?:an?|the|my|another|one|some))?(?:\s+(?:new|calendar))?"
_ES_PLAN = r"(?:agenda|calendario)"
_ES_ITEMS = r"(?:citas?|eventos?|reunion(?:es)?|compromisos?|quedadas?)"
_ES_MAKE = (
    r"(?:crea|anade|agrega|apunta|anota|programa|agenda|planifica|registra|organiza|concierta|guarda|fija|reserva|mete|"
    r"pon|haz|hace|pone)(?:r|me|rme|nos)?"
)
_ES_ARTICLE = r"(?:\s+(?:un|una|el|la|mi|otro|otra))?(?:\s+nuev[oa])?"

_NOT_OURS: Mapping[Language, re.Pattern[str]] = {
    "es": re.compile(
        r"\b(?:borra|elimina|quita|cancela|anula|vacia|modifica|cambia|mueve)(?:r|me)?\b"
        r"|\b(?:lista|temporizador|alarma|recordatorios?|luz|luces|sensor(?:es)?|sala\s+de\s+reuniones)\b"
    ),
    "en": re.compile(
        r"\b(?:remove|delete|clear|erase|cancel|undo|wipe|get\s+rid|reschedule|move|change|take\b.+\b(?:off|from|out))\b"
        r"|\b(?:how|why)\s+(?:do|does|can|could|would|should|to|are|am|many\s+people)\b|\b(?:todo|tasks?|list|"
        r"timers?|alarms?|remind(?:ers?|ed)?|rooms?|reservations?|table|flights?|hotel|bus|train|payments?|bills?|pto|"
        r"vacation|time\s+off|maintenance|holidays?|insurance|credit|shots?|vaccin\w*|traffic|recipe)\b"
        r"|\b(?:do|does)\s+(?:you|he|she|they|it)\s+(?:have|do)\b"
    ),
}
"""What no request for the agenda has: other things that are made, listed or scheduled, and what it cannot do."""

_RULES: Mapping[Language, Mapping[str, Sequence[_Rule]]] = {
    "es": {
        EVENT: (
            _rule(rf"\b(?:{_ES_MAKE}|nuev[oa]){_ES_ARTICLE}\s+eventos?\b"),
            _rule(rf"\b(?:{_ES_MAKE}|nuev[oa]){_ES_ARTICLE}\s+(?P<keep>(?:cita|reunion|quedada|compromiso)\b)"),
            _rule(rf"\b{_ES_MAKE}\s+(?P<keep>.+?)\s+(?:en|a)\s+(?:(?:mi|la|el)\s+{_ES_PLAN}|l\s+calendario)\b"),
            _rule(r"\bagend(?:ar|arme|ame)(?:\s+(?:un|una|el|la|mi))?(?=\s)", _LIKELY),
            _rule(r"^(?:por\s+favor,?\s+)?agenda\s+(?:un|una|mi|otra|otro)(?=\s)", _LIKELY),
            _rule(
                r"^(?:por\s+favor,?\s+)?(?:apunta|anota|programa)(?:r|me)?(?:\s+(?:un|una|el|la|mi))?(?=\s)",
                _LIKELY,
                dated=True,
            ),
        ),
        AGENDA: (
            _rule(
                rf"\b(?:que|cuales?|cuando|cuant[oa]s|como)\b.*\b(?:mis?|la|tengo|tenemos)\b.*\b(?:{_ES_PLAN}|{_ES_ITEMS}|planes)\b"
            ),
            _rule(
                r"\bque\s+(?:cosas\s+|planes\s+)?(?:tengo|tenemos|me\s+toca|me\s+espera)\b(?!\s+que\s+(?!hacer\b))",
                dated=True,
            ),
            _rule(
                r"\bque\s+(?:tengo|tenemos)\s+(?:pendiente|por\s+delante|que\s+hacer|programado|previsto|planeado)\b",
                _LIKELY,
            ),
            _rule(rf"\b(?:tengo|tenemos|hay)\s+(?:algo|algun[ao]?|un[ao]?|mas)?\s*(?:{_ES_ITEMS}|planes)\b", _LIKELY),
            _rule(r"\b(?:tengo|tenemos)\s+(?:algo|algun\s+plan|planes|libre)\b", _LIKELY, dated=True),
            _rule(
                rf"\b(?:muestra|ensena|di|ve|lee|consulta|mira|revisa|abre|lista|comprueba|cual|cuales)(?:r|me|rme|nos|s)?\b"
                rf".*\b(?:{_ES_PLAN}|citas|eventos|reuniones|compromisos)\b"
            ),
            _rule(rf"^[¿\s]*(?:mis?|l[ao]s?)?\s*(?:proxim[oa]s\s+)?(?:{_ES_PLAN}|citas|eventos|reuniones)\b"),
            _rule(r"\bestoy\s+(?:libre|ocupad[oa])\b", _LIKELY, dated=True),
        ),
    },
    "en": {
        EVENT: (
            _rule(rf"\b{_EN_MAKE}{_EN_ARTICLE}\s+(?:event|(?:calendar|agenda)\s+(?:entry|item))s?\b"),
            _rule(rf"\b{_EN_MAKE}{_EN_ARTICLE}\s+(?P<keep>(?:[a-z']+\s+){{0,2}}(?:appointment|meeting)\b)"),
            _rule(
                rf"\b(?:add|put|enter|save|note|write\s+down|include)\s+(?P<keep>.+?)\s+(?:down\s+)?(?:to|on|onto|in|into)\s+(?:my|the|our)\s+{_EN_PLAN}\b"
            ),
        ),
        AGENDA: (
            _rule(rf"\b(?:what|when|which|how)\b.*\b(?:my|the)\s+(?:[a-z]+\s+)?{_EN_PLAN}\b"),
            _rule(rf"\b(?:what|which|when|how\s+many)\b.*\b{_EN_ITEMS}\b.*\b(?:i|my|me|scheduled|today|tomorrow)\b"),
            _rule(rf"\b(?:what|when|which)\b.*\b(?:my|i|we|our)\b.*\b{_EN_ITEMS}\b"),
            _rule(
                rf"\b(?:do|did|have|am|are|is|will)\b.*\b(?:i|my|we|any|there|an?)\b.*\b(?:{_EN_ITEMS}|plans)\b.*\b(?:on|for|today|tomorrow|scheduled|with|between|have|week)\b",
                _LIKELY,
            ),
            _rule(rf"\b(?:do|have|am|are|is)\b.*\b(?:on|in|per)\s+(?:my|the)\s+{_EN_PLAN}\b"),
            _rule(r"\bwhat(?:\s+do|\s+have|'ve|\s+am|\s+will)\s+(?:i|we)\s+(?:have|got|doing)\b", _LIKELY, dated=True),
            _rule(rf"\b(?:does|is|has|what'?s?)\b.*\bmy\s+(?:[a-z0-9]+\s+){{0,2}}{_EN_PLAN}\b", _LIKELY),
            _rule(rf"^anything\s+(?:on\s+(?:my|the)\s+{_EN_PLAN}|scheduled|planned)\b", _LIKELY),
            _rule(r"\bwhat\s+(?:do|have)\s+i\s+(?:have\s+|got\s+)?(?:planned|scheduled|going\s+on|coming\s+up)\b"),
            _rule(r"\bwhat(?:'s|\s+is)\s+(?:happening|going\s+on|planned|scheduled|up\s+next)\b", _LIKELY, dated=True),
            _rule(
                r"\b(?:do\s+i|have\s+i|am\s+i|i)\s+(?:have|got|doing)\s+(?:anything|something|plans)\b",
                _LIKELY,
                dated=True,
            ),
            _rule(r"\bam\s+i\s+(?:free|busy|available|booked)\b", _LIKELY, dated=True),
            _rule(
                rf"\b(?:tell|show|read|give|check|list|look|see|search|open|view|bring|share|pull|let|know|inform|find|review)\b"
                rf".*\b(?:my|the|this|our)\s+(?:[a-z]+\s+){{0,2}}(?:{_EN_PLAN}|appointments|events|meetings)\b"
            ),
            _rule(
                rf"^(?:(?:my|the)\s+)?(?:upcoming\s+|next\s+)?(?:{_EN_PLAN}|events|appointments|meetings)(?:\s+(?:for|on)\b|\W*$)",
                _LIKELY,
            ),
            _rule(r"^(?:(?:my|the)\s+)?(?:upcoming\s+)?(?:agenda|events|appointments|meetings)\b", _LIKELY, dated=True),
        ),
    },
}

_PLACE: Mapping[Language, re.Pattern[str]] = {
    "es": re.compile(rf"\b(?:(?:en|a)\s+(?:mi|la|el)\s+{_ES_PLAN}|al\s+calendario)\b"),
    "en": re.compile(rf"\b(?:to|on|onto|in|into)\s+(?:my|the|our)\s+{_EN_PLAN}\b"),
}
"""Where an event goes; no part of what it is."""

_BARE_NOUN: Mapping[Language, re.Pattern[str]] = {
    "es": re.compile(r"^(?:una?\s+)?(?P<keep>(?:reunion|cita|evento|quedada)\b)"),
    "en": re.compile(r"^(?:an?\s+)?(?P<keep>(?:meeting|appointment|event)\b)"),
}
"""A noun and a day, without a verb ("reunión mañana"): it may be either intent, so the user is asked."""


def understand(message: str) -> Sequence[Request]:
    """Return what ``message`` may ask of the agenda, the likeliest first; nothing for other messages.

    Two requests mean that both are as likely. Messages of more than 400 characters are never for the agenda.
    """
    if len(message) > MAX_TEXT:
        return ()
    text = tidy(message)
    folded = fold(text)
    told = tell_language(text)
    for language in (told,) if told else LANGUAGES:
        requests = () if _NOT_OURS[language].search(folded) else _requests(text, folded, language)
        if requests:
            return [Request(intent, score, language, details, told) for intent, score, details in requests]
    return ()


def _requests(text: str, folded: str, language: Language) -> Sequence[_Found]:
    # A command to create counts before a question: "put the meeting on my calendar" has the words of both.
    for intent in (EVENT, AGENDA):
        found = _best(intent, text, folded, language)
        if found is not None:
            return (found,)
    match = _BARE_NOUN[language].search(folded)
    if match is None or not names_day(folded, language):
        return ()
    details = _without_command(text, match, language)
    return (AGENDA, _UNSURE, details), (EVENT, _UNSURE, details)


def _best(intent: str, text: str, folded: str, language: Language) -> _Found | None:
    found = [
        (rule.score, match)
        for rule in _RULES[language][intent]
        if (match := rule.pattern.search(folded)) and (not rule.dated or names_day(folded, language))
    ]
    if not found:
        return None
    score, match = max(found, key=lambda each: each[0])
    # A question keeps its words: all that the agenda takes from it are the days.
    return intent, score, _without_command(text, match, language) if intent == EVENT else text


def _without_command(text: str, match: re.Match[str], language: Language) -> str:
    """Cut what ``match`` found out of ``text``, but for its group ``keep``, and what stands before it."""
    start, end = match.span("keep") if match.groupdict().get("keep") else (match.end(), match.end())
    details = f"{text[start:end]} {text[match.end() :]}"
    place = _PLACE[language].search(fold(details))
    if place is not None:
        details = f"{details[: place.start()]} {details[place.end() :]}"
    return " ".join(details.split())


class IntentDetector:
    """Finds the intents of the agenda in messages of Spanish and English. Thread-safe; holds no state.

    It goes by words alone, without the date library, and is meant to be precise: on the 15,100 utterances of CLINC150
    fewer than one in a hundred of those about other things is taken for the agenda.
    """

    def detect(self, message: str) -> list[IntentMatch]:
        """Return the intents that ``message`` may have: none, one, or two where it may be either."""
        return [_match(request) for request in understand(message)]


def _match(request: Request) -> IntentMatch:
    texts = TEXTS[request.language]
    agenda = request.intent == AGENDA
    slots: dict[str, Any] = {"details": request.details, "language": request.told}
    return IntentMatch(
        request.intent,
        request.score,
        label=texts.agenda_label if agenda else texts.event_label,
        synonyms=texts.agenda_synonyms if agenda else texts.event_synonyms,
        slots=slots,
    )
