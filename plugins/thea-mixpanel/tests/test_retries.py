"""What becomes of events where Mixpanel, or the way to it, fails: over real HTTP, with a time that tests move."""

from __future__ import annotations

import logging
import socket
import threading

import pytest
from recording_server import Answer

from thea_core import PluginError
from thea_mixpanel import MixpanelPlugin, MixpanelSettings

POISON = Answer(400, b'{"status": 0, "error": "some data is invalid"}')


class TestRetry:
    def test_after_two_errors_of_the_server_the_same_request_is_delivered_once(self, events, server, time):
        server.script(Answer(503), Answer(503))
        told = events()
        told.all()
        told.flush()
        first, second, third = (each.body for each in server.requests)
        assert first == second == third
        assert time.pauses == [0.5, 1.0]
        assert (told.plugin.sent, told.plugin.lost) == (5, {})

    @pytest.mark.parametrize("answer", [Answer(500), Answer(599), Answer(408), Answer(429), Answer(reset=True)])
    def test_what_may_pass_is_tried_again(self, events, server, answer):
        server.script(answer)
        told = events()
        told.message()
        told.flush()
        assert len(server.requests) == 2
        assert (told.plugin.sent, told.plugin.lost) == (1, {})

    def test_pauses_double_and_are_jittered_up_to_30_seconds(self, events, server, time):
        server.usual = Answer(500)
        told = events(max_retries=9, flush_at=1)
        told.message()
        assert time.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        assert told.plugin.lost == {"HTTP 500": 1}

    def test_a_pause_is_between_half_of_it_and_all_of_it(self, server, time, app):
        asked = []

        def low(lowest, highest):
            asked.append((lowest, highest))
            return lowest

        server.script(Answer(500), Answer(500))
        settings = MixpanelSettings(token="t", endpoint=server.url)
        plugin = MixpanelPlugin(settings, clock=time, uniform=low, wait=time.wait)
        plugin.on_startup(app)
        plugin.on_session_timeout(user_id="ana", session_id="s", timestamp=time.moment, event_id="1")
        plugin.on_flush(timeout=5.0)
        plugin.on_shutdown(timeout=5.0)
        assert time.pauses == [0.25, 0.5]
        assert set(asked) == {(0.5, 1.0)}

    def test_after_a_success_pauses_are_short_again(self, events, server, time):
        server.script(Answer(500), Answer(500))
        told = events(flush_at=1)
        told.message()
        server.script(Answer(500))
        told.message()
        assert time.pauses == [0.5, 1.0, 0.5]

    @pytest.mark.parametrize(
        ("value", "pause"),
        [
            ("7", 7.0),
            ("0", 0.0),
            ("3600", 30.0),
            ("Sun, 01 Mar 2026 12:00:09 GMT", 9.0),
            ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
            ("soon", 0.5),
            ("-1", 0.5),
        ],
    )
    def test_the_server_says_when_to_ask_again_within_30_seconds(self, events, server, time, value, pause):
        server.script(Answer(429, headers={"Retry-After": value}))
        told = events()
        told.message()
        told.flush(60.0)
        assert time.pauses == ([pause] if pause else [])
        assert told.plugin.sent == 1

    def test_what_has_been_tried_often_enough_is_given_up(self, events, server):
        server.usual = Answer(500)
        told = events(max_retries=2)
        told.all()
        told.flush()
        assert len(server.requests) == 3
        assert told.plugin.lost == {"HTTP 500": 5}
        told.flush()
        assert len(server.requests) == 3

    def test_the_next_batch_is_tried_anew(self, events, server, read):
        server.script(*[Answer(500)] * 3)
        told = events(max_retries=1, flush_at=2)
        for number in range(4):
            told.message(event_id=f"id-{number}")
        assert [each["properties"]["$insert_id"] for each in read(server.requests[-1])] == ["id-2", "id-3"]
        assert (told.plugin.sent, told.plugin.lost) == (2, {"HTTP 500": 2})


