from __future__ import annotations

import multiprocessing
import os
import resource
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import FakeClock, run_in_child
from thea_core.errors import StoreSchemaError, StoreUnavailableError
from thea_core.storage import schema, sqlite, sqlite_outbox
from thea_core.storage.sqlite import SQLiteStore
from thea_core.testing import OutboxContract, StoreContract
from thea_core.testing.outboxes import event, tell
from thea_core.testing.turns import begin, take, turn
from thea_core.types import Commit

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
forks_with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "thea.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, clock=clock, busy_timeout=5.0)
    yield store
    store.close()


def read(path: Path, statement: str, values: Any = ()) -> list[Any]:
    """Look into the file behind the store's back."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


class TestSQLiteStore(StoreContract):
    pass


class TestSQLiteOutbox(OutboxContract):
    pass


class TestOpening:
    def test_the_file_is_marked_as_theas(self, store: SQLiteStore, path: Path) -> None:
        assert store.blocking is True
        assert read(path, "PRAGMA application_id") == [(0x54686561,)]
        assert read(path, "PRAGMA user_version") == [(len(schema.STEPS),)]
        assert read(path, "PRAGMA journal_mode") == [("wal",)]

    def test_what_was_committed_is_there_after_reopening(
        self, store: SQLiteStore, path: Path, clock: FakeClock
    ) -> None:
        turn(store, context='{"a": 1}', message_id="m1", reply='"hello"')
        key = store.key
        store.close()
        again = SQLiteStore(path, clock=clock)
        assert (again.load("ana"), begin(again, message_id="m1").reply, again.key) == ('{"a": 1}', '"hello"', key)
        again.close()

    def test_its_key_comes_from_the_given_randomness(self, path: Path, clock: FakeClock) -> None:
        store = SQLiteStore(path, clock=clock, entropy=lambda size: b"k" * size)
        assert store.key == b"k" * 32
        store.close()

    def test_a_directory_in_its_place_is_told(self, tmp_path: Path, clock: FakeClock) -> None:
        with pytest.raises(StoreUnavailableError, match=r"is a directory; name a file in it, such as .*thea\.db"):
            SQLiteStore(tmp_path, clock=clock)

    def test_a_missing_directory_is_told_and_not_made(self, tmp_path: Path, clock: FakeClock) -> None:
        with pytest.raises(StoreUnavailableError, match="missing does not exist; create it first"):
            SQLiteStore(tmp_path / "missing" / "thea.db", clock=clock)
        assert not (tmp_path / "missing").exists()

    def test_a_device_is_refused(self, clock: FakeClock) -> None:
        with pytest.raises(StoreUnavailableError, match="name an ordinary file"):
            SQLiteStore("/dev/null", clock=clock)

    @pytest.mark.parametrize(
        "content", [b"x", b"user_id\tmessage\n" * 1000, b"SQLite format 3\0 but no more than that"]
    )
    def test_a_file_that_is_no_database_is_refused_and_left_alone(
        self, path: Path, clock: FakeClock, content: bytes
    ) -> None:
        path.write_bytes(content)
        with pytest.raises(StoreSchemaError, match=r"thea.db.*no SQLite database.*name another file"):
            SQLiteStore(path, clock=clock)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("mode", ["DELETE", "WAL"])
    def test_another_programs_database_is_refused_and_left_alone(self, path: Path, clock: FakeClock, mode: str) -> None:
        read(path, f"PRAGMA journal_mode = {mode}")
        read(path, "CREATE TABLE leases (a)")
        content = path.read_bytes()
        with pytest.raises(StoreSchemaError, match="not one of Thea's"):
            SQLiteStore(path, clock=clock)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    def test_an_empty_file_is_a_new_database(self, path: Path, clock: FakeClock) -> None:
        path.touch()
        store = SQLiteStore(path, clock=clock)
        assert begin(store).version == 0
        store.close()

    def test_an_older_schema_is_brought_up_to_date(self, store: SQLiteStore, path: Path) -> None:
        key = store.key
        store.close()
        newer = (*schema.STEPS, ("ALTER TABLE store ADD COLUMN note TEXT",), ("UPDATE store SET note = 'here'",))
        connection = sqlite3.connect(path)
        schema.migrate(connection, path, os.urandom, newer)
        connection.close()
        assert read(path, "SELECT key, note FROM store") == [(key, "here")]
        assert read(path, "PRAGMA user_version") == [(len(newer),)]

    def test_a_file_of_the_first_version_keeps_what_is_in_it(self, path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        schema.migrate(connection, path, lambda size: b"k" * size, schema.STEPS[:1])
        connection.executescript("""
            PRAGMA journal_mode = WAL;
            INSERT INTO conversations VALUES ('ana', 3, 7, 's1', 1.0, '{"a": 1}');
            INSERT INTO conversations VALUES ('ben', 1, 8, NULL, NULL, '{"b": 1}');
            INSERT INTO leases VALUES ('ana', 'here', 7, 31.0, 'm1', 1), ('eve', NULL, 9, 31.0, 'm2', 2);
            INSERT INTO message_ids VALUES ('ana', 'm1', 1.0, '"hello"');
            UPDATE store SET last_fence = 4;
        """)
        connection.close()
        clock = FakeClock(datetime.now(UTC))
        store = SQLiteStore(path, clock=clock)
        assert store.key == b"k" * 32
        assert begin(store, message_id="m1").reply == '"hello"'
        assert begin(store, "eve", message_id="m2").attempt == 3
        lease, version = take(store, message_id="m3")
        assert (lease.fence, version) == (8, 3)
        store.commit(Commit(lease, version, '{"a": 2}', None, message_id="m3", events=[event("1")]))
        assert [each.event_id for each in store.outbox.list()] == ["1"]
        clock.advance(3600.0)
        assert store.purge_conversations(older_than=7200.0) == 0  # nobody knows when ben's was written, but not later
        clock.advance(7200.0)
        assert store.purge_conversations(older_than=7200.0) == 2
        assert read(path, "PRAGMA user_version") == [(len(schema.STEPS),)]
        store.close()

    def test_a_newer_schema_is_refused(self, store: SQLiteStore, path: Path, clock: FakeClock) -> None:
        store.close()
        read(path, "PRAGMA user_version = 99")
        with pytest.raises(StoreSchemaError, match=r"newer version of Thea \(schema 99; .*upgrade thea-core"):
            SQLiteStore(path, clock=clock)

    def test_a_file_system_without_shared_memory_is_told(
        self, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where SQLite cannot switch to WAL, it says so by staying in the mode it was in."""

        class Stubborn(sqlite.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                return super().execute(sql.replace("journal_mode = WAL", "journal_mode"), *parameters)

        monkeypatch.setattr(sqlite, "Connection", Stubborn)
        with pytest.raises(StoreUnavailableError, match="put it on a local disk"):
            SQLiteStore(path, clock=clock)

    def test_expired_sessions_are_found_by_an_index(self, store: SQLiteStore, path: Path) -> None:
        del store
        connection = sqlite3.connect(path)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {schema.EXPIRED}", {"now": 0.0, "limit": 10}).fetchall()
        connection.close()
        details = [row[3] for row in plan]
        assert any("SEARCH c USING INDEX conversations_deadline" in detail for detail in details), details
        assert not any("TEMP B-TREE" in detail or detail.startswith("SCAN c") for detail in details), details

    @pytest.mark.parametrize("waiting", [None, "here"])
    def test_a_begin_reads_the_rows_of_one_user_only(self, store: SQLiteStore, path: Path, waiting: str | None) -> None:
        del store
        values = {"user_id": "ana", "message_id": "m1", "now": 0.0, "waiting": waiting}
        details = [row[3] for row in read(path, f"EXPLAIN QUERY PLAN {schema.READ}", values)]
        tables = {" c", " l", "places", "message_ids"}
        assert all(any(f"{table} USING" in detail for detail in details) for table in tables), details
        assert not [detail for detail in details if detail.startswith("SCAN") and detail.endswith(tuple(tables))]


class TestOutbox:
    """What the contract cannot see."""

    def test_what_is_due_is_found_by_an_index_however_much_waits(self, store: SQLiteStore, path: Path) -> None:
        del store
        for statement, index in [
            (sqlite_outbox.DUE, "lanes USING INDEX lanes_due (plugin=? AND due<?)"),
            (sqlite_outbox.NEXT, "events USING INDEX events_lane (user_id=? AND plugin=? AND parked=?)"),
        ]:
            values = ["x"] * statement.count("?")
            (detail,) = [row[3] for row in read(path, f"EXPLAIN QUERY PLAN {statement}", values)]
            assert detail.endswith(index)

    def test_a_claim_where_nothing_is_due_waits_for_nobody(self, path: Path, clock: FakeClock) -> None:
        store = SQLiteStore(path, clock=clock, busy_timeout=0.0)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert not store.outbox.claim("shop", duration=30.0, limit=10)
        other.close()
        store.close()

    def test_events_are_there_after_reopening_and_claims_too(
        self, store: SQLiteStore, path: Path, clock: FakeClock
    ) -> None:
        tell(store, "1")
        tell(store, "2", plugin="other")
        (claimed,) = store.outbox.claim("shop", duration=30.0, limit=10)
        store.close()
        again = SQLiteStore(path, clock=clock)
        assert not again.outbox.claim("shop", duration=30.0, limit=10)
        assert len(again.outbox.claim("other", duration=30.0, limit=10)) == 1
        assert again.outbox.settle(claimed, delivered=1)
        assert [each.event_id for each in again.outbox.list()] == ["2"]
        again.close()

    def test_a_disk_that_is_full_stores_neither_the_context_nor_its_events(
        self, store: SQLiteStore, path: Path
    ) -> None:
        turn(store, context='{"a": 1}')
        lease, version = take(store)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("thea.db-wal").stat().st_size, hard))
        change = Commit(lease, version, '{"b": 2}', None, events=[event("1")])
        try:
            with pytest.raises(StoreUnavailableError, match=r"thea.db: the disk"):
                store.commit(change)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert store.load("ana") == '{"a": 1}'
        assert not store.outbox.list()
        store.commit(change)
        assert [each.event_id for each in store.outbox.list()] == ["1"]


