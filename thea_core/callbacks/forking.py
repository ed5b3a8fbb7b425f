"""Fork: what a process with locks, threads or connections must do around it, for every object that asked.

One registration with :func:`os.register_at_fork` for the whole library, over weak references.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

__all__ = ["watch"]


class _Watch:
    def __init__(self) -> None:
        self._objects: WeakSet[Any] = WeakSet()
        self._adding = threading.Lock()
        self._one_fork = threading.Lock()  # two threads may fork at once; each must let go what it stopped
        self._resting: list[Any] = []

    def add(self, obj: Any) -> None:
        with self._adding:
            self._objects.add(obj)

    def before(self) -> None:
        self._one_fork.acquire()
        self._resting = [obj for obj in self._all() if hasattr(obj, "before_fork")]
        for obj in self._resting:
            obj.before_fork()

    def in_parent(self) -> None:
        resting, self._resting = self._resting, []
        for obj in resting:
            obj.after_fork_in_parent()
        self._one_fork.release()

    def in_child(self) -> None:
        self._one_fork = threading.Lock()
        self._adding = threading.Lock()
        self._resting = []
        for obj in self._all():
            obj.after_fork_in_child()

    def _all(self) -> list[Any]:
        with self._adding:  # a set that grows meanwhile cannot be read
            return list(self._objects)


_watch = _Watch()


def watch(obj: Any) -> None:
    """Tell ``obj`` about every fork of this process for as long as it lives. Thread-safe.

    In the child ``obj.after_fork_in_child()`` is called. An object that must come to rest first also has
    ``before_fork()`` and ``after_fork_in_parent()``. None of them may raise, or wait for another of these objects.
    """
    _watch.add(obj)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_watch.before, after_in_parent=_watch.in_parent, after_in_child=_watch.in_child)
