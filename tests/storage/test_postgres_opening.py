"""Where a PostgreSQL store is, what it finds there, and what is said where it cannot be opened."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from tests.services import postgres
from tests.services.postgres import database_url, new_schema, require
from tests.support import FakeClock
from thea_core.errors import StoreError, StoreSchemaError, StoreUnavailableError
from thea_core.storage import open_store
from thea_core.testing.stores import begin, turn

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: pip install 'thea-core[postgres]'")
from thea_core.storage import postgres_schema as schema  # noqa: E402 -- only where psycopg is there
from thea_core.storage.postgres import PostgresStore  # noqa: E402 -- only where psycopg is there
from thea_core.storage.postgres_failures import unreachable  # noqa: E402 -- as above
from thea_core.storage.postgres_urls import read_url  # noqa: E402 -- as above


@pytest.fixture
def url() -> str:
    require()
    return new_schema()


def execute(url: str, statement: str) -> list[Any]:
    """Look into the database behind the store's back."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def fails(url: str, **options: Any) -> str:
    """Return what is said where the store cannot be opened."""
    with pytest.raises(StoreError) as caught:
        PostgresStore(url, **options)
    return str(caught.value)


def grant(right: str, visitor: str) -> str:
    """Return the statement that grants a right on the current schema to the user of a URL."""
    name = visitor.partition("://")[2].partition(":")[0]
    return f"DO $$ BEGIN EXECUTE format('GRANT {right} TO {name}', current_schema); END $$"


class TestWithoutAServer:
    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("postgresql:", "write postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
            ("postgresql:/host/db", "write postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
            ("postgresql://u:s3@cret@host/db", "write %40 for @"),
            ("postgresql://u:s3/cret@host/db", "%2F for /"),
            ("postgresql://u:s3?cret@host/db", "%3F for ?"),
            ("postgresql://u:s3%cret@host/db", "%25 for a %"),
            ("postgresql://u:s3cret@host:0/db", "no number from 1 to 65535"),
            ("postgresql://u:s3cret@host:s3cret/db", "no number from 1 to 65535"),
            ("postgresql://u:s3cret@host/db?s3cret=1", "cannot be understood"),
        ],
    )
    def test_a_url_that_is_wrong_is_told_without_its_password(self, url: str, message: str) -> None:
        said = fails(url)
        assert message in said
        assert "cret" not in said

    def test_a_server_that_is_not_there_is_told(self) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))  # and not listening
            port = reserved.getsockname()[1]
            said = fails(f"postgresql://u:s3cret@127.0.0.1:{port}/db")
        assert said.startswith(f"postgresql://127.0.0.1:{port}/db: cannot connect; check that the server runs")
        assert "cret" not in said

    def test_a_server_that_says_nothing_is_not_waited_for_without_end(self) -> None:
        parameters = read_url("postgresql://host/db?keepalives_idle=7", connect_timeout=5.0).parameters
        assert parameters["connect_timeout"] == 5
        assert parameters["tcp_user_timeout"] == 20_000
        assert parameters["keepalives_idle"] == "7"

    def test_a_password_that_the_server_repeats_is_struck_out(self) -> None:
        target = read_url("postgresql://u:s3%20cret@host/db", connect_timeout=1.0)
        assert "password *** was" in str(unreachable(psycopg.OperationalError("password s3 cret was wrong"), target))

    def test_a_database_that_cannot_hold_every_text_is_refused(self) -> None:
        connection = SimpleNamespace(info=SimpleNamespace(parameter_status={"server_encoding": "LATIN1"}.get))
        with pytest.raises(StoreSchemaError, match=r"here: the database keeps text as LATIN1, .*CREATE DATABASE"):
            schema.prepare(connection, "here", bytes)

    def test_without_psycopg_it_is_told_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("thea_core.storage.postgres")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(StoreUnavailableError, match=r"pip install 'thea-core\[postgres\]'"):
            open_store("postgresql://u:s3cret@host/db", clock=FakeClock())

    def test_psycopg_is_loaded_only_where_it_is_used(self) -> None:
        program = "import sys, thea_core, thea_core.storage; sys.exit('psycopg' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

    @pytest.mark.parametrize(
        ("ci", "there", "outcome"),
        [("", True, pytest.skip.Exception), ("1", False, pytest.skip.Exception), ("1", True, pytest.fail.Exception)],
    )
    def test_tests_are_left_out_only_where_there_is_no_server(
        self, monkeypatch: pytest.MonkeyPatch, ci: str, there: bool, outcome: type[BaseException]
    ) -> None:
        monkeypatch.setattr(postgres, "_database", lambda: None)
        monkeypatch.setattr(postgres, "has_server", lambda: there)
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="THEA_TEST_POSTGRES"):
            require()


