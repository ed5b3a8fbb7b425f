"""What is on the disk when a call of the SQLite store returns: a commit, whatever went before; a lease need not be."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import FakeClock, run_in_child
from thea_core.errors import CommitRefusedError, StoreError, StoreUnavailableError
from thea_core.storage import sqlite
from thea_core.storage.sqlite import SQLiteStore
from thea_core.storage.transactions import Connection
from thea_core.testing.outboxes import event, tell
from thea_core.testing.turns import begin, take, turn
from thea_core.types import Commit

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
forks_with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

NORMAL, FULL = 1, 2


class Watch:
    """Asks SQLite within each transaction, just before its end, whether its commit will wait for the disk."""

    def __init__(self) -> None:
        self.levels: list[int] = []
        self.connection: Connection  # the last one that was used
        self.before: Callable[[str], None] = lambda sql: None

    def connection_class(watch) -> type[Connection]:  # noqa: N805 -- `self` is the connection below
        class Watched(Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                watch.connection = self
                watch.before(sql)
                if sql == "COMMIT":
                    watch.levels.append(super().execute("PRAGMA synchronous").fetchone()[0])
                return super().execute(sql, *parameters)

        return Watched

    def of(self, work: Callable[..., object], *arguments: Any, **options: Any) -> list[int]:
        """Return the levels of the transactions that ``work`` commits."""
        self.levels.clear()
        work(*arguments, **options)
        return self.levels.copy()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(sqlite, "Connection", watch.connection_class())
    return watch


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(watch: Watch, tmp_path: Path, clock: FakeClock) -> Iterator[SQLiteStore]:
    del watch  # it comes before the first connection
    store = SQLiteStore(tmp_path / "thea.db", clock=clock, busy_timeout=0.0)
    yield store
    store.close()


class TestTransactions:
    def test_a_commit_waits_for_the_disk_and_a_lease_does_not(self, store: SQLiteStore, watch: Watch) -> None:
        assert watch.of(turn, store) == [NORMAL, FULL]
        assert watch.of(turn, store, message_id="m1") == [NORMAL, FULL]

    def test_a_commit_that_clears_waits_too(self, store: SQLiteStore, watch: Watch) -> None:
        turn(store)
        assert watch.of(turn, store, context=None, session_id=None) == [NORMAL, FULL]

    def test_nothing_that_is_done_again_after_a_crash_waits(
        self, store: SQLiteStore, watch: Watch, clock: FakeClock
    ) -> None:
        turn(store, message_id="m1")
        lease, _ = take(store)
        assert watch.of(store.renew, lease, duration=1.0) == [NORMAL]
        assert watch.of(store.release, lease) == [NORMAL]
        clock.advance(100.0)
        assert watch.of(store.claim_expired, owner="here", duration=1.0, limit=1) == [NORMAL]
        assert set(watch.of(store.purge_messages, older_than=1.0)) == {NORMAL}

    def test_what_an_operator_or_an_application_asks_of_the_outbox_waits(
        self, store: SQLiteStore, watch: Watch, clock: FakeClock
    ) -> None:
        assert watch.of(tell, store, "1", "2") == [NORMAL, FULL]
        assert watch.of(store.outbox.append, "ana", [event("3")]) == [FULL]
        assert watch.of(store.outbox.append, "ana", []) == []
        numbers = [each.number for each in store.outbox.list()]
        assert watch.of(store.outbox.retry, numbers) == [FULL]
        assert watch.of(store.outbox.drop, numbers) == [FULL]
        turn(store, session_id=None)
        clock.advance(100.0)
        assert watch.of(store.purge_conversations, older_than=1.0) == [FULL]
        assert watch.of(store.purge_conversations, older_than=1.0) == []

    def test_claims_and_places_do_not_wait(self, store: SQLiteStore, watch: Watch) -> None:
        tell(store, "1")
        (claimed,) = store.outbox.claim("shop", duration=30.0, limit=10)
        assert watch.of(store.outbox.settle, claimed, delivered=0) == [NORMAL]
        assert watch.of(store.outbox.claim, "shop", duration=30.0, limit=10) == [NORMAL]
        assert watch.of(store.outbox.claim, "shop", duration=30.0, limit=10) == []
        assert watch.of(store.enqueue, "ana", owner="here", duration=1.0) == [NORMAL]
        assert watch.of(store.renew_places, owner="here", duration=1.0) == [NORMAL]
        assert watch.of(begin, store, queued=True) == [NORMAL]
        assert watch.of(store.dequeue, "ana", owner="here") == [NORMAL]

    def test_a_new_file_is_on_the_disk(self, watch: Watch, tmp_path: Path, clock: FakeClock) -> None:
        store = SQLiteStore(tmp_path / "new.db", clock=clock)
        assert watch.levels == [FULL]
        store.close()


class TestAfterFailures:
    """Each leaves something undone; the next commit waits for the disk all the same."""

    @pytest.fixture(autouse=True)
    def next_commit(self, store: SQLiteStore, watch: Watch) -> Iterator[None]:
        lease, version = take(store, "under way")
        yield
        watch.before = lambda sql: None
        assert watch.of(store.commit, Commit(lease, version, "{}", None)) == [FULL]
        assert watch.of(turn, store, "next") == [NORMAL, FULL]

    def test_another_programs_lock(self, store: SQLiteStore, tmp_path: Path) -> None:
        other = sqlite3.connect(tmp_path / "thea.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="keeps it locked"):
            begin(store)
        other.close()

    def test_a_commit_that_is_refused(self, store: SQLiteStore) -> None:
        lease, version = take(store)
        with pytest.raises(CommitRefusedError):
            store.commit(Commit(lease, version + 1, "{}", None))

    def test_a_conversation_that_is_busy(self, store: SQLiteStore) -> None:
        take(store)
        assert store.begin("ana", owner="there", duration=30.0) is None

    @pytest.mark.parametrize(
        "statement", ["PRAGMA synchronous = NORMAL", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA synchronous = FULL"]
    )
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, sqlite3.OperationalError])
    def test_a_lease_that_fails(
        self, store: SQLiteStore, watch: Watch, statement: str, kind: type[BaseException]
    ) -> None:
        def fail(sql: str) -> None:
            if sql == statement:
                watch.before = lambda sql: None
                raise kind

        watch.before = fail
        with pytest.raises((KeyboardInterrupt, StoreError)):
            begin(store)

    @pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
    def test_a_commit_that_fails(self, store: SQLiteStore, watch: Watch, statement: str) -> None:
        lease, version = take(store)

        def fail(sql: str) -> None:
            if sql == statement:
                raise sqlite3.OperationalError

        watch.before = fail
        with pytest.raises(StoreUnavailableError):
            store.commit(Commit(lease, version, "{}", None))

    def test_a_fork(self, store: SQLiteStore) -> None:
        take(store)
        store.before_fork()
        store.after_fork_in_parent()

    def test_a_connection_that_was_interrupted_before_it_was_set_right(self, watch: Watch) -> None:
        """Ctrl-C twice: the second one in the middle of dealing with the first."""
        watch.connection.relax()


def test_a_signal_handler_that_uses_the_store_cannot_take_a_commits_wait_away(store: SQLiteStore, watch: Watch) -> None:
    lease, version = take(store)

    def interrupt(sql: str) -> None:
        if sql == "BEGIN IMMEDIATE":
            watch.before = lambda sql: None
            begin(store, "another")

    watch.before = interrupt
    assert watch.of(store.commit, Commit(lease, version, "{}", None)) == [NORMAL, FULL]
    assert store.load("ana") == "{}"


@needs_fork
@forks_with_threads
def test_a_forked_child_waits_for_the_disk_as_its_parent_does(store: SQLiteStore, watch: Watch) -> None:
    turn(store)
    take(store, "ben")
    assert run_in_child(lambda: watch.of(turn, store, "child") == [NORMAL, FULL])
    assert watch.of(turn, store) == [NORMAL, FULL]


TURNS = """
import sys
from thea_core.testing.turns import begin, turn
from thea_core.storage.sqlite import SQLiteStore
from thea_core.storage.transactions import Connection
from thea_core.types import SystemClock

store = SQLiteStore(sys.argv[1], clock=SystemClock())
begin(store, "first")
sys.stdout.write("leases")
sys.stdout.flush()
for number in range(5):
    begin(store, f"user-{number}")
sys.stdout.write("turns")
sys.stdout.flush()
for number in range(5):
    turn(store, f"other-{number}", message_id="m")
sys.stdout.write("end")
sys.stdout.flush()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_operating_system_is_asked_once_for_each_commit_and_never_for_a_lease(tmp_path: Path) -> None:
    """What SQLite really does, as its system calls tell."""
    trace = tmp_path / "trace"
    command = ["strace", "-o", str(trace), "-e", "trace=fsync,fdatasync,write"]
    program = [sys.executable, "-c", TURNS, str(tmp_path / "thea.db")]
    root = Path(__file__).parents[2]
    done = subprocess.run([*command, *program], cwd=root, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr.lower():
        pytest.skip("strace may not be used here")
    assert done.stdout == "leasesturnsend", done.stderr
    _, _, rest = trace.read_text().partition('"leases"')
    leases, _, rest = rest.partition('"turns"')
    turns, _, _ = rest.partition('"end"')
    assert (leases.count("sync("), turns.count("sync(")) == (0, 5)
