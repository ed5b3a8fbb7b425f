"""What does not arrive is told: the first loss at once, the sum at the end."""

from __future__ import annotations

import threading

import pytest
from recording_server import Answer


@pytest.fixture
def remarks(caplog):
    """What the plugin has said."""
    return lambda: [each.getMessage() for each in caplog.records if each.name == "thea.plugins.sentry"]


FIRST = "an event for Sentry was lost ({}); how many were is told when the plugin stops"


def fail(thea, times):
    for number in range(times):
        thea.callbacks.trigger("on_error", user_id="ana", error=ValueError(number), traceback="")


def test_what_is_refused(sentry, assistant, remarks):
    sentry.server.usual = Answer(status=500)
    with assistant() as thea:
        fail(thea, 3)
    assert remarks() == [
        FIRST.format("refused or not reached"),
        "3 events for Sentry were lost: 3 refused or not reached",
    ]


def test_what_is_over_the_rate_limit(sentry, assistant, remarks):
    sentry.server.usual = Answer(status=429, headers={"Retry-After": "60"})
    with assistant() as thea:
        fail(thea, 3)
    assert remarks() == [FIRST.format("over the rate limit"), "3 events for Sentry were lost: 3 over the rate limit"]


@pytest.mark.parametrize("hosted", [True, False])
def test_what_is_not_sent_in_time(sentry, assistant, host, remarks, hosted):
    sentry.server.usual = Answer(hang=True)

    def run():
        with assistant(flush_timeout=0.3) as thea:
            fail(thea, 3)

    if hosted:
        with host():
            run()
            sentry.server.release()
    else:
        run()
    told = "events for Sentry were lost: what was not sent in time"  # what the host's queue holds, only the host knows
    assert remarks() == [told if hosted else "3 events for Sentry were lost: 3 not sent in time"]


def test_what_finds_the_queue_full(sentry, assistant, remarks):
    sentry.server.usual = Answer(hang=True)
    with assistant(flush_timeout=0.2, sentry_options={"transport_queue_size": 2}) as thea:
        fail(thea, 1)
        sentry.server.wait_for(1)  # the sending thread waits for the answer, and two more may wait for it
        fail(thea, 5)
    first, last = remarks()
    assert first == FIRST.format("more than wait at a time")
    assert last == "6 events for Sentry were lost: 3 more than wait at a time, 3 not sent in time"


def test_a_before_send_that_fails(assistant, remarks):
    with assistant(sentry_options={"before_send": lambda event, hint: 1 / 0}) as thea:
        fail(thea, 2)
    assert remarks()[-1] == "2 events for Sentry were lost: 2 before_send failed"


def test_what_somebody_asked_for_is_no_loss(sentry, assistant, remarks, outcomes):
    with assistant(sentry_options={"before_send": lambda event, hint: None}) as thea:
        fail(thea, 2)
        assert outcomes(thea.callbacks) == {"ok"}
    assert sentry.events == []
    assert remarks() == []


def test_a_report_of_losses_that_is_lost_is_no_lost_event(sentry, assistant, remarks):
    """The SDK reports losses to Sentry in envelopes of their own."""
    sentry.server.usual = Answer(status=500)
    with assistant() as thea:
        fail(thea, 2)
    assert len(sentry.server.requests) > len(sentry.events) == 2
    assert remarks()[-1] == "2 events for Sentry were lost: 2 refused or not reached"


def test_all_that_arrives_is_told_nowhere(sentry, assistant, remarks):
    with assistant() as thea:
        threads = [threading.Thread(target=fail, args=(thea, 5)) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert len(sentry.events) == 20
    assert remarks() == []
