"""What an error of SQLite means to the person who has to mend it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from thea_core.errors import StoreError, StoreSchemaError, StoreUnavailableError

__all__ = ["explain"]

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; end that program's transaction, or try again",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that it may be read and written, and its directory too",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop the application and restore a backup, or save what is left with "
    "'sqlite3 FILE .recover'",
    sqlite3.SQLITE_FULL: "the disk is full; make room, and it goes on by itself",
    sqlite3.SQLITE_IOERR: "the disk does not read or write; check its space, its quota and its health",
    sqlite3.SQLITE_PERM: "access was denied; check the owner and the mode of the file and its directory",
    sqlite3.SQLITE_READONLY: "it is read-only; make the file and its directory writable for this user, or name "
    "another file",
}
_SCHEMA = {
    sqlite3.SQLITE_ERROR: "it lacks what Thea keeps in it; restore a backup, or name another file",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; it was left as it is: name another file",
}


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the error to raise instead: with the path, what is wrong, and what to do."""
    code = getattr(error, "sqlite_errorcode", None)  # the sqlite3 module's own errors have none
    primary = -1 if code is None else code & 0xFF  # the upper bits only refine it
    if primary in _SCHEMA:
        return StoreSchemaError(f"{path}: {_SCHEMA[primary]} (SQLite says: {error})")
    advice = _UNAVAILABLE.get(primary, "SQLite could not do it; the next call tries again on a new connection")
    return StoreUnavailableError(f"{path}: {advice} (SQLite says: {error})")
