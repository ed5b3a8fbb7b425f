"""What the tests of the agenda share: a moment, turns, and conversations with the plugin's agents alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from thea_agenda import AgendaPlugin, AgendaSettings, AgendaStore
from thea_core import AgentReply, Turn

NOW = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)  # a Wednesday


class Talk:
    """A conversation without a router: the best intent's agent answers, an agent that asks gets the next message."""

    def __init__(self, plugin: AgendaPlugin) -> None:
        self.agents = {agent.name: agent for agent in plugin.provide_agents()}
        self.plugin = plugin
        self.context = {"user_id": "ana", "state": "idle"}
        self.reply = AgentReply("")
        self.now = NOW
        self.session_id = "session-1"
        self._waiting = None
        self._numbers = count(1)

    def say(self, message: str, message_id: str | None = None) -> str:
        """Handle one message; return the reply's text."""
        turn = Turn("ana", self.session_id, message_id or f"message-{next(self._numbers)}", self.now)
        agent = self._waiting or self._choose(message)
        self.reply = agent.handle(message, dict(self.context), turn)
        self.context = self.reply.context
        self._waiting = agent if self.reply.ask else None
        return self.reply.text

    def drop_pending(self) -> None:
        """Do what the router does where a session ends or the user cancels."""
        self._waiting = None

    def _choose(self, message: str) -> object:
        match = max(self.plugin.detect_intents(message), key=lambda each: each.score)
        self.context = {**self.context, "slots": dict(match.slots)}
        return self.agents[match.intent]


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agenda.db"


@pytest.fixture
def store(path: Path) -> AgendaStore:
    store = AgendaStore(path)
    store.open()
    return store


@pytest.fixture
def plugin(path: Path) -> AgendaPlugin:
    plugin = AgendaPlugin(AgendaSettings(path=str(path)))
    plugin.on_startup()
    return plugin


@pytest.fixture
def talk(plugin: AgendaPlugin) -> Talk:
    return Talk(plugin)


@pytest.fixture
def new_talk(path: Path) -> Callable[..., Talk]:
    """Make a conversation with other settings."""

    def make(**settings: object) -> Talk:
        return Talk(AgendaPlugin(AgendaSettings(path=str(path), **settings)))

    return make
