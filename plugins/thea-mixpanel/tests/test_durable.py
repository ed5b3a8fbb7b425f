"""With durable delivery nothing is lost that Mixpanel may still take: outages, crashes, and events that it refuses."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from recording_server import Answer

from thea_core import PluginError, SystemClock, Thea
from thea_mixpanel import MixpanelPlugin, MixpanelSettings

POISON = Answer(400, b'{"status": 0, "error": "some data is invalid"}')
PATIENCE = 30.0


@pytest.fixture
def durable(events):
    """Make a plugin whose events are stored until they are delivered."""
    return lambda **settings: events("mixpanel", **settings)


@pytest.fixture
def picky(server, read):
    """Mixpanel does not take the events of users whose names begin with ``poison``."""

    def decide(request):
        users = [each["properties"]["distinct_id"] for each in read(request)]
        return POISON if any(each.startswith("poison") for each in users) else None

    server.decide = decide
    return server


def ids(sent):
    return [each["properties"]["$insert_id"] for each in sent]


class TestSending:
    def test_callbacks_gather_and_a_flush_sends_in_batches(self, durable, server, read):
        told = durable(flush_at=2)
        for number in range(5):
            told.message(event_id=f"id-{number}")
        assert server.requests == []
        told.flush()
        assert [ids(read(each)) for each in server.requests] == [["id-0", "id-1"], ["id-2", "id-3"], ["id-4"]]
        assert (told.plugin.sent, told.plugin.lost) == (5, {})

    def test_another_plugins_delivery_is_nothing_to_this_one(self, events, server):
        told = events("another", flush_at=1)
        told.message()
        assert len(server.requests) == 1

    def test_a_failure_that_passes_within_the_flush_is_not_told(self, durable, server, time):
        server.script(Answer(503), Answer(reset=True))
        told = durable()
        told.message()
        told.flush()
        assert time.pauses == [0.5, 1.0]
        assert (told.plugin.sent, told.plugin.lost) == (1, {})


class TestOutage:
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (Answer(500, b"no space"), r"HTTP 500 \(no space\)"),
            (Answer(429), "HTTP 429"),
            (Answer(408), "HTTP 408"),
            (Answer(reset=True), "no connection"),
            (Answer(401), "HTTP 401"),
            (Answer(302, headers={"Location": "/elsewhere"}), "HTTP 302"),
            (Answer(body=b"<html>Welcome to our WiFi</html>"), "HTTP 200 from something that is not Mixpanel"),
        ],
    )
    def test_what_is_not_taken_now_is_told_and_comes_again(self, durable, server, answer, reason):
        server.usual = answer
        told = durable(max_retries=0)
        told.all()
        with pytest.raises(PluginError, match=f"^Mixpanel has not taken the events: {reason}"):
            told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (0, {})
        told.flush()
        assert len(server.requests) == 1  # nothing was kept: what comes again would be sent twice

    def test_no_pause_is_longer_than_the_flush_may_take(self, durable, server, time):
        server.script(Answer(429, headers={"Retry-After": "20"}))
        told = durable()
        told.message()
        with pytest.raises(PluginError, match="HTTP 429, and the pause after that is not over"):
            told.flush(timeout=5.0)
        assert time.pauses == []
        time.advance(10)
        told.message()
        with pytest.raises(PluginError, match="HTTP 429, and the pause after that is not over"):
            told.flush(timeout=5.0)
        assert len(server.requests) == 1  # the server has asked for time
        time.advance(10)
        told.message()
        told.flush(timeout=5.0)
        assert (told.plugin.sent, told.plugin.lost) == (1, {})

    def test_where_one_batch_is_taken_and_the_next_is_not_all_come_again(self, durable, server):
        server.script(Answer(body=b"1"), Answer(500))
        told = durable(flush_at=2, max_retries=0)
        told.all()
        with pytest.raises(PluginError, match="HTTP 500"):
            told.flush()
        assert len(server.requests) == 2
        assert (told.plugin.sent, told.plugin.lost) == (2, {})

    def test_what_is_gathered_while_another_flush_fails_is_sent(self, durable, server, read):
        """The operator gave the plugin a time limit, and the call that was late fails when the next has begun."""

        def answer(_):
            server.decide = None
            told.message(event_id="second")
            return Answer(500)

        server.decide = answer
        told = durable(max_retries=0)
        told.message(event_id="first")
        with pytest.raises(PluginError):
            told.flush()
        told.flush()
        assert ids(read(server.requests[-1])) == ["second"]

    def test_an_opt_out_that_fails_is_asked_again_later(self, durable, server):
        answers = iter([LookupError("the database is away"), False])

        def has_objected(_):
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        told = durable(opt_out=has_objected)
        with pytest.raises(LookupError):
            told.message()
        told.message()
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (1, {})


class TestPoison:
    def test_it_is_counted_as_lost_and_the_others_are_delivered(self, durable, picky, read):
        drops = []
        told = durable(on_drop=lambda reason, count: drops.append((reason, count)))
        users = ["poison" if number in {3, 40} else f"user-{number}" for number in range(60)]
        for user in users:
            told.message(user_id=user)
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (58, {"HTTP 400": 2})
        assert drops == [("HTTP 400", 1)] * 2
        taken = [read(each) for each in picky.requests if "poison" not in str(read(each))]
        assert [each["properties"]["distinct_id"] for batch in taken for each in batch] == [
            user for user in users if user != "poison"
        ]

    def test_among_many_of_them_no_other_is_lost(self, durable, picky):
        told = durable()
        for number in range(50):
            told.message(user_id="ana" if number == 33 else f"poison-{number}")
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (1, {"HTTP 400": 49})

    def test_one_that_is_too_old_is_lost(self, durable, server, time):
        told = durable()
        told.message(timestamp=time.moment - timedelta(days=5, seconds=1))
        told.message()
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (1, {"older than 5 days": 1})


class TestShutdown:
    def test_what_is_stored_still_is_not_lost(self, durable, server):
        told = durable()
        told.message()
        told.plugin.on_shutdown(timeout=1.0)
        assert server.requests == []
        assert told.plugin.lost == {}

    def test_what_is_under_way_is_waited_for_and_not_counted_where_it_is_late(self, durable, server):
        server.usual = Answer(hang=True)
        told = durable()
        told.message()
        sending = threading.Thread(target=told.flush)
        sending.start()
        server.wait_for(1)
        told.plugin.on_shutdown(timeout=0.1)
        assert (told.plugin.sent, told.plugin.lost) == (0, {})
        server.release()
        sending.join(PATIENCE)
        assert (told.plugin.sent, told.plugin.lost) == (1, {})

    def test_what_was_refused_is_told_as_ever(self, durable, picky):
        told = durable()
        told.message(user_id="poison")
        told.flush()
        with pytest.raises(PluginError, match=r"^1 event lost: HTTP 400$"):
            told.plugin.on_shutdown(timeout=1.0)


class Later(SystemClock):
    """The machine's clock, put forward: claims of a process that was killed have run out by now."""

    @staticmethod
    def now():
        return datetime.now(UTC) + timedelta(minutes=5)