class TestFailures:
    def test_another_programs_lock_is_told_and_over_when_it_is_gone(self, path: Path, clock: FakeClock) -> None:
        store = SQLiteStore(path, clock=clock, busy_timeout=0.0)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match=r"thea.db: another program keeps it locked"):
            store.begin("ana", owner="here", duration=30.0)
        other.execute("ROLLBACK")
        other.close()
        assert begin(store).lease is not None
        store.close()

    def test_a_full_disk_is_told_and_over_when_there_is_room(self, store: SQLiteStore, path: Path) -> None:
        turn(store, context='{"a": 1}')
        lease, version = take(store)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("thea.db-wal").stat().st_size, hard))
        try:
            with pytest.raises(StoreUnavailableError, match=r"thea.db: the disk"):
                store.commit(Commit(lease, version, "x" * 100_000, None))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert store.load("ana") == '{"a": 1}'
        store.commit(Commit(lease, version, "x" * 100_000, None))
        assert store.load("ana") == "x" * 100_000

    def test_a_damaged_file_is_told(self, store: SQLiteStore, path: Path, clock: FakeClock) -> None:
        for number in range(50):
            turn(store, f"user-{number}", context="x" * 2_000)
        store.close()
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)
        with pytest.raises(StoreUnavailableError, match=r"thea.db: it is damaged; .*backup"):
            SQLiteStore(path, clock=clock)

    def test_a_table_that_is_missing_is_told(self, store: SQLiteStore, path: Path) -> None:
        read(path, "DROP TABLE leases")
        with pytest.raises(StoreSchemaError, match=r"lacks what Thea keeps in it.*no such table: leases"):
            store.begin("ana", owner="here", duration=30.0)

    def test_a_file_that_became_a_directory_is_told_and_over_when_it_is_back(
        self, store: SQLiteStore, path: Path
    ) -> None:
        turn(store, context='{"a": 1}')
        store.before_fork()  # closes the connection
        store.after_fork_in_parent()
        away = path.rename(path.with_name("away.db"))
        path.mkdir()
        with pytest.raises(StoreUnavailableError, match="is a directory"):
            store.load("ana")
        path.rmdir()
        away.rename(path)
        assert store.load("ana") == '{"a": 1}'

    def test_ctrl_c_within_a_transaction_leaves_nothing_behind(self, store: SQLiteStore, clock: FakeClock) -> None:
        lease, version = take(store)

        class Interrupted(FakeClock):
            def now(self) -> datetime:
                raise KeyboardInterrupt

        store._clock = Interrupted()  # noqa: SLF001 -- there is no other moment within the transaction
        with pytest.raises(KeyboardInterrupt):
            store.commit(Commit(lease, version, "{}", None))
        store._clock = clock  # noqa: SLF001 -- as above
        assert store.load("ana") is None
        store.commit(Commit(lease, version, "{}", None))
        assert store.load("ana") == "{}"


