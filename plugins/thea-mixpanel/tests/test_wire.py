"""What arrives at Mixpanel, over real HTTP."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from thea_core import AgentReply, IntentMatch, hookimpl

NAMES = ["Message Sent", "State Change", "Session Timeout", "Intent Detected", "Agent Delegated"]


class Shop:
    """Detects one intent, and answers it."""

    @hookimpl
    def detect_intents(self, message):
        return [IntentMatch("buy", 0.875)]

    @hookimpl
    def provide_agents(self):
        return [Seller()]


class Seller:
    name = "Seller"
    intents = ("buy",)

    def handle(self, message, context, turn):
        if "fail" in message:
            raise ValueError(message)
        return AgentReply("Sold.")


class TestRequest:
    def test_is_a_form_with_a_list_as_the_library_sends_it(self, events, server, read):
        told = events()
        told.all()
        told.flush()
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/track")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert set(request.form) == {"data", "verbose", "ip"}
        assert (request.form["verbose"], request.form["ip"]) == (["1"], ["0"])
        assert [each["event"] for each in read(request)] == NAMES

    def test_holds_no_more_than_flush_at_events_and_a_full_one_is_sent_at_once(self, events, server, read):
        told = events(flush_at=3)
        for number in range(7):
            told.message(event_id=f"id-{number}")
        assert [len(read(each)) for each in server.requests] == [3, 3]
        told.flush()
        assert [each["properties"]["$insert_id"] for each in read(*server.requests)] == [f"id-{n}" for n in range(7)]

    def test_there_is_none_where_nothing_happened(self, events, server):
        told = events()
        told.flush()
        told.plugin.on_shutdown(timeout=1.0)
        assert server.requests == []


class TestProperties:
    def test_every_event_has_those_of_mixpanel(self, events, server, read, time):
        told = events()
        told.all()
        told.flush()
        for each in read(*server.requests):
            properties = each["properties"]
            assert properties["token"] == "0123456789abcdef0123456789abcdef"
            assert properties["distinct_id"] == "alvaro_123"
            assert properties["time"] == time.moment.timestamp()
            assert properties["$insert_id"] == "00000000-0000-4000-8000-000000000001"
            assert properties["mp_lib"] == "python"
            assert re.fullmatch(r"\d+\.\d+\.\d+", properties["$lib_version"])

    def test_each_event_has_its_own(self, events, server, read):
        told = events()
        told.all()
        told.flush()
        common = {"token", "distinct_id", "time", "$insert_id", "mp_lib", "$lib_version"}
        own = [{k: v for k, v in each["properties"].items() if k not in common} for each in read(*server.requests)]
        assert own == [
            {"message_length": 15, "timestamp": "2026-03-01T12:00:00+00:00"},
            {"from": "idle", "to": "processing"},
            {"session_id": "s-1"},
            {"intent": "agenda", "confidence": 0.9},
            {"agent": "AgendaAgent", "intent": "agenda"},
        ]

    def test_a_time_of_another_zone_keeps_its_moment(self, events, server, read, time):
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=2)))
        time.moment = moment
        told = events()
        told.message(timestamp=moment)
        told.flush()
        (event,) = read(*server.requests)
        assert event["properties"]["time"] == 1767315845.678901
        assert event["properties"]["timestamp"] == "2026-01-02T01:04:05.678901+00:00"

    @pytest.mark.parametrize("score", [float("nan"), float("inf")])
    def test_a_confidence_that_is_no_number_is_left_out(self, events, server, read, score):
        told = events()
        told.intent_detected(score=score)
        told.flush()
        (event,) = read(*server.requests)
        assert event["properties"]["intent"] == "agenda"
        assert "confidence" not in event["properties"]

    def test_super_properties_go_with_every_event_which_has_the_last_word(self, events, server, read):
        told = events(super_properties={"environment": "staging", "intent": "none", "released": datetime(2026, 1, 1)})  # noqa: DTZ001
        told.intent_detected()
        told.message()
        told.flush()
        intent, message = (each["properties"] for each in read(*server.requests))
        assert intent["environment"] == message["environment"] == "staging"
        assert message["released"] == "2026-01-01T00:00:00+00:00"
        assert (intent["intent"], message["intent"]) == ("agenda", "none")

    def test_an_event_id_that_mixpanel_would_not_take_becomes_a_hash_of_it(self, events, server, read):
        told = events()
        for event_id in ("bad id!", "bad id!", "other id!", "x" * 37):
            told.message(event_id=event_id)
        told.flush()
        first, again, *others = (each["properties"]["$insert_id"] for each in read(*server.requests))
        assert first == again
        assert len({first, *others}) == 3
        assert all(re.fullmatch(r"[A-Za-z0-9-]{1,36}", each) for each in (first, *others))


class TestUsers:
    @pytest.mark.parametrize("user_id", [None, "", 0, "anonymous", "null", "Anonymous", " none ", False, [], "lmy47d"])
    def test_ids_that_mixpanel_rejects_are_sent_as_no_user(self, events, server, read, user_id):
        told = events(id_mode="simplified", user_id_mode="hash", user_id_key="0123456789abcdef")
        told.message(user_id=user_id)
        told.flush()
        (event,) = read(*server.requests)
        assert event["properties"]["distinct_id"] == ""
        assert "$user_id" not in event["properties"]
        assert told.plugin.without_user == 1

    def test_other_ids_are_sent_as_they_are(self, events, server, read):
        told = events()
        for user_id in ("alvaro_123", "00", "nobody", "ñandú"):
            told.message(user_id=user_id)
        told.flush()
        sent = [each["properties"]["distinct_id"] for each in read(*server.requests)]
        assert sent == ["alvaro_123", "00", "nobody", "ñandú"]
        assert told.plugin.without_user == 0

    def test_in_the_simplified_mode_the_id_is_the_user_id_too(self, events, server, read):
        told = events(id_mode="simplified")
        told.message()
        told.flush()
        (event,) = read(*server.requests)
        assert event["properties"]["distinct_id"] == event["properties"]["$user_id"] == "alvaro_123"

    def test_a_hash_is_that_of_the_log_with_the_same_key(self, events, server, read):
        told = events(user_id_mode="hash", user_id_key="0123456789abcdef")
        told.message()
        told.flush()
        (event,) = read(*server.requests)
        assert event["properties"]["distinct_id"] == "8b510e6625264de6"
        assert "alvaro_123" not in server.requests[0].body.decode()

    def test_nothing_is_sent_of_users_who_object(self, events, server, read):
        told = events(opt_out=lambda user_id: user_id == "eva")
        told.all(user_id="eva")
        told.message(user_id="ana")
        told.flush()
        assert [each["properties"]["distinct_id"] for each in read(*server.requests)] == ["ana"]
        assert told.plugin.lost == {}

    def test_where_it_cannot_be_told_who_objects_nothing_is_sent(self, events, server):
        def fail(user_id):
            raise LookupError(user_id)

        told = events(opt_out=fail)
        told.all()
        told.flush()
        assert server.requests == []
        assert told.plugin.lost == {"opt_out raised LookupError": 5}


class TestTimes:
    def test_what_is_older_than_5_days_is_not_sent_but_counted(self, events, server, time):
        told = events()
        told.message(timestamp=time.moment - timedelta(days=5, seconds=1))
        told.flush()
        assert server.requests == []
        assert told.plugin.lost == {"older than 5 days": 1}

    def test_what_is_not_quite_so_old_is_sent(self, events, server, time):
        told = events()
        told.message(timestamp=time.moment - timedelta(days=4, hours=23))
        told.flush()
        assert len(server.requests) == 1

    def test_what_is_more_than_an_hour_in_the_future_happens_now(self, events, server, read, time):
        told = events()
        told.state_change(timestamp=time.moment + timedelta(hours=2))
        told.state_change(timestamp=time.moment + timedelta(minutes=59))
        told.flush()
        times = [each["properties"]["time"] - time.moment.timestamp() for each in read(*server.requests)]
        assert times == [0.0, 59 * 60.0]


class TestApplication:
    def test_five_events_are_sent_in_their_order_and_nothing_of_errors_or_texts(self, running, server, read):
        with running(others=(Shop(),)) as (thea, _):
            thea.handle_request("ana", "one canary please")
            thea.handle_request("ana", "fail with a canary")
            thea.callbacks.trigger("on_session_timeout", user_id="ana", session_id="s-9")
        sent = read(*server.requests)
        assert {each["event"] for each in sent} == set(NAMES)
        assert [each["event"] for each in sent][:2] == ["Message Sent", "State Change"]
        assert sent[-1]["event"] == "Session Timeout"
        delegated = [each for each in sent if each["event"] == "Agent Delegated"]
        assert [each["properties"]["agent"] for each in delegated] == ["Seller", "Seller"]
        assert any(each["properties"].get("to") == "error_handler" for each in sent)
        assert not any(b"canary" in each.body for each in server.requests)

    def test_each_event_has_the_id_of_the_core(self, running, server, read):
        seen = []

        class Watcher:
            @hookimpl
            def on_state_change(self, event_id, timestamp):
                seen.append((event_id, timestamp.timestamp()))

        with running(others=(Watcher(),)) as (thea, _):
            thea.handle_request("ana", "hello")
        sent = [each["properties"] for each in read(*server.requests) if each["event"] == "State Change"]
        assert [(each["$insert_id"], each["time"]) for each in sent] == seen


class TestRegion:
    @pytest.mark.parametrize(("region", "host"), [("us", "api"), ("eu", "api-eu"), ("in", "api-in")])
    def test_every_request_goes_to_the_host_of_the_region(self, events, monkeypatch, region, host):
        import requests

        urls = []

        def post(_, url, **options):
            urls.append(url)
            raise requests.ConnectionError

        monkeypatch.setattr(requests.Session, "post", post)
        told = events(region=region, endpoint=None, max_retries=0, flush_at=2)
        told.all()
        told.flush()
        assert urls == [f"https://{host}.mixpanel.com/track"] * 3

    def test_alias_is_never_called_for_it_goes_to_the_us(self, events, monkeypatch, server, read):
        import mixpanel

        monkeypatch.delattr(mixpanel.Mixpanel, "alias")
        monkeypatch.delattr(mixpanel, "Consumer")
        told = events()
        told.all()
        told.flush()
        assert len(read(*server.requests)) == 5
