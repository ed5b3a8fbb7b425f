"""Who sends: the host's Sentry, one for the whole process, a client of the plugin's own, or nobody."""

from __future__ import annotations

import logging
import sys
import threading

import pytest
import sentry_sdk
from recording_server import RecordingServer

from thea_core import Thea
from thea_sentry import SentryPlugin, SentrySettings


@pytest.fixture
def remarks(caplog):
    """What the plugin has said."""
    return lambda: [each.getMessage() for each in caplog.records if each.name == "thea.plugins.sentry"]


@pytest.fixture
def process():
    """What a second Sentry would change in the process."""
    return lambda: (
        sentry_sdk.get_client() if sentry_sdk.is_initialized() else None,
        sys.excepthook,
        threading.excepthook,
        logging.Logger.callHandlers,
        threading.Thread.start,
    )


def talk(thea):
    with thea:
        return thea.handle_request("ana", "hola")


class TestNobody:
    @pytest.mark.parametrize(
        ("settings", "remark"),
        [
            (
                {},
                "nothing is reported: set `dsn` in [plugins.sentry.settings], or call sentry_sdk.init before Thea sta",
            ),
            ({"dsn": " "}, "nothing is reported: set `dsn` in [plugins.sentry.settings], or call "),
            ({"mode": "isolated"}, "nothing is reported: set `dsn` in [plugins.sentry.settings]"),
            ({"mode": "init"}, "nothing is reported: set `dsn` in [plugins.sentry.settings]"),
            (
                {"mode": "host"},
                "nothing is reported: the application has no Sentry; call sentry_sdk.init before Thea starts",
            ),
        ],
    )
    def test_one_warning_and_nothing_else(self, sentry, failing, remarks, process, *, monkeypatch, settings, remark):
        monkeypatch.setenv("SENTRY_DSN", sentry.dsn)  # not the operator's word to this plugin
        before = process()
        plugin = SentryPlugin(SentrySettings(**settings))
        with Thea({"store": {"url": "memory:"}}, plugins=[plugin, failing()]) as thea:
            assert not thea.handle_request("ana", "hola").ok
            thea.callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
            assert {each.outcome for each in thea.callbacks.history if each.plugin == "sentry"} == {"ok"}
        assert len(remarks()) == 1
        assert remarks()[0].startswith(remark)
        assert process() == before
        assert sentry.server.requests == []

    def test_a_host_that_has_initialised_sentry_without_a_dsn(self, failing, host, remarks):
        with host(dsn=None):
            talk(Thea({"store": {"url": "memory:"}}, plugins=[SentryPlugin(), failing()]))
        assert len(remarks()) == 1


class TestOwnClient:
    def test_it_changes_nothing_in_the_process(self, sentry, assistant, failing, process, remarks):
        before = process()
        with assistant(failing()) as thea:
            thea.handle_request("ana", "hola")
            assert process() == before
        assert process() == before
        assert len(sentry.events) == 1
        assert remarks() == []

    def test_a_host_without_a_dsn_does_not_stand_in_its_way(self, sentry, assistant, failing, host):
        with host(dsn=None):
            talk(assistant(failing()))
        assert len(sentry.events) == 1

    def test_it_knows_nothing_of_the_hosts_scopes(self, sentry, assistant, failing, host):
        with RecordingServer() as server, host(dsn=f"http://host@{server.host}/1"):
            sentry_sdk.set_tag("request", "r1")
            sentry_sdk.set_user({"id": "operator"})
            sentry_sdk.add_breadcrumb(category="host", message="before")
            talk(assistant(failing(), mode="isolated", suppress_log_duplicates=False))
            sentry_sdk.flush()
            heard = [each.path for each in server.requests]
        (event,) = (each.json for each in sentry.events)
        assert event["tags"] == {"thea.event": "error", "thea.state": "executing"}
        assert event["user"] != {"id": "operator"}
        assert {each["category"] for each in event["breadcrumbs"]["values"]} == {"thea.message", "thea.state"}
        assert heard == ["/api/1/envelope/"]  # what the core logs; the host's Sentry goes on as before

    def test_each_event_is_a_trace_of_its_own(self, sentry, assistant, failing):
        with assistant(failing()) as thea:
            thea.handle_request("ana", "hola")
            thea.handle_request("bea", "hola")
        first, second = (each.json["contexts"]["trace"]["trace_id"] for each in sentry.events)
        assert first != second

    def test_its_options_may_name_functions(self, sentry, assistant, failing, monkeypatch):
        module = type(sys)("operator_code")
        module.before_send = lambda event, hint: event | {"server_name": "changed"}
        monkeypatch.setitem(sys.modules, "operator_code", module)
        talk(assistant(failing(), sentry_options={"before_send": "operator_code:before_send"}))
        assert sentry.events[0].json["server_name"] == "changed"

    def test_an_option_that_is_none_leaves_the_plugin_out(self, assistant, caplog):
        with assistant(sentry_options={"colour": "red"}) as thea:
            assert thea.callbacks.chain("on_error") == []
        assert "sentry_options: Unknown option 'colour'; see the options of sentry_sdk" in caplog.text


class TestHost:
    @pytest.mark.parametrize("mode", ["auto", "host"])
    def test_it_is_used_and_not_initialised_twice(self, sentry, failing, host, process, *, remarks, mode):
        with host():
            before = process()
            plugin = SentryPlugin(SentrySettings(mode=mode))
            with Thea({"store": {"url": "memory:"}}, plugins=[plugin, failing()]) as thea:
                thea.handle_request("ana", "hola")
                assert process() == before
            assert process() == before
            assert len(sentry.events) == 1
            sentry_sdk.capture_message("still usable")
        assert len(sentry.events) == 2
        assert remarks() == []

    @pytest.mark.parametrize("mode", ["auto", "host", "init"])
    def test_it_wins_over_a_dsn_with_a_warning(self, sentry, assistant, failing, host, *, process, remarks, mode):
        with RecordingServer() as server, host():
            before = process()
            talk(assistant(failing(), mode=mode, dsn=f"http://key@{server.host}/7"))
            assert process() == before
            assert server.requests == []
        assert len(sentry.events) == 1
        assert remarks() == ["the application has initialised Sentry: that one is used, and `dsn` is not"]

    def test_the_same_dsn_is_no_reason_to_warn(self, assistant, failing, host, remarks):
        with host():
            talk(assistant(failing(), mode="init"))
        assert remarks() == []

    def test_a_client_that_the_host_has_closed_is_none(self, sentry, assistant, failing, host):
        with RecordingServer() as server, host(dsn=f"http://host@{server.host}/1") as client:
            client.close()
            talk(assistant(failing()))
        assert len(sentry.events) == 1
