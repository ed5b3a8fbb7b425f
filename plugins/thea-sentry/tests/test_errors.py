"""``on_error``: what an event holds, and what it must not hold."""

from __future__ import annotations

import secrets
import traceback
from types import SimpleNamespace

import pytest
import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration

import thea_core
from thea_core import ContextError, RecordedError
from thea_logging import LoggingPlugin
from thea_sentry import user_hash

KEY = "0123456789abcdef"
HOSTS = {
    "default": {},
    "no locals": {"include_local_variables": False},
    "collect everything": {"data_collection": {}},
    "collect no locals": {"data_collection": {"stack_frame_variables": False}},
    "stacks": {"attach_stacktrace": True},
}


def frames(event):
    return [frame for value in event["exception"]["values"] for frame in value["stacktrace"]["frames"]]


def crumbs(event):
    return [
        (each["type"], each["category"], each["data"])
        for each in event["breadcrumbs"]["values"]
        if each["category"].startswith("thea")
    ]


@pytest.fixture(params=HOSTS, ids=HOSTS.keys())
def host_options(request):
    return HOSTS[request.param]


def test_an_agent_that_fails(sentry, assistant, failing, host, host_options):
    secret = f"my card is {secrets.token_hex(8)}"
    with host(**host_options), assistant(failing(), user_id_key=KEY) as thea:
        thea.handle_request("ana", "hola")
        thea.handle_request("ana", secret)
    first, second = sentry.events
    event = second.json
    (value,) = event["exception"]["values"]
    assert (value["type"], value["value"]) == ("ValueError", "[Filtered]")
    assert value["mechanism"] == {"type": "thea", "handled": False}
    assert value["stacktrace"]["frames"][-1]["function"] == "handle"
    assert value["stacktrace"]["frames"][-1]["in_app"] is True
    inside = [each["in_app"] for each in frames(event) if each["module"].startswith("thea_core.")]
    assert inside
    assert not any(inside)
    assert event["tags"] == {"thea.event": "error", "thea.state": "executing"}
    assert event["contexts"]["thea"].keys() == {"state", "session_id", "event_id"}
    assert crumbs(event) == [
        ("user", "thea.message", {"length": 4}),
        ("navigation", "thea.state", {"from": "initial", "to": "processing"}),
        ("navigation", "thea.state", {"from": "processing", "to": "executing"}),
        ("navigation", "thea.state", {"from": "executing", "to": "error_handler"}),
        ("navigation", "thea.state", {"from": "error_handler", "to": "idle"}),
        ("user", "thea.message", {"length": len(secret)}),
        ("navigation", "thea.state", {"from": "idle", "to": "processing"}),
        ("navigation", "thea.state", {"from": "processing", "to": "executing"}),
        ("navigation", "thea.state", {"from": "executing", "to": "error_handler"}),
    ]
    assert not [each for each in frames(event) if "vars" in each]
    for word in secret.split()[-1:]:
        assert word.encode() not in first.body + second.body
    collects = host_options.get("data_collection") is not None
    assert event["user"] == {"id": "ana" if collects else user_hash("ana", KEY)}


def test_locals_and_texts_are_sent_where_they_are_asked_for(sentry, assistant, failing):
    wanted = {"include_locals": True, "include_error_text": True, "include_message_text": True, "handled": True}
    with assistant(failing(), **wanted) as thea:
        thea.handle_request("ana", "hola")
    (event,) = (each.json for each in sentry.events)
    (value,) = event["exception"]["values"]
    assert value["value"] == "cannot read 'hola'"
    assert value["mechanism"] == {"type": "thea", "handled": True}
    assert value["stacktrace"]["frames"][-1]["vars"]["message"] == "'hola'"
    assert crumbs(event)[0] == ("user", "thea.message", {"length": 4, "text": "hola"})


def test_texts_pass_through_the_redactor(sentry, assistant, failing):
    wanted = {"include_error_text": True, "include_message_text": True}
    with assistant(failing(), redact=lambda text: text.replace("hola", "***"), **wanted) as thea:
        thea.handle_request("ana", "hola")
    (event,) = sentry.events
    assert event.json["exception"]["values"][0]["value"] == "cannot read '***'"
    assert crumbs(event.json)[0][2] == {"length": 4, "text": "***"}
    assert b"hola" not in event.body


