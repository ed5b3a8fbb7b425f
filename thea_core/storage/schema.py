"""The SQLite schema: its SQL, its version, and the rule by which files of other versions are treated.

The file's ``application_id`` says that it is Thea's, its ``user_version`` which step of :data:`STEPS` it has reached.
An older file is brought up to date, in one transaction, when it is opened; a newer one is refused. A file that is not
Thea's is never written to.

Tables:

* ``conversations``: one row a user with a context or a session, under the fence of the lease that last wrote it. When
  that was has no index, for the same reason as the time of a message id; it is NULL where a version wrote that did not
  note it, and the time of the migration stands for it;
* ``leases``: the last lease of each user. Apart from the context, so that taking a lease never copies one. A lease is
  over when the conversation bears its fence (so a commit need not write here), when it was released (``owner`` is
  NULL), or when it has expired;
* ``message_ids``: what was answered, and when. No index on the time: it would cost every turn a page to write, and
  only the purge would use it, which may take its time;
* ``places``: who waits for a user's lease, by number;
* ``events``: what durable plugins were not told yet, and what was parked. ``attempts`` is of parked ones;
* ``lanes``: when the first of the events that wait of a user for a plugin is due, how often it was tried, and the last
  claim of them; see :mod:`thea_core.storage.sqlite_outbox`;
* ``store``: one row: the store's key, a fence number below which none is given any more, the number of the last claim,
  and when the file was migrated.
"""

# ruff: noqa: S608 -- the statements are put together from constants of this module only

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from thea_core.errors import StoreSchemaError
from thea_core.storage import sqlite_queue

__all__ = ["APPLICATION_ID", "STEPS", "check_origin", "migrate"]

APPLICATION_ID = 0x54686561  # "Thea"

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE conversations (
            user_id TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            fence INTEGER NOT NULL,
            session_id TEXT,
            deadline REAL,
            context TEXT
        ) WITHOUT ROWID
        """,
        "CREATE INDEX conversations_deadline ON conversations (deadline) WHERE deadline IS NOT NULL",
        """
        CREATE TABLE leases (
            user_id TEXT PRIMARY KEY,
            owner TEXT,
            fence INTEGER NOT NULL,
            expires REAL NOT NULL,
            message_id TEXT,
            attempt INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE message_ids (
            user_id TEXT NOT NULL,
            message_id TEXT NOT NULL,
            handled REAL NOT NULL,
            reply TEXT NOT NULL,
            PRIMARY KEY (user_id, message_id)
        ) WITHOUT ROWID
        """,
        "CREATE TABLE store (id INTEGER PRIMARY KEY CHECK (id = 1), key BLOB NOT NULL, last_fence INTEGER NOT NULL)",
        "INSERT INTO store VALUES (1, zeroblob(0), 0)",
    ),
    (
        "ALTER TABLE conversations ADD COLUMN committed REAL",
        "ALTER TABLE store ADD COLUMN migrated REAL",
        "ALTER TABLE store ADD COLUMN last_claim INTEGER NOT NULL DEFAULT 0",
        "UPDATE store SET migrated = (julianday('now') - 2440587.5) * 86400.0",
        """
        CREATE TABLE places (
            user_id TEXT NOT NULL,
            number INTEGER NOT NULL,
            owner TEXT NOT NULL,
            expires REAL NOT NULL,
            PRIMARY KEY (user_id, number)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE events (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            user_id TEXT NOT NULL,
            plugin TEXT NOT NULL,
            hook TEXT NOT NULL,
            event_id TEXT NOT NULL,
            stored REAL NOT NULL,
            parked INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            error TEXT,
            event TEXT NOT NULL
        )
        """,
        "CREATE INDEX events_lane ON events (user_id, plugin, parked)",
        """
        CREATE TABLE lanes (
            user_id TEXT NOT NULL,
            plugin TEXT NOT NULL,
            due REAL NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0,
            claim INTEGER NOT NULL DEFAULT 0,
            claimed INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (user_id, plugin)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX lanes_due ON lanes (plugin, due)",
    ),
)
"""Step *n* takes a file from version *n* to *n* + 1. A step that was released is never changed; a new one is added."""

# What was known of attempts at a message is void once that message's own turn has been committed.
_PENDING = "CASE WHEN l.owner IS NULL OR l.fence > coalesce(c.fence, 0) THEN l.message_id END"
READ = f"""
SELECT c.context, c.version, c.session_id, c.deadline,
       max(coalesce(c.fence, 0), coalesce(l.fence, 0), (SELECT last_fence FROM store)) + 1,
       (l.owner IS NOT NULL AND l.fence > coalesce(c.fence, 0) AND l.expires > :now) OR {sqlite_queue.BLOCKED},
       {_PENDING}, l.attempt,
       (SELECT reply FROM message_ids WHERE user_id = :user_id AND message_id = :message_id),
       {sqlite_queue.OLDEST}
FROM (SELECT 1)
LEFT JOIN conversations AS c ON c.user_id = :user_id
LEFT JOIN leases AS l ON l.user_id = :user_id
"""
TAKE = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)"
_HELD = """user_id = :user_id AND owner = :owner AND fence = :fence
AND fence > coalesce((SELECT fence FROM conversations WHERE user_id = :user_id), 0)"""
HOLDS = f"SELECT EXISTS (SELECT 1 FROM leases WHERE {_HELD})"
RENEW = f"UPDATE leases SET expires = :expires WHERE {_HELD}"
# Without an owner a row only says what is known of attempts at a message.
RELEASE = f"UPDATE leases SET owner = NULL, expires = :expires WHERE {_HELD}"
DISOWN = "UPDATE leases SET owner = NULL, expires = :expires WHERE user_id = :user_id"
DROP = "DELETE FROM leases WHERE user_id = ?"

