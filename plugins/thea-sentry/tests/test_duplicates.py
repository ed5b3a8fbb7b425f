"""One error is one event, whoever else logs it."""

from __future__ import annotations

import logging

import pytest

from thea_core import hookimpl
from thea_logging import LoggingPlugin, LoggingSettings


class Broken:
    """A plugin one of whose callbacks fails. That is told by no ``on_error``."""

    @hookimpl
    def on_message(self):
        raise LookupError


def mechanisms(sentry):
    return [each.json["exception"]["values"][0]["mechanism"]["type"] for each in sentry.events]


def test_an_agent_that_fails_is_one_event_and_it_is_ours(sentry, assistant, failing, host):
    """The core logs the failed turn, and the default integrations of the host make events of what is logged."""
    with host(), assistant(failing()) as thea:
        thea.handle_request("ana", "hola")
    assert mechanisms(sentry) == ["thea"]
    assert "logger" not in sentry.events[0].json


def test_with_the_logging_plugin_beside_it_too(sentry, assistant, failing, host):
    with host(), assistant(LoggingPlugin(), failing()) as thea:
        thea.handle_request("ana", "hola")
    assert mechanisms(sentry) == ["thea"]


def test_a_logger_of_another_name_is_told_in_the_settings(sentry, assistant, failing, host):
    logged = LoggingPlugin(LoggingSettings(logger_name="bot.events"))
    with host(), assistant(logged, failing(), event_logger="bot.events") as thea:
        thea.handle_request("ana", "hola")
    assert mechanisms(sentry) == ["thea"]


def test_sentry_gets_what_is_logged_where_the_operator_wants_that(sentry, assistant, failing, host):
    """The SDK's own guard then drops ours, since the log has come first."""
    with host(), assistant(LoggingPlugin(), failing(), suppress_log_duplicates=False) as thea:
        thea.handle_request("ana", "hola")
    assert mechanisms(sentry) == ["logging"]


def test_a_plugins_callback_that_fails_is_the_hosts_event_as_ever(sentry, assistant, host):
    with host(), assistant(Broken()) as thea:
        thea.handle_request("ana", "hola")
    assert [each.json["logger"] for each in sentry.events] == ["thea_core.callbacks"]


def test_an_error_that_is_raised_again_and_again_is_an_event_each_time(sentry, assistant, failing, host):
    """One exception object may be raised for many users; the SDK's own guard against doubles must not drop it."""
    shared = ValueError("busy")
    with host(), assistant(failing(lambda message: shared), send_user="always") as thea:
        for user in ("ana", "bea", "ana"):
            thea.handle_request(user, "hola")
    assert [each.json["user"]["id"] for each in sentry.events] == ["ana", "bea", "ana"]


@pytest.mark.parametrize("name", ["thea.events", "thea_core.turns"])
def test_afterwards_the_host_hears_those_loggers_again(sentry, assistant, host, name):
    with host():
        with assistant():
            logging.getLogger(name).error("while it runs")
        logging.getLogger(name).error("afterwards")
    assert [each.json["logentry"]["message"] for each in sentry.events] == ["afterwards"]


def test_a_client_of_the_plugins_own_leaves_the_hosts_log_alone(sentry, assistant, host):
    with host(), assistant(mode="isolated"):
        logging.getLogger("thea.events").error("heard")
    assert [each.json["logentry"]["message"] for each in sentry.events] == ["heard"]