@pytest.mark.parametrize("redact", [lambda text: 1 / 0, lambda text: None], ids=["raises", "returns no text"])
def test_a_redactor_that_fails_sends_no_text(sentry, assistant, failing, redact):
    with assistant(failing(), redact=redact, include_error_text=True, include_message_text=True) as thea:
        thea.handle_request("ana", "hola")
    (event,) = sentry.events
    assert event.json["exception"]["values"][0]["value"] == "[Filtered]"
    assert b"hola" not in event.body


def test_a_long_message_is_cut_after_it_was_redacted(sentry, assistant, failing):
    seen = []
    settings = {"include_message_text": True, "redact": lambda text: seen.append(text) or text}
    with assistant(failing(), **settings) as thea:
        thea.handle_request("ana", "x" * 500)
    assert "x" * 500 in seen
    assert len(crumbs(sentry.events[0].json)[0][2]["text"]) == 200


def test_causes_notes_and_groups_are_clean_too(sentry, assistant, failing):
    def error(message):
        group = ExceptionGroup(message, [KeyError(message), OSError(5, message)])
        group.add_note(message)
        group.__cause__ = LookupError(message)
        return group

    secret = secrets.token_hex(8)
    with assistant(failing(error)) as thea:
        thea.handle_request("ana", secret)
    (event,) = sentry.events
    values = event.json["exception"]["values"]
    assert {each["type"] for each in values} == {"ExceptionGroup", "KeyError", "OSError", "LookupError"}
    assert {each["value"] for each in values} == {"[Filtered]"}
    assert {each["mechanism"]["handled"] for each in values} == {False}
    assert [each["mechanism"]["type"] for each in values].count("thea") == 1
    assert secret.encode() not in event.body


def test_what_the_core_logs_is_no_breadcrumb(sentry, assistant, failing, host):
    """The log of a failing callback repeats what its exception says."""

    class Broken:
        def on_message(self, message):
            raise ValueError(message)

    Broken.on_message = thea_core.hookimpl(Broken.on_message)
    secret = secrets.token_hex(8)
    with host(), assistant(Broken(), failing()) as thea:
        thea.handle_request("ana", secret)
    ours = [each for each in sentry.events if each.json.get("tags", {}).get("thea.event")]
    assert len(ours) == 1
    assert secret.encode() not in ours[0].body


def test_what_the_logging_plugin_logs_is_no_breadcrumb(sentry, assistant, failing, host):
    """Also where it is left to the host what becomes of the log."""
    secret = secrets.token_hex(8)
    told = {"error": ValueError(secret), "traceback": "", "user_id": "ana"}
    with host(), assistant(LoggingPlugin(), suppress_log_duplicates=False) as thea:
        thea.callbacks.trigger("on_error", **told)
        thea.callbacks.trigger("on_error", **(told | {"error": KeyError()}))
    ours = [each for each in sentry.events if each.json.get("tags", {}).get("thea.event")]
    assert ours
    assert not any(secret.encode() in each.body for each in ours)


def test_the_body_of_a_web_request_is_taken_out(sentry, assistant, failing, host):
    """A web framework's integration adds it, and the message came in it."""

    def add_request(event, hint):
        event["request"] = {"url": "http://bot", "data": {"text": "hola"}, "query_string": "text=hola"}
        return event

    for wanted, expected in ((False, {"url"}), (True, {"url", "data", "query_string"})):
        with host(), assistant(failing(), include_message_text=wanted) as thea:
            sentry_sdk.get_isolation_scope().add_event_processor(add_request)
            thea.handle_request("ana", "hola")
        assert sentry.events[-1].json["request"].keys() == expected