class TestFlush:
    def test_pauses_for_no_longer_than_it_may(self, events, server, time):
        server.usual = Answer(500)
        told = events()
        told.message()
        told.flush(timeout=1.0)
        assert time.pauses == [0.5]
        assert told.plugin.lost == {}  # it is kept

    def test_what_was_kept_goes_first_next_time(self, events, server, read, time):
        server.script(Answer(429, headers={"Retry-After": "20"}))
        told = events()
        told.message(event_id="first")
        told.flush(timeout=5.0)
        told.message(event_id="second")
        told.flush(timeout=5.0)
        assert len(server.requests) == 1  # the server has asked for time
        time.advance(20)
        told.flush(timeout=5.0)
        assert [each["properties"]["$insert_id"] for each in read(server.requests[-1])] == ["first", "second"]
        assert (told.plugin.sent, told.plugin.lost) == (2, {})

    def test_what_has_come_meanwhile_stays_behind_it(self, events, server, read, time):
        def answer(request):
            server.decide = None
            told.message(event_id="second")
            return Answer(503)

        server.decide = answer
        told = events()
        told.message(event_id="first")
        told.flush(timeout=0.1)
        time.advance(60)
        told.flush(timeout=0.1)
        assert [each["properties"]["$insert_id"] for each in read(server.requests[-1])] == ["first", "second"]

    def test_tries_are_counted_from_flush_to_flush(self, events, server, time):
        server.usual = Answer(500)
        told = events(max_retries=3)
        told.message()
        for _ in range(4):
            told.flush(timeout=0.1)
            time.advance(10)
        assert len(server.requests) == 4
        assert told.plugin.lost == {"HTTP 500": 1}


class TestPoison:
    @pytest.fixture
    def picky(self, server, read):
        """Mixpanel does not take the events of the user ``poison``."""
        server.decide = lambda request: (
            POISON if any(each["properties"]["distinct_id"] == "poison" for each in read(request)) else None
        )
        return server

    @pytest.mark.parametrize("place", [0, 1, 24, 48, 49])
    def test_an_event_that_is_not_taken_is_left_out_and_the_others_are_delivered(self, events, picky, read, place):
        told = events()
        users = ["poison" if number == place else f"user-{number}" for number in range(50)]
        for user in users:
            told.message(user_id=user)
        assert told.plugin.lost == {"HTTP 400": 1}
        assert told.plugin.sent == 49
        taken = [read(each) for each in picky.requests if not any("poison" in str(event) for event in read(each))]
        sent = [event["properties"]["distinct_id"] for batch in taken for event in batch]
        assert sent == [user for user in users if user != "poison"]  # each once, and in their order

    @pytest.mark.parametrize("places", [{3, 30}, {0, 13, 26, 39}, {0, 1, 2, 3}])
    def test_up_to_four_of_them_are_found(self, events, picky, places):
        told = events()
        for number in range(50):
            told.message(user_id="poison" if number in places else "ana")
        assert (told.plugin.sent, told.plugin.lost) == (50 - len(places), {"HTTP 400": len(places)})

    def test_the_search_ends(self, events, server):
        server.usual = POISON
        told = events(flush_at=2000)
        for _ in range(2000):
            told.message()
        assert told.plugin.lost == {"HTTP 400": 2000}
        assert len(server.requests) < 100

    @pytest.mark.parametrize("status", [200, 413, 422])
    def test_it_may_be_told_in_other_ways(self, events, server, read, status):
        server.decide = lambda request: Answer(status, POISON.body) if len(read(request)) > 1 else None
        told = events()
        told.all()
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (5, {})

    def test_a_search_that_is_interrupted_by_an_error_goes_on(self, events, picky, time):
        told = events()
        for number in range(8):
            told.message(user_id="poison" if number == 5 else "ana")
        picky.script(Answer(503), Answer(503))
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (7, {"HTTP 400": 1})
        assert time.pauses == [0.5, 1.0]

    def test_what_a_search_could_not_send_in_time_is_kept_in_order(self, events, server, read, time):
        server.script(POISON, Answer(503), Answer(503))
        told = events()
        for number in range(4):
            told.message(event_id=f"id-{number}")
        told.flush(timeout=0.1)
        assert told.plugin.sent == 0
        time.advance(60)
        told.flush(timeout=0.1)
        sent = [each["properties"]["$insert_id"] for each in read(server.requests[-1])]
        assert sent == ["id-0", "id-1", "id-2", "id-3"]

    @pytest.mark.parametrize("status", [401, 403, 404, 302])
    def test_where_the_request_itself_is_refused_no_event_is_looked_for(self, events, server, status):
        server.usual = Answer(status, headers={"Location": "/elsewhere"})
        told = events()
        told.all()
        told.flush()
        assert len(server.requests) == 1
        assert told.plugin.lost == {f"HTTP {status}": 5}


