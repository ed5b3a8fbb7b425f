"""PostgreSQL ends connections, before a turn, in its middle and all the time, takes none for a while, and crashes.

The user gets an answer or a StoreError, and the same application goes on by itself when the server does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from secrets import token_hex

import pytest

from tests.durability.faults import Attempt, FastClock, Scene, scene
from tests.durability.process import PATIENCE
from tests.durability.servers import own_server
from tests.services import postgres
from thea_core import StoreUnavailableError

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: pip install 'thea-core[postgres]'")

_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


class Server:
    """A database of a test's own, and what happens to it."""

    def __init__(self) -> None:
        run = postgres.database_url()
        self._name = f"thea_faults_{token_hex(6)}"
        head, question, options = run.partition("?")
        self.url = f"{head.rpartition('/')[0]}/{self._name}{question}{options}"
        self._lock = threading.Lock()
        self._connection = psycopg.connect(run, autocommit=True)
        self._do(f"CREATE DATABASE {self._name} ENCODING 'UTF8' TEMPLATE template0")

    def end_connections(self) -> int:
        """End all that there are, as an administrator does, or a server that goes; return how many."""
        with self._lock:
            return self._connection.execute(_END, (self._name,)).rowcount

    def refuse(self) -> None:
        """Take no connections any more, and end those that there are."""
        self._do(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        self.end_connections()

    def accept(self) -> None:
        """Take connections again."""
        self._do(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    def close(self) -> None:
        """Remove the database."""
        self._do(f"DROP DATABASE {self._name} WITH (FORCE)")
        self._connection.close()

    def _do(self, statement: str) -> None:
        with self._lock:
            self._connection.execute(statement.encode())


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


@contextmanager
def stage_at(url: str) -> Iterator[Scene]:
    """Run an application over a database; it does not wait long for a connection."""
    from thea_core.storage.postgres import PostgresStore

    clock = FastClock()
    with closing(PostgresStore(url, clock=clock, timeout=0.5)) as store, scene(store, clock) as stage:
        yield stage


@pytest.fixture
def stage(server: Server) -> Iterator[Scene]:
    with stage_at(server.url) as stage:
        yield stage


def test_a_message_that_comes_after_the_connections_were_ended_is_answered_at_once(
    server: Server, stage: Scene
) -> None:
    assert stage.send("ana", "before")
    assert server.end_connections() > 0
    assert stage.send("ana", "after")
    stage.check()


def test_a_turn_in_whose_middle_the_connections_are_ended_is_applied_once(server: Server, stage: Scene) -> None:
    turn = stage.begin("ana", "slow")
    assert stage.agent.begun.wait(PATIENCE)
    waiting = stage.begin("ana", "waiting")
    assert stage.faults.seen["enqueue"].wait(PATIENCE)
    server.end_connections()
    stage.agent.go_on.set()
    turn.outcome()
    waiting.outcome()
    stage.check()


def test_a_server_that_takes_no_connections_for_a_while_refuses_messages_and_they_are_handled_afterwards(
    server: Server, stage: Scene
) -> None:
    assert stage.send("ana", "before")
    turn = stage.begin("eva", "slow")
    assert stage.agent.begun.wait(PATIENCE)
    server.refuse()
    assert isinstance(stage.begin("ana", "refused").outcome(), StoreUnavailableError)
    stage.agent.go_on.set()
    assert isinstance(turn.outcome(), StoreUnavailableError)
    server.accept()
    assert any(stage.send("ana", "after") for _ in range(20))  # a connection may take its time
    stage.check()


def test_messages_are_applied_once_while_connections_are_ended_all_the_time(server: Server, stage: Scene) -> None:
    done = threading.Event()
    ended = []

    def disturb() -> None:
        while not done.wait(0.03):
            ended.append(server.end_connections())

    def send(user: str) -> None:
        for number in range(8):
            while not stage.send(user, str(number)):
                pass

    disturber = Attempt(disturb)
    senders = [Attempt(lambda user=user: send(user)) for user in ("ana", "eva", "leo")]
    for sender in senders:
        sender.outcome()
    done.set()
    disturber.outcome()
    assert sum(ended) > 0
    stage.check()


def test_a_server_that_crashes_in_the_middle_of_turns_has_lost_nothing_when_it_is_back() -> None:
    with own_server() as server, stage_at(server.url) as stage:
        assert stage.send("ana", "before")
        turn = stage.begin("eva", "slow")
        assert stage.agent.begun.wait(PATIENCE)
        server.crash()
        try:
            stage.agent.go_on.set()
            assert isinstance(turn.outcome(), StoreUnavailableError)
            assert isinstance(stage.begin("ana", "refused").outcome(), StoreUnavailableError)
        finally:
            server.start()
        assert any(stage.send("ana", "after") for _ in range(20))
        stage.check()
