"""The trail: what the conversations of the last users did, kept until an error needs it."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Any, NamedTuple

from thea_core import Clock

__all__ = ["Crumb", "Trail"]

_SECOND = 1_000_000_000


Crumb = dict[str, Any]
"""One breadcrumb, as Sentry takes it; its ``data`` is a dict."""


class _Path(NamedTuple):
    """What is known of one user: the last crumbs and their keys, the state, and until when (nanoseconds) it is kept."""

    crumbs: deque[tuple[str, Crumb]]
    state: str | None
    until: int


class Trail:
    """The last breadcrumbs of each of the last users, and the state of their conversations. Thread-safe.

    Sentry's own breadcrumbs belong to a request or a thread. A conversation belongs to a user: it goes on over many
    requests, and many go on at once in one thread.

    Args:
        length: the most crumbs of one user; older ones are forgotten.
        users: the most users; who was silent for longest is forgotten.
        ttl: seconds after which a user who is silent is forgotten.
        clock: where time comes from.
    """

    def __init__(self, length: int, users: int, ttl: float, clock: Clock) -> None:
        self._length = length
        self._users = users
        self._ttl = round(ttl * _SECOND)
        self._clock = clock
        self._paths: OrderedDict[str, _Path] = OrderedDict()  # who was silent for longest stands first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many users are remembered."""
        with self._lock:
            return len(self._paths)

    def add(self, user: str, crumb: Crumb, state: str | None = None, *, key: str = "") -> None:
        """Remember a crumb, and the state; None leaves the state as it was.

        Where there is a crumb with that ``key`` already, the trail is told again from there on: the old end of it goes.
        """
        now = self._clock.monotonic_ns()
        with self._lock:
            self._forget(now)
            path = self._paths.pop(user, None) or _Path(deque(maxlen=self._length), None, 0)
            if key and any(each == key for each, _ in path.crumbs):
                while path.crumbs.pop()[0] != key:
                    pass
            path.crumbs.append((key, crumb))
            self._paths[user] = path._replace(state=path.state if state is None else state, until=now + self._ttl)
            if len(self._paths) > self._users:
                self._paths.popitem(last=False)

    def read(self, user: str) -> tuple[list[Crumb], str | None]:
        """Return copies of the user's crumbs, oldest first, and the state; nothing where the user is not known."""
        now = self._clock.monotonic_ns()
        with self._lock:
            self._forget(now)
            path = self._paths.get(user)
            if path is None:
                return [], None
            return [{**crumb, "data": dict(crumb["data"])} for _, crumb in path.crumbs], path.state

    def drop(self, user: str) -> None:
        """Forget one user."""
        with self._lock:
            self._paths.pop(user, None)

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._paths.clear()

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def _forget(self, now: int) -> None:
        """Forget those whose time is up."""
        while self._paths and next(iter(self._paths.values())).until <= now:
            self._paths.popitem(last=False)
