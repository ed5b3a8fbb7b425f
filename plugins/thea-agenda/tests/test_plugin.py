"""The plugin's hooks, called one by one."""

from __future__ import annotations

import threading
from importlib.metadata import entry_points

import pytest

from thea_agenda import AgendaError, AgendaPlugin, AgendaSettings
from thea_core import Agent, AgentNotAvailableError, Thea


def test_the_entry_point_is_the_plugin():
    (entry,) = entry_points(group="thea.plugins", name="agenda")
    assert entry.load() is AgendaPlugin


def test_its_settings_are_the_model(path):
    assert AgendaPlugin.Settings(path=str(path)) == AgendaSettings(path=str(path))


def test_nothing_is_opened_before_startup(path):
    plugin = AgendaPlugin(AgendaSettings(path=str(path)))
    assert not path.exists()
    plugin.on_startup()
    assert path.exists()


def test_a_path_that_cannot_be_opened_is_told_at_startup(tmp_path):
    with pytest.raises(AgendaError, match="cannot be opened"):
        AgendaPlugin(AgendaSettings(path=str(tmp_path))).on_startup()


def test_it_gives_an_agent_for_each_of_its_intents(plugin):
    agents = plugin.provide_agents()
    assert [(agent.name, list(agent.intents)) for agent in agents] == [("agenda", ["agenda"]), ("evento", ["evento"])]
    assert all(isinstance(agent, Agent) for agent in agents)


def test_it_reads_a_message_in_the_thread_of_the_turn(plugin, monkeypatch):
    threads = []
    monkeypatch.setattr("thea_agenda.intents.understand", lambda _: threads.append(threading.get_ident()) or ())
    with Thea(plugins=[plugin]) as thea:
        thea.handle_request("ana", "hola")
    assert threads == [threading.get_ident()]


def test_after_shutdown_an_agent_cannot_write(plugin, talk):
    plugin.on_shutdown()
    with pytest.raises(AgendaError, match="is closed"):
        talk.say("crear evento cena mañana")


class TestPreTransition:
    def test_a_turn_of_the_agenda_passes_while_the_file_can_be_read(self, plugin):
        assert plugin.pre_transition({"agent": "agenda", "message": "agenda"}) is None

    @pytest.mark.parametrize(
        ("message", "text"),
        [
            ("¿qué tengo mañana?", "La agenda no está disponible"),
            ("what's on my calendar", "The agenda is not available"),
        ],
    )
    def test_it_is_refused_in_the_users_language_while_the_file_cannot_be_read(self, plugin, path, message, text):
        path.unlink()
        with pytest.raises(AgentNotAvailableError, match=text):
            plugin.pre_transition({"agent": "evento", "message": message})

    def test_turns_of_other_agents_are_none_of_its_business(self, plugin, path):
        path.unlink()
        assert plugin.pre_transition({"agent": "weather", "message": "hola"}) is None
