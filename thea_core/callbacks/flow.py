"""What is running in a flow: a flow is what one thread or task runs, with all that it waits for.

Two things tell it. A compiled chain that runs in this thread stands on the thread's stack, which costs nothing to
maintain and is looked at only while some hook is running. What crosses into a task or another thread, and the longer
runs of an engine or a router, are noted in a :class:`Frame`, in a context variable that travels with every call.

A frame knows whether what it stands for has ended: a task that outlives the call in which it was spawned starts afresh.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from thea_core.errors import ReentrancyError

if TYPE_CHECKING:
    from thea_core.callbacks.hooks import Hook

__all__ = [
    "CHAIN_FUNCTION",
    "MAX_DEPTH",
    "Frame",
    "check_hook",
    "enter",
    "leave",
    "running",
    "running_hooks",
    "suspend",
]

MAX_DEPTH: Final = 4
"""How deep different hooks may nest in one flow."""

CHAIN_FUNCTION: Final = "_thea_chain"
"""The name of every compiled function; its globals hold the hook as ``_hook``."""


class Frame:
    """Something that runs in a flow.

    Attributes:
        key: what runs: an engine, a router, a step.
        hooks: the hooks that run on its behalf.
        outer: what it runs within.
        alive: False once it has ended.
    """

    __slots__ = ("alive", "hooks", "key", "outer")

    def __init__(self, key: object, hooks: tuple[Hook, ...], outer: Frame | None) -> None:
        self.key = key
        self.hooks = hooks
        self.outer = outer
        self.alive = True


_innermost: ContextVar[Frame | None] = ContextVar("thea_flow", default=None)


def enter(key: object, *hooks: Hook) -> Frame:
    """Note that ``key`` begins to run in this flow; give the frame to :func:`leave`."""
    frame = Frame(key, hooks, _alive(_innermost.get()))
    _innermost.set(frame)
    return frame


def leave(frame: Frame) -> None:
    """Note that what began with :func:`enter` has ended."""
    frame.alive = False
    _innermost.set(frame.outer)


def suspend(frame: Frame) -> None:
    """Leave the frame in this context only: it goes on in another, into which it was copied."""
    _innermost.set(frame.outer)


def running(key: object) -> bool:
    """Whether ``key`` runs in this flow."""
    return any(frame.key is key for frame in _frames())


def running_hooks() -> set[Hook]:
    """Return the hooks that run in this flow."""
    return {*_hooks_on_stack(), *(hook for frame in _frames() for hook in frame.hooks)}


def check_hook(hook: Hook) -> None:
    """Refuse what would nest a hook in itself, or hooks too deep.

    Raises:
        ReentrancyError: it would.
    """
    hooks = running_hooks()
    if hook in hooks:
        raise ReentrancyError(
            f"{hook} is called while it runs in the same flow; a hook is never nested in itself: "
            "do it after the hook has ended, or use another hook"
        )
    if sum(each.owner is hook.owner for each in hooks) >= MAX_DEPTH:
        raise ReentrancyError(f"{hook} is called within {MAX_DEPTH} other hooks; hooks nest at most {MAX_DEPTH} deep")


def _frames() -> Iterator[Frame]:
    frame = _alive(_innermost.get())
    while frame is not None:
        yield frame
        frame = _alive(frame.outer)


def _alive(frame: Frame | None) -> Frame | None:
    while frame is not None and not frame.alive:
        frame = frame.outer
    return frame


def _hooks_on_stack() -> Iterator[Hook]:
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == CHAIN_FUNCTION:
            yield frame.f_globals["_hook"]
        frame = frame.f_back
