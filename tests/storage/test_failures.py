from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from thea_core.errors import StoreSchemaError, StoreUnavailableError
from thea_core.storage.failures import explain


def failure(code: int | None) -> sqlite3.Error:
    error = sqlite3.OperationalError("what SQLite says")
    if code is not None:
        error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (sqlite3.SQLITE_BUSY, "another program"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "another program"),
        (sqlite3.SQLITE_CANTOPEN, "its directory too"),
        (sqlite3.SQLITE_CORRUPT, "restore a backup"),
        (sqlite3.SQLITE_FULL, "make room"),
        (sqlite3.SQLITE_IOERR_FSYNC, "check its space"),
        (sqlite3.SQLITE_PERM, "the owner and the mode"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "make the file and its directory writable"),
        (sqlite3.SQLITE_NOMEM, "the next call tries again"),
        (None, "the next call tries again"),
    ],
)
def test_an_error_of_sqlite_says_what_to_do(code: int | None, advice: str) -> None:
    error = explain(failure(code), Path("thea.db"))
    assert type(error) is StoreUnavailableError
    assert str(error).startswith("thea.db: ")
    assert advice in str(error)
    assert "what SQLite says" in str(error)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR])
def test_a_file_of_the_wrong_kind_is_an_error_of_the_schema(code: int) -> None:
    assert type(explain(failure(code), Path("thea.db"))) is StoreSchemaError


def test_a_database_that_may_not_grow_is_full(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "full.db")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()
    assert "the disk is full" in str(explain(caught.value, tmp_path / "full.db"))