@pytest.fixture
def assistant(server, tmp_path):
    """Make an assistant with the plugin, whose conversations and events are in a file."""

    def make(clock, **settings):
        plugin = MixpanelPlugin(
            MixpanelSettings(token="t", endpoint=server.url, **settings), clock=clock, uniform=lambda _low, _high: 0.0
        )
        config = {
            "store": {"url": f"sqlite:///{tmp_path / 'thea.db'}"},
            "plugins": {"mixpanel": {"delivery": "durable", "max_attempts": 1000}},
        }
        thea = Thea(config, plugins=[plugin], clock=clock)
        return SimpleNamespace(thea=thea, plugin=plugin)

    return make


def stored(thea):
    return thea.store.outbox.list(limit=1000)


class TestInAnApplication:
    def test_after_an_outage_every_event_arrives_and_none_is_lost(self, assistant, server, read, time):
        server.usual = Answer(503)
        here = assistant(time, max_retries=0)
        with here.thea as thea:
            for number in range(12):
                thea.handle_request(f"user-{number % 4}", "hola", f"m{number}")
            expected = {each.event_id for each in stored(thea)}
            assert len(expected) > 24
            for _ in range(8):  # longer than it takes to open the circuit breaker
                thea.callbacks.flush(PATIENCE)
                time.advance(60)
            assert {each.event_id for each in stored(thea)} == expected
            server.usual = Answer(body=b"1")
            failed = len(server.requests)
            for _ in range(8):
                time.advance(700)
                thea.callbacks.flush(PATIENCE)
            assert stored(thea) == ()
            taken = read(*server.requests[failed:])
        assert set(ids(taken)) == expected
        assert (here.plugin.sent, here.plugin.lost) == (len(taken), {})
        for number in range(4):
            mine = [each for each in taken if each["properties"]["distinct_id"] == f"user-{number}"]
            times = [each["properties"]["time"] for each in mine]
            assert times == sorted(times)
            assert mine[0]["event"] == "Message Sent"

    def test_closed_in_the_middle_of_an_outage_the_rest_is_there_for_the_next_one(self, assistant, server, read, time):
        server.usual = Answer(503)
        here = assistant(time, max_retries=0)
        with here.thea as thea:
            thea.handle_request("ana", "hola", "m1")
            expected = {each.event_id for each in stored(thea)}
        (info,) = thea.plugins
        assert (info.reason, here.plugin.lost) == ("", {})
        server.usual = Answer(body=b"1")
        refused = len(server.requests)
        time.advance(700)
        with assistant(time).thea as thea:
            thea.callbacks.flush(PATIENCE)
            assert stored(thea) == ()
        assert set(ids(read(*server.requests[refused:]))) == expected

    def test_a_poisoned_user_blocks_nobody(self, assistant, picky, read, time):
        here = assistant(time)
        with here.thea as thea:
            for user in ("ana", "poison", "eva"):
                thea.handle_request(user, "hola")
            thea.callbacks.flush(PATIENCE)
            assert stored(thea) == ()
        assert here.plugin.lost == {"HTTP 400": here.plugin.sent // 2}
        assert here.plugin.sent > 0

    def test_a_process_that_is_killed_before_it_has_sent_loses_nothing(self, assistant, server, read, tmp_path):
        script = """
import os, signal, sys, threading
from thea_core import Thea
from thea_mixpanel import MixpanelPlugin, MixpanelSettings
from thea_mixpanel.posting import Poster

answered = threading.Event()
Poster.post = lambda *_: answered.wait(60) and os.kill(os.getpid(), signal.SIGKILL)
plugin = MixpanelPlugin(MixpanelSettings(token="t", endpoint=sys.argv[1]))
config = {"store": {"url": sys.argv[2]}, "plugins": {"mixpanel": {"delivery": "durable"}}}
with Thea(config, plugins=[plugin]) as thea:
    for number in range(3):
        assert thea.handle_request("ana", "hola", f"m{number}").ok
    answered.set()
    threading.Event().wait(60)
"""
        command = [sys.executable, "-c", script, server.url, f"sqlite:///{tmp_path / 'thea.db'}"]
        killed = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
        assert killed.returncode == -9, killed.stderr
        assert server.requests == []
        here = assistant(Later())
        with here.thea as thea:
            thea.callbacks.flush(PATIENCE)
            assert stored(thea) == ()
        messages = [each for each in read(*server.requests) if each["event"] == "Message Sent"]
        assert len(messages) == len(set(ids(messages))) == 3
        assert here.plugin.lost == {}
