"""Whatever Mixpanel does, no caller waits, and the end comes in time and says what is lost."""

from __future__ import annotations

import logging
import socket
import statistics
import threading
import time as real_time

import pytest
from recording_server import Answer

from thea_core import PluginError, Thea
from thea_mixpanel import MixpanelPlugin, MixpanelSettings

TOKEN = "0123456789abcdef0123456789abcdef"
MANY = 120


@pytest.fixture(params=["slow", "hanging", "failing", "refusing", "unknown name", "silent resolver"])
def trouble(request, server, monkeypatch):
    """The address of something that does not answer as it should."""
    never = threading.Event()

    def resolve(*_, **__):
        if request.param == "silent resolver":
            never.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        if request.param == "refusing":
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        elif request.param in {"unknown name", "silent resolver"}:
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            yield "http://mixpanel.invalid"
        else:
            answers = {"slow": Answer(delay=3), "hanging": Answer(hang=True), "failing": Answer(500)}
            server.usual = answers[request.param]
            yield server.url
    never.set()


def trigger(thea, count=MANY):
    """Return how long each of so many triggers took, in seconds."""
    durations = []
    for number in range(count):
        start = real_time.perf_counter()
        thea.callbacks.trigger("on_state_change", user_id=f"user-{number}", old_state="idle", new_state="processing")
        durations.append(real_time.perf_counter() - start)
    return durations


def test_no_caller_waits_and_the_end_is_in_time_and_says_what_is_lost(trouble, caplog):
    plugin = MixpanelPlugin(MixpanelSettings(token=TOKEN, endpoint=trouble, request_timeout=20))
    thea = Thea({"store": {"url": "memory:"}}, plugins=[plugin])
    thea.start()
    durations = trigger(thea)
    assert statistics.median(durations) < 0.005
    assert sum(durations) < 2.5  # one that waited for the server would take longer
    start = real_time.perf_counter()
    thea.close(timeout=0.5)
    assert real_time.perf_counter() - start < 2.5
    never_made = thea.callbacks.history.totals()["on_state_change", "mixpanel", "MixpanelPlugin.on_state_change"]
    lost = sum(plugin.lost.values())
    assert plugin.sent == 0
    assert lost + never_made.outcomes.get("dropped", 0) == MANY
    (info,) = [each for each in thea.plugins if each.name == "mixpanel"]
    assert f"plugin 'mixpanel': {lost} event{'s' * (lost > 1)} lost: " in info.reason
    assert info.reason in "; ".join(each.getMessage() for each in caplog.records if each.name == "thea_core.plugins")