class TestOpening:
    def test_what_was_committed_is_there_after_reopening(self, url: str) -> None:
        store = open_store(url, clock=FakeClock(), entropy=lambda size: b"k" * size)
        turn(store, context='{"a": 1}', message_id="m1", reply='"hello"')
        store.close()
        again = open_store(url.replace("postgresql:", "postgres:"), clock=FakeClock())
        assert (again.blocking, again.key) == (True, b"k" * 32)
        assert (again.load("ana"), begin(again, message_id="m1").reply) == ('{"a": 1}', '"hello"')
        again.close()

    def test_everything_is_called_thea(self, url: str) -> None:
        PostgresStore(url).close()
        relations = "SELECT relname FROM pg_class WHERE relnamespace = current_schema::regnamespace"
        functions = "SELECT proname FROM pg_proc WHERE pronamespace = current_schema::regnamespace"
        names = [name for (name,) in execute(url, f"{relations} UNION ALL {functions}")]
        assert "thea_store" in names
        assert "thea_begin" in names
        assert all(name.startswith("thea_") for name in names)

    def test_a_missing_database_is_told(self) -> None:
        require()
        head, _, tail = database_url().rpartition("/")
        said = fails(f"{head}/no_such_database{tail.partition('?')[1]}{tail.partition('?')[2]}")
        assert "/no_such_database: cannot connect; check" in said

    def test_a_missing_schema_is_told(self) -> None:
        require()
        with pytest.raises(StoreSchemaError, match=r"no schema to keep tables in .*; make the one"):
            PostgresStore(f"{database_url()}?options=-csearch_path%3Dno_such_schema")

    def test_a_newer_schema_is_refused(self, url: str) -> None:
        PostgresStore(url).close()
        execute(url, "UPDATE thea_store SET version = 99")
        with pytest.raises(StoreSchemaError, match=r"newer version of Thea \(schema 99; this one .*upgrade thea-core"):
            PostgresStore(url)

    def test_an_older_schema_is_brought_up_to_date(self, url: str) -> None:
        store = PostgresStore(url)
        store.close()
        newer = (*schema.STEPS, ("ALTER TABLE thea_store ADD COLUMN note text",), ("UPDATE thea_store SET note = 'n'",))
        with psycopg.connect(url, autocommit=True) as connection:
            assert schema.prepare(connection, "here", bytes, newer) == store.key
        assert execute(url, "SELECT version, note FROM thea_store") == [(len(newer), "n")]

    def test_a_step_that_fails_leaves_nothing_behind(self, url: str) -> None:
        broken = ((*schema.STEPS[0], "SELECT 1 / 0"),)
        with psycopg.connect(url, autocommit=True) as connection, pytest.raises(psycopg.Error):
            schema.prepare(connection, "here", bytes, broken)
        assert execute(url, "SELECT to_regclass('thea_store')") == [(None,)]

    def test_tables_of_somebody_else_are_left_alone(self, url: str) -> None:
        execute(url, "CREATE TABLE thea_leases (a integer)")
        with pytest.raises(StoreSchemaError, match="not Thea's; name another database or schema"):
            PostgresStore(url)
        execute(url, "SELECT a FROM thea_leases")

    def test_a_table_that_is_missing_is_told(self, url: str) -> None:
        store = PostgresStore(url)
        execute(url, "DROP TABLE thea_leases CASCADE")
        with pytest.raises(StoreSchemaError, match="lacks what Thea keeps in it"):
            store.begin("ana", owner="here", duration=30.0)
        store.close()

    @pytest.fixture
    def visitor(self, url: str) -> Iterator[str]:
        """The URL of the schema, for a user who may do nothing in it yet."""
        name, password = f"thea_{secrets.token_hex(6)}", secrets.token_hex(6)
        execute(url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        head, _, tail = url.partition("://")
        yield f"{head}://{name}:{password}@{tail.rpartition('@')[2]}"
        execute(url, f"DROP OWNED BY {name}; DROP ROLE {name}")

    def test_who_may_make_nothing_is_told(self, url: str, visitor: str) -> None:
        execute(url, grant("USAGE ON SCHEMA %I", visitor))
        assert "the user has no right to do this; grant what is missing" in fails(visitor)

    def test_tables_that_are_there_need_no_right_to_make_any(self, url: str, visitor: str) -> None:
        PostgresStore(url).close()
        execute(url, grant("USAGE ON SCHEMA %I", visitor))
        execute(url, grant("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I", visitor))
        execute(url, grant("USAGE ON ALL SEQUENCES IN SCHEMA %I", visitor))
        store = PostgresStore(visitor)
        turn(store, context='{"a": 1}')
        assert store.load("ana") == '{"a": 1}'
        store.close()

    def test_who_makes_the_tables_at_once_agrees_on_the_key(self, url: str) -> None:
        with ThreadPoolExecutor(3) as threads:
            stores = [each.result() for each in [threads.submit(PostgresStore, url) for _ in range(3)]]
        assert len({store.key for store in stores}) == 1
        for store in stores:
            store.close()
