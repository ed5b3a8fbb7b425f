"""A plugin that raises in every hook, always the kind of exception that a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from thea_core import hookimpl


class UnspeakableError(Exception):
    """Cannot be put into words."""

    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def _recurse():
    return _recurse()


def _raise(make: Callable[[], BaseException]) -> Callable[[], None]:
    def act():
        raise make()

    return act


class Raising:
    """Raises whatever ``act`` raises, in every hook but the one of its start."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self.name = name
        self._act = act

    @hookimpl
    def on_message(self):
        self._act()

    @hookimpl
    def on_state_change(self):
        self._act()

    @hookimpl
    def on_error(self):
        self._act()

    @hookimpl
    def on_session_timeout(self):
        self._act()

    @hookimpl
    def on_intent_detected(self):
        self._act()

    @hookimpl
    def on_agent_delegated(self):
        self._act()

    @hookimpl
    def pre_transition(self):
        self._act()

    @hookimpl
    def post_transition(self):
        self._act()

    @hookimpl
    def on_transition_error(self):
        self._act()

    @hookimpl
    def detect_intents(self):
        self._act()

    @hookimpl
    def on_shutdown(self):
        self._act()


class AsyncRaising:
    """Does the same in async callbacks."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self.name = name
        self._act = act

    @hookimpl
    async def on_message(self):
        self._act()

    @hookimpl
    async def on_state_change(self):
        await asyncio.sleep(0)
        self._act()

    @hookimpl
    async def on_agent_delegated(self):
        self._act()

    @hookimpl
    async def pre_transition(self):
        await asyncio.sleep(0)
        self._act()

    @hookimpl
    async def detect_intents(self):
        self._act()


class AtStart(Raising):
    """Raises when it is started; a plugin that cannot start is left out."""

    @hookimpl
    def on_startup(self):
        self._act()


KINDS: dict[str, Callable[[], object]] = {
    "exception": _raise(lambda: ValueError("wrong")),
    "unspeakable": _raise(UnspeakableError),
    "exit": _raise(lambda: SystemExit(3)),
    "generator-exit": _raise(GeneratorExit),
    "cancelled": _raise(asyncio.CancelledError),
    "base": _raise(lambda: BaseException("everything")),
    "group": _raise(lambda: BaseExceptionGroup("many", [SystemExit(1), ValueError("one")])),
    "memory": _raise(MemoryError),
    "stop-iteration": _raise(lambda: StopIteration(5)),
    "stop-async-iteration": _raise(StopAsyncIteration),
    "long": _raise(lambda: ValueError("x" * 1_000_000)),
    "recursion": _recurse,
}
"""What to raise, by name."""
