"""The plugin: which hooks of Thea the agenda implements, and why.

Read it as an example; each method says what its hook is good for. What the agenda does is in the other modules.
"""

from __future__ import annotations

from typing import Any

from thea_agenda.agents import AgendaAgent, EventAgent, language_of
from thea_agenda.dates import DateReader
from thea_agenda.intents import AGENDA, EVENT, IntentDetector
from thea_agenda.language import TEXTS
from thea_agenda.settings import AgendaSettings
from thea_agenda.store import AgendaStore
from thea_core import Agent, AgentNotAvailableError, Context, IntentMatch, hookimpl

__all__ = ["AgendaPlugin"]


class AgendaPlugin:
    """The entry point ``agenda`` in the group ``thea.plugins``. Thread-safe.

    Args:
        settings: what ``[plugins.agenda.settings]`` says, checked already.
    """

    name = "agenda"
    Settings = AgendaSettings

    def __init__(self, settings: AgendaSettings) -> None:
        self._settings = settings
        self._store = AgendaStore(settings.path)
        self._detector = IntentDetector()
        reader = DateReader(settings.timezone)
        self._agents: list[Agent] = [
            AgendaAgent(self._store, reader, settings),
            EventAgent(self._store, reader, settings),
        ]

    @hookimpl
    def on_startup(self) -> None:
        """Open the file, so that a wrong path is told at the start and not to the first user.

        Raises AgendaError, which leaves the plugin out. The hook's argument ``app`` is not needed, so it is not named.
        """
        self._store.open()

    @hookimpl
    def on_shutdown(self) -> None:
        """Close the agenda: whoever still holds an agent gets a clear error, and the file may be moved."""
        self._store.close()

    @hookimpl(timeout=None)
    def detect_intents(self, message: str) -> list[IntentMatch]:
        """Say which of the agenda's intents the message may have; most messages have none.

        Without a time limit, so that it is called in the thread of the turn: it waits for nothing, a long message is
        none of the agenda's, and to hand the rest to another thread would take longer than to read it.
        """
        return self._detector.detect(message)

    @hookimpl
    def provide_agents(self) -> list[Agent]:
        """Give the agents that answer the intents above. Asked once, when the plugin is loaded."""
        return self._agents

    @hookimpl(states=("executing",))
    def pre_transition(self, context: Context) -> None:
        """Refuse the turn while the events cannot be read, before an agent begins.

        A veto keeps the conversation as it was before this message: where an event was half made, the question still
        stands, and the same answer goes through later. An exception of the agent would have lost it.
        """
        if context.get("agent") in (AGENDA, EVENT) and not self._store.available():
            message: Any = context.get("message")
            language = language_of(str(message or ""), context, self._settings)
            raise AgentNotAvailableError(TEXTS[language].unavailable)
