"""What a PostgreSQL store does where its connections break, a process forks, or many use it at once."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.services.postgres import empty, new_schema, require
from tests.support import run_in_child
from thea_core.errors import CommitRefusedError, StoreUnavailableError
from thea_core.testing.stores import begin, take, turn
from thea_core.types import Commit, OutgoingEvent

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: pip install 'thea-core[postgres]'")
from thea_core.storage import postgres_connections  # noqa: E402 -- only where psycopg is there
from thea_core.storage.postgres import PostgresStore  # noqa: E402 -- only where psycopg is there

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
forks_with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

BACKENDS = "FROM pg_stat_activity WHERE application_name = 'store-under-test' AND datname = current_database()"


@pytest.fixture(scope="module")
def url() -> str:
    require()
    return f"{new_schema()}&application_name=store-under-test"


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(url)
    empty(url)
    yield store
    store.close()


class Backdoor:
    """A connection of the test's own."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url.replace("store-under-test", "backdoor"), autocommit=True)

    def execute(self, statement: str) -> list[Any]:
        cursor = self.connection.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def end_connections(self) -> int:
        """End the store's connections, as a restart of the server does; return how many there were."""
        return len(self.execute(f"SELECT pg_terminate_backend(pid, 10000) {BACKENDS}"))

    def lock(self, user_id: str = "ana") -> None:
        """Lock the user's lease, so that whoever needs it stays where it is."""
        self.execute("BEGIN")
        self.execute(f"SELECT FROM thea_leases WHERE user_id = '{user_id}' FOR UPDATE")

    def scans(self, *tables: str) -> dict[str, int]:
        """Return how often tables were gone through, and how many rows of theirs were read by an index.

        Counted by this connection, so its transaction is not to end meanwhile.
        """
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self.execute("BEGIN")
        names = ", ".join(f"'{table}'::regclass" for table in tables)
        ((seq_scan, idx_tup_fetch),) = self.execute(
            f"SELECT sum(seq_scan), sum(idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relid IN ({names})"
        )
        return {"seq_scan": seq_scan, "idx_tup_fetch": idx_tup_fetch}

    def wait_for_waiting(self, count: int = 1) -> None:
        """Return when so many calls of the store wait for a lock."""
        deadline = time.monotonic() + 20
        while self.execute(f"SELECT count(*) {BACKENDS} AND wait_event_type = 'Lock'") != [(count,)]:
            assert time.monotonic() < deadline, f"{count} calls should wait for a lock, and do not"
            self.execute("SELECT pg_stat_clear_snapshot()")


@pytest.fixture
def backdoor(url: str) -> Iterator[Backdoor]:
    backdoor = Backdoor(url)
    yield backdoor
    backdoor.connection.close()


@pytest.fixture
def aside() -> Iterator[Callable[..., Any]]:
    """Calls a function on a thread; what is returned gives its result."""
    with ThreadPoolExecutor(4) as threads:
        yield threads.submit


