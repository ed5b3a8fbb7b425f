"""The SQLite store's queues: who waits for a user's lease, first come first served."""

# ruff: noqa: S608 -- the statements are put together from constants of this module only

from __future__ import annotations

import sqlite3

__all__ = ["BLOCKED", "OLDEST", "add", "forget_expired", "remove", "remove_newest", "renew"]

# ``:waiting`` is the owner of a call that has a place, else NULL: then no place is its own, and it waits for all.
# What is older than an owner's oldest place is another's.
OLDEST = "(SELECT min(number) FROM places WHERE user_id = :user_id AND owner = :waiting AND expires > :now)"
BLOCKED = f"""EXISTS (
    SELECT 1 FROM places
    WHERE user_id = :user_id AND expires > :now AND number < coalesce({OLDEST}, 1e300)
)"""

_FORGET = "DELETE FROM places WHERE user_id = ? AND expires <= ?"
_FORGET_ALL = "DELETE FROM places WHERE expires <= ?"
_ADD = """
INSERT INTO places
SELECT :user_id, coalesce(max(number), 0) + 1, :owner, :expires FROM places WHERE user_id = :user_id
"""
_REMOVE = "DELETE FROM places WHERE user_id = ? AND number = ?"
_NEWEST = "SELECT max(number) FROM places WHERE user_id = ? AND owner = ? AND expires > ?"
_RENEW = "UPDATE places SET expires = ? WHERE owner = ? AND expires > ?"


def add(connection: sqlite3.Connection, now: float, user_id: str, owner: str, duration: float) -> None:
    """Make a place at the end, and remove those that have expired."""
    connection.execute(_FORGET, (user_id, now))
    connection.execute(_ADD, {"user_id": user_id, "owner": owner, "expires": now + duration})


def remove(connection: sqlite3.Connection, user_id: str, number: int) -> None:
    """Remove one place."""
    connection.execute(_REMOVE, (user_id, number))


def remove_newest(connection: sqlite3.Connection, now: float, user_id: str, owner: str) -> None:
    """Remove the newest place that the owner has, if any."""
    (number,) = connection.execute(_NEWEST, (user_id, owner, now)).fetchone()
    if number is not None:
        remove(connection, user_id, number)


def renew(connection: sqlite3.Connection, now: float, owner: str, duration: float) -> None:
    """Prolong all places of the owner that have not expired."""
    connection.execute(_RENEW, (now + duration, owner, now))


def forget_expired(connection: sqlite3.Connection, now: float) -> None:
    """Remove what processes left behind that are gone."""
    connection.execute(_FORGET_ALL, (now,))
