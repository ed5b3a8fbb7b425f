"""What every outbox must do, written against the protocol alone."""

# ruff: noqa: D102, PLR2004, S101 -- these are tests: they assert, and say in their names what

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from thea_core.errors import CommitRefusedError, StoreUnavailableError
from thea_core.testing.clock import FakeClock
from thea_core.testing.turns import run_together, take, turn
from thea_core.types import ClaimedEvents, Commit, Outbox, OutgoingEvent, Store, StoredEvent

__all__ = ["OutboxContract", "event", "tell"]


def event(event_id: str, plugin: str = "shop") -> OutgoingEvent:
    """Return an event for that plugin."""
    return OutgoingEvent(plugin, "on_message", event_id, f'{{"told": "{event_id}"}}')


def tell(store: Store, *event_ids: str, user_id: str = "ana", plugin: str = "shop", **changes: Any) -> None:
    """Commit a turn that brings events."""
    turn(store, user_id, events=[event(event_id, plugin) for event_id in event_ids], **changes)


def claim(outbox: Outbox, plugin: str = "shop", limit: int = 10) -> list[ClaimedEvents]:
    return list(outbox.claim(plugin, duration=30.0, limit=limit))


def claim_one(outbox: Outbox, plugin: str = "shop") -> ClaimedEvents:
    (claimed,) = claim(outbox, plugin)
    return claimed


def by_user(claims: Iterable[ClaimedEvents]) -> list[ClaimedEvents]:
    return sorted(claims, key=lambda each: each.user_id)


def names(events: Iterable[StoredEvent]) -> list[str]:
    return [each.event_id for each in events]


def numbers_of(outbox: Outbox, *event_ids: str) -> list[int]:
    return [each.number for each in outbox.list(limit=1_000) if each.event_id in event_ids]


