"""The plugin: one record for each event, with a constant message and everything else in fields."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from thea_core import hookimpl
from thea_logging.errors import error_text, error_type, is_plain, render
from thea_logging.formatter import JsonLinesFormatter
from thea_logging.privacy import Cleaner, Pseudonyms, clean_name, escape, escape_lines, text_of
from thea_logging.redaction import load_redact
from thea_logging.settings import DEFAULT_LEVELS, LoggingSettings, level_number

__all__ = ["LoggingPlugin"]

_PRIORITY = 100  # early: what happened is in the log even if a plugin after this one takes the process down
_OMITTED = "<text left out: redact failed>"
_HASH_RANGE = 2**64

_Shown = tuple[BaseException | None, str | None]
"""The exception that goes into the record, if any, and its traceback where formatters must not print it as it is."""


@dataclass(frozen=True, slots=True)
class _Event:
    """What the settings make of one event.

    Attributes:
        hook: the hook's name.
        name: the record's message and ``event.name``.
        level: the level's number.
        threshold: hashes from here on are not logged; None logs all.
        line: where in this file the callback stands, for ``%(lineno)d``.
    """

    hook: str
    name: str
    level: int
    threshold: int | None
    line: int


class LoggingPlugin:
    """Logs the six events. In ``thea.toml`` it is called ``logging``.

    ::

        Thea(plugins=[LoggingPlugin(LoggingSettings(handler="json-stderr"))])

    Args:
        settings: the options; None takes the defaults.

    Raises:
        ConfigError: ``redact`` names no function that can be imported.

    One instance serves every thread and task. Its callbacks ask for no time limit, and so are called where the event
    happens: to hand a record to another thread would cost more than to make it. The constructor only gives the logger
    a ``NullHandler``, which keeps an unconfigured host silent; the handler and the level that the settings ask for are
    there from ``on_startup`` to ``on_shutdown``. The root logger is never touched.
    """

    name = "logging"
    Settings = LoggingSettings

    def __init__(self, settings: LoggingSettings | None = None) -> None:
        self._settings = settings or LoggingSettings()
        redact = load_redact(self._settings.redact)
        self._redacts = redact is not None
        self._clean_trace = self._clean_or_omit if self._redacts else escape
        # With redaction the exception stays out of the record: every formatter would print its text.
        self._with_exception = self._settings.exc_info and not self._redacts
        self._clean = Cleaner(redact, self._settings.max_text)
        self._pseudonyms = Pseudonyms(_hash_key(self._settings))
        self._raw_ids = self._settings.user_id_mode == "raw"
        self._with_text = self._settings.include_message_text
        self._events = {hook: _make_event(hook, self._settings) for hook in DEFAULT_LEVELS}
        self._logger = logging.getLogger(self._settings.logger_name)
        if not any(isinstance(each, logging.NullHandler) for each in self._logger.handlers):
            self._logger.addHandler(logging.NullHandler())
        self._handler: logging.Handler | None = None
        self._level_before: int | None = None

    @hookimpl(priority=_PRIORITY)
    def on_startup(self) -> None:
        """Install the handler and the level that the settings ask for; nothing where they ask for none."""
        if self._handler is None and self._settings.handler is not None:
            self._handler = _make_handler(self._settings.handler)
            self._logger.addHandler(self._handler)
        if self._level_before is None and (level := self._wanted_level()) is not None:
            self._level_before = self._logger.level
            self._logger.setLevel(level)

    @hookimpl(priority=_PRIORITY)
    def on_shutdown(self) -> None:
        """Flush and remove the handler that ``on_startup`` added, and put the level back; leave the host's alone."""
        if self._level_before is not None:
            if self._logger.level == self._wanted_level():  # else somebody has set it since: theirs stands
                self._logger.setLevel(self._level_before)
            self._level_before = None
        if self._handler is not None:
            handler, self._handler = self._handler, None
            self._logger.removeHandler(handler)
            handler.flush()

    @hookimpl(priority=_PRIORITY, timeout=None)
    def on_message(
        self, user_id: str, message: str, timestamp: datetime, event_id: str, session_id: str | None
    ) -> None:
        """Log the length of the message and when it came; its text only where the operator wants it."""
        event = self._events["on_message"]
        if (fields := self._begin(event, user_id, event_id, session_id)) is None:
            return
        text = text_of(message)
        fields["thea.message.length"] = len(text)
        if moment := _moment(timestamp):
            fields["thea.message.timestamp"] = moment
        if self._with_text:
            self._add_text(fields, "thea.message.text", text)
        self._emit(event, fields)

    @hookimpl(priority=_PRIORITY, timeout=None)
    def on_state_change(
        self,
        user_id: str,
        old_state: str,
        new_state: str,
        *,
        timestamp: datetime,
        event_id: str,
        session_id: str | None,
    ) -> None:
        """Log the states before and after."""
        event = self._events["on_state_change"]
        if (fields := self._begin(event, user_id, event_id, session_id, timestamp)) is None:
            return
        fields["thea.state.from"] = clean_name(old_state)
        fields["thea.state.to"] = clean_name(new_state)
        self._emit(event, fields)

    @hookimpl(priority=_PRIORITY, timeout=None)
    def on_error(
        self,
        user_id: str,
        error: BaseException,
        traceback: str,
        *,
        timestamp: datetime,
        event_id: str,
        session_id: str | None,
    ) -> None:
        """Log the error with its traceback. Where ``redact`` is set, no text of an exception gets round it."""
        event = self._events["on_error"]
        if (fields := self._begin(event, user_id, event_id, session_id, timestamp)) is None:
            return
        fields["error.type"] = clean_name(error_type(error))
        shown: _Shown = (None, None)
        try:
            shown = self._add_error(fields, error, text_of(traceback))
        except KeyboardInterrupt:
            raise
        except BaseException as broken:  # an exception may do anything when it is looked at
            fields["error.message"] = f"<the error could not be read: {type(broken).__name__}>"
        self._emit(event, fields, *shown)

    @hookimpl(priority=_PRIORITY, timeout=None)
    def on_session_timeout(self, user_id: str, session_id: str, timestamp: datetime, event_id: str) -> None:
        """Log which session has ended."""
        event = self._events["on_session_timeout"]
        if (fields := self._begin(event, user_id, event_id, session_id, timestamp)) is not None:
            self._emit(event, fields)

    @hookimpl(priority=_PRIORITY, timeout=None)
    def on_intent_detected(
        self, user_id: str, intent: str, score: float, *, timestamp: datetime, event_id: str, session_id: str | None
    ) -> None:
        """Log the intent and its score."""
        event = self._events["on_intent_detected"]
        if (fields := self._begin(event, user_id, event_id, session_id, timestamp)) is None:
            return
        fields["thea.intent.name"] = clean_name(intent)
        fields["thea.intent.score"] = _number(score)
        self._emit(event, fields)

    @hookimpl(priority=_PRIORITY, timeout=None)
    def on_agent_delegated(
        self, user_id: str, agent: str, intent: str, *, timestamp: datetime, event_id: str, session_id: str | None
    ) -> None:
        """Log the agent and the intent."""
        event = self._events["on_agent_delegated"]
        if (fields := self._begin(event, user_id, event_id, session_id, timestamp)) is None:
            return
        fields["thea.agent.name"] = clean_name(agent)
        fields["thea.intent.name"] = clean_name(intent)
        self._emit(event, fields)

    def _begin(
        self, event: _Event, user_id: str, event_id: str, session_id: str | None, timestamp: datetime | None = None
    ) -> dict[str, Any] | None:
        """Return the fields that every record has; None where this record is not wanted.

        ``timestamp`` is when it happened. Events that come off a queue or out of a store are logged later than that.
        """
        if not self._logger.isEnabledFor(event.level):
            return None
        fields: dict[str, Any] = {"event.name": event.name, "thea.event.id": clean_name(event_id)}
        if moment := _moment(timestamp):
            fields["thea.event.timestamp"] = moment
        if not self._raw_ids or event.threshold is not None:
            digest = self._pseudonyms.digest(user_id)
            if event.threshold is not None and int.from_bytes(digest) >= event.threshold:
                return None
            if not self._raw_ids:
                fields["user.hash"] = digest.hex()
        if self._raw_ids:
            fields["user.id"] = clean_name(user_id)
        if session_id is not None and (name := clean_name(session_id)):
            fields["session.id"] = name
        return fields

    def _add_error(self, fields: dict[str, Any], error: BaseException, traceback: str) -> _Shown:
        """Add what the error says; return what of it goes into the record as an exception."""
        self._add_text(fields, "error.message", error_text(error))
        known = isinstance(error, BaseException)  # whoever triggers the event may give anything
        live = known and error.__traceback__ is not None
        if live and self._with_exception:
            return error, None if is_plain(error) else render(error, escape)
        if live or (known and self._redacts):
            # Where texts are redacted a traceback that is only text is left out: the frames in it cannot be told from
            # what a message pretends to be.
            stack_trace = render(error, self._clean_trace)
        else:
            stack_trace = "" if self._redacts else escape_lines(traceback)
        if stack_trace:
            fields["error.stack_trace"] = stack_trace
        return None, None

    def _emit(
        self, event: _Event, fields: dict[str, Any], error: BaseException | None = None, trace: str | None = None
    ) -> None:
        # Logger.log would search the stack for its caller, which is known here, and refuse a field whose name a host's
        # own record factory has taken. Both ways end in `handle`, with filters and handlers as ever.
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        record = self._logger.makeRecord(
            self._logger.name, event.level, __file__, event.line, event.name, (), exc_info, event.hook
        )
        vars(record).update(fields)
        if trace is not None:
            record.exc_text = trace  # what formatters print instead of formatting the exception
        self._logger.handle(record)

    def _add_text(self, fields: dict[str, Any], field: str, text: str) -> None:
        cleaned = self._clean(text)
        if cleaned is None:
            fields["thea.redact.failed"] = True
        else:
            fields[field] = cleaned

    def _clean_or_omit(self, text: str) -> str:
        cleaned = self._clean(text)
        return _OMITTED if cleaned is None else cleaned

    def _wanted_level(self) -> int | None:
        if self._settings.level is not None:
            return level_number(self._settings.level)
        # Who asks for a handler wants to see something: an unconfigured host's root logger lets only warnings pass.
        return None if self._settings.handler is None else min(event.level for event in self._events.values())


