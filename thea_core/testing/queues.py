"""What every store must do for those who wait for a user's lease."""

# ruff: noqa: D102, S101 -- these are tests: they assert, and say in their names what

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from thea_core.testing.clock import FakeClock
from thea_core.testing.turns import begin, run_together, take, turn
from thea_core.types import Commit, Store

__all__ = ["QueueContract"]


class QueueContract:
    """Places in the queue; a part of :class:`~thea_core.testing.stores.StoreContract`, which says what it needs.

    A store that belongs to one process may leave the queue to that process, and do nothing in ``enqueue``, ``dequeue``
    and ``renew_places``. Its test class says so with ``keeps_places = False``, and these tests are left out.
    """

    keeps_places = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.keeps_places:
            for name in vars(QueueContract):
                if name.startswith("test_"):
                    setattr(cls, name, None)  # which nobody collects

    def test_those_who_wait_are_served_in_the_order_in_which_they_came(self, store: Store) -> None:
        lease, _ = take(store)
        owners = ["b", "a", "c"]
        for owner in owners:
            store.enqueue("ana", owner=owner, duration=30.0)
        store.release(lease)
        served: list[str] = []
        while len(served) < len(owners):
            for owner in "abc":
                found = store.begin("ana", owner=owner, duration=30.0, queued=True) if owner not in served else None
                if found is not None and found.lease is not None:
                    store.release(found.lease)
                    served.append(owner)
                    break
        assert served == owners

    def test_who_has_no_place_waits_for_all_who_have_one(self, store: Store) -> None:
        store.enqueue("ana", owner="there", duration=30.0)
        assert store.begin("ana", owner="here", duration=30.0) is None
        assert store.begin("ana", owner="there", duration=30.0) is None
        assert begin(store, "ben").lease is not None

    def test_a_place_does_not_help_while_the_lease_is_held(self, store: Store) -> None:
        take(store)
        store.enqueue("ana", owner="there", duration=30.0)
        assert store.begin("ana", owner="there", duration=30.0, queued=True) is None

    def test_a_place_is_given_up_with_the_lease_that_it_gave(self, store: Store) -> None:
        store.enqueue("ana", owner="here", duration=30.0)
        store.release(take(store, queued=True)[0])
        assert begin(store, owner="there").lease is not None

    def test_a_place_is_kept_while_others_are_before_it(self, store: Store) -> None:
        store.enqueue("ana", owner="there", duration=30.0)
        store.enqueue("ana", owner="here", duration=30.0)
        store.enqueue("ana", owner="last", duration=30.0)
        assert store.begin("ana", owner="here", duration=30.0, queued=True) is None
        store.release(take(store, owner="there", queued=True)[0])
        assert store.begin("ana", owner="last", duration=30.0, queued=True) is None
        assert begin(store, owner="here", queued=True).lease is not None

    def test_an_owner_with_several_places_uses_the_oldest_first(self, store: Store) -> None:
        for owner in ("here", "there", "here"):
            store.enqueue("ana", owner=owner, duration=30.0)
        store.release(take(store, owner="here", queued=True)[0])
        assert store.begin("ana", owner="here", duration=30.0, queued=True) is None
        store.release(take(store, owner="there", queued=True)[0])
        assert begin(store, owner="here", queued=True).lease is not None

    def test_a_place_that_is_given_up_is_the_owners_newest(self, store: Store) -> None:
        for owner in ("here", "there", "here"):
            store.enqueue("ana", owner=owner, duration=30.0)
        store.dequeue("ana", owner="here")
        store.release(take(store, owner="here", queued=True)[0])
        store.dequeue("ana", owner="there")
        assert begin(store, owner="third").lease is not None

    def test_who_has_no_place_gives_none_up(self, store: Store) -> None:
        store.enqueue("ana", owner="there", duration=30.0)
        store.dequeue("ana", owner="here")
        store.dequeue("ben", owner="there")
        assert store.begin("ana", owner="here", duration=30.0) is None

    def test_a_place_expires(self, store: Store, clock: FakeClock) -> None:
        store.enqueue("ana", owner="there", duration=30.0)
        clock.advance(29.0)
        assert store.begin("ana", owner="here", duration=30.0) is None
        clock.advance(1.0)
        assert begin(store, owner="here").lease is not None

    def test_a_renewed_place_lives_longer_and_stays_where_it_is(self, store: Store, clock: FakeClock) -> None:
        for user_id in ("ana", "ben"):
            store.enqueue(user_id, owner="there", duration=30.0)
            store.enqueue(user_id, owner="here", duration=90.0)
        clock.advance(20.0)
        store.renew_places(owner="there", duration=30.0)
        clock.advance(20.0)
        for user_id in ("ana", "ben"):
            assert store.begin(user_id, owner="here", duration=30.0, queued=True) is None
            assert begin(store, user_id, owner="there", queued=True).lease is not None

    def test_an_expired_place_is_not_renewed(self, store: Store, clock: FakeClock) -> None:
        store.enqueue("ana", owner="there", duration=30.0)
        clock.advance(30.0)
        store.renew_places(owner="there", duration=30.0)
        assert begin(store, owner="here").lease is not None

    def test_only_the_owners_places_are_renewed(self, store: Store, clock: FakeClock) -> None:
        store.enqueue("ana", owner="there", duration=30.0)
        store.renew_places(owner="here", duration=90.0)
        clock.advance(30.0)
        assert begin(store, owner="here").lease is not None

    def test_an_owner_whose_places_have_expired_gets_one_at_the_end(self, store: Store, clock: FakeClock) -> None:
        store.enqueue("ana", owner="slow", duration=10.0)
        store.enqueue("ana", owner="there", duration=90.0)
        clock.advance(10.0)
        assert store.begin("ana", owner="slow", duration=30.0, queued=True) is None
        store.enqueue("ana", owner="last", duration=90.0)
        store.release(take(store, owner="there", queued=True)[0])
        assert store.begin("ana", owner="last", duration=30.0, queued=True) is None
        store.release(take(store, owner="slow", queued=True)[0])
        assert begin(store, owner="last", queued=True).lease is not None

    def test_an_owner_whose_places_have_expired_may_be_the_next(self, store: Store, clock: FakeClock) -> None:
        store.enqueue("ana", owner="slow", duration=10.0)
        clock.advance(10.0)
        store.release(take(store, owner="slow", queued=True)[0])
        assert begin(store, owner="here").lease is not None

    def test_a_message_that_was_handled_gives_up_its_place(self, store: Store) -> None:
        turn(store, message_id="m1", reply='"hello"')
        store.enqueue("ana", owner="there", duration=30.0)
        store.enqueue("ana", owner="here", duration=30.0)
        assert begin(store, owner="here", message_id="m1", queued=True).reply == '"hello"'
        store.release(take(store, owner="there", queued=True)[0])
        assert begin(store, owner="third").lease is not None

    def test_a_known_reply_is_given_whoever_waits(self, store: Store) -> None:
        turn(store, message_id="m1", reply='"hello"')
        store.enqueue("ana", owner="there", duration=30.0)
        assert begin(store, message_id="m1").reply == '"hello"'

    def test_expired_sessions_are_claimed_whoever_waits(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=60.0)
        clock.advance(60.0)
        store.enqueue("ana", owner="there", duration=30.0)
        (claimed,) = store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        assert store.begin("ana", owner="there", duration=30.0, queued=True) is None
        store.release(claimed.lease)
        assert begin(store, owner="there", queued=True).lease is not None

    def test_a_purge_leaves_living_places_alone(self, store: Store, clock: FakeClock) -> None:
        store.enqueue("ana", owner="gone", duration=10.0)
        store.enqueue("ana", owner="there", duration=90.0)
        clock.advance(60.0)
        store.purge_messages(older_than=1.0)
        store.purge_conversations(older_than=1.0)
        assert store.begin("ana", owner="here", duration=30.0) is None
        assert begin(store, owner="there", queued=True).lease is not None

    def test_threads_that_wait_are_served_in_the_order_in_which_they_came(self, store: Store) -> None:
        served: list[str] = []

        def wait(owner: str, failed: threading.Event) -> None:
            while (found := store.begin("ana", owner=owner, duration=30.0, queued=True)) is None:
                if failed.is_set():
                    return
            assert found.lease is not None
            served.append(owner)
            store.commit(Commit(found.lease, found.version, "{}", None))

        lease, _ = take(store)
        owners = ["d", "b", "c", "a"]
        for owner in owners:
            store.enqueue("ana", owner=owner, duration=30.0)
        run_together(*(partial(wait, owner) for owner in sorted(owners)), lambda _: store.release(lease))
        assert served == owners
