"""With durable delivery an error leaves the store when Sentry has it, with its own id, time and trail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from recording_server import Answer

from thea_core import Thea
from thea_sentry import SentryPlugin, SentrySettings

PATIENCE = 30.0


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic_ns(self):
        return round(self.seconds * 1e9)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def stored(sentry, failing, tmp_path, clock):
    """Make an assistant in which every message fails, and whose events wait in a file for the plugin."""
    config = {
        "store": {"url": f"sqlite:///{tmp_path / 'thea.db'}"},
        "plugins": {"sentry": {"delivery": "durable", "flush_interval": 0.2}},
    }

    def make(worker=True, **settings):
        plugin = SentryPlugin(SentrySettings(**({"dsn": sentry.dsn} | settings)), clock=clock)
        return Thea(config, plugins=[plugin, failing()], worker=worker, clock=clock)

    return make


def waiting(thea):
    return thea.store.outbox.list(limit=1000)


def told_again(thea, clock):
    """Let the retries of a good while come."""
    for _ in range(8):
        clock.seconds += 700
        thea.callbacks.flush(PATIENCE)


def categories(event):
    return [each["category"] for each in event.json["breadcrumbs"]["values"]]


def reported(events):
    """Leave out what a Sentry for the whole process makes of the log."""
    return [each for each in events if each.json.get("tags", {}).get("thea.event")]


def test_what_another_process_left_is_reported_with_its_id_its_time_and_its_trail(sentry, stored, clock):
    with stored(worker=False) as thea:
        thea.handle_request("ana", "hola")
        (error,) = [each for each in waiting(thea) if each.hook == "on_error"]
    assert sentry.events == []
    clock.seconds = 7200
    with stored() as thea:
        thea.callbacks.flush(PATIENCE)
        assert waiting(thea) == ()
    (event,) = sentry.events
    assert event.json["event_id"] == error.event_id.replace("-", "")
    assert event.json["timestamp"] == "2026-03-01T00:00:00.000000Z"
    assert event.json["exception"]["values"][0]["type"] == "ValueError"
    assert event.attachments["traceback.txt"].endswith("in handle")
    assert event.json["tags"]["thea.state"] == "executing"
    assert categories(event) == ["thea.message", *["thea.state"] * 3]
    assert {each["timestamp"] for each in event.json["breadcrumbs"]["values"]} == {"2026-03-01T00:00:00.000000Z"}


def test_while_sentry_is_away_errors_wait_and_none_is_lost(sentry, stored, clock, caplog):
    sentry.server.usual = Answer(503)
    with stored() as thea:
        for user in ("ana", "eva"):
            thea.handle_request(user, "hola")
        thea.callbacks.flush(PATIENCE)
        ids = {each.event_id.replace("-", "") for each in waiting(thea) if each.hook == "on_error"}
        assert len(ids) == 2
        assert any("events have not reached Sentry" in (each.error or "") for each in waiting(thea))
        sentry.server.usual = Answer()
        refused = len(sentry.events)
        told_again(thea, clock)
        assert waiting(thea) == ()
    arrived = sentry.events[refused:]
    assert {each.json["event_id"] for each in arrived} == ids
    assert all(categories(each) == ["thea.message", *["thea.state"] * 3] for each in arrived)
    assert "lost" not in caplog.text


def test_through_the_applications_own_sentry_what_is_late_waits(sentry, stored, clock, host, caplog):
    sentry.server.usual = Answer(hang=True)
    with host(), stored() as thea:
        thea.handle_request("ana", "hola")
        sentry.server.wait_for(1)
        thea.callbacks.flush(PATIENCE)
        assert [each.hook for each in waiting(thea)].count("on_error") == 1
        assert waiting(thea)[0].error.endswith("events have not reached Sentry: not sent in time")
        sentry.server.release()
        told_again(thea, clock)
        assert waiting(thea) == ()
    assert len({each.json["event_id"] for each in reported(sentry.events)}) == 1
    assert "lost" not in caplog.text


def test_an_error_that_sentry_never_takes_is_lost_and_holds_up_nobody(sentry, stored, caplog):
    sentry.server.script(Answer(413))
    with stored() as thea:
        thea.handle_request("ana", "hola")
        thea.callbacks.flush(PATIENCE)
        assert waiting(thea) == ()
    assert "1 events for Sentry were lost: 1 too large" in caplog.text