class TestAnswers:
    @pytest.mark.parametrize(
        "body",
        [b"1", b'{"status": 1, "error": ""}', b'{"status": 1, "error": null}', b'{"code": 200, "status": "OK"}', b"{}"],
    )
    def test_a_success_without_a_complaint_is_one(self, events, server, body):
        server.usual = Answer(body=body)
        told = events()
        told.all()
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (5, {})

    @pytest.mark.parametrize(
        "body", [b"0", b'{"code": 401, "error": "x"}', b'{"status": 0, "error": "x"}', b'{"status": 0}']
    )
    def test_one_with_a_complaint_is_none(self, events, server, body):
        server.usual = Answer(body=body)
        told = events()
        told.all()
        told.flush()
        assert told.plugin.lost == {"rejected by Mixpanel": 5}

    @pytest.mark.parametrize(
        "body", [b"<html>Welcome to our WiFi</html>", b"", b"[]", b'"ok"', b"null", b"\xff\xfe", b"[" * 100_000]
    )
    def test_what_is_no_answer_of_mixpanel_delivers_nothing(self, events, server, body):
        server.usual = Answer(body=body)
        told = events()
        told.all()
        told.flush()
        assert told.plugin.lost == {"HTTP 200 from something that is not Mixpanel": 5}

    @pytest.mark.parametrize("body", [b"<html>", b"1", b'{"code": 401, "error": "x"}', b"\xff" * 9])
    @pytest.mark.parametrize("status", [200, 400, 401, 500])
    def test_none_stops_what_follows(self, events, server, body, status):
        told = events(max_retries=0, flush_at=1)
        server.script(Answer(status, body))
        told.message()
        before = told.plugin.sent
        told.message()
        assert told.plugin.sent == before + 1