def count_up(path: Path, rounds: int, owner: str) -> None:
    """Add 1 to the one conversation, ``rounds`` times, whoever else does so."""
    store = SQLiteStore(path, clock=StoppedClock())
    while rounds:
        conversation = store.begin("ana", owner=owner, duration=1e6)
        if conversation is None or conversation.lease is None:
            continue
        count = str(int(conversation.context or "0") + 1)
        store.commit(Commit(conversation.lease, conversation.version, count, None))
        rounds -= 1
    store.close()


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return 0


class TestProcesses:
    @pytest.fixture
    def reader(self, path: Path, clock: FakeClock) -> sqlite3.Connection:
        """Another process that reads a file at the moment in which it is made: it is complete, but not WAL yet."""
        SQLiteStore(path, clock=clock).close()
        read(path, "PRAGMA journal_mode = DELETE")
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM store").fetchall()
        return reader

    def test_opening_waits_for_another_process_that_opens_the_file(
        self, reader: sqlite3.Connection, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: reader.close())
        store = SQLiteStore(path, clock=clock, busy_timeout=0.01)
        assert read(path, "PRAGMA journal_mode") == [("wal",)]
        store.close()

    def test_opening_does_not_wait_for_ever(self, reader: sqlite3.Connection, path: Path, clock: FakeClock) -> None:
        with pytest.raises(StoreUnavailableError, match="keeps it locked"):
            SQLiteStore(path, clock=clock, busy_timeout=0.0)
        reader.close()

    def test_processes_that_share_a_file_lose_no_update(self, path: Path, clock: FakeClock) -> None:
        """They create the file at the same time, too."""
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=count_up, args=(path, 50, f"p{number}")) for number in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        store = SQLiteStore(path, clock=clock)
        assert store.load("ana") == "150"
        store.close()

    def test_who_asks_again_whether_it_is_its_turn_keeps_nobody_from_writing(
        self, path: Path, clock: FakeClock
    ) -> None:
        store = SQLiteStore(path, clock=clock, busy_timeout=0.0)
        take(store)
        store.enqueue("ana", owner="there", duration=30.0)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert store.begin("ana", owner="there", duration=30.0, queued=True) is None
        other.close()
        store.close()

    @pytest.fixture
    def store_per_thread(self, path: Path, clock: FakeClock) -> Iterator[Any]:
        """A store for each thread on one file, so that only SQLite keeps them apart."""
        own = threading.local()
        opened: list[SQLiteStore] = []

        class OnePerThread:
            def __getattr__(self, name: str) -> Any:
                if not hasattr(own, "store"):
                    own.store = SQLiteStore(path, clock=clock)
                    opened.append(own.store)
                return getattr(own.store, name)

        yield OnePerThread()
        assert len(opened) > 3
        for each in opened:
            each.close()

    def test_connections_that_wait_are_served_in_order(self, store_per_thread: Any) -> None:
        StoreContract().test_threads_that_wait_are_served_in_the_order_in_which_they_came(store_per_thread)

    def test_connections_that_want_one_conversation_lose_no_update(self, store_per_thread: Any) -> None:
        StoreContract().test_threads_that_want_one_conversation_lose_no_update(store_per_thread)

    def test_connections_share_the_work_of_the_outbox(self, store_per_thread: Any) -> None:
        class OutboxPerThread:
            def __getattr__(self, name: str) -> Any:
                return getattr(store_per_thread.outbox, name)

        outbox: Any = OutboxPerThread()
        OutboxContract().test_threads_share_the_work_and_keep_the_order_of_each_user(store_per_thread, outbox)

    def test_threads_that_create_the_file_at_once_agree_on_its_key(self, path: Path, clock: FakeClock) -> None:
        stores: list[SQLiteStore] = []
        barrier = threading.Barrier(4)

        def create() -> None:
            barrier.wait()
            stores.append(SQLiteStore(path, clock=clock))

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({store.key for store in stores}) == 1
        assert len(stores) == 4
        for store in stores:
            store.close()

    @needs_fork
    @forks_with_threads
    def test_a_forked_child_and_its_parent_both_go_on(self, store: SQLiteStore) -> None:
        turn(store, context='{"a": 1}')

        def commits() -> bool:
            turn(store, "child", context='{"b": 2}')
            return store.load("ana") == '{"a": 1}'

        assert run_in_child(commits)
        turn(store, context='{"c": 3}')
        assert (store.load("child"), store.load("ana")) == ('{"b": 2}', '{"c": 3}')

    @needs_fork
    @forks_with_threads
    def test_what_a_child_commits_survives_the_parents_close(
        self, store: SQLiteStore, path: Path, clock: FakeClock
    ) -> None:
        """SQLite's locks do not cross a fork: a child that trusted them would write to a log that is deleted."""
        turn(store, "ana")
        opened, go_on = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                turn(store, "first")
                os.write(opened[1], b"x")
                os.read(go_on[0], 1)
                turn(store, "second", context='{"kept": 1}')
            finally:
                os._exit(0)
        os.read(opened[0], 1)
        store.close()
        parent = SQLiteStore(path, clock=clock)
        os.write(go_on[1], b"x")
        os.waitpid(child, 0)
        for descriptor in (*opened, *go_on):
            os.close(descriptor)
        assert parent.load("second") == '{"kept": 1}'
        assert read(path, "PRAGMA integrity_check") == [("ok",)]
        parent.close()

    @needs_fork
    @forks_with_threads
    def test_a_fork_waits_for_the_transaction_of_another_thread(self, path: Path, clock: FakeClock) -> None:
        within, go_on = threading.Event(), threading.Event()

        class SlowClock(FakeClock):
            def now(self) -> datetime:
                if threading.current_thread() is not threading.main_thread():
                    within.set()
                    go_on.wait()
                return super().now()

        store = SQLiteStore(path, clock=SlowClock())
        thread = threading.Thread(target=turn, args=(store,))
        thread.start()
        within.wait()
        threading.Timer(0.0, go_on.set).start()
        assert run_in_child(lambda: bool(store.load("ben") is None))
        thread.join()
        assert store.load("ana") == "{}"
        store.close()

    def test_a_connection_that_came_through_a_fork_is_kept_unclosed(self, store: SQLiteStore) -> None:
        turn(store, context='{"a": 1}')
        store.after_fork_in_child()
        assert store.load("ana") == '{"a": 1}'
        (connection,) = store._inherited  # noqa: SLF001 -- nobody else has it any more
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.close()  # here, unlike in a child, it is the test's to close
