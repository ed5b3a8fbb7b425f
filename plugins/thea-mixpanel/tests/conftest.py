"""What the tests share: a server that stands for Mixpanel, a time that tests move, and applications with the plugin."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from recording_server import Answer, RecordingServer, Request

from thea_core import PluginError, Thea
from thea_mixpanel import MixpanelPlugin, MixpanelSettings

ACCEPTED = Answer(body=b'{"status": 1, "error": ""}')
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOKEN = "0123456789abcdef0123456789abcdef"
EVENT_ID = "00000000-0000-4000-8000-000000000001"


class Time:
    """A clock that stands still but for the pauses that are waited for; it keeps these, and ends them at once."""

    def __init__(self) -> None:
        self.moment = NOON
        self.nanoseconds = 0
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def monotonic_ns(self) -> int:
        return self.nanoseconds

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.nanoseconds += round(seconds * 1_000_000_000)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.advance(seconds)
        return event.is_set()


class Events:
    """Calls the plugin's callbacks with fitting arguments, each of which a test may replace."""

    def __init__(self, plugin: MixpanelPlugin) -> None:
        self.plugin = plugin

    @staticmethod
    def _common(changes: dict[str, Any]) -> dict[str, Any]:
        return {"user_id": "alvaro_123", "event_id": EVENT_ID, "timestamp": NOON} | changes

    def message(self, **changes: Any) -> None:
        self.plugin.on_message(**self._common({"message": "Agendar reunión"} | changes))

    def state_change(self, **changes: Any) -> None:
        self.plugin.on_state_change(**self._common({"old_state": "idle", "new_state": "processing"} | changes))

    def session_timeout(self, **changes: Any) -> None:
        self.plugin.on_session_timeout(**self._common({"session_id": "s-1"} | changes))

    def intent_detected(self, **changes: Any) -> None:
        self.plugin.on_intent_detected(**self._common({"intent": "agenda", "score": 0.9} | changes))

    def agent_delegated(self, **changes: Any) -> None:
        self.plugin.on_agent_delegated(**self._common({"agent": "AgendaAgent", "intent": "agenda"} | changes))

    def all(self, **changes: Any) -> None:
        self.message(**changes)
        self.state_change(**changes)
        self.session_timeout(**changes)
        self.intent_detected(**changes)
        self.agent_delegated(**changes)

    def flush(self, timeout: float = 5.0) -> None:
        self.plugin.on_flush(timeout=timeout)


def events_of(*requests: Request) -> list[dict[str, Any]]:
    """Return the events of requests, in order."""
    return [event for each in requests for event in json.loads(each.form["data"][0])]


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """A server that accepts everything, as Mixpanel does."""
    with RecordingServer(ACCEPTED) as running:
        yield running


@pytest.fixture
def time() -> Time:
    return Time()


def application(*durable: str) -> Any:
    """Return as much of an application as the plugin needs, with the names of the plugins with durable delivery."""
    return SimpleNamespace(callbacks=SimpleNamespace(durable_plugins=list(durable)))


@pytest.fixture
def app() -> Any:
    """An application in which no delivery is durable."""
    return application()


@pytest.fixture
def events(server: RecordingServer, time: Time) -> Iterator[Callable[..., Events]]:
    """Make a plugin of the given settings that has been started, outside of an application."""
    made: list[MixpanelPlugin] = []

    def make(*durable: str, **settings: Any) -> Events:
        given = {"token": TOKEN, "endpoint": server.url, "request_timeout": 20} | settings
        plugin = MixpanelPlugin(MixpanelSettings(**given), clock=time, uniform=lambda _, high: high, wait=time.wait)
        plugin.on_startup(application(*durable))
        made.append(plugin)
        return Events(plugin)

    yield make
    for plugin in made:
        with suppress(PluginError):  # it tells what it lost, where the test was about that
            plugin.on_shutdown(timeout=1.0)


@pytest.fixture
def running(server: RecordingServer) -> Callable[..., AbstractContextManager[tuple[Thea, MixpanelPlugin]]]:
    """Run an application with the plugin.

    ``core`` holds the core's keys of the plugin, ``callbacks`` those of that section, the rest are settings.
    """

    @contextmanager
    def run(
        core: dict[str, Any] | None = None,
        others: tuple[object, ...] = (),
        callbacks: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Iterator[tuple[Thea, MixpanelPlugin]]:
        given = {"token": TOKEN, "endpoint": server.url} | settings
        plugin = MixpanelPlugin(MixpanelSettings(**given), uniform=lambda _low, _high: 0.0)  # without pauses
        config = {"store": {"url": "memory:"}, "callbacks": callbacks or {}, "plugins": {"mixpanel": core or {}}}
        with Thea(config, plugins=[plugin, *others]) as thea:
            yield thea, plugin

    return run


@pytest.fixture(scope="session")
def read() -> Callable[..., list[dict[str, Any]]]:
    """Return the events of requests, in order."""
    return events_of