class TestWayToIt:
    def test_nobody_listens(self, events):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            told = events(endpoint=f"http://127.0.0.1:{bound.getsockname()[1]}")
            told.message()
            told.flush()
        assert told.plugin.lost == {"no connection": 1}

    def test_the_name_is_unknown(self, events, monkeypatch):
        def fail(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        told = events(endpoint="http://mixpanel.invalid")
        told.message()
        told.flush()
        assert told.plugin.lost == {"no connection": 1}

    def test_no_answer_comes(self, events, server):
        server.usual = Answer(hang=True)
        told = events(request_timeout=0.3, max_retries=1)
        told.message()
        told.flush()
        server.wait_for(2)
        assert told.plugin.lost == {"no answer in time": 1}

    def test_the_server_speaks_no_tls(self, events, server):
        told = events(endpoint=server.url.replace("http:", "https:"), max_retries=0)
        told.message()
        told.flush()
        assert told.plugin.lost == {"no secure connection": 1}

    def test_whatever_else_is_raised_the_events_are_accounted_for(self, events, monkeypatch):
        import requests

        def fail(*_, **__):
            raise RecursionError("too deep")

        monkeypatch.setattr(requests.Session, "post", fail)
        told = events(max_retries=0)
        told.message()
        told.flush()
        assert told.plugin.lost == {"RecursionError": 1}

    def test_after_ctrl_c_the_batch_is_sent_again(self, events, monkeypatch, server):
        import requests

        def interrupt(*_, **__):
            raise KeyboardInterrupt

        told = events()
        told.all()
        with monkeypatch.context() as patched:
            patched.setattr(requests.Session, "post", interrupt)
            with pytest.raises(KeyboardInterrupt):
                told.flush()
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (5, {})

    def test_connections_are_kept_for_the_next_request_and_closed_at_the_end(self, events, monkeypatch, server, app):
        import requests

        made, closed = [], []

        class Session(requests.Session):
            def __init__(self):
                super().__init__()
                made.append(self)

            def close(self):
                super().close()
                closed.append(self)

        monkeypatch.setattr(requests, "Session", Session)
        told = events(flush_at=1)
        for _ in range(3):
            told.message()
        assert (len(made), len(closed)) == (1, 0)
        server.usual = Answer(hang=True)
        sending = threading.Thread(target=told.message)
        sending.start()
        server.wait_for(4)
        with pytest.raises(PluginError):
            told.plugin.on_shutdown(timeout=0.1)
        assert closed == []  # it is in use
        server.release()
        sending.join(30)
        assert closed == made
        server.usual = Answer()
        told.plugin.on_startup(app)
        told.message()
        told.plugin.on_shutdown(timeout=5.0)
        assert closed == made
        assert len(made) == 2

    def test_a_password_of_the_machine_is_not_sent_along(self, events, server, monkeypatch, tmp_path):
        (tmp_path / "netrc").write_text("default login ana password secret\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        told = events()
        told.message()
        told.flush()
        assert "authorization" not in server.requests[0].headers


class TestLog:
    def test_a_log_handler_that_raises_stops_nothing(self, events, server):
        class Broken(logging.Handler):
            def emit(self, record):
                raise OSError("no space left")

        def fail(reason, count):
            raise LookupError(reason)

        handler = Broken()
        logging.getLogger("thea.plugins.mixpanel").addHandler(handler)
        try:
            server.script(Answer(500))
            told = events(max_retries=0, flush_at=1, on_drop=fail)
            told.message()
            told.message()
        finally:
            logging.getLogger("thea.plugins.mixpanel").removeHandler(handler)
        assert (told.plugin.sent, told.plugin.lost) == (1, {"HTTP 500": 1})

    def test_a_loss_is_logged_with_its_reason_and_what_the_server_says_but_not_the_token(self, events, server, caplog):
        server.usual = Answer(401, b"token 0123456789abcdef0123456789abcdef\n is unknown")
        told = events()
        told.all()
        told.flush()
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("thea.plugins.mixpanel", logging.WARNING)
        assert record.getMessage() == "5 events lost: HTTP 401 (token *** is unknown)"
        assert caplog.text.count("0123456789abcdef") == 0

    def test_one_that_goes_on_is_logged_each_time_it_has_grown_tenfold(self, events, server, caplog):
        server.usual = Answer(500)
        told = events(max_retries=0, flush_at=1)
        for _ in range(120):
            told.message()
        assert [each.getMessage() for each in caplog.records] == [
            "1 event lost: HTTP 500 ({})",
            "10 events lost: HTTP 500 ({})",
            "100 events lost: HTTP 500 ({})",
        ]

    def test_on_drop_is_told_the_reason_and_the_number(self, events, server):
        server.script(Answer(500), Answer(401))
        drops = []
        told = events(max_retries=0, flush_at=2, on_drop=lambda reason, count: drops.append((reason, count)))
        for _ in range(4):
            told.message()
        assert drops == [("HTTP 500", 2), ("HTTP 401", 2)]

    def test_an_on_drop_that_fails_is_logged_once_and_stops_nothing(self, events, server, caplog):
        def fail(reason, count):
            raise LookupError(reason)

        server.script(Answer(500), Answer(500))
        told = events(max_retries=0, flush_at=1, on_drop=fail)
        for _ in range(3):
            told.message()
        assert (told.plugin.sent, told.plugin.lost) == (1, {"HTTP 500": 2})
        assert caplog.text.count("on_drop failed; events are sent all the same") == 1