def _moment(value: object) -> str:
    """Return a time as ISO text; nothing where it is none."""
    try:
        return value.isoformat() if isinstance(value, datetime) else ""
    except KeyboardInterrupt:
        raise
    except BaseException:  # its time zone is somebody's own
        return ""


def _number(value: object) -> object:
    """Return a finite number as it is; anything else as text."""
    if issubclass(type(value), float):  # not isinstance: an object may lie about its class
        value = float.__float__(value)  # type: ignore[arg-type]
    finite = type(value) in (int, float) and -math.inf < value < math.inf  # type: ignore[operator]
    return value if finite else clean_name(value)


def _hash_key(settings: LoggingSettings) -> bytes:
    key = settings.user_id_key
    return os.urandom(32) if key is None else key.get_secret_value().encode("utf-8", "surrogatepass")


def _make_event(hook: str, settings: LoggingSettings) -> _Event:
    rate = settings.sample.get(hook, 1.0)
    return _Event(
        hook=hook,
        name="thea." + hook.removeprefix("on_"),
        level=level_number(settings.levels.get(hook, DEFAULT_LEVELS[hook])),
        threshold=None if rate == 1.0 else int(rate * _HASH_RANGE),
        line=getattr(LoggingPlugin, hook).__code__.co_firstlineno,
    )


def _make_handler(setting: logging.Handler | str) -> logging.Handler:
    if isinstance(setting, logging.Handler):
        return setting
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLinesFormatter())
    return handler
