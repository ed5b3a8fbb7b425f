"""The two agents: :class:`AgendaAgent` tells what is on, :class:`EventAgent` creates an event."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from thea_agenda.draft import Draft, clean_title, remember, remembered_language, shorten
from thea_agenda.intents import AGENDA, EVENT, understand
from thea_agenda.language import LANGUAGES, TEXTS, describe_day, tell_language
from thea_agenda.store import Event
from thea_core import AgentReply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, time

    from thea_agenda.dates import DateReader
    from thea_agenda.language import Language, Texts
    from thea_agenda.settings import AgendaSettings
    from thea_agenda.store import AgendaStore
    from thea_core import Context, Turn

__all__ = ["MAX_FAILED_ANSWERS", "AgendaAgent", "EventAgent", "language_of"]

MAX_FAILED_ANSWERS = 3
"""After so many answers in a row that are none, the agent gives up."""


def language_of(message: str, context: Context, settings: AgendaSettings) -> Language:
    """Return the language to answer in: the message's, else the conversation's so far, else the settings'."""
    return tell_language(message) or remembered_language(context) or settings.language


def _request(message: str, context: Context, intent: str) -> tuple[str, Language | None] | None:
    """Return what a new request says beside its command, and its language where it told one.

    None where the message is no request, but may be an answer. The detector puts both into the slots: after a
    question which intent was meant, the message is only the answer ("2"), and the slots still have what was asked
    before. Slots are used once, see :func:`remember`, so that those of an earlier turn are never taken for this one's.
    """
    slots = context.get("slots")
    details = slots.get("details") if isinstance(slots, dict) else None
    if isinstance(slots, dict) and isinstance(details, str):
        language = slots.get("language")
        return details, language if language in LANGUAGES else None
    requests = understand(message)
    if len(requests) == 1 and requests[0].intent == intent:
        return requests[0].details, requests[0].told
    return None


def _when(day: date, at: time | None, today: date, language: Language) -> str:
    text = describe_day(day, today, language)
    return TEXTS[language].at.format(day=text, time=at.isoformat("minutes")) if at is not None else text


class _AgendaWorker:
    """What both agents work with. One instance serves every thread and task; state is in the context and the store."""

    def __init__(self, store: AgendaStore, reader: DateReader, settings: AgendaSettings) -> None:
        self._store = store
        self._reader = reader
        self._settings = settings


class AgendaAgent(_AgendaWorker):
    """Tells what is on: of the days that the message names, else what is coming up.

    Args:
        store: where the events are.
        reader: understands the days; it knows the time zone.
        settings: the language, and how many coming events are shown.
    """

    name = AGENDA
    intents: Sequence[str] = (AGENDA,)

    def handle(self, message: str, context: Context, turn: Turn) -> AgentReply:
        """Answer with the events; raises AgendaError where they cannot be read."""
        details, told = _request(message, context, AGENDA) or (message, None)
        language = told or language_of(message, context, self._settings)
        reading = self._reader.read(details, turn.timestamp, language)
        today = self._reader.today(turn.timestamp)
        text = self._list(turn.user_id, reading.first, reading.last, today, language)
        return AgentReply(text, remember(context, language, None))

    def _list(self, user_id: str, first: date | None, last: date | None, today: date, language: Language) -> str:
        limit = self._settings.upcoming
        events, count = self._store.events(user_id, first or today, last, limit=limit)
        lines = [_heading(first, last, today, language, empty=not events)]
        one_day = first is not None and first == last
        lines += [_line(event, today, language, with_day=not one_day) for event in events]
        if count > len(events):
            lines.append(TEXTS[language].more.format(count=count - len(events)))
        return "\n".join(lines)


def _line(event: Event, today: date, language: Language, *, with_day: bool) -> str:
    if with_day:
        return f"- {_when(event.day, event.at, today, language)}: {event.title}"
    return f"- {event.at.isoformat('minutes')} {event.title}" if event.at is not None else f"- {event.title}"


def _heading(first: date | None, last: date | None, today: date, language: Language, *, empty: bool) -> str:
    texts = TEXTS[language]
    if first is None or last is None:
        return texts.nothing_coming if empty else texts.events_coming
    start, end = describe_day(first, today, language), describe_day(last, today, language)
    if first == last:
        return (texts.nothing_on if empty else texts.events_on).format(when=start)
    return (texts.nothing_between if empty else texts.events_between).format(first=start, last=end)


class EventAgent(_AgendaWorker):
    """Creates an event; asks for its title and its day, one question a turn, until it knows both.

    An answer that is none is asked for again; after the third in a row the agent gives up. A message that is a
    command of its own ("crear evento ...") begins anew. What the agent knows between turns is in ``context["agenda"]``.

    Args:
        store: where the event goes.
        reader: understands the days; it knows the time zone.
        settings: the language.
    """

    name = EVENT
    intents: Sequence[str] = (EVENT,)

    def handle(self, message: str, context: Context, turn: Turn) -> AgentReply:
        """Create the event or ask for what is missing; raises AgendaError where it cannot be written."""
        request, draft = _request(message, context, EVENT), Draft.from_context(context)
        if request is not None or draft is None or draft.session_id != turn.session_id:
            details, told = request or (message, None)
            language = told or language_of(message, context, self._settings)
            draft, problem = self._begin(details, turn, language)
        else:
            # The answer to a question is often a mere name, or one in another language: no reason to change.
            language = remembered_language(context) or self._settings.language
            draft, problem = self._answer(draft, message, turn, language)
        if draft.failed >= MAX_FAILED_ANSWERS:
            return AgentReply(TEXTS[language].gave_up, remember(context, language, None))
        question = problem or _question(draft, TEXTS[language])
        if question:
            return AgentReply(question, remember(context, language, draft), ask=True)
        return AgentReply(self._create(draft, turn, language), remember(context, language, None))

    def _begin(self, details: str, turn: Turn, language: Language) -> tuple[Draft, str]:
        reading = self._reader.read(details, turn.timestamp, language)
        draft = Draft(turn.session_id, clean_title(reading.rest), reading.day, reading.at)
        if not self._is_past(draft.day, turn):
            return draft, ""
        return replace(draft, day=None), TEXTS[language].day_is_past if draft.title else ""

    def _answer(self, draft: Draft, message: str, turn: Turn, language: Language) -> tuple[Draft, str]:
        """Return the draft with what the answer adds to it, and what to say where it was no answer."""
        texts, failed = TEXTS[language], replace(draft, failed=draft.failed + 1)
        if not draft.title:
            title = shorten(message)
            return (replace(draft, title=title, failed=0), "") if title else (failed, texts.ask_title_again)
        reading = self._reader.read(message, turn.timestamp, language)
        at = reading.at or draft.at
        if reading.day is None:
            return replace(failed, at=at), texts.ask_day_again
        if self._is_past(reading.day, turn):
            return replace(failed, at=at), texts.day_is_past
        return replace(draft, day=reading.day, at=at, failed=0), ""

    def _is_past(self, day: date | None, turn: Turn) -> bool:
        return day is not None and day < self._reader.today(turn.timestamp)

    def _create(self, draft: Draft, turn: Turn, language: Language) -> str:
        assert draft.day is not None  # noqa: S101 -- asked for until it was known
        event = Event(draft.title, draft.day, draft.at)
        kept = self._store.add(turn.user_id, event, message_id=turn.message_id)
        today = self._reader.today(turn.timestamp)
        return TEXTS[language].created.format(when=_when(kept.day, kept.at, today, language))


def _question(draft: Draft, texts: Texts) -> str:
    if not draft.title:
        return texts.ask_title
    return texts.ask_day if draft.day is None else ""
