"""An agenda for Thea, in Spanish and English: what is on, and new events.

The plugin itself is :class:`thea_agenda.plugin.AgendaPlugin`. The agents and what they use may also be put together
by hand::

    from thea_agenda import AgendaAgent, AgendaStore, DateReader, AgendaSettings

    settings = AgendaSettings(timezone="Europe/Madrid")
    router.register(AgendaAgent(AgendaStore(settings.path), DateReader(settings.timezone), settings))
"""

from __future__ import annotations

from thea_agenda.agents import AgendaAgent, EventAgent
from thea_agenda.dates import DateReader, Reading
from thea_agenda.intents import IntentDetector
from thea_agenda.plugin import AgendaPlugin
from thea_agenda.settings import AgendaSettings
from thea_agenda.store import AgendaError, AgendaStore, Event

__all__ = [
    "AgendaAgent",
    "AgendaError",
    "AgendaPlugin",
    "AgendaSettings",
    "AgendaStore",
    "DateReader",
    "Event",
    "EventAgent",
    "IntentDetector",
    "Reading",
]
