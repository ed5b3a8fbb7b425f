"""The plugin: keeps a trail of each user's conversation, and hands errors and timeouts over to Sentry."""

from __future__ import annotations

import os
import weakref
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from thea_core import Application, Clock, PluginError, RecordedError, SystemClock, hookimpl
from thea_sentry.clients import choose
from thea_sentry.loading import load_dsn, load_errors, load_options, load_redact
from thea_sentry.privacy import Redactor, clean_name, moment_of, text_of
from thea_sentry.scrubbing import Scrubber
from thea_sentry.settings import SentrySettings
from thea_sentry.trail import Crumb, Trail

if TYPE_CHECKING:
    from thea_sentry.reporter import Happening, Reporter

__all__ = ["SentryPlugin"]

_MAX_TEXT = 200  # of a message in a breadcrumb; there are up to `trail_length` of them in each event


class SentryPlugin:
    """Reports errors and session timeouts to Sentry. In ``thea.toml`` it is called ``sentry``.

    ::

        Thea(plugins=[SentryPlugin(SentrySettings(dsn="https://key@sentry.example/42"))])

    Args:
        settings: the options; None takes the defaults.
        clock: where time comes from; the machine's clock, if not given.

    Raises:
        ConfigError: ``dsn`` is no DSN; or a setting names a function or a type that cannot be imported.

    One instance serves every thread and task. ``on_message`` and ``on_state_change`` only write down a breadcrumb, and
    so ask for no time limit; what reports runs code of the application (``before_send``), and has the usual one.
    Delivery is inline, since a queue would hand over an error without its traceback. Where it is durable, ``on_flush``
    waits until Sentry has what was reported, and raises where it has not: then it is told again, with the same id.
    """

    name = "sentry"
    Settings = SentrySettings

    def __init__(self, settings: SentrySettings | None = None, *, clock: Clock | None = None) -> None:
        self._settings = settings = settings or SentrySettings()
        self._dsn = load_dsn(settings.dsn)
        self._options = load_options(settings.sentry_options)
        self._ignored = load_errors(settings.ignore_errors)
        self._ignored_names = {f"{each.__module__}.{each.__qualname__}" for each in self._ignored}
        self._clock = clock or SystemClock()
        self._redact = Redactor(load_redact(settings.redact))
        self._scrubber = Scrubber(
            handled=settings.handled,
            include_locals=settings.include_locals,
            include_message_text=settings.include_message_text,
            include_error_text=settings.include_error_text,
            redact=self._redact,
            event_logger=settings.event_logger,
        )
        self._key = _hash_key(settings)
        self._trail = Trail(settings.trail_length, settings.trail_users, settings.trail_ttl, self._clock)
        self._error_state: str | None = None
        self._app: Application | None = None
        self._durable = False
        self._reporter: Reporter | None = None  # without one every callback does nothing
        _watch_forks(self)

    @hookimpl
    def on_startup(self, app: Application) -> None:
        """Find out who sends; where nobody does, say so once.

        Raises:
            ConfigError: ``sentry_options`` holds what is no option.
        """
        self._app, self._durable = app, False
        sender = choose(self._settings, self._dsn, self._options)
        if sender is None:
            return
        from thea_sentry.reporter import Reporter

        self._error_state = app.fsm.definition.error
        self._reporter = Reporter(self._settings, sender, self._scrubber, self._key)

    @hookimpl
    def on_shutdown(self, timeout: float) -> None:
        """Send what waits, for at most ``flush_timeout`` seconds, and forget the trail."""
        reporter, self._reporter = self._reporter, None
        self._trail.clear()
        if reporter is not None:
            # Half of the time is kept for closing the client and telling what was lost: the SDK keeps time roughly.
            reporter.close(min(timeout / 2, self._settings.flush_timeout))

    @hookimpl(timeout=None)
    def on_flush(self, timeout: float) -> None:
        """Where delivery is durable, send what was reported, for at most ``timeout`` seconds.

        Raises:
            PluginError: something was held up on its way to Sentry.
        """
        if self._reporter is not None and self._is_durable() and (held_up := self._reporter.flush(timeout)):
            raise PluginError(f"events have not reached Sentry: {held_up}", plugin=self.name)

    @hookimpl(timeout=None)
    def on_message(self, user_id: str, message: str, timestamp: datetime, event_id: str) -> None:
        """Remember that a message came, and how long it was; its text only where the operator wants it."""
        if self._reporter is None:
            return
        text = text_of(message)
        data: dict[str, object] = {"length": len(text)}
        if self._settings.include_message_text:
            data["text"] = self._redact(text)[:_MAX_TEXT]
        self._add(user_id, self._crumb("user", "thea.message", data, timestamp), event_id)

    @hookimpl(timeout=None)
    def on_state_change(self, user_id: str, old_state: str, new_state: str, timestamp: datetime, event_id: str) -> None:
        """Remember the states. The state in which something fails is the one before the state of errors."""
        if self._reporter is None:
            return
        before, after = clean_name(old_state), clean_name(new_state)
        state = before if after == self._error_state else after
        crumb = self._crumb("navigation", "thea.state", {"from": before, "to": after}, timestamp)
        self._add(user_id, crumb, event_id, state)

    @hookimpl
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
        """Report the error with the user's trail."""
        if self._reporter is not None and not self._ignores(error):
            happening = self._happening("error", user_id, session_id, event_id, timestamp)
            self._begin(self._reporter).error(happening, error, traceback)

    @hookimpl
    def on_session_timeout(self, user_id: str, session_id: str, timestamp: datetime, event_id: str) -> None:
        """Report that the session has ended, in the way that the operator has chosen, and forget the user's trail."""
        if self._reporter is None:
            return
        if self._settings.timeouts == "breadcrumb":
            data: dict[str, object] = {"session_id": clean_name(session_id)}
            self._add(user_id, self._crumb("default", "thea.session_timeout", data, timestamp), event_id)
            return
        if self._settings.timeouts != "off":
            happening = self._happening("session_timeout", user_id, session_id, event_id, timestamp)
            self._begin(self._reporter).timeout(happening)
        self._trail.drop(text_of(user_id))

    def after_fork_in_child(self) -> None:
        """Leave what waits to the parent, and take fresh locks. Called by the interpreter."""
        self._trail.after_fork_in_child()
        if self._reporter is not None:
            self._reporter.after_fork_in_child()

    def _is_durable(self) -> bool:
        """Tell whether events come out of the store. It is not known at the start, nor at the end any more."""
        if not self._durable and self._app is not None:
            self._durable = self.name in self._app.callbacks.durable_plugins
        return self._durable

    def _begin(self, reporter: Reporter) -> Reporter:
        """Return the reporter, which is told whether what does not arrive comes again."""
        if self._is_durable():
            reporter.expect_again()
        return reporter

    def _crumb(self, kind: str, category: str, data: dict[str, object], timestamp: datetime) -> Crumb:
        moment = moment_of(timestamp) or self._clock.now()
        return {"type": kind, "category": category, "level": "info", "timestamp": moment, "data": data}

    def _add(self, user_id: str, crumb: Crumb, event_id: str, state: str | None = None) -> None:
        self._trail.add(text_of(user_id), crumb, state, key=f"{crumb['category']} {text_of(event_id)}")

    def _happening(
        self,
        kind: Literal["error", "session_timeout"],
        user_id: str,
        session_id: str | None,
        event_id: str,
        timestamp: datetime,
    ) -> Happening:
        from thea_sentry.reporter import Happening

        crumbs, state = self._trail.read(text_of(user_id))
        moment = moment_of(timestamp) or self._clock.now()
        return Happening(kind, user_id, session_id, event_id, moment, crumbs, state)

    def _ignores(self, error: BaseException) -> bool:
        if isinstance(error, RecordedError):
            return error.type_name in self._ignored_names
        return isinstance(error, self._ignored)


def _hash_key(settings: SentrySettings) -> bytes:
    key = settings.user_id_key
    return os.urandom(32) if key is None else key.get_secret_value().encode("utf-8", "surrogatepass")


def _watch_forks(plugin: SentryPlugin) -> None:
    """Tell the plugin about each fork of the process for as long as it lives."""
    reference = weakref.ref(plugin)

    def in_child() -> None:
        if (living := reference()) is not None:
            living.after_fork_in_child()

    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=in_child)