class TestShutdown:
    def test_what_is_being_sent_may_still_arrive(self, events, server):
        server.usual = Answer(hang=True)
        told = events(flush_at=1)
        sending = threading.Thread(target=told.message)
        sending.start()
        server.wait_for(1)
        releasing = threading.Timer(0.05, server.release)
        releasing.start()
        told.plugin.on_shutdown(timeout=30.0)
        sending.join(30)
        releasing.join(30)
        assert (told.plugin.sent, told.plugin.lost) == (1, {})

    def test_what_is_not_answered_in_time_is_lost_and_stays_so(self, events, server):
        server.usual = Answer(hang=True)
        told = events(flush_at=2)
        sending = threading.Thread(target=lambda: (told.message(), told.message()))
        sending.start()
        server.wait_for(1)
        told.message()
        server.usual = Answer(401)  # for the last try, with what has been gathered meanwhile
        with pytest.raises(
            PluginError, match=r"^3 events lost: 2 no answer before the shutdown, 1 HTTP 401$"
        ) as caught:
            told.plugin.on_shutdown(timeout=2.0)
        assert caught.value.plugin == "mixpanel"
        server.release()
        sending.join(30)
        assert (told.plugin.sent, sum(told.plugin.lost.values())) == (0, 3)

    def test_what_was_decided_of_a_batch_is_not_lost_with_the_rest(self, events, server, read):
        def answer(request):
            sizes.append(len(read(request)))
            return {4: Answer(400), 2: None}[sizes[-1]] if len(sizes) < 3 else Answer(hang=True)

        sizes = []
        server.decide = answer
        told = events(flush_at=4)
        sending = threading.Thread(target=lambda: [told.message() for _ in range(4)])
        sending.start()
        server.wait_for(3)
        with pytest.raises(PluginError, match=r"^2 events lost: no answer before the shutdown$"):
            told.plugin.on_shutdown(timeout=0.3)
        server.release()
        sending.join(30)
        assert sizes == [4, 2, 2]
        assert (told.plugin.sent, sum(told.plugin.lost.values())) == (2, 2)

    def test_a_pause_ends_and_there_is_one_last_try(self, server, running):
        server.script(Answer(429, headers={"Retry-After": "30"}))
        with running() as (thea, plugin):
            trigger(thea, 5)
            server.wait_for(1)
        assert len(server.requests) in {2, 3}  # the first one may have come before all five were gathered
        assert (plugin.sent, plugin.lost) == (5, {})

    def test_the_last_try_is_the_last(self, events, server, time):
        server.usual = Answer(500)
        told = events()
        told.message()
        with pytest.raises(PluginError, match=r"^1 event lost: HTTP 500$"):
            told.plugin.on_shutdown(timeout=5.0)
        assert len(server.requests) == 1
        assert time.pauses == []

    def test_the_last_try_keeps_to_the_time(self, events, server):
        server.usual = Answer(hang=True)
        told = events(request_timeout=60)
        told.message()
        start = real_time.perf_counter()
        with pytest.raises(PluginError, match=r"^1 event lost: no answer in time$"):
            told.plugin.on_shutdown(timeout=0.3)
        assert real_time.perf_counter() - start < 5

    def test_what_was_lost_before_is_told_too(self, events, server):
        told = events(flush_at=1, max_retries=0)
        server.script(*[Answer(500)] * 1234)
        for _ in range(1234):
            told.message()
        with pytest.raises(PluginError, match=r"^1,234 events lost: HTTP 500$"):
            told.plugin.on_shutdown(timeout=5.0)

    def test_what_comes_afterwards_is_lost(self, events, server):
        told = events()
        told.plugin.on_shutdown(timeout=1.0)
        told.message()
        told.flush()
        assert server.requests == []
        assert told.plugin.lost == {"the plugin was shut down": 1}

    def test_a_plugin_that_is_started_again_begins_anew(self, events, server, app):
        told = events()
        told.plugin.on_shutdown(timeout=1.0)
        told.message()
        told.plugin.on_startup(app)
        told.message()
        told.flush()
        assert (told.plugin.sent, told.plugin.lost) == (1, {})


class TestBreakers:
    def test_an_outage_opens_none(self, server, running):
        server.usual = Answer(500)
        with running(flush_at=1, max_retries=0) as (thea, plugin):
            for _ in range(10):
                trigger(thea, 2)
                assert thea.callbacks.flush(30) == 0
            assert {each.state for each in thea.callbacks.breakers} == {"closed"}
            server.usual = Answer()
            trigger(thea, 3)
            assert thea.callbacks.flush(30) == 0
            assert (plugin.sent, plugin.lost) == (3, {"HTTP 500": 20})

    def test_a_request_that_takes_longer_than_the_usual_limit_is_left_alone(self, server, running, read):
        server.usual = Answer(hang=True)
        with running(callbacks={"timeout": 0.01}) as (thea, plugin):
            trigger(thea, 60)
            server.wait_for(1)
            assert thea.callbacks.flush(0.1) > 0
            server.usual = Answer()
            server.release()
            assert thea.callbacks.flush(30) == 0
            assert {each.state for each in thea.callbacks.breakers} == {"closed"}
        assert (plugin.sent, plugin.lost) == (60, {})
        assert sum(len(read(each)) for each in server.requests) == 60


def test_a_full_queue_drops_the_newest_and_counts_them(server, running, read, caplog):
    begun, go_on = threading.Event(), threading.Event()

    def hold(user_id):
        begun.set()
        return not go_on.wait(60)

    with running({"queue_size": 10}, opt_out=hold) as (thea, plugin):
        trigger(thea, 1)
        assert begun.wait(60)
        trigger(thea, 30)
        go_on.set()
        assert thea.callbacks.flush(30) == 0
        totals = thea.callbacks.history.totals()["on_state_change", "mixpanel", "MixpanelPlugin.on_state_change"]
        assert totals.outcomes["dropped"] == 20
        assert plugin.sent == 11
    users = [each["properties"]["distinct_id"] for each in read(*server.requests)]
    assert users == ["user-0", *(f"user-{number}" for number in range(10))]
    assert [each.levelno for each in caplog.records if "its queue of 10 calls is full" in each.getMessage()] == [
        logging.WARNING
    ] * 2  # at the first drop; and at the end, what was not told yet
