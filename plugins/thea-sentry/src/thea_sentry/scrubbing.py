"""The last look at an event before Sentry's SDK takes it: what must not leave the process is taken out of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from thea_core import RecordedError
from thea_sentry.privacy import FILTERED, Redactor, clean_name

__all__ = ["Scrubber"]

logger = logging.getLogger("thea.plugins.sentry")

_NAMES_A_USER = ("id", "username", "email")


@dataclass(frozen=True, slots=True)
class Scrubber:
    """An event processor, added last to the scope of one capture: nothing that the scopes add gets past it.

    It fails closed. Sentry's SDK sends an event as it is where a processor raises; this one drops it instead.

    Attributes:
        handled: whether exceptions are marked as handled.
        include_locals: whether frames keep their variables.
        include_message_text: whether the web request of the host keeps its body and query.
        include_error_text: whether exceptions keep their text, as ``redact`` returns it.
        redact: makes of a text what may be sent.
        event_logger: the logger of the plugin ``logging``.
        user: the user to name, unless the host has named one.
        moment: when it happened; None leaves the time at which it is told.
        error: what was recorded of an exception that could not come itself.
        event_id: the id that Sentry is to know the event by, 32 hexadecimal digits; None leaves the SDK's.
    """

    handled: bool
    include_locals: bool
    include_message_text: bool
    include_error_text: bool
    redact: Redactor
    event_logger: str
    user: str | None = None
    moment: datetime | None = None
    error: RecordedError | None = None
    event_id: str | None = None

    def of(
        self,
        user: str | None,
        *,
        moment: datetime | None = None,
        error: RecordedError | None = None,
        event_id: str | None = None,
    ) -> Scrubber:
        """Return the same for one event."""
        return replace(self, user=user, moment=moment, error=error, event_id=event_id)

    def __call__(self, event: Any, hint: object) -> Any:  # noqa: ARG002 -- the SDK gives both
        """Return the event as it may be sent, changed in place; None where that cannot be made sure."""
        try:
            self._identify(event)
            self._clean_exceptions(event)
            self._clean_stacks(event)
            self._clean_breadcrumbs(event)
            self._clean_request(event)
        except Exception as error:  # an event that another processor has left in a strange shape
            kind = type(error).__name__
            logger.warning("an event is not sent: it could not be freed from personal data (%s)", kind)
            return None
        return event

    def _identify(self, event: dict[str, Any]) -> None:
        if self.event_id is not None:
            event["event_id"] = self.event_id
        if self.moment is not None:
            event["timestamp"] = self.moment
        if self.user is None:
            return
        user = event.get("user") or {}
        if not any(user.get(each) for each in _NAMES_A_USER):
            event["user"] = {**user, "id": self.user}

    def _clean_exceptions(self, event: dict[str, Any]) -> None:
        values = _values(event, "exception")
        for each in values:
            each["value"] = self.redact(each.get("value") or "") if self.include_error_text else FILTERED
            mechanism = each.setdefault("mechanism", {})
            mechanism["handled"] = self.handled
            if mechanism.get("type", "generic") == "generic":
                mechanism["type"] = "thea"
        if self.error is not None and values:
            module, _, name = self.error.type_name.rpartition(".")
            text = self.redact(self.error.message) if self.include_error_text else FILTERED
            values[-1].update(type=clean_name(name), module=clean_name(module), value=text)

    def _clean_stacks(self, event: dict[str, Any]) -> None:
        if "exception" not in event:
            # With `attach_stacktrace` the SDK would add the stack of this very callback, with its variables, after
            # all processors have run; not where something stands there.
            event["threads"] = {"values": []}
        for holder in (event, *_values(event, "exception"), *_values(event, "threads")):
            for frame in _frames(holder.get("stacktrace")):
                if not self.include_locals:
                    frame.pop("vars", None)
                if _is_of_thea(frame.get("module")):
                    frame.setdefault("in_app", False)  # also where the core is not among the installed packages

    def _clean_breadcrumbs(self, event: dict[str, Any]) -> None:
        """Take out what Thea and its plugin ``logging`` have logged: it may repeat what exceptions say."""
        if self.include_error_text or "breadcrumbs" not in event:
            return
        kept = (each for each in _values(event, "breadcrumbs") if each.get("category") != self.event_logger)
        event["breadcrumbs"] = {"values": [each for each in kept if not _is_of_thea(each.get("category"))]}

    def _clean_request(self, event: dict[str, Any]) -> None:
        """Take out the body of the web request that the host's integration may have added: it holds the message."""
        request = event.get("request")
        if request and not self.include_message_text:
            event["request"] = {key: value for key, value in request.items() if key not in {"data", "query_string"}}


def _values(event: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the values of an event's interface; none where it is not there, or was left out for its size."""
    interface = event.get(key)
    return list(interface.get("values") or ()) if isinstance(interface, dict) else []


def _frames(stacktrace: object) -> Iterator[dict[str, Any]]:
    if isinstance(stacktrace, dict):
        yield from stacktrace.get("frames") or ()


def _is_of_thea(name: object) -> bool:
    """Whether a module or a logger is the core's."""
    return isinstance(name, str) and (name == "thea_core" or name.startswith("thea_core."))
