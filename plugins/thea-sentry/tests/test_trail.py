"""The trail: bounded in every direction, and each user's own."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from thea_sentry.trail import Trail


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic_ns(self):
        return round(self.seconds * 1e9)


class Nowhere(tzinfo):
    def utcoffset(self, when):
        raise SystemExit(3)


@pytest.fixture
def clock():
    return HandClock()


def crumb(number):
    return {"category": "c", "data": {"number": number}}


def numbers(trail, user="ana"):
    return [each["data"]["number"] for each in trail.read(user)[0]]


def test_the_last_crumbs_are_kept(clock):
    trail = Trail(3, 10, 60, clock)
    for number in range(5):
        trail.add("ana", crumb(number))
    assert numbers(trail) == [2, 3, 4]


def test_a_length_of_none_keeps_the_state_only(clock):
    trail = Trail(0, 10, 60, clock)
    trail.add("ana", crumb(1), "idle")
    assert trail.read("ana") == ([], "idle")


def test_the_state_stays_until_another_comes(clock):
    trail = Trail(3, 10, 60, clock)
    trail.add("ana", crumb(1), "idle")
    trail.add("ana", crumb(2))
    assert trail.read("ana")[1] == "idle"
    trail.add("ana", crumb(3), "executing")
    assert trail.read("ana")[1] == "executing"


def test_who_is_silent_for_longest_is_forgotten_first(clock):
    trail = Trail(3, 2, 60, clock)
    for user in ("ana", "bea", "ana", "carla"):
        trail.add(user, crumb(1))
    assert (numbers(trail, "ana"), numbers(trail, "bea"), numbers(trail, "carla")) == ([1, 1], [], [1])


def test_ten_thousand_users_are_not_remembered(clock):
    trail = Trail(30, 1000, 3600, clock)
    for number in range(10_000):
        trail.add(f"user-{number}", crumb(number), "idle")
    assert len(trail) == 1000
    assert numbers(trail, "user-9999") == [9999]
    assert numbers(trail, "user-8999") == []


def test_ten_thousand_users_of_an_assistant_are_not_remembered(sentry, assistant):
    with assistant() as thea:
        for number in range(10_000):
            thea.callbacks.trigger(
                "on_state_change", user_id=f"user-{number}", old_state="idle", new_state="processing"
            )
        for number in (8999, 9000):
            thea.callbacks.trigger("on_error", user_id=f"user-{number}", error=ValueError(), traceback="")
    assert [len(each.json["breadcrumbs"]["values"]) for each in sentry.events] == [0, 1]


def test_who_was_silent_for_too_long_is_forgotten(clock):
    trail = Trail(3, 10, 60, clock)
    trail.add("ana", crumb(1), "idle")
    clock.seconds = 30
    trail.add("bea", crumb(2))
    clock.seconds = 59.9
    assert numbers(trail, "ana") == [1]
    clock.seconds = 60
    assert trail.read("ana") == ([], None)
    assert numbers(trail, "bea") == [2]
    trail.add("ana", crumb(3))
    assert numbers(trail, "ana") == [3]
    clock.seconds = 200
    trail.add("carla", crumb(4))
    assert len(trail) == 1


def test_what_is_read_is_the_readers(clock):
    trail = Trail(3, 10, 60, clock)
    trail.add("ana", crumb(1))
    (read,), _ = trail.read("ana")
    read["data"].clear()
    read["category"] = "changed"
    assert trail.read("ana") == ([crumb(1)], None)


def test_users_are_dropped_one_by_one_or_all(clock):
    trail = Trail(3, 10, 60, clock)
    for user in ("ana", "bea", "carla"):
        trail.add(user, crumb(1))
    trail.drop("ana")
    trail.drop("nobody")
    assert len(trail) == 2
    trail.clear()
    assert len(trail) == 0


def test_many_threads_lose_nothing(clock):
    trail = Trail(1000, 8, 60, clock)

    def work(user):
        for number in range(1000):
            trail.add(user, crumb(number))
            trail.read("0")

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(numbers(trail, str(number)) == list(range(1000)) for number in range(8))


def test_crumbs_are_dated_by_when_it_happened_or_else_by_the_plugins_clock(sentry, assistant, clock):
    moments = (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 1), "soon", datetime(2026, 2, 1, tzinfo=Nowhere()))  # noqa: DTZ001
    with assistant(clock=clock, trail_ttl=10) as thea:
        for moment in moments:
            thea.callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b", timestamp=moment)
        thea.callbacks.trigger("on_error", user_id="ana", error=ValueError("x"), traceback="", timestamp=moments[0])
    event = sentry.events[0].json
    now = "2026-03-01T00:00:00.000000Z"
    assert [each["timestamp"] for each in event["breadcrumbs"]["values"]] == ["2026-02-01T00:00:00.000000Z", *[now] * 3]
    assert event["timestamp"] == "2026-02-01T00:00:00.000000Z"


def test_who_was_silent_for_too_long_begins_anew(sentry, assistant, failing, clock):
    with assistant(failing(), clock=clock, trail_ttl=10) as thea:
        thea.callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")
        clock.seconds = 10
        thea.handle_request("ana", "hola")
    assert sentry.events[0].json["breadcrumbs"]["values"][0]["category"] == "thea.message"


def test_a_crumb_that_is_told_again_takes_the_place_of_the_first_and_of_what_followed_it(clock):
    trail = Trail(3, 10, 60, clock)
    for number in range(4):
        trail.add("ana", crumb(number), key=str(number))
    trail.add("ana", crumb(20), "b", key="2")
    assert (numbers(trail), trail.read("ana")[1]) == ([1, 20], "b")
    trail.add("ana", crumb(0), key="0")  # the first one was forgotten
    assert numbers(trail) == [1, 20, 0]
