"""Fork: what a process with locks, threads or connections must do around it, for every object that asked.

One registration with :func:`os.register_at_fork` for the whole library, over weak references.
"""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

__all__ = ["watch"]

_watched: WeakSet[Any] = WeakSet()


def watch(obj: Any) -> None:
    """Call ``obj`` around every fork of this process for as long as it lives.

    In the child ``obj.after_fork_in_child()`` is called. An object that must come to rest first also has
    ``before_fork()`` and ``after_fork_in_parent()``. None of them may raise.
    """
    _watched.add(obj)


def _tell(method: str) -> None:
    for obj in list(_watched):
        call = getattr(obj, method, None)
        if call is not None:
            call()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=lambda: _tell("before_fork"),
        after_in_parent=lambda: _tell("after_fork_in_parent"),
        after_in_child=lambda: _tell("after_fork_in_child"),
    )