class TestBrokenConnections:
    def test_a_restart_between_two_calls_goes_unnoticed(self, store: PostgresStore, backdoor: Backdoor) -> None:
        turn(store, context='{"a": 1}')
        assert backdoor.end_connections()
        lease, version = take(store)
        assert backdoor.end_connections()
        store.commit(Commit(lease, version, '{"b": 2}', None))
        assert backdoor.end_connections()
        assert store.load("ana") == '{"b": 2}'

    def test_of_a_commit_whose_connection_is_lost_nobody_knows(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        lease, version = take(store)
        backdoor.lock()
        committing = aside(store.commit, Commit(lease, version, "{}", None, message_id="m1"))
        backdoor.wait_for_waiting()
        backdoor.end_connections()
        with pytest.raises(StoreUnavailableError, match="not known whether the turn was written; send the same mess"):
            committing.result()
        backdoor.execute("ROLLBACK")
        store.commit(Commit(lease, version, "{}", None, message_id="m1"))

    def test_of_an_append_whose_connection_is_lost_nobody_knows(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        events = [OutgoingEvent("p", "on_message", "1", "{}")]
        store.outbox.append("ana", events)
        backdoor.execute("BEGIN")
        backdoor.execute("SELECT FROM thea_lanes FOR UPDATE")
        appending = aside(store.outbox.append, "ana", events)
        backdoor.wait_for_waiting()
        backdoor.end_connections()
        with pytest.raises(StoreUnavailableError, match="not known whether the events were stored"):
            appending.result()
        backdoor.execute("ROLLBACK")
        assert len(store.outbox.list()) == 1

    def test_what_may_be_done_twice_is_done_again(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        lease, _ = take(store)
        backdoor.lock()
        renewing = aside(store.renew, lease, duration=30.0)
        backdoor.wait_for_waiting()
        backdoor.end_connections()
        backdoor.wait_for_waiting()
        backdoor.execute("ROLLBACK")
        assert renewing.result()

    def test_a_transaction_that_the_server_undoes_is_tried_again(self) -> None:
        store = PostgresStore(url := new_schema())
        quirk = Backdoor(url)
        quirk.execute("CREATE SEQUENCE calls")
        quirk.execute("""
            CREATE FUNCTION deadlocks() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('calls') <= 2 THEN
                    RAISE EXCEPTION USING ERRCODE = '40P01', MESSAGE = 'deadlock detected';
                END IF;
                RETURN NEW;
            END $$
        """)
        quirk.execute(
            "CREATE TRIGGER deadlocks BEFORE INSERT ON thea_conversations FOR EACH ROW EXECUTE FUNCTION deadlocks()"
        )
        turn(store, context='{"a": 1}')
        assert (store.load("ana"), quirk.execute("SELECT last_value FROM calls")) == ('{"a": 1}', [(3,)])
        store.close()
        quirk.connection.close()

    def test_a_server_that_lets_nobody_in_is_told_and_over_when_it_does(self, url: str, backdoor: Backdoor) -> None:
        name = f"thea_{secrets.token_hex(6)}"
        ((user,),) = backdoor.execute("SELECT current_user")
        backdoor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 's3cret' IN ROLE {user}")
        head, _, tail = url.partition("://")
        store = PostgresStore(f"{head}://{name}:s3cret@{tail.rpartition('@')[2]}", timeout=0.5)
        try:
            store.load("ana")
            backdoor.execute(f"ALTER ROLE {name} NOLOGIN")
            backdoor.end_connections()
            with pytest.raises(
                StoreUnavailableError, match=r"cannot connect; check that .*not permitted to log in"
            ) as no:
                store.load("ana")
            assert "s3cret" not in str(no.value)
            backdoor.execute(f"ALTER ROLE {name} LOGIN")
            assert store.load("ana") is None
        finally:
            store.close()
            backdoor.execute(f"DROP ROLE {name}")

    def test_ctrl_c_ends_a_call_and_nothing_else(self, store: PostgresStore, backdoor: Backdoor) -> None:
        lease, version = take(store)
        backdoor.lock()

        def interrupt() -> None:
            backdoor.wait_for_waiting()
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            store.commit(Commit(lease, version, "{}", None))
        thread.join()
        backdoor.execute("ROLLBACK")
        store.commit(Commit(lease, version, "{}", None))
        assert store.load("ana") == "{}"

    def test_closing_lets_a_call_finish(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        lease, version = take(store)
        backdoor.lock()
        committing = aside(store.commit, Commit(lease, version, '{"a": 1}', None))
        backdoor.wait_for_waiting()
        store.close()
        with pytest.raises(StoreUnavailableError, match="is closed"):
            store.release(lease)
        backdoor.execute("ROLLBACK")
        assert committing.result() is None
        assert backdoor.execute("SELECT context FROM thea_conversations") == [('{"a": 1}',)]


class TestRoundTrips:
    def test_every_call_is_one_statement_and_no_transaction_is_left_open(
        self, store: PostgresStore, backdoor: Backdoor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn(store)  # connects
        calls: list[Any] = []
        execute = psycopg.Connection.execute
        monkeypatch.setattr(
            psycopg.Connection, "execute", lambda self, *args, **options: calls.append(args) or execute(self, *args)
        )
        event = OutgoingEvent("p", "on_message", "1", "{}")
        lease, version = take(store, message_id="m1")
        store.renew(lease, duration=30.0)
        store.commit(Commit(lease, version, "{}", "s1", 0.0, "m1", '"r"', [event, event]))
        store.load("ana")
        (session,) = store.claim_expired(owner="here", duration=30.0, limit=5)
        store.release(session.lease)
        store.enqueue("ana", owner="here", duration=30.0)
        store.dequeue("ana", owner="here")
        store.outbox.append("ana", [event])
        (claimed,) = store.outbox.claim("p", duration=30.0, limit=5)
        store.outbox.settle(claimed, delivered=3)
        assert len(calls) == 11
        monkeypatch.undo()
        assert set(backdoor.execute(f"SELECT state, xact_start {BACKENDS}")) == {("idle", None)}

    def test_commits_wait_for_the_disk_whatever_the_server_is_set_to_and_leases_do_not(
        self, store: PostgresStore, backdoor: Backdoor
    ) -> None:
        lease, version = take(store)
        backdoor.execute("BEGIN")
        for call, setting in (
            ("thea_renew('ana', 'here', 1, 30, NULL)", "off"),
            (
                f"thea_commit('ana', 'here', {lease.fence}, {version}, '{{}}'"
                + ", NULL" * 4
                + ", false"
                + ", NULL" * 5
                + ")",
                "on",
            ),
            ("thea_begin('ben', 'here', 30, NULL, false, NULL)", "off"),
            ("thea_append('', '{p}', '{h}', '{e}', '{e}', NULL)", "on"),
            ("thea_claim('p', 30, 1, NULL)", "off"),
        ):
            backdoor.execute(f"SELECT {call}")
            assert backdoor.execute("SHOW synchronous_commit") == [(setting,)], call
        backdoor.execute("ROLLBACK")


class TestManyAtOnce:
    def test_a_commit_that_meets_a_takeover_is_refused(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        """The commit waits for the lease, and finds that it belongs to somebody else."""
        lease, version = take(store, duration=0.0)
        backdoor.lock()
        taking = aside(store.begin, "ana", owner="there", duration=30.0)
        backdoor.wait_for_waiting()
        committing = aside(store.commit, Commit(lease, version, '{"old": 1}', None))
        backdoor.wait_for_waiting(2)
        backdoor.execute("ROLLBACK")
        with pytest.raises(CommitRefusedError, match="the lease of this conversation was lost; nothing was written"):
            committing.result()
        assert taking.result().version == 0
        assert store.load("ana") is None

    def test_a_takeover_that_meets_a_commit_reads_what_was_committed(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        turn(store, context='{"old": 1}')
        lease, version = take(store, duration=0.0)
        backdoor.lock()
        committing = aside(store.commit, Commit(lease, version, '{"new": 1}', None, message_id="m1", reply='"r"'))
        backdoor.wait_for_waiting()
        taking = aside(store.begin, "ana", owner="there", duration=30.0)
        again = aside(store.begin, "ana", owner="third", duration=30.0, message_id="m1")
        backdoor.wait_for_waiting(3)
        backdoor.execute("ROLLBACK")
        committing.result()
        taken = taking.result()
        assert (taken.context, taken.version) == ('{"new": 1}', version + 1)
        assert again.result().reply == '"r"'

    def test_each_expired_session_is_claimed_once(self, store: PostgresStore, aside: Callable[..., Any]) -> None:
        users = [f"user-{number}" for number in range(40)]
        for user_id in users:
            turn(store, user_id, session_timeout=0.0)
        claims = [aside(store.claim_expired, owner=f"o{n}", duration=30.0, limit=20) for n in range(4)]
        claimed = [session.lease.user_id for claim in claims for session in claim.result()]
        claimed += [session.lease.user_id for session in store.claim_expired(owner="o", duration=30.0, limit=40)]
        assert sorted(claimed) == sorted(users)

    def test_an_event_that_comes_while_the_last_one_is_settled_is_not_lost(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        store.outbox.append("ana", [OutgoingEvent("p", "on_message", "1", "{}")])
        (claimed,) = store.outbox.claim("p", duration=30.0, limit=1)
        backdoor.execute("BEGIN")
        backdoor.execute("SELECT FROM thea_lanes FOR UPDATE")
        settling = aside(store.outbox.settle, claimed, delivered=1)
        backdoor.wait_for_waiting()
        appending = aside(store.outbox.append, "ana", [OutgoingEvent("p", "on_message", "2", "{}")])
        backdoor.wait_for_waiting(2)
        backdoor.execute("ROLLBACK")
        assert settling.result()
        appending.result()
        (claimed,) = store.outbox.claim("p", duration=30.0, limit=1)
        assert [event.event_id for event in claimed.events] == ["2"]

    def test_processes_that_share_a_database_lose_no_update(self) -> None:
        """They make the tables at the same time, too."""
        require()
        url = new_schema()
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=count_up, args=(url, 50, f"p{number}")) for number in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        store = PostgresStore(url)
        assert store.load("ana") == "100"
        store.close()

    def test_more_threads_than_connections_wait_for_one(self, store: PostgresStore, backdoor: Backdoor) -> None:
        with ThreadPoolExecutor(25) as threads:
            list(threads.map(lambda number: turn(store, f"user-{number}"), range(100)))
        ((connections,),) = backdoor.execute(f"SELECT count(*) {BACKENDS}")
        assert 1 <= connections <= 10
        assert backdoor.execute("SELECT count(*) FROM thea_conversations") == [(100,)]

    def test_who_gets_no_connection_in_time_is_told(
        self,
        url: str,
        store: PostgresStore,
        backdoor: Backdoor,
        aside: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(postgres_connections, "_MOST", 1)
        small = PostgresStore(url, timeout=0.5)
        lease, _ = take(small)
        backdoor.lock()
        releasing = aside(small.release, lease)
        backdoor.wait_for_waiting()
        with pytest.raises(StoreUnavailableError, match=r"no connection came free within 0\.5 s; all 1 were in use"):
            small.load("ana")
        backdoor.execute("ROLLBACK")
        releasing.result()
        assert small.load("ana") is None
        small.close()

    def test_expired_sessions_are_found_by_an_index(self, store: PostgresStore, backdoor: Backdoor) -> None:
        """No row is read but those of expired sessions."""
        backdoor.execute(
            "INSERT INTO thea_conversations SELECT 'user-' || n, 1, 's', n, 0, '{}' FROM generate_series(1, 5000) AS n"
        )
        backdoor.execute("INSERT INTO thea_leases SELECT user_id, NULL, 1, 0, NULL, 1 FROM thea_conversations")
        backdoor.execute("ANALYZE thea_conversations, thea_leases")
        before = backdoor.scans("thea_conversations", "thea_leases")
        assert len(backdoor.execute("SELECT thea_claim_expired('o', 30, 100, 10)")) == 10
        after = backdoor.scans("thea_conversations", "thea_leases")
        assert after["seq_scan"] == before["seq_scan"]
        assert 0 < after["idx_tup_fetch"] - before["idx_tup_fetch"] <= 60

    def test_events_are_claimed_by_an_index(self, store: PostgresStore, backdoor: Backdoor) -> None:
        backdoor.execute("INSERT INTO thea_lanes SELECT 'user-' || n, 'p', n FROM generate_series(1, 5000) AS n")
        backdoor.execute(
            "INSERT INTO thea_events (user_id, plugin, hook, event_id, event, stored) "
            "SELECT user_id, plugin, 'h', 'e', '{}', 0 FROM thea_lanes"
        )
        backdoor.execute("ANALYZE thea_lanes, thea_events")
        before = backdoor.scans("thea_lanes", "thea_events")
        assert len(backdoor.execute("SELECT thea_claim('p', 30, 10, 100)")) == 10
        after = backdoor.scans("thea_lanes", "thea_events")
        assert after["seq_scan"] == before["seq_scan"]
        assert 0 < after["idx_tup_fetch"] - before["idx_tup_fetch"] <= 60


def count_up(url: str, rounds: int, owner: str) -> None:
    """Add 1 to the one conversation, ``rounds`` times, whoever else does so."""
    store = PostgresStore(url)
    while rounds:
        conversation = store.begin("ana", owner=owner, duration=1e6)
        if conversation is None or conversation.lease is None:
            continue
        count = str(int(conversation.context or "0") + 1)
        store.commit(Commit(conversation.lease, conversation.version, count, None))
        rounds -= 1
    store.close()


@needs_fork
@forks_with_threads
class TestFork:
    def test_a_forked_child_and_its_parent_both_go_on(self, store: PostgresStore) -> None:
        turn(store, context='{"a": 1}')

        def commits() -> bool:
            turn(store, "child", context='{"b": 2}')
            return store.load("ana") == '{"a": 1}'

        assert run_in_child(commits)
        turn(store, context='{"c": 3}')
        assert (store.load("child"), store.load("ana")) == ('{"b": 2}', '{"c": 3}')

    def test_a_child_that_closes_the_store_leaves_the_parents_connections_alone(
        self, store: PostgresStore, backdoor: Backdoor
    ) -> None:
        turn(store)
        before = backdoor.execute(f"SELECT pid {BACKENDS}")

        def closes() -> bool:
            store.close()
            return True

        assert run_in_child(closes)
        turn(store)
        assert backdoor.execute(f"SELECT pid {BACKENDS}") == before

    def test_a_child_of_a_process_in_the_middle_of_a_call_goes_on(
        self, store: PostgresStore, backdoor: Backdoor, aside: Callable[..., Any]
    ) -> None:
        lease, version = take(store)
        backdoor.lock()
        committing = aside(store.commit, Commit(lease, version, '{"a": 1}', None))
        backdoor.wait_for_waiting()
        assert run_in_child(lambda: store.load("ben") is None)
        backdoor.execute("ROLLBACK")
        committing.result()
        assert begin(store).context == '{"a": 1}'
