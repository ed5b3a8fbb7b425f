"""What is running in a flow: a flow is what one thread or task runs, with all that it waits for.

Two things tell it. A compiled function that runs in this thread stands on the thread's stack, which costs nothing to
maintain and is looked at only while some chain is running. What crosses into a task or another thread, and what is not
compiled, is noted in a :class:`Frame`, in a context variable that travels with every call.

A frame knows whether what it stands for has ended: a task that outlives the call in which it was spawned starts afresh.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Final

from thea_core.errors import ReentrancyError

if TYPE_CHECKING:
    from thea_core.callbacks.hooks import Hook

__all__ = [
    "COMPILED",
    "MAX_DEPTH",
    "Frame",
    "carried",
    "carry",
    "check_hook",
    "enter",
    "framed",
    "leave",
    "running",
    "running_keys",
    "suspend",
]

MAX_DEPTH: Final = 4
"""How deep different hooks may nest in one flow."""

COMPILED: Final = "_thea_chain"
"""The name of every compiled function. Once it runs, its local ``_on`` holds what for (a hook or an engine), and the
local ``_hook`` of an engine's function the hook whose callbacks are called just then."""


class Frame:
    """Something that runs in a flow.

    Attributes:
        keys: what runs: hooks, an engine, a router.
        outer: what it runs within.
        alive: False once it has ended.
    """

    __slots__ = ("alive", "keys", "outer")

    def __init__(self, keys: tuple[object, ...], outer: Frame | None) -> None:
        self.keys = keys
        self.outer = outer
        self.alive = True


_innermost: ContextVar[Frame | None] = ContextVar("thea_flow", default=None)

framed: Callable[[], Frame | None] = _innermost.get
"""Returns the innermost frame of this flow, which may have ended; None where nothing was ever noted in one."""


def enter(*keys: object) -> Frame:
    """Note that ``keys`` begin to run in this flow; give the frame to :func:`leave`."""
    frame = Frame(keys, _alive(_innermost.get()))
    _innermost.set(frame)
    return frame


def leave(frame: Frame) -> None:
    """Note that what began with :func:`enter` has ended."""
    frame.alive = False
    if _innermost.get() is frame:  # not where a generator is finalized in the context of somebody else
        _innermost.set(frame.outer)


def carry(keys: tuple[object, ...]) -> tuple[Frame, Context]:
    """Return a copy of this context in which ``keys`` run, for a call that is made elsewhere, and their frame.

    What runs there ends when the frame's ``alive`` is made False.
    """
    frame = Frame(keys, _alive(_innermost.get()))
    context = copy_context()
    context.run(_innermost.set, frame)
    return frame, context


def suspend(frame: Frame) -> None:
    """Leave the frame in this context only: it goes on in another, into which it was copied."""
    _innermost.set(frame.outer)


def running(key: object) -> bool:
    """Whether ``key`` runs in this flow."""
    return key in running_keys()


def running_keys(*, stack: bool = True) -> set[object]:
    """Return the hooks, engines and routers that run in this flow.

    Without ``stack`` only what is noted in frames: enough for who knows that no compiled function runs.
    """
    keys = set(_keys_on_stack()) if stack else set()
    frame = _alive(_innermost.get())
    while frame is not None:
        keys.update(frame.keys)
        frame = _alive(frame.outer)
    return keys


def carried(hook: Hook, *, stack: bool) -> tuple[object, ...]:
    """Return what runs in this flow, with ``hook``, to be entered where a call of it is made later.

    Without ``stack`` no compiled function but the hook's own runs.
    """
    if not stack and _innermost.get() is None:
        return (hook,)
    return (hook, *(running_keys(stack=stack) - {hook}))


def check_hook(hook: Hook) -> None:
    """Refuse what would nest a hook in itself, or hooks too deep.

    Raises:
        ReentrancyError: it would.
    """
    keys = running_keys()
    if hook in keys:
        raise ReentrancyError(
            f"{hook} is called while it runs in the same flow; a hook is never nested in itself: "
            "do it after the hook has ended, or use another hook"
        )
    if sum(getattr(key, "owner", None) is hook.owner for key in keys) >= MAX_DEPTH:
        raise ReentrancyError(f"{hook} is called within {MAX_DEPTH} other hooks; hooks nest at most {MAX_DEPTH} deep")


def _alive(frame: Frame | None) -> Frame | None:
    while frame is not None and not frame.alive:
        frame = frame.outer
    return frame


def _keys_on_stack() -> Iterator[object]:
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == COMPILED:
            names = frame.f_locals
            yield from (names[name] for name in ("_on", "_hook") if names.get(name) is not None)
        frame = frame.f_back