class OutboxContract:
    """The contract of :class:`~thea_core.types.Outbox`, for test classes of stores that have one.

    It needs the same fixtures as :class:`~thea_core.testing.stores.StoreContract`. Where the store's ``outbox`` is None
    its tests are skipped.
    """

    @pytest.fixture
    def outbox(self, store: Store) -> Outbox:
        """Return the store's outbox."""
        if store.outbox is None:
            pytest.skip("this store keeps no events for plugins with durable delivery")
        return store.outbox

    # -- what is stored

    def test_events_are_stored_with_the_commit(self, store: Store, outbox: Outbox) -> None:
        turn(store, context='{"a": 1}', events=[OutgoingEvent("shop", "on_message", "id-1", '{"é": "\\u0000"}')])
        (stored,) = outbox.list()
        assert (stored.plugin, stored.user_id, stored.hook, stored.event_id, stored.event) == (
            "shop",
            "ana",
            "on_message",
            "id-1",
            '{"é": "\\u0000"}',
        )
        assert (stored.attempts, stored.error, stored.parked) == (0, None, False)
        assert store.load("ana") == '{"a": 1}'

    def test_a_stored_event_knows_when_it_was_stored_and_is_due(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1")
        clock.advance(60.0)
        tell(store, "2", "3", user_id="ben")
        first, second, third = outbox.list()
        assert 59.0 < (second.stored - first.stored).total_seconds() < 90.0
        assert first.stored.utcoffset() == second.stored.utcoffset()
        assert first.stored == first.due
        assert second.stored == second.due == third.stored
        assert third.due is None

    @pytest.mark.parametrize("context", ["{}", None])
    def test_a_commit_that_is_refused_stores_none(self, store: Store, outbox: Outbox, context: str | None) -> None:
        turn(store)
        lease, version = take(store)
        with pytest.raises(CommitRefusedError):
            store.commit(Commit(lease, version + 1, context, None, events=[event("1")]))
        store.release(lease)
        turn(store, message_id="m1")
        lease, version = take(store)
        with pytest.raises(CommitRefusedError):
            store.commit(Commit(lease, version, context, None, message_id="m1", events=[event("1")]))
        assert not outbox.list()
        assert not claim(outbox)

    def test_a_commit_that_removes_the_conversation_may_bring_events(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", context=None, session_id=None)
        assert names(claim_one(outbox).events) == ["1"]

    def test_events_may_be_stored_by_themselves(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        outbox.append("ana", [event("2"), event("3", "other")])
        outbox.append("", [event("4")])
        outbox.append("ana", [])
        assert [(each.user_id, each.event_id) for each in outbox.list()] == [
            ("ana", "1"),
            ("ana", "2"),
            ("ana", "3"),
            ("", "4"),
        ]
        assert sorted(names(each.events) for each in claim(outbox)) == [["1", "2"], ["4"]]

    # -- claim

    def test_events_of_a_user_are_claimed_in_order(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        tell(store, "3")
        claimed = claim_one(outbox)
        assert (claimed.plugin, claimed.user_id, claimed.attempt) == ("shop", "ana", 1)
        assert names(claimed.events) == ["1", "2", "3"]
        assert claimed.events[0].event == '{"told": "1"}'
        assert [each.number for each in claimed.events] == sorted(each.number for each in claimed.events)

    def test_what_is_claimed_at_once_is_bounded(self, store: Store, outbox: Outbox) -> None:
        event_ids = [f"{number:02}" for number in range(100)]
        tell(store, *event_ids)
        told: list[str] = []
        claims = 0
        while claimed := claim(outbox):
            assert 1 <= len(claimed[0].events) < 100
            told += names(claimed[0].events)
            assert outbox.settle(claimed[0], delivered=len(claimed[0].events))
            claims += 1
        assert told == event_ids
        assert claims < 100

    def test_what_is_claimed_is_not_claimed_twice(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        claim_one(outbox)
        tell(store, "3")
        assert not claim(outbox)

    def test_plugins_and_users_do_not_wait_for_each_other(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        tell(store, "2", plugin="other")
        tell(store, "3", user_id="ben")
        first, second = by_user(claim(outbox))
        assert (names(first.events), names(second.events)) == (["1"], ["3"])
        assert names(claim_one(outbox, "other").events) == ["2"]
        assert not claim(outbox, "nobody")

    def test_those_that_wait_longest_are_claimed_first(self, store: Store, outbox: Outbox, clock: FakeClock) -> None:
        for user_id in ("ben", "ana", "eve"):
            tell(store, f"of {user_id}", user_id=user_id)
            clock.advance(1.0)
        assert [each.user_id for each in claim(outbox, limit=2)] == ["ben", "ana"]
        assert [each.user_id for each in claim(outbox, limit=2)] == ["eve"]
        assert not claim(outbox, limit=0)

    def test_a_claim_that_lapses_is_claimed_again_and_only_its_first_event(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1", "2")
        first = claim_one(outbox)
        clock.advance(29.0)
        assert not claim(outbox)
        clock.advance(1.0)
        second = claim_one(outbox)
        assert (names(second.events), second.attempt) == (["1"], 2)
        assert second.claim > first.claim
        assert outbox.list()[0].attempts == 2
        assert outbox.settle(second, delivered=1)
        third = claim_one(outbox)
        assert (names(third.events), third.attempt) == (["2"], 1)

    # -- settle

    def test_what_was_delivered_is_gone(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2", "3")
        assert outbox.settle(claim_one(outbox), delivered=3)
        assert not outbox.list()
        assert not claim(outbox)
        tell(store, "4")
        assert names(claim_one(outbox).events) == ["4"]

    def test_what_was_not_tried_is_due_at_once(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2", "3")
        assert outbox.settle(claim_one(outbox), delivered=1, error="not used")
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["2", "3"], 1)
        assert outbox.settle(claimed, delivered=0)
        assert [(each.attempts, each.error) for each in outbox.list()] == [(0, None), (0, None)]
        assert names(claim_one(outbox).events) == ["2", "3"]

    def test_giving_back_what_failed_before_keeps_its_attempts(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1", "2")
        outbox.settle(claim_one(outbox), delivered=0, retry_in=5.0, error="down")
        clock.advance(5.0)
        assert outbox.settle(claim_one(outbox), delivered=0)
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["1"], 2)

    def test_a_failed_event_waits_and_those_behind_it_too(self, store: Store, outbox: Outbox, clock: FakeClock) -> None:
        tell(store, "1", "2")
        tell(store, "3", user_id="ben")
        ana, ben = by_user(claim(outbox))
        assert outbox.settle(ana, delivered=0, retry_in=5.0, error="down")
        assert outbox.settle(ben, delivered=1)
        first, second = outbox.list()
        assert (first.attempts, first.error, second.attempts, second.error) == (1, "down", 0, None)
        assert first.due is not None
        assert second.due is None
        clock.advance(4.0)
        assert not claim(outbox)
        clock.advance(1.0)
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt, claimed.events[0].error) == (["1"], 2, "down")

    def test_an_event_in_the_middle_of_a_claim_may_fail(self, store: Store, outbox: Outbox, clock: FakeClock) -> None:
        tell(store, "1", "2", "3")
        assert outbox.settle(claim_one(outbox), delivered=1, retry_in=5.0, error="down")
        assert [(each.event_id, each.attempts, each.error) for each in outbox.list()] == [
            ("2", 1, "down"),
            ("3", 0, None),
        ]
        clock.advance(5.0)
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["2"], 2)

    def test_a_parked_event_is_set_aside_and_those_behind_it_go_on(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1", "2", "3")
        assert outbox.settle(claim_one(outbox), delivered=1, park=True, error="refused")
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["3"], 1)
        (parked,) = outbox.list(parked=True)
        assert (parked.event_id, parked.attempts, parked.error, parked.due) == ("2", 1, "refused", None)
        assert outbox.settle(claimed, delivered=1)
        clock.advance(1e6)
        assert not claim(outbox)

    def test_parking_the_last_event_of_a_user_leaves_nothing_to_claim(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        assert outbox.settle(claim_one(outbox), delivered=0, park=True)
        assert not claim(outbox)
        tell(store, "2")
        assert names(claim_one(outbox).events) == ["2"]

    def test_an_error_means_nothing_where_all_were_delivered(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        claimed = claim_one(outbox)
        tell(store, "2")
        assert outbox.settle(claimed, delivered=1, retry_in=60.0, error="none")
        assert [(each.attempts, each.error) for each in outbox.list()] == [(0, None)]
        assert names(claim_one(outbox).events) == ["2"]

    def test_a_claim_is_settled_once(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        claimed = claim_one(outbox)
        assert outbox.settle(claimed, delivered=1)
        assert not outbox.settle(claimed, delivered=2)
        assert names(outbox.list()) == ["2"]

    def test_who_was_overtaken_settles_nothing(self, store: Store, outbox: Outbox, clock: FakeClock) -> None:
        tell(store, "1", "2")
        slow = claim_one(outbox)
        clock.advance(30.0)
        quick = claim_one(outbox)
        impossible: tuple[dict[str, Any], ...] = (
            {"delivered": 2},
            {"delivered": 0, "park": True},
            {"delivered": 0, "retry_in": 1e6},
        )
        for changes in impossible:
            assert not outbox.settle(slow, **changes)
        assert not outbox.list(parked=True)
        assert outbox.settle(quick, delivered=1)
        assert not outbox.settle(slow, delivered=2)
        assert names(claim_one(outbox).events) == ["2"]

    def test_who_was_overtaken_settles_nothing_of_what_came_after(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1")
        slow = claim_one(outbox)
        clock.advance(30.0)
        assert outbox.settle(claim_one(outbox), delivered=1)
        tell(store, "2")
        again = claim_one(outbox)
        assert again.claim > slow.claim
        assert not outbox.settle(slow, delivered=1)
        assert outbox.settle(again, delivered=1)

    def test_a_claim_that_lapsed_is_settled_where_nobody_took_it_over(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1")
        claimed = claim_one(outbox)
        clock.advance(3600.0)
        assert outbox.settle(claimed, delivered=1)
        assert not outbox.list()

    # -- list

    def test_events_are_listed_by_plugin_by_number_and_parked_or_not(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        tell(store, "3", plugin="other", user_id="ben")
        outbox.settle(claim_one(outbox), delivered=0, park=True)
        assert names(outbox.list()) == ["1", "2", "3"]
        assert names(outbox.list(plugin="shop")) == ["1", "2"]
        assert names(outbox.list(parked=True)) == ["1"]
        assert names(outbox.list(parked=False)) == ["2", "3"]
        assert names(outbox.list(parked=False, plugin="shop")) == ["2"]
        first, second, _ = outbox.list()
        assert names(outbox.list(after=first.number)) == ["2", "3"]
        assert names(outbox.list(after=first.number, limit=1)) == ["2"]
        assert not outbox.list(limit=0)
        assert not outbox.list(after=second.number, plugin="shop")

    def test_numbers_grow_even_where_everything_was_delivered(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        (number,) = numbers_of(outbox, "1")
        outbox.settle(claim_one(outbox), delivered=1)
        tell(store, "2")
        assert numbers_of(outbox, "2") > [number]

    # -- retry

    def test_a_parked_event_comes_back_in_its_old_place(self, store: Store, outbox: Outbox, clock: FakeClock) -> None:
        tell(store, "1", "2")
        outbox.settle(claim_one(outbox), delivered=0, retry_in=1.0)
        clock.advance(1.0)
        outbox.settle(claim_one(outbox), delivered=0, park=True, error="refused")
        assert outbox.list()[0].attempts == 2
        assert outbox.retry(numbers_of(outbox, "1")) == 1
        first, _ = outbox.list()
        assert (first.parked, first.attempts, first.error) == (False, 0, "refused")
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["1", "2"], 1)

    def test_a_parked_event_comes_back_where_nothing_else_waits(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        outbox.settle(claim_one(outbox), delivered=0, park=True)
        assert outbox.retry(numbers_of(outbox, "1")) == 1
        assert names(claim_one(outbox).events) == ["1"]

    def test_the_first_event_of_a_user_that_waits_is_tried_at_once(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        outbox.settle(claim_one(outbox), delivered=0, retry_in=3600.0)
        assert outbox.retry(numbers_of(outbox, "1")) == 1
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["1", "2"], 1)

    def test_an_event_that_waits_behind_another_is_not_retried(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        outbox.settle(claim_one(outbox), delivered=0, retry_in=3600.0)
        assert outbox.retry(numbers_of(outbox, "2")) == 0
        assert not claim(outbox)

    def test_a_parked_event_that_comes_back_goes_before_those_that_were_stored_later(
        self, store: Store, outbox: Outbox
    ) -> None:
        tell(store, "1")
        outbox.settle(claim_one(outbox), delivered=0, park=True)
        tell(store, "2", "3")
        outbox.settle(claim_one(outbox), delivered=0, retry_in=3600.0)
        assert outbox.retry(numbers_of(outbox, "1")) == 1
        assert [each.attempts for each in outbox.list()] == [0, 0, 0]
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["1", "2", "3"], 1)

    def test_a_parked_event_that_comes_back_behind_another_one_waits_for_it(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1", "2")
        for _ in range(2):
            outbox.settle(claim_one(outbox), delivered=0, park=True)
        outbox.retry(numbers_of(outbox, "1"))
        outbox.settle(claim_one(outbox), delivered=0, retry_in=60.0)
        assert outbox.retry(numbers_of(outbox, "2")) == 1
        assert [(each.parked, each.attempts) for each in outbox.list()] == [(False, 1), (False, 0)]
        assert not claim(outbox)
        clock.advance(60.0)
        assert names(claim_one(outbox).events) == ["1"]

    def test_a_retry_ends_a_claim_that_has_lapsed(self, store: Store, outbox: Outbox, clock: FakeClock) -> None:
        tell(store, "1", "2")
        for _ in range(2):
            outbox.settle(claim_one(outbox), delivered=0, park=True)
        outbox.retry(numbers_of(outbox, "1"))
        claimed = claim_one(outbox)
        clock.advance(30.0)
        assert outbox.retry(numbers_of(outbox, "2")) == 1
        assert not outbox.settle(claimed, delivered=1)
        assert names(outbox.list()) == ["1", "2"]

    def test_what_is_being_delivered_and_what_is_unknown_is_neither_retried_nor_dropped(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1", "2", "3")
        outbox.settle(claim_one(outbox), delivered=1, park=True)
        claimed = claim_one(outbox)
        everything = [each.number for each in outbox.list()]
        assert outbox.retry([*everything, 10_000]) == 0
        assert outbox.drop([*numbers_of(outbox, "3"), 10_000]) == 0
        assert names(outbox.list()) == ["2", "3"]
        clock.advance(30.0)
        assert outbox.retry(everything) == 2
        assert not outbox.settle(claimed, delivered=1)
        assert names(claim_one(outbox).events) == ["2", "3"]

    def test_a_number_that_is_named_twice_counts_once(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        (number,) = numbers_of(outbox, "1")
        assert outbox.retry([number, number]) == 1
        assert outbox.drop([number, number]) == 1
        assert outbox.retry([]) == outbox.drop([]) == 0

    # -- drop

    def test_dropped_events_are_gone(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2", "3", "4")
        outbox.settle(claim_one(outbox), delivered=0, park=True)
        assert outbox.drop(numbers_of(outbox, "1", "3")) == 2
        assert names(outbox.list()) == ["2", "4"]
        assert names(claim_one(outbox).events) == ["2", "4"]

    def test_where_all_events_of_a_user_were_dropped_nothing_is_claimed(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        assert outbox.drop(numbers_of(outbox, "1", "2")) == 2
        assert not claim(outbox)

    def test_what_waited_behind_a_dropped_event_is_due_at_once(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        outbox.settle(claim_one(outbox), delivered=0, retry_in=3600.0)
        assert outbox.drop(numbers_of(outbox, "1")) == 1
        claimed = claim_one(outbox)
        assert (names(claimed.events), claimed.attempt) == (["2"], 1)

    def test_dropping_what_waits_behind_leaves_the_first_alone(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        outbox.settle(claim_one(outbox), delivered=0, retry_in=3600.0)
        assert outbox.drop(numbers_of(outbox, "2")) == 1
        assert not claim(outbox)
        assert outbox.list()[0].attempts == 1

    def test_a_parked_event_is_dropped_while_others_are_delivered(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1", "2")
        outbox.settle(claim_one(outbox), delivered=0, park=True)
        claimed = claim_one(outbox)
        assert outbox.drop(numbers_of(outbox, "1")) == 1
        assert outbox.settle(claimed, delivered=1)
        assert not outbox.list()

    def test_after_everything_of_a_user_was_dropped_a_late_settling_is_lost(
        self, store: Store, outbox: Outbox, clock: FakeClock
    ) -> None:
        tell(store, "1")
        claimed = claim_one(outbox)
        clock.advance(30.0)
        assert outbox.drop(numbers_of(outbox, "1")) == 1
        tell(store, "2")
        assert not outbox.settle(claimed, delivered=1)
        assert names(claim_one(outbox).events) == ["2"]

    # -- forgetting

    @pytest.mark.parametrize("context", ["{}", None])
    def test_a_commit_that_forgets_removes_all_earlier_events_of_the_user(
        self, store: Store, outbox: Outbox, context: str | None
    ) -> None:
        tell(store, "1", "2")
        tell(store, "3", plugin="other")
        tell(store, "4", user_id="ben")
        outbox.append("ana", [event("5")])
        ana, ben = by_user(claim(outbox))
        outbox.settle(ana, delivered=0, park=True)
        outbox.settle(ben, delivered=0)
        turn(store, context=context, session_id=None, forget=True, events=[event("6")])
        assert names(outbox.list()) == ["4", "6"]
        assert sorted(names(each.events) for each in claim(outbox)) == [["4"], ["6"]]
        assert not claim(outbox, "other")

    def test_a_claim_of_what_was_forgotten_is_lost(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        claimed = claim_one(outbox)
        turn(store, forget=True)
        assert not outbox.settle(claimed, delivered=0, retry_in=1.0)
        assert not outbox.list()

    def test_a_commit_that_forgets_and_is_refused_keeps_events(self, store: Store, outbox: Outbox) -> None:
        tell(store, "1")
        lease, version = take(store)
        with pytest.raises(CommitRefusedError):
            store.commit(Commit(lease, version + 1, None, None, forget=True, events=[event("2")]))
        assert names(outbox.list()) == ["1"]

    def test_purges_leave_events_alone(self, store: Store, outbox: Outbox, clock: FakeClock) -> None:
        tell(store, "1", session_id=None, message_id="m1")
        clock.advance(100.0)
        assert store.purge_conversations(older_than=1.0) == 1
        store.purge_messages(older_than=1.0)
        assert names(claim_one(outbox).events) == ["1"]

    # -- the whole

    def test_the_outbox_of_a_closed_store_says_so(self, store: Store, outbox: Outbox) -> None:
        store.close()
        with pytest.raises(StoreUnavailableError, match="is closed"):
            outbox.list()
        with pytest.raises(StoreUnavailableError, match="is closed"):
            outbox.append("ana", [event("1")])

    def test_threads_share_the_work_and_keep_the_order_of_each_user(self, store: Store, outbox: Outbox) -> None:
        users = [f"user-{number}" for number in range(4)]
        for number in range(20):
            for user_id in users:
                tell(store, f"{number:02}", user_id=user_id)
        told: dict[str, list[str]] = {user_id: [] for user_id in users}
        busy: set[str] = set()
        overlaps: list[str] = []

        def work(failed: threading.Event) -> None:
            while outbox.list(limit=1) and not failed.is_set():
                for claimed in outbox.claim("shop", duration=30.0, limit=2):
                    if claimed.user_id in busy:
                        overlaps.append(claimed.user_id)
                    busy.add(claimed.user_id)
                    told[claimed.user_id] += names(claimed.events[:3])
                    busy.discard(claimed.user_id)
                    assert outbox.settle(claimed, delivered=3)

        run_together(*[work] * 3)
        assert not overlaps
        assert told == {user_id: [f"{number:02}" for number in range(20)] for user_id in users}
