"""Ids of events that are the same if a turn runs again, and that say nothing about the user."""

from __future__ import annotations

from typing import Any

__all__ = ["TurnOccurrences", "keyed_id"]


def keyed_id(key: bytes, *parts: str) -> str:
    """Return a UUID as 36 characters, made of ``parts`` (none of them with NUL) by a keyed hash."""
    return _as_uuid(_keyed_hash(key, *parts).digest())


def _keyed_hash(key: bytes, *parts: str) -> Any:
    from hashlib import blake2b

    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), key=key, digest_size=16)


def _as_uuid(digest: bytes) -> str:
    text = digest.hex()
    # version 8 (made in a way of one's own) and the usual variant, as RFC 9562 wants it
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{'89ab'[digest[8] >> 6]}{text[17:20]}-{text[20:]}"


class TurnOccurrences:
    """The :class:`~thea_core.callbacks.occurrences.Occurrences` of one turn.

    Args:
        key: the store's.
        user_id, session_id, message_id: what the ids are made of.
    """

    __slots__ = ("_counts", "_fresh", "_hash", "_parts", "alive", "session_id")

    def __init__(self, key: bytes, user_id: str, session_id: str, message_id: str) -> None:
        self.alive = True
        self.session_id: str | None = session_id
        self._parts = key, user_id, session_id, message_id
        self._hash: Any = None  # what the ids of a turn begin with is hashed once, if any is taken
        self._counts: dict[str, int] = {}
        self._fresh: set[str] = set()

    def begin(self, hook: str) -> None:
        """Count an occurrence of an event that the core fires."""
        self._counts[hook] = self._counts.get(hook, 0) + 1
        self._fresh.add(hook)

    def event_id(self, hook: str) -> str:
        """Return the id of the occurrence that was counted last; of a new one where that has an id already.

        So an event that a callback triggers by itself, more than once in a turn, has an id of its own each time.
        """
        if hook not in self._fresh:
            self.begin(hook)
        self._fresh.discard(hook)
        if self._hash is None:
            self._hash = _keyed_hash(*self._parts)
        each = self._hash.copy()
        each.update(f"\0{hook}\0{self._counts[hook]}".encode("utf-8", "surrogatepass"))
        return _as_uuid(each.digest())