_LEASED = "EXISTS (SELECT 1 FROM leases WHERE user_id = :user_id AND owner = :owner AND fence = :fence)"
INSERT = f"""
INSERT INTO conversations
SELECT :user_id, 1, :fence, :session_id, :deadline, :context, :now
WHERE {_LEASED}
ON CONFLICT DO NOTHING
"""
UPDATE = f"""
UPDATE conversations
SET version = version + 1, fence = :fence, session_id = :session_id,
    deadline = CASE WHEN :session_id IS NULL THEN NULL ELSE coalesce(:deadline, deadline) END,
    context = :context, committed = coalesce(:active, committed)
WHERE user_id = :user_id AND version = :version AND fence < :fence AND {_LEASED}
"""
VERSION = "SELECT coalesce((SELECT version FROM conversations WHERE user_id = ?), 0)"
REMOVE = "DELETE FROM conversations WHERE user_id = ?"
RAISE_FENCE = "UPDATE store SET last_fence = max(last_fence, ?)"
ANSWER = "INSERT INTO message_ids VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
KEY = "SELECT key FROM store"
LOAD = "SELECT context FROM conversations WHERE user_id = ?"

EXPIRED = f"""
SELECT c.user_id, c.session_id, c.context, c.version,
       max(c.fence, coalesce(l.fence, 0), (SELECT last_fence FROM store)) + 1,
       {_PENDING}, coalesce(l.attempt, 1)
FROM conversations AS c LEFT JOIN leases AS l ON l.user_id = c.user_id
WHERE c.deadline <= :now AND (l.owner IS NULL OR l.fence <= c.fence OR l.expires <= :now)
ORDER BY c.deadline, c.user_id
LIMIT :limit
"""
OLD_LEASES = "SELECT max(fence) FROM leases WHERE expires < ?"
FORGET_LEASES = "DELETE FROM leases WHERE expires < ?"
NEXT_MESSAGES = """
SELECT user_id, message_id, handled FROM message_ids
WHERE (user_id, message_id) > (?, ?) ORDER BY user_id, message_id LIMIT ?
"""
FORGET_MESSAGE = "DELETE FROM message_ids WHERE user_id = ? AND message_id = ? AND handled < ?"
FORGET_OTHERS = "DELETE FROM message_ids WHERE user_id = ? AND message_id IS NOT ?"

_COMMITTED = "coalesce(committed, (SELECT migrated FROM store))"
NEXT_CONVERSATIONS = f"""
SELECT user_id, session_id IS NULL AND {_COMMITTED} < ? FROM conversations
WHERE user_id > ? ORDER BY user_id LIMIT ?
"""
OLD_CONVERSATION = f"""
SELECT max(c.fence, coalesce(l.fence, 0)) FROM conversations AS c LEFT JOIN leases AS l ON l.user_id = c.user_id
WHERE c.user_id = ? AND c.session_id IS NULL AND {_COMMITTED} < ?
AND (l.owner IS NULL OR l.fence <= c.fence OR l.expires <= ?)
"""


def check_origin(path: Path) -> None:
    """Refuse a file that is not Thea's, without a lock on it and without a change to it or beside it.

    Raises:
        StoreSchemaError: it is another program's database, or too short to be one.
        sqlite3.DatabaseError: it is no database at all.
    """
    if path.stat().st_size == 0:
        return
    # "immutable" makes SQLite read the bare file. A plain open() must not be used here: its close would cancel the
    # locks that this process holds on the same file through other connections.
    connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    try:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if not pages:  # to SQLite a few bytes are as good as none, and it would write over them
            raise StoreSchemaError(f"{path}: it is no SQLite database; it was left as it is: name another file")
        _refuse_foreign(connection, path)
    except sqlite3.DatabaseError as error:
        # A checkpoint that was cut short (a full disk, SIGKILL) leaves a file that is right only with its log.
        log = path.with_name(f"{path.name}-wal")
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB or not log.exists() or not log.stat().st_size:
            raise
    finally:
        connection.close()


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    entropy: Callable[[int], bytes],
    steps: Sequence[Sequence[str]] = STEPS,
) -> None:
    """Bring the file up to the newest version, in one transaction, so that only one process does it.

    Raises:
        StoreSchemaError: the file is not Thea's, or newer than this program.
    """
    connection.execute("BEGIN IMMEDIATE")  # tells at once, too, where the file cannot be written
    try:
        version = _version(connection, path, len(steps))
        if version < len(steps):
            _apply(connection, version, steps, entropy)
            connection.execute("COMMIT")  # even an empty commit would have to wait for readers
    finally:
        if connection.in_transaction:
            connection.rollback()


def _version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    (empty,) = connection.execute("SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)").fetchone()
    if not empty:
        _refuse_foreign(connection, path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise StoreSchemaError(
            f"{path} was written by a newer version of Thea (schema {version}; this one knows {newest}); "
            "upgrade thea-core, or use another file"
        )
    return int(version)


def _apply(
    connection: sqlite3.Connection, version: int, steps: Sequence[Sequence[str]], entropy: Callable[[int], bytes]
) -> None:
    for statement in (statement for step in steps[version:] for statement in step):
        connection.execute(statement)
    if version == 0:
        connection.execute("UPDATE store SET key = ?", (entropy(32),))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(steps)}")


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        raise StoreSchemaError(
            f"{path} is a database, but not one of Thea's (application_id {application_id:#x}); "
            "it was left as it is: name another file"
        )
