"""What is told to Sentry, and how. Importing this module imports ``sentry_sdk``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Literal

import sentry_sdk
from sentry_sdk import logger as sentry_logs
from sentry_sdk.integrations.logging import ignore_logger, unignore_logger

from thea_core import RecordedError
from thea_sentry.clients import PrivateClient, Sender
from thea_sentry.privacy import clean_name, frame_lines, text_of, user_hash
from thea_sentry.scrubbing import Scrubber
from thea_sentry.settings import SentrySettings
from thea_sentry.trail import Crumb

__all__ = ["Happening", "Reporter"]

logger = logging.getLogger("thea.plugins.sentry")

_TURNS = "thea_core.turns"  # where the core logs what on_error tells


@dataclass(frozen=True, slots=True)
class Happening:
    """What there is to know about an event besides what it is.

    Attributes:
        kind: what it is called in the tag ``thea.event``.
        user_id: whose it is.
        session_id: the session, where there is one.
        event_id: the event's id.
        timestamp: when it happened, aware.
        crumbs: the user's trail.
        state: the state of the conversation, where it is known.
    """

    kind: Literal["error", "session_timeout"]
    user_id: str
    session_id: str | None
    event_id: str
    timestamp: datetime
    crumbs: Sequence[Crumb]
    state: str | None


class Reporter:
    """Sends errors and timeouts through one client. Thread-safe.

    Args:
        settings: the plugin's.
        sender: the client.
        scrubber: what takes personal data out of each event.
        key: the key of the hashes of user ids.
    """

    def __init__(self, settings: SentrySettings, sender: Sender, scrubber: Scrubber, key: bytes) -> None:
        self._settings = settings
        self._sender = sender
        self._scrubber = scrubber
        self._key = key
        ignored = settings.suppress_log_duplicates and not isinstance(sender, PrivateClient)
        self._ignored = (_TURNS, settings.event_logger) if ignored else ()
        for each in self._ignored:
            ignore_logger(each)
        self._check_logs()

    def error(self, happening: Happening, error: object, traceback: object) -> None:
        """Report an error, which may be anything that a caller of ``trigger`` gives."""
        recorded = error if isinstance(error, RecordedError) else None
        with self._scope(happening, recorded) as scope:
            if not isinstance(error, BaseException):
                sentry_sdk.capture_message(self._told(error), level="error")
            elif error.__traceback__ is None and isinstance(traceback, TracebackType):
                sentry_sdk.capture_exception((type(error), error, traceback))
            else:
                if error.__traceback__ is None and (text := self._shown(recorded, traceback)):
                    scope.add_attachment(bytes=text.encode(errors="replace"), filename="traceback.txt")
                _capture(error)

    def timeout(self, happening: Happening) -> None:
        """Report that a session has ended by inactivity. All of them are one issue in Sentry."""
        digest = None if self._settings.send_user == "never" else user_hash(text_of(happening.user_id), self._key)
        with self._scope(happening) as scope:
            if self._settings.timeouts == "log":
                sentry_logs.warning("Session timeout", attributes=self._attributes(happening))
                return
            scope.fingerprint = ["thea", "session_timeout"]
            message = "Session timeout" if digest is None else f"Session timeout for {digest}"
            sentry_sdk.capture_message(message, level="warning")

    def expect_again(self) -> None:
        """Take what has not arrived for held up: it comes again."""
        self._sender.expect_again()

    def flush(self, timeout: float) -> str:
        """Send what waits, for at most ``timeout`` seconds; return why something was held up, or an empty text."""
        return self._sender.flush(timeout)

    def close(self, timeout: float) -> None:
        """Send what waits, for at most ``timeout`` seconds, and let the log be as it was."""
        for each in self._ignored:
            unignore_logger(each)
        self._sender.close(timeout)

    def after_fork_in_child(self) -> None:
        """Leave what waits to the parent."""
        self._sender.after_fork_in_child()

    @contextmanager
    def _scope(self, happening: Happening, recorded: RecordedError | None = None) -> Iterator[sentry_sdk.Scope]:
        """Make a scope for one capture, with all that is known."""
        with self._sender.scope() as scope:
            for each in happening.crumbs:
                scope.add_breadcrumb(each)
            scope.set_tag("thea.event", happening.kind)
            known = {"state": happening.state, "session_id": happening.session_id, "event_id": happening.event_id}
            scope.set_context("thea", {key: clean_name(value) for key, value in known.items() if value is not None})
            if happening.state is not None:
                scope.set_tag("thea.state", happening.state)
            # A timeout may be told twice with one id, and so may what comes out of a store: so Sentry can know that it
            # is the same. An error that is told as it happens is another one where its turn runs again.
            again = happening.kind == "session_timeout" or recorded is not None
            event_id = _hexadecimal(happening.event_id) if again else None
            user, moment = self._user(happening), happening.timestamp
            scope.add_event_processor(self._scrubber.of(user, moment=moment, error=recorded, event_id=event_id))
            yield scope

    def _user(self, happening: Happening) -> str | None:
        """Return what the user is called. Asked within the scope, where the client that sends is known."""
        choice, user_id = self._settings.send_user, text_of(happening.user_id)
        if choice == "never":
            return None
        if choice == "always" or _collects_users():
            return user_id
        return user_hash(user_id, self._key)

    def _attributes(self, happening: Happening) -> dict[str, str]:
        known = {
            "thea.event": happening.kind,
            "thea.state": happening.state,
            "thea.session_id": happening.session_id,
            "thea.user": self._user(happening),
        }
        return {key: clean_name(value) for key, value in known.items() if value is not None}

    def _told(self, error: object) -> str:
        """Return a message for what should have been an exception."""
        kind = f"on_error was given a {type(error).__name__}"
        return f"{kind}: {self._scrubber.redact(text_of(error))}" if self._settings.include_error_text else kind

    def _shown(self, recorded: RecordedError | None, traceback: object) -> str:
        """Return what may be sent of a traceback that is only text."""
        text = text_of(traceback) if recorded is None else recorded.traceback
        return self._scrubber.redact(text) if self._settings.include_error_text else frame_lines(text)

    def _check_logs(self) -> None:
        if self._settings.timeouts != "log":
            return
        with self._sender.scope():
            if not sentry_sdk.get_client().options.get("enable_logs"):
                logger.warning("timeouts are not reported: timeouts = 'log' needs a client with enable_logs=True")


def _capture(error: BaseException) -> None:
    try:
        sentry_sdk.capture_exception(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # the SDK calls methods of the exception's own, which may raise anything
        sentry_sdk.capture_message("on_error was given an exception that cannot be read", level="error")


def _collects_users() -> bool:
    """Whether the client that sends was set up to send who the users are."""
    client = sentry_sdk.get_client()
    collection = client.options.get("data_collection")
    return bool(collection["user_info"] if collection else client.should_send_default_pii())


def _hexadecimal(event_id: object) -> str | None:
    """Return an event's id as Sentry writes ids; None where it is no UUID."""
    text = text_of(event_id).replace("-", "").lower()
    return text if len(text) == 32 and not set(text) - set("0123456789abcdef") else None  # noqa: PLR2004
