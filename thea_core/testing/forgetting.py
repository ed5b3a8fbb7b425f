"""What every store must do where a user is to be forgotten."""

# ruff: noqa: D102, S101 -- these are tests: they assert, and say in their names what

from __future__ import annotations

import pytest

from thea_core.errors import CommitRefusedError
from thea_core.testing.clock import FakeClock
from thea_core.testing.turns import begin, take, turn
from thea_core.types import Commit, Store

__all__ = ["ForgettingContract"]


class ForgettingContract:
    """Forgetting; a part of :class:`~thea_core.testing.stores.StoreContract`, which says what it needs."""

    many = 1_100

    # -- a commit that forgets

    @pytest.mark.parametrize("context", ['{"new": 1}', None])
    def test_a_commit_that_forgets_removes_earlier_replies(self, store: Store, context: str | None) -> None:
        for message_id in ("m1", "m2"):
            turn(store, message_id=message_id, reply='"old"')
        turn(store, "ben", message_id="m1", reply='"his"')
        turn(store, context=context, session_id=None, forget=True)
        for message_id in ("m1", "m2"):
            conversation = begin(store, message_id=message_id)
            assert (conversation.reply, conversation.attempt, conversation.context) == (None, 1, context)
            assert conversation.lease is not None
            store.release(conversation.lease)
        assert begin(store, "ben", message_id="m1").reply == '"his"'

    @pytest.mark.parametrize("context", ['{"new": 1}', None])
    def test_a_commit_that_forgets_keeps_its_own_reply(self, store: Store, context: str | None) -> None:
        turn(store, message_id="m1", reply='"old"')
        turn(store, message_id="m2", reply='"bye"', context=context, session_id=None, forget=True)
        assert begin(store, message_id="m2").reply == '"bye"'
        assert begin(store, message_id="m1").reply is None

    @pytest.mark.parametrize("context", ['{"new": 1}', None])
    def test_a_commit_that_forgets_removes_what_is_known_of_attempts(self, store: Store, context: str | None) -> None:
        store.release(take(store, message_id="m1")[0])
        turn(store, context=context, session_id=None, forget=True)
        assert begin(store, message_id="m1").attempt == 1

    def test_a_commit_that_forgets_is_refused_where_its_message_was_handled(self, store: Store) -> None:
        turn(store, message_id="m1", reply='"first"', context='{"old": 1}')
        lease, version = take(store)
        with pytest.raises(CommitRefusedError, match="handled before"):
            store.commit(Commit(lease, version, None, None, message_id="m1", reply='"second"', forget=True))
        assert begin(store, message_id="m1").reply == '"first"'
        assert store.load("ana") == '{"old": 1}'

    @pytest.mark.parametrize("context", ["{}", None])
    def test_a_commit_that_forgets_and_is_refused_forgets_nothing(self, store: Store, context: str | None) -> None:
        turn(store, message_id="m1", reply='"old"', context='{"old": 1}')
        lease, version = take(store)
        with pytest.raises(CommitRefusedError):
            store.commit(Commit(lease, version + 1, context, None, forget=True))
        assert begin(store, message_id="m1").reply == '"old"'
        assert store.load("ana") == '{"old": 1}'

    @pytest.mark.parametrize("context", ["{}", None])
    def test_fence_numbers_grow_across_a_commit_that_forgets(self, store: Store, context: str | None) -> None:
        lease, version = take(store)
        store.commit(Commit(lease, version, context, None, forget=True))
        assert not store.renew(lease, duration=30.0)
        assert take(store)[0].fence > lease.fence

    def test_what_comes_after_it_is_purged_in_its_own_time(self, store: Store, clock: FakeClock) -> None:
        turn(store, message_id="m1", reply='"old"')
        clock.advance(10.0)
        turn(store, forget=True)
        turn(store, message_id="m1", reply='"new"')
        assert store.purge_messages(older_than=5.0) == 0
        assert begin(store, message_id="m1").reply == '"new"'
        clock.advance(10.0)
        assert store.purge_messages(older_than=5.0) == 1

    # -- purge_conversations

    def test_users_who_did_nothing_for_long_are_forgotten(self, store: Store, clock: FakeClock) -> None:
        for user_id in ("ana", "ben"):
            turn(store, user_id, session_id=None, message_id="m1", reply='"old"')
        clock.advance(10.0)
        turn(store, "ben", session_id=None, context='{"new": 1}', session_timeout=60.0)
        turn(store, "ana", session_id=None, session_timeout=None)  # a save, or the end of a session
        clock.advance(10.0)
        assert store.purge_conversations(older_than=15.0) == 1
        assert (store.load("ana"), store.load("ben")) == (None, '{"new": 1}')
        assert begin(store, "ben", message_id="m1").reply == '"old"'
        conversation = begin(store, "ana", message_id="m1")
        assert (conversation.reply, conversation.version, conversation.attempt) == (None, 0, 1)
        assert store.purge_conversations(older_than=15.0) == 0

    def test_a_user_with_a_session_is_not_forgotten(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=5.0)
        clock.advance(20.0)
        assert store.purge_conversations(older_than=15.0) == 0
        (claimed,) = store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        store.commit(Commit(claimed.lease, claimed.version, "{}", None))
        assert store.purge_conversations(older_than=30.0) == 0
        assert store.purge_conversations(older_than=15.0) == 1

    def test_a_user_whose_turn_is_running_is_not_forgotten(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_id=None)
        clock.advance(20.0)
        lease, version = take(store)
        assert store.purge_conversations(older_than=15.0) == 0
        store.commit(Commit(lease, version, '{"new": 1}', None))
        assert store.load("ana") == '{"new": 1}'

    def test_a_dead_holder_does_not_keep_a_user(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_id=None)
        lease, version = take(store, message_id="m1", duration=5.0)
        clock.advance(20.0)
        assert store.purge_conversations(older_than=15.0) == 1
        with pytest.raises(CommitRefusedError):
            store.commit(Commit(lease, version, "{}", None))
        conversation = begin(store, message_id="m1")
        assert conversation.attempt == 1
        assert conversation.lease is not None
        assert conversation.lease.fence > lease.fence

    def test_a_lease_that_was_given_back_does_not_come_alive(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_id=None)
        clock.advance(1.0)
        assert store.purge_conversations(older_than=0.5) == 1
        assert begin(store, owner="there").lease is not None

    def test_a_user_without_a_conversation_is_left_to_the_other_purge(self, store: Store, clock: FakeClock) -> None:
        turn(store, context=None, session_id=None, message_id="m1", reply='"bye"')
        clock.advance(20.0)
        assert store.purge_conversations(older_than=15.0) == 0
        assert begin(store, message_id="m1").reply == '"bye"'
        assert store.purge_messages(older_than=15.0) == 1

    def test_messages_of_forgotten_users_are_not_purged_again(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_id=None, message_id="m1")
        turn(store, "ben", message_id="m1")
        clock.advance(20.0)
        assert store.purge_conversations(older_than=15.0) == 1
        assert store.purge_messages(older_than=15.0) == 1

    def test_the_purge_goes_through_all_conversations(self, store: Store, clock: FakeClock) -> None:
        for number in range(self.many):
            turn(store, f"user-{number}", session_id=None)
        clock.advance(10.0)
        turn(store, "user-7", session_id=None)
        assert store.purge_conversations(older_than=5.0) == self.many - 1
        assert store.load("user-7") == "{}"
