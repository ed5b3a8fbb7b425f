"""``on_session_timeout``: one issue for all, and no raw user id."""

from __future__ import annotations

import pytest
import sentry_sdk

from thea_sentry import user_hash

KEY = "0123456789abcdef"
EVENT_ID = "00000000-0000-4000-8000-00000000000a"


@pytest.fixture
def time_out(sentry, assistant):
    """Let the sessions of two users, who have said something, time out; then let one of them fail."""

    def run(**settings):
        with assistant(user_id_key=KEY, **settings) as thea:
            for user in ("alvaro_123", "alvaro_124"):
                thea.callbacks.trigger("on_state_change", user_id=user, old_state="idle", new_state="processing")
                thea.callbacks.trigger("on_session_timeout", user_id=user, session_id=f"s-{user[-1]}")
            thea.callbacks.trigger("on_error", user_id="alvaro_123", error=ValueError(), traceback="")
        return sentry.events[:-1], sentry.events[-1].json

    return run


def test_each_is_a_warning_and_all_are_one_issue(time_out):
    told, _ = time_out()
    assert [each.json["message"] for each in told] == [
        f"Session timeout for {user_hash(user, KEY)}" for user in ("alvaro_123", "alvaro_124")
    ]
    assert [each.json["level"] for each in told] == ["warning", "warning"]
    assert [each.json["fingerprint"] for each in told] == [["thea", "session_timeout"]] * 2
    assert told[0].json["tags"] == {"thea.event": "session_timeout", "thea.state": "processing"}
    assert told[0].json["contexts"]["thea"].items() >= {"session_id": "s-3", "state": "processing"}.items()
    assert not any(b"alvaro" in each.body for each in told)


def test_with_the_hosts_stacks_there_is_still_no_user_in_it(sentry, time_out, host):
    """With ``attach_stacktrace`` the SDK adds the stack of the callback, in which the user id is a variable."""
    with host(attach_stacktrace=True):
        told, _ = time_out()
    assert [each.json["threads"]["values"] for each in told] == [[], []]
    assert not any(b"alvaro" in each.body for each in told)


def test_the_title_names_no_raw_user_even_where_users_are_sent(time_out):
    told, _ = time_out(send_user="always")
    assert told[0].json["user"] == {"id": "alvaro_123"}
    assert told[0].json["message"] == f"Session timeout for {user_hash('alvaro_123', KEY)}"


def test_the_title_names_nobody_where_no_user_is_wanted(time_out):
    told, _ = time_out(send_user="never")
    assert told[0].json["message"] == "Session timeout"


def test_afterwards_the_trail_begins_anew(time_out):
    _, error = time_out()
    assert error["breadcrumbs"]["values"] == []
    assert error["tags"] == {"thea.event": "error"}


@pytest.mark.parametrize("timeouts", ["breadcrumb", "off", "log"])
def test_other_forms_are_no_events(time_out, timeouts):
    told, _ = time_out(timeouts=timeouts)
    assert told == []


def test_a_breadcrumb_stands_in_the_next_error(time_out):
    _, error = time_out(timeouts="breadcrumb")
    assert [(each["category"], each["data"]) for each in error["breadcrumbs"]["values"]] == [
        ("thea.state", {"from": "idle", "to": "processing"}),
        ("thea.session_timeout", {"session_id": "s-3"}),
    ]


@pytest.mark.parametrize("hosted", [True, False])
def test_a_line_of_sentrys_logs(sentry, time_out, host, hosted):
    if hosted:
        with host(enable_logs=True):
            time_out(timeouts="log")
    else:
        time_out(timeouts="log")
    lines = [each for item in sentry.items("log") for each in item["items"]]
    assert [(each["body"], each["level"]) for each in lines] == [("Session timeout", "warn")] * 2
    values = {key: each["value"] for key, each in lines[0]["attributes"].items() if key.startswith("thea.")}
    assert values == {
        "thea.event": "session_timeout",
        "thea.state": "processing",
        "thea.session_id": "s-3",
        "thea.user": user_hash("alvaro_123", KEY),
    }


def test_a_host_without_logs_is_told_that_nothing_comes(time_out, host, caplog):
    with host():
        time_out(timeouts="log")
    assert [each.getMessage() for each in caplog.records if each.name == "thea.plugins.sentry"] == [
        "timeouts are not reported: timeouts = 'log' needs a client with enable_logs=True"
    ]


def test_what_is_told_twice_has_one_id(sentry, assistant):
    """After a crash another process may tell it again, with the same ``event_id``."""
    with assistant() as thea:
        for event_id in (EVENT_ID, EVENT_ID, "no uuid"):
            thea.callbacks.trigger("on_session_timeout", user_id="ana", session_id="s", event_id=event_id)
    first, second, third = (each.json["event_id"] for each in sentry.events)
    assert first == second == EVENT_ID.replace("-", "")
    assert third != first


def test_the_hosts_next_event_is_no_timeout(sentry, assistant, host):
    with host(), assistant() as thea:
        thea.callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
        sentry_sdk.capture_message("own")
    own = sentry.events[-1].json
    assert (own["message"], own.get("fingerprint"), own.get("tags")) == ("own", None, None)
