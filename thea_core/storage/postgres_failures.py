"""What an error of PostgreSQL means to the person who has to mend it."""

from __future__ import annotations

import psycopg

from thea_core.errors import CommitRefusedError, StoreError, StoreSchemaError, StoreUnavailableError
from thea_core.storage.postgres_functions import HANDLED, LOST, OUTDATED
from thea_core.storage.postgres_urls import Target

__all__ = ["exhausted", "explain", "is_undone", "unreachable"]

_REFUSALS = {
    LOST: "the lease of this conversation was lost; nothing was written",
    OUTDATED: "this conversation has another version by now; nothing was written",
    HANDLED: "this message id was handled before; nothing was written",
}
_UNDONE = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_LACKING = "it lacks what Thea keeps in it; restore a backup, or name another database or schema"
_SCHEMA = {
    "42P01": _LACKING,
    "42703": _LACKING,
    "42704": _LACKING,
    "42883": _LACKING,
    "42P07": "it holds something called thea_... that is not Thea's; name another database or schema",
    "42723": "it holds something called thea_... that is not Thea's; name another database or schema",
    "3F000": "there is no schema to keep tables in that this user may use; make the one that search_path names, grant "
    "its use, or name another",
}
_UNAVAILABLE = {
    "25006": "it is read-only, a standby perhaps; name the primary server",
    "42501": "the user has no right to do this; grant what is missing, or have the owner of the database open it once",
    "53100": "the server's disk is full; make room, and it goes on by itself",
    "53200": "the server is out of memory; it goes on by itself when there is some",
    "53300": "the server has no connection left; raise its max_connections, or let fewer processes use it",
    "55P03": "a lock was not to be had in time; end the transaction that holds it, or raise lock_timeout",
    "57014": "the server cancelled it; raise statement_timeout",
    "57P01": "the server is shutting down or ended the connection; the next call connects again",
    "57P02": "the server is restarting after a crash; the next call connects again",
    "57P03": "the server is starting or stopping; the next call connects again",
    "58030": "the server's disk does not read or write; check its space, its quota and its health",
    "XX001": "its data is damaged; stop the application and restore a backup",
    "XX002": "an index is damaged; REINDEX it, or restore a backup",
}
_REACH = (
    "cannot connect; check that the server runs and may be reached, and the host, port, database, user and password "
    "in the store's URL"
)


def is_undone(error: psycopg.Error) -> bool:
    """Whether the server has undone the transaction on account of another one, so that it may be tried again."""
    return error.sqlstate in _UNDONE


def explain(error: psycopg.Error, target: Target, *, unknown: str | None = None) -> StoreError:
    """Return the error to raise instead: where, what is wrong, and what to do.

    Args:
        error: of a statement.
        target: the database.
        unknown: where the connection was lost: what nobody knows now, and what to do about that.
    """
    state = error.sqlstate or ""
    if state in _REFUSALS:
        return CommitRefusedError(_REFUSALS[state])
    said = f"(PostgreSQL says: {_text(error, target)})"
    if unknown is not None:
        return StoreUnavailableError(f"{target.shown}: the connection was lost, and {unknown} {said}")
    if state in _SCHEMA:
        return StoreSchemaError(f"{target.shown}: {_SCHEMA[state]} {said}")
    advice = _UNAVAILABLE.get(state, "PostgreSQL could not do it; the next call tries again")
    return StoreUnavailableError(f"{target.shown}: {advice} {said}")


def unreachable(error: psycopg.Error, target: Target) -> StoreUnavailableError:
    """Return the error for a connection that could not be had; ``error`` is what the last attempt failed with."""
    return StoreUnavailableError(f"{target.shown}: {_REACH} (PostgreSQL says: {_text(error, target)})")


def exhausted(target: Target, timeout: float, most: int) -> StoreUnavailableError:
    """Return the error for a call that got no connection, though they can be had."""
    return StoreUnavailableError(
        f"{target.shown}: no connection came free within {timeout:g} s; all {most} were in use: see what the server "
        "is busy with (pg_stat_activity), and try again"
    )


def _text(error: psycopg.Error, target: Target) -> str:
    """Return what PostgreSQL says, without what it adds: that holds the statement, or even what somebody wrote."""
    said = error.diag.message_primary or str(error)
    return target.without_password(" ".join(said.split()))
