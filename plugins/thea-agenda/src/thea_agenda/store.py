"""Where the events are kept: one SQLite file."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from thea_core import TheaError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

__all__ = ["AgendaError", "AgendaStore", "Event"]

_APPLICATION_ID = 0x54484147  # "THAG": tells the file from other programs' databases
_VERSION = 1
_BUSY_SECONDS = 5.0
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS events (
        id INTEGER PRIMARY KEY,
        user_id TEXT NOT NULL,
        message_id TEXT NOT NULL,
        title TEXT NOT NULL,
        day TEXT NOT NULL,
        at TEXT NOT NULL,
        UNIQUE (user_id, message_id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS events_by_day ON events (user_id, day, at)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_VERSION}",
)
_Row = tuple[str, str, str]


class AgendaError(TheaError):
    """The file of the agenda cannot be opened, read or written; what was said to be created is safe.

    It is no :class:`thea_core.StoreError`: the conversation's own store is well, so the user gets an apology.
    """

    code: ClassVar[str] = "agenda-store"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one user.

    Attributes:
        title: what it is called.
        day: the day it is on.
        at: the time of day, in the agenda's time zone; None for the whole day.
    """

    title: str
    day: date
    at: time | None = None


class AgendaStore:
    """Events in a SQLite file, in WAL mode. Every method may block, and raises :class:`AgendaError` only.

    Every call opens the file and closes it again, which takes a fraction of a millisecond: so the store is safe in
    any number of threads and processes, and after a fork, without a lock or a connection to look after.

    Args:
        path: the file; a relative one is taken from the working directory of this moment. It is created by
            :meth:`open`, or by the first call.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._opened = False
        self._closed = False

    def open(self) -> None:
        """Create the file where there is none, and check it where there is one. May be called again."""
        self._closed = False
        with self._clear_errors("opened"), closing(self._connect(str(self.path))) as connection:
            self._check(connection)
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
            self._use_wal(connection)
        self._opened = True

    def close(self) -> None:
        """Refuse every further call, until :meth:`open`. Nothing is lost: there is nothing but the file."""
        self._closed = True

    def available(self) -> bool:
        """Return whether the events can be read now."""
        try:
            with self._connection("read") as connection:
                connection.execute("SELECT 1 FROM events LIMIT 1").fetchone()
        except AgendaError:
            return False
        return True

    def add(self, user_id: str, event: Event, *, message_id: str) -> Event:
        """Keep ``event``, once a ``message_id``; return the event that is kept for it.

        A second call with the same user and message id changes nothing and returns the first one's event: a turn may
        run again after a crash.
        """
        row = (user_id, message_id, event.title, event.day.isoformat(), _time_text(event.at))
        with self._connection("written") as connection:
            connection.execute(
                "INSERT INTO events (user_id, message_id, title, day, at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (user_id, message_id) DO NOTHING",
                row,
            )
            kept = connection.execute(
                "SELECT title, day, at FROM events WHERE user_id = ? AND message_id = ?", row[:2]
            ).fetchone()
            return _event(kept)

    def events(
        self, user_id: str, first: date, last: date | None = None, *, limit: int = 100
    ) -> tuple[Sequence[Event], int]:
        """Return a user's events from ``first`` to ``last`` (both included; None: without an end), and how many.

        They come in the order of day and time, whole days first, at most ``limit``; the number counts all of them.
        """
        where = "FROM events WHERE user_id = ? AND day >= ? AND day <= ?"
        # Days are text of ten characters, so that "9999-12-31" is the last one that there is.
        values = (user_id, first.isoformat(), (last or date.max).isoformat())
        with self._connection("read") as connection:
            connection.execute("BEGIN")  # both answers are of one moment
            count = connection.execute(f"SELECT count(*) {where}", values).fetchone()[0]
            rows = connection.execute(
                f"SELECT title, day, at {where} ORDER BY day, at, id LIMIT ?",
                (*values, limit),
            ).fetchall()
            return [_event(row) for row in rows], count

    @staticmethod
    def _connect(address: str) -> sqlite3.Connection:
        import sqlite3

        # Without an isolation level every statement is its own transaction, unless BEGIN says otherwise.
        is_uri = address.startswith("file:")
        return sqlite3.connect(address, uri=is_uri, timeout=_BUSY_SECONDS, isolation_level=None)

    @contextmanager
    def _connection(self, doing: str) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise AgendaError(
                f"the agenda {self.path} is closed: the application has been shut down; start it again to use it"
            )
        if not self._opened:
            self.open()
        # mode=rw: a file that has gone missing is an error, not an empty agenda.
        address = f"{self.path.as_uri()}?mode=rw"
        with self._clear_errors(doing), closing(self._connect(address)) as connection:
            yield connection

    @contextmanager
    def _clear_errors(self, doing: str) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise AgendaError(
                f"the agenda {self.path} cannot be {doing}: {error}; expected an SQLite file of this plugin, or a "
                "folder where one can be made; mend it, or give another file in [plugins.agenda.settings] path"
            ) from error

    @staticmethod
    def _use_wal(connection: sqlite3.Connection) -> None:
        import sqlite3

        # Where another process opens the file at this moment, this fails at once instead of waiting: it does the same.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")

    def _check(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # all that is asked is of one moment: another process may be making the tables
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("ROLLBACK")
        if tables and found != _APPLICATION_ID:
            raise AgendaError(
                f"{self.path} is the database of another program, and is left as it is; "
                "give the agenda a file of its own in [plugins.agenda.settings] path"
            )
        if version > _VERSION:
            raise AgendaError(
                f"{self.path} was written by a newer thea-agenda (format {version}, this one knows {_VERSION}): "
                "pip install --upgrade thea-agenda"
            )


def _time_text(at: time | None) -> str:
    return "" if at is None else at.isoformat("minutes")


def _event(row: _Row) -> Event:
    title, day, at = row
    return Event(title, date.fromisoformat(day), time.fromisoformat(at) if at else None)
