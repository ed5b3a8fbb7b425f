"""What every store must do, written against the protocol alone."""

# ruff: noqa: D102, PLR2004, S101 -- these are tests: they assert, and say in their names what

from __future__ import annotations

import threading

import pytest

from thea_core.errors import CommitRefusedError, StoreUnavailableError
from thea_core.testing.clock import FakeClock
from thea_core.testing.forgetting import ForgettingContract
from thea_core.testing.queues import QueueContract
from thea_core.testing.turns import begin, run_together, take, turn
from thea_core.types import Commit, Conversation, Lease, Store

__all__ = ["StoreContract", "begin", "take", "turn"]


class StoreContract(QueueContract, ForgettingContract):
    """The contract of :class:`~thea_core.types.Store`, for test classes to inherit.

    Such a class gives two fixtures: ``store``, an empty store, which the fixture closes at the end; and ``clock``, from
    which that store takes its time, a :class:`~thea_core.testing.clock.FakeClock`. A store that has its time from
    elsewhere gives an object with the same methods, whose ``advance`` lets the store's time go on.

    Attributes:
        many: how many users, or messages of one, there are in tests of what goes through all of them.
        keeps_places: see :class:`~thea_core.testing.queues.QueueContract`.
    """

    # -- begin

    def test_an_unknown_user_has_nothing(self, store: Store) -> None:
        conversation = begin(store)
        assert conversation.lease is not None
        assert (conversation.lease.user_id, conversation.lease.owner) == ("ana", "here")
        assert conversation == Conversation(
            conversation.lease, None, 0, None, session_expired=False, attempt=1, reply=None
        )

    def test_what_was_committed_is_read_by_the_next_begin(self, store: Store) -> None:
        turn(store, context='{"a": 1}')
        conversation = begin(store)
        assert (conversation.context, conversation.version, conversation.session_id) == ('{"a": 1}', 1, "s1")

    def test_the_version_grows_with_every_commit(self, store: Store) -> None:
        for _ in range(3):
            turn(store)
        assert begin(store).version == 3

    def test_a_second_begin_finds_the_conversation_busy(self, store: Store) -> None:
        begin(store)
        assert store.begin("ana", owner="there", duration=30.0) is None

    def test_the_same_owner_finds_it_busy_too(self, store: Store) -> None:
        begin(store)
        assert store.begin("ana", owner="here", duration=30.0) is None

    def test_users_do_not_wait_for_each_other(self, store: Store) -> None:
        begin(store, "ana")
        assert begin(store, "ben").lease is not None

    def test_an_expired_lease_is_taken_over(self, store: Store, clock: FakeClock) -> None:
        first, _ = take(store)
        clock.advance(30.0)
        second, _ = take(store, owner="there")
        assert second.fence > first.fence

    @pytest.mark.parametrize("end", ["commit", "release", "remove", "expire", "purge"])
    def test_a_fence_number_is_never_given_twice(self, store: Store, clock: FakeClock, end: str) -> None:
        fences = []
        for _ in range(4):
            lease, version = take(store)
            fences.append(lease.fence)
            if end == "commit":
                store.commit(Commit(lease, version, context="{}", session_id=None))
            elif end == "remove":
                store.commit(Commit(lease, version, context=None, session_id=None))
            elif end == "release":
                store.release(lease)
            else:
                clock.advance(31.0)
            if end == "purge":
                store.purge_messages(older_than=0.0)
        assert fences == sorted(set(fences))

    def test_a_message_that_was_handled_gives_its_reply_and_no_lease(self, store: Store) -> None:
        turn(store, context='{"a": 1}', message_id="m1", reply='"hello"')
        conversation = begin(store, message_id="m1")
        assert conversation == Conversation(
            None, '{"a": 1}', 1, "s1", session_expired=False, attempt=1, reply='"hello"'
        )
        assert begin(store, message_id="m2").lease is not None

    def test_a_known_reply_is_given_even_while_another_turn_runs(self, store: Store) -> None:
        turn(store, message_id="m1", reply='"hello"')
        begin(store, message_id="m2")
        assert begin(store, message_id="m1").reply == '"hello"'

    def test_a_message_id_belongs_to_one_user(self, store: Store) -> None:
        turn(store, "ana", message_id="m1", reply='"hello"')
        assert begin(store, "ben", message_id="m1").reply is None

    def test_a_message_id_without_a_reply_is_stored_with_null(self, store: Store) -> None:
        turn(store, message_id="m1")
        assert begin(store, message_id="m1").reply == "null"

    # -- attempts

    def test_a_message_whose_turn_expired_is_on_its_second_attempt(self, store: Store, clock: FakeClock) -> None:
        begin(store, message_id="m1")
        clock.advance(30.0)
        assert begin(store, message_id="m1").attempt == 2

    def test_a_message_whose_turn_was_released_is_on_its_second_attempt(self, store: Store) -> None:
        store.release(take(store, message_id="m1")[0])
        store.release(take(store, message_id="m1")[0])
        assert begin(store, message_id="m1").attempt == 3

    def test_another_message_is_on_its_first_attempt(self, store: Store) -> None:
        store.release(take(store, message_id="m1")[0])
        assert begin(store, message_id="m2").attempt == 1

    @pytest.mark.parametrize("context", ["{}", None])
    def test_work_without_a_message_leaves_the_attempts_counted(self, store: Store, context: str | None) -> None:
        store.release(take(store, message_id="m1")[0])
        turn(store, context=context, session_id=None)
        store.release(take(store)[0])
        assert begin(store, message_id="m1").attempt == 2

    @pytest.mark.parametrize("context", ["{}", None])
    def test_a_message_that_was_committed_and_forgotten_is_new(
        self, store: Store, clock: FakeClock, context: str | None
    ) -> None:
        turn(store, message_id="m1", context=context, session_id=None)
        clock.advance(1.0)
        assert store.purge_messages(older_than=0.5) == 1
        assert begin(store, message_id="m1").attempt == 1

    def test_other_work_after_a_committed_message_does_not_make_it_an_attempt(
        self, store: Store, clock: FakeClock
    ) -> None:
        turn(store, message_id="m1")
        clock.advance(1.0)
        store.release(take(store)[0])
        store.purge_messages(older_than=0.5)
        assert begin(store, message_id="m1").attempt == 1

    # -- renew, release

    def test_a_renewed_lease_lives_longer(self, store: Store, clock: FakeClock) -> None:
        lease, _ = take(store)
        clock.advance(20.0)
        assert store.renew(lease, duration=30.0)
        clock.advance(20.0)
        assert store.begin("ana", owner="there", duration=30.0) is None

    def test_an_expired_lease_that_nobody_took_is_renewed(self, store: Store, clock: FakeClock) -> None:
        lease, _ = take(store)
        clock.advance(40.0)
        assert store.renew(lease, duration=30.0)
        assert store.begin("ana", owner="there", duration=30.0) is None

    @pytest.mark.parametrize("how", ["taken over", "released", "committed", "removed", "never given"])
    def test_a_lost_lease_is_neither_renewed_nor_released(self, store: Store, clock: FakeClock, how: str) -> None:
        lease, version = take(store)
        if how == "taken over":
            clock.advance(30.0)
        elif how == "released":
            store.release(lease)
        elif how == "committed":
            store.commit(Commit(lease, version, context="{}", session_id=None, message_id="m1"))
        elif how == "removed":
            store.commit(Commit(lease, version, context=None, session_id=None, message_id="m1"))
        else:
            store.release(lease)
            lease = Lease("ana", "nobody", 1)
        if how == "taken over":
            begin(store, owner="there")
        assert not store.renew(lease, duration=30.0)
        store.release(lease)
        busy = store.begin("ana", owner="third", duration=30.0) is None
        assert busy == (how == "taken over")

    def test_a_released_conversation_is_free_and_unchanged(self, store: Store) -> None:
        turn(store, context='{"a": 1}')
        store.release(take(store)[0])
        assert (begin(store).context, store.load("ana")) == ('{"a": 1}', '{"a": 1}')

    # -- commit

    def test_a_commit_releases_the_lease(self, store: Store) -> None:
        turn(store)
        assert begin(store, owner="there").lease is not None

    def test_a_late_commit_counts_where_nobody_took_over(self, store: Store, clock: FakeClock) -> None:
        lease, version = take(store)
        clock.advance(3600.0)
        store.commit(Commit(lease, version, context='{"late": 1}', session_id=None))
        assert store.load("ana") == '{"late": 1}'

    @pytest.mark.parametrize("version", [0, 1])
    @pytest.mark.parametrize("context", ['{"new": 1}', None])
    @pytest.mark.parametrize("wrong", ["owner", "fence", "version", "user"])
    def test_a_commit_that_does_not_fit_changes_nothing(
        self, store: Store, wrong: str, context: str | None, version: int
    ) -> None:
        for _ in range(version):
            turn(store, context='{"old": 1}')
        lease, version = take(store)
        if wrong == "version":
            version += 1
        else:
            lease = {
                "owner": Lease("ana", "there", lease.fence),
                "fence": Lease("ana", "here", lease.fence + 1),
                "user": Lease("ben", "here", lease.fence),
            }[wrong]
        with pytest.raises(CommitRefusedError, match="nothing was written"):
            store.commit(Commit(lease, version, context=context, session_id=None, message_id="m1", reply='"no"'))
        assert store.load("ana") == ('{"old": 1}' if "old" in str(store.load("ana")) else None)
        assert store.load("ben") is None
        assert store.begin("ana", owner="there", duration=30.0) is None
        assert begin(store, "ben", message_id="m1").reply is None

    def test_an_older_version_is_refused(self, store: Store) -> None:
        turn(store, context='{"old": 1}')
        lease, _ = take(store)
        with pytest.raises(CommitRefusedError, match="version"):
            store.commit(Commit(lease, 0, context="{}", session_id=None))
        assert store.load("ana") == '{"old": 1}'

    def test_the_holder_that_was_overtaken_is_refused(self, store: Store, clock: FakeClock) -> None:
        slow, version = take(store)
        clock.advance(30.0)
        quick, _ = take(store, owner="there")
        with pytest.raises(CommitRefusedError, match="lease"):
            store.commit(Commit(slow, version, context='{"slow": 1}', session_id=None))
        store.commit(Commit(quick, version, context='{"quick": 1}', session_id=None))
        with pytest.raises(CommitRefusedError, match="lease"):
            store.commit(Commit(slow, version + 1, context='{"slow": 1}', session_id=None))
        assert store.load("ana") == '{"quick": 1}'

    @pytest.mark.parametrize("message_id", ["m1", None])
    @pytest.mark.parametrize("context", ["{}", None])
    def test_a_lease_is_good_for_one_commit(self, store: Store, context: str | None, message_id: str | None) -> None:
        lease, version = take(store)
        store.commit(Commit(lease, version, context=context, session_id=None, message_id=message_id))
        for version in (0, 1):
            with pytest.raises(CommitRefusedError):
                store.commit(Commit(lease, version, context='{"twice": 1}', session_id=None, message_id="m2"))
        assert store.load("ana") == context

    def test_a_message_is_not_answered_twice(self, store: Store) -> None:
        turn(store, message_id="m1", reply='"first"', context='{"first": 1}')
        lease, version = take(store)
        with pytest.raises(CommitRefusedError, match="handled before"):
            store.commit(Commit(lease, version, "{}", None, message_id="m1", reply='"second"'))
        assert begin(store, message_id="m1").reply == '"first"'
        assert store.load("ana") == '{"first": 1}'
        assert store.begin("ana", owner="there", duration=30.0) is None

    def test_a_commit_without_a_context_removes_it_and_keeps_the_reply(self, store: Store) -> None:
        turn(store)
        turn(store, context=None, session_id=None, message_id="m1", reply='"bye"')
        conversation = begin(store, message_id="m1")
        assert conversation == Conversation(None, None, 0, None, session_expired=False, attempt=1, reply='"bye"')

    def test_a_session_stays_without_a_context(self, store: Store) -> None:
        turn(store, context=None)
        conversation = begin(store)
        assert (conversation.context, conversation.session_id, conversation.version) == (None, "s1", 1)

    @pytest.mark.parametrize("text", ["{}", '{"é": "\\u0000"}', "ñ" * 10_000, '"\U0001f600"', ""])
    def test_texts_come_back_as_they_were(self, store: Store, text: str) -> None:
        turn(store, "ñandú '\";--", context=text, message_id="m 'x", reply=text)
        conversation = begin(store, "ñandú '\";--", message_id="m 'x")
        assert (conversation.context, conversation.reply) == (text, text)

    # -- sessions

    def test_a_session_expires_at_its_deadline(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=60.0)
        clock.advance(59.0)
        lease = begin(store)
        assert lease.lease is not None
        assert not lease.session_expired
        store.release(lease.lease)
        clock.advance(1.0)
        assert begin(store).session_expired

    def test_a_commit_moves_the_deadline(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=60.0)
        clock.advance(59.0)
        turn(store, session_timeout=60.0)
        clock.advance(59.0)
        assert not store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        clock.advance(1.0)
        assert len(store.claim_expired(owner="sweeper", duration=30.0, limit=10)) == 1

    def test_a_commit_may_bring_the_deadline_nearer(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=600.0)
        turn(store, session_timeout=10.0)
        clock.advance(10.0)
        assert len(store.claim_expired(owner="sweeper", duration=1.0, limit=10)) == 1
        clock.advance(600.0)
        assert len(store.claim_expired(owner="sweeper", duration=1.0, limit=10)) == 1

    def test_a_commit_without_a_timeout_keeps_the_deadline(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=60.0)
        clock.advance(59.0)
        turn(store, session_timeout=None)
        clock.advance(1.0)
        assert begin(store).session_expired

    def test_a_session_without_a_deadline_does_not_expire(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=None)
        clock.advance(1e9)
        assert not begin(store).session_expired

    @pytest.mark.parametrize("context", ["{}", None])
    def test_a_session_that_was_ended_does_not_expire(
        self, store: Store, clock: FakeClock, context: str | None
    ) -> None:
        turn(store)
        turn(store, session_id=None, context=context)
        clock.advance(1e6)
        assert not store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        conversation = begin(store)
        assert (conversation.session_id, conversation.session_expired) == (None, False)

    def test_a_new_session_has_a_deadline_of_its_own(self, store: Store, clock: FakeClock) -> None:
        turn(store, session_timeout=60.0)
        turn(store, session_id=None, context=None)
        turn(store, session_id="s2", session_timeout=100.0)
        clock.advance(60.0)
        assert not store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        clock.advance(40.0)
        (claimed,) = store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        assert claimed.session_id == "s2"

    # -- claim_expired

    def test_claimed_sessions_come_longest_expired_first(self, store: Store, clock: FakeClock) -> None:
        for timeout in (30.0, 10.0, 20.0, 40.0):
            turn(store, f"user-{timeout}", session_timeout=timeout)
        clock.advance(35.0)
        first = store.claim_expired(owner="sweeper", duration=30.0, limit=2)
        second = store.claim_expired(owner="sweeper", duration=30.0, limit=2)
        assert [each.lease.user_id for each in (*first, *second)] == ["user-10.0", "user-20.0", "user-30.0"]

    def test_a_claim_holds_the_lease_and_knows_the_conversation(self, store: Store, clock: FakeClock) -> None:
        turn(store, context='{"a": 1}')
        clock.advance(60.0)
        (claimed,) = store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        assert (claimed.lease.user_id, claimed.lease.owner) == ("ana", "sweeper")
        assert (claimed.session_id, claimed.context, claimed.version) == ("s1", '{"a": 1}', 1)
        assert store.begin("ana", owner="here", duration=30.0) is None
        store.commit(Commit(claimed.lease, claimed.version, context='{"b": 2}', session_id=None))
        assert store.load("ana") == '{"b": 2}'
        assert not store.claim_expired(owner="sweeper", duration=30.0, limit=10)

    def test_a_claim_that_dies_is_claimed_again(self, store: Store, clock: FakeClock) -> None:
        turn(store)
        clock.advance(60.0)
        store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        assert not store.claim_expired(owner="other", duration=30.0, limit=10)
        clock.advance(30.0)
        (claimed,) = store.claim_expired(owner="other", duration=30.0, limit=10)
        assert claimed.session_id == "s1"

    def test_a_session_with_a_turn_under_way_is_not_claimed(self, store: Store, clock: FakeClock) -> None:
        turn(store)
        clock.advance(60.0)
        lease, _ = take(store)
        assert not store.claim_expired(owner="sweeper", duration=30.0, limit=10)
        store.release(lease)
        assert len(store.claim_expired(owner="sweeper", duration=30.0, limit=10)) == 1

    def test_held_sessions_do_not_hide_those_behind_them(self, store: Store, clock: FakeClock) -> None:
        turn(store, "ana", session_timeout=10.0)
        turn(store, "ben", session_timeout=20.0)
        clock.advance(60.0)
        begin(store, "ana")
        (claimed,) = store.claim_expired(owner="sweeper", duration=30.0, limit=1)
        assert claimed.lease.user_id == "ben"

    def test_a_claim_leaves_the_attempts_counted(self, store: Store, clock: FakeClock) -> None:
        turn(store)
        store.release(take(store, message_id="m1")[0])
        clock.advance(60.0)
        (claimed,) = store.claim_expired(owner="sweeper", duration=30.0, limit=1)
        store.commit(Commit(claimed.lease, claimed.version, "{}", None))
        assert begin(store, message_id="m1").attempt == 2

    # -- load, purge, key, close

    def test_load_needs_no_lease(self, store: Store) -> None:
        turn(store, context='{"a": 1}')
        begin(store)
        assert (store.load("ana"), store.load("nobody")) == ('{"a": 1}', None)

    def test_a_purge_forgets_only_what_is_older(self, store: Store, clock: FakeClock) -> None:
        turn(store, message_id="old", reply='"old"')
        turn(store, "ben", message_id="old", reply='"old"')
        clock.advance(10.0)
        turn(store, message_id="new", reply='"new"')
        clock.advance(1.0)
        assert store.purge_messages(older_than=5.0) == 2
        assert begin(store, message_id="new").reply == '"new"'
        assert begin(store, message_id="old").reply is None

    def test_a_forgotten_message_is_handled_anew(self, store: Store, clock: FakeClock) -> None:
        turn(store, message_id="m1", reply='"first"')
        clock.advance(10.0)
        store.purge_messages(older_than=5.0)
        turn(store, message_id="m1", reply='"second"')
        assert store.purge_messages(older_than=5.0) == 0
        assert begin(store, message_id="m1").reply == '"second"'

    def test_a_purge_goes_through_everything(self, store: Store, clock: FakeClock) -> None:
        for number in range(self.many):
            turn(store, message_id=str(number))
        clock.advance(1.0)
        turn(store, message_id="new")
        assert store.purge_messages(older_than=0.5) == self.many
        assert store.purge_messages(older_than=0.5) == 0

    def test_a_purge_leaves_leases_alone(self, store: Store, clock: FakeClock) -> None:
        begin(store)
        clock.advance(10.0)
        store.purge_messages(older_than=5.0)
        assert store.begin("ana", owner="there", duration=30.0) is None

    def test_the_key_has_32_bytes_and_stays(self, store: Store) -> None:
        assert len(store.key) == 32
        assert store.key == store.key

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreUnavailableError, match="is closed"):
            store.load("ana")

    # -- threads

    def test_threads_that_want_one_conversation_lose_no_update(self, store: Store) -> None:
        def work(failed: threading.Event) -> None:
            owner, done = threading.current_thread().name, 0
            while done < 25 and not failed.is_set():
                conversation = store.begin("ana", owner=owner, duration=30.0)
                if conversation is not None and conversation.lease is not None:
                    count = str(int(conversation.context or "0") + 1)
                    store.commit(Commit(conversation.lease, conversation.version, count, None))
                    done += 1

        run_together(*[work] * 4)
        assert store.load("ana") == "100"