class TestOtherForms:
    """What a caller of ``trigger`` may give for an error."""

    @pytest.fixture
    def told(self, sentry, assistant, outcomes):
        def tell(error, trace="", **settings):
            with assistant(**settings) as thea:
                thea.callbacks.trigger("on_error", user_id="ana", error=error, traceback=trace)
                assert outcomes(thea.callbacks) == {"ok"}
            return sentry.events

        return tell

    def test_an_exception_that_was_never_raised(self, told):
        (event,) = told(ValueError("x"))
        (value,) = event.json["exception"]["values"]
        assert (value["type"], value.get("stacktrace")) == ("ValueError", None)
        assert event.attachments == {}

    def test_a_traceback_object(self, told, raise_it):
        trace = raise_it(KeyError("x")).__traceback__
        (event,) = told(ValueError("x"), trace)
        assert frames(event.json)[-1]["function"] == "raised"

    def test_a_traceback_of_text_is_attached_without_what_exceptions_say(self, told, raise_it):
        error = raise_it(ValueError('secret\n  File "/home/secret.py", line 3, in secret'))
        text = "".join(traceback.format_exception(error))
        (event,) = told(ValueError("secret"), text)
        assert event.attachments["traceback.txt"].startswith(f'  File "{__file__[:-14]}conftest.py", line ')
        assert b"secret" not in event.body

    def test_a_traceback_of_text_is_attached_whole_where_texts_are_wanted(self, told, raise_it):
        text = "".join(traceback.format_exception(raise_it(ValueError("hidden word"))))
        settings = {"include_error_text": True, "redact": lambda text: text.replace("hidden", "***")}
        (event,) = told(ValueError("x"), text, **settings)
        assert event.attachments["traceback.txt"] == text.replace("hidden", "***")

    def test_a_recorded_error(self, told, raise_it):
        recorded = RecordedError.of(raise_it(ContextError("secret")))
        (event,) = told(recorded, recorded.traceback)
        (value,) = event.json["exception"]["values"]
        assert (value["module"], value["type"]) == ("thea_core.errors", "ContextError")
        assert value["value"] == "[Filtered]"
        assert "line" in event.attachments["traceback.txt"]
        assert b"secret" not in event.body

    def test_a_recorded_error_says_what_it_said_where_texts_are_wanted(self, told):
        (event,) = told(RecordedError("builtins.ValueError", "x"), include_error_text=True)
        (value,) = event.json["exception"]["values"]
        assert (value["module"], value["type"], value["value"]) == ("builtins", "ValueError", "x")
        assert event.attachments == {}

    def test_a_text(self, told):
        (event,) = told("secret")
        assert (event.json["message"], event.json["level"]) == ("on_error was given a str", "error")
        assert b"secret" not in event.body

    def test_a_text_where_texts_are_wanted(self, told):
        (event,) = told("boom", include_error_text=True)
        assert event.json["message"] == "on_error was given a str: boom"

    @pytest.mark.parametrize("error", [None, 3, ValueError, SimpleNamespace()])
    def test_nonsense(self, told, error):
        (event,) = told(error)
        assert event.json["message"].startswith("on_error was given a ")

    def test_an_exception_of_the_system(self, told, raise_it):
        (event,) = told(raise_it(SystemExit(3)))
        assert event.json["exception"]["values"][0]["type"] == "SystemExit"

    def test_an_event_without_a_conversation_has_no_state(self, told):
        (event,) = told(ValueError("x"))
        assert event.json["tags"] == {"thea.event": "error"}
        assert event.json["contexts"]["thea"].keys() == {"event_id"}


class TestIgnoring:
    def test_types_of_errors_and_what_is_derived_of_them(self, sentry, assistant, raise_it):
        with assistant(ignore_errors=["builtins:LookupError", OSError]) as thea:
            for error in (KeyError("x"), OSError("x"), ValueError("x"), RecordedError("builtins.OSError", "x")):
                thea.callbacks.trigger("on_error", user_id="ana", error=error, traceback="")
        assert [each.json["exception"]["values"][0]["type"] for each in sentry.events] == ["ValueError"]


def test_in_the_background_the_traceback_is_attached(sentry, failing, host):
    """The operator may put the plugin on a queue, which a live exception does not cross."""
    config = {
        "store": {"url": "memory:"},
        "plugins": {"enabled": ["sentry"], "sentry": {"delivery": "background", "settings": {"dsn": sentry.dsn}}},
    }
    secret = secrets.token_hex(8)
    with host(), thea_core.Thea(config, plugins=[failing()]) as thea:
        sentry_sdk.set_tag("request", "r1")
        thea.handle_request("ana", secret)
    (event,) = sentry.events
    assert event.json["tags"]["request"] == "r1"
    assert event.json["exception"]["values"][0]["type"] == "ValueError"
    assert event.attachments["traceback.txt"].endswith("in handle")
    assert event.json["breadcrumbs"]["values"][0]["category"] == "thea.message"
    assert secret.encode() not in event.body


def test_the_hosts_own_log_events_are_not_touched(sentry, assistant, failing, host):
    """Locals and texts are taken out of what the plugin sends; what else the host sends is the host's."""
    import logging

    with host(integrations=[LoggingIntegration()]), assistant(failing()) as thea:
        thea.handle_request("ana", "hola")
        logging.getLogger("app").error("own")
    assert [each.json.get("logger") for each in sentry.events] == [None, "app"]
