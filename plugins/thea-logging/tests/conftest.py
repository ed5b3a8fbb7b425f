"""What the tests share: a host that listens to the plugin's logger, and one call of each event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from thea_logging import LoggingPlugin, LoggingSettings

USER = "alvaro_123"
TEXT = "Agendar reunión"
EVENT_ID = "00000000-0000-4000-8000-000000000001"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Listener(logging.Handler):
    """Keeps the records that reach it, and each as the formatter's text."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))

    def fields(self) -> list[dict[str, Any]]:
        """Return what each record has under a dotted name."""
        return [{key: value for key, value in vars(each).items() if "." in key} for each in self.records]


@contextmanager
def _listen(formatter: logging.Formatter | None = None, name: str = "thea.events") -> Iterator[Listener]:
    logger, listener = logging.getLogger(name), Listener()
    handlers, level = list(logger.handlers), logger.level
    listener.setFormatter(formatter)
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    try:
        yield listener
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers


class Events:
    """Calls the plugin's callbacks with fitting arguments, each of which a test may replace."""

    def __init__(self, plugin: LoggingPlugin) -> None:
        self.plugin = plugin

    def _common(self, changes: dict[str, Any]) -> dict[str, Any]:
        return {"user_id": USER, "event_id": EVENT_ID, "session_id": "s-1", "timestamp": NOON} | changes

    def message(self, **changes: Any) -> None:
        self.plugin.on_message(**self._common({"message": TEXT} | changes))

    def state_change(self, **changes: Any) -> None:
        self.plugin.on_state_change(**self._common({"old_state": "idle", "new_state": "processing"} | changes))

    def error(self, error: BaseException, **changes: Any) -> None:
        self.plugin.on_error(**self._common({"error": error, "traceback": ""} | changes))

    def session_timeout(self, **changes: Any) -> None:
        self.plugin.on_session_timeout(**self._common(changes))

    def intent_detected(self, **changes: Any) -> None:
        self.plugin.on_intent_detected(**self._common({"intent": "agenda", "score": 0.9} | changes))

    def agent_delegated(self, **changes: Any) -> None:
        self.plugin.on_agent_delegated(**self._common({"agent": "AgendaAgent", "intent": "agenda"} | changes))

    def all(self, **changes: Any) -> None:
        """One of each, in the order in which the design lists them."""
        self.message(**changes)
        self.state_change(**changes)
        self.error(raised(ValueError("boom")), **changes)
        self.session_timeout(**changes)
        self.intent_detected(**changes)
        self.agent_delegated(**changes)


def raised(error: BaseException) -> BaseException:
    """Return the exception as one that has been raised, with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@pytest.fixture(scope="session")
def listen() -> Callable[..., AbstractContextManager[Listener]]:
    """A context in which the host listens to the logger at DEBUG; afterwards the logger is as it was."""
    return _listen


@pytest.fixture(scope="session")
def events() -> Callable[..., Events]:
    """Make a plugin of the given settings, ready to be told events."""
    return lambda **settings: Events(LoggingPlugin(LoggingSettings(**settings)))


@pytest.fixture(scope="session")
def raise_it() -> Callable[[BaseException], BaseException]:
    """Raise and catch an exception."""
    return raised
