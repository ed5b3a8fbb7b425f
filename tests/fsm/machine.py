"""What the tests of the state machine share: both ways to call an engine, and an engine whose events are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from thea_core import CallbackManager, Context, Definition, FSMEngine


def context(state: str = "initial", **more: Any) -> Context:
    """Return a context of the user "ana"."""
    return {"user_id": "ana", "state": state, **more}


class Sync:
    """Calls an engine in this thread."""

    def handle(self, fsm: FSMEngine, target: str, given: Context) -> Context:
        return fsm.handle(target, given)

    def reset(self, fsm: FSMEngine, given: Context) -> Context:
        return fsm.reset(given)

    def fail(self, fsm: FSMEngine, error: BaseException, given: Context, *target: str) -> Context:
        return fsm.fail(error, given, *target)

    def report(self, fsm: FSMEngine, error: BaseException, given: Context) -> Context:
        return fsm.on_error()(error, given)


class Async:
    """Calls an engine as async code does."""

    def handle(self, fsm: FSMEngine, target: str, given: Context) -> Context:
        return _run(fsm.ahandle(target, given))

    def reset(self, fsm: FSMEngine, given: Context) -> Context:
        return _run(fsm.areset(given))

    def fail(self, fsm: FSMEngine, error: BaseException, given: Context, *target: str) -> Context:
        return _run(fsm.afail(error, given, *target))

    def report(self, fsm: FSMEngine, error: BaseException, given: Context) -> Context:
        return _run(fsm.aon_error(error, given))


Way = Sync | Async


class Machine(FSMEngine):
    """An engine that keeps what its events told: ``changes`` of state and ``errors``."""

    def __init__(self, definition: Definition | None = None, *, events: bool = True, **options: Any) -> None:
        super().__init__(definition, **options)
        self.changes: list[tuple[str, str, str]] = []
        self.errors: list[BaseException] = []
        self._plugins = 0
        if events:
            self.callbacks.register("on_state_change", self._changed)
            self.callbacks.register("on_error", self._failed)

    def _changed(self, user_id: str, old_state: str, new_state: str) -> None:
        self.changes.append((user_id, old_state, new_state))

    def _failed(self, user_id: str, error: BaseException) -> None:
        self.errors.append(error)

    def plug(self, plugin: object, name: str | None = None, **options: Any) -> None:
        """Put a plugin into the chains."""
        plug(self.callbacks, plugin, name or f"plugin{self._plugins}", self._plugins, **options)
        self._plugins += 1


def plug(callbacks: CallbackManager, plugin: object, name: str, position: int = 0, **options: Any) -> None:
    """Put a plugin into the chains of a manager."""
    callbacks.publish_plugins([callbacks.bind_plugin(plugin, name, source=3, position=position, **options)])


def _run(coroutine: Coroutine[Any, Any, Context]) -> Context:
    """Run a coroutine on a loop of its own, and raise what it raises, whatever that is."""

    results: list[Context] = []
    errors: list[BaseException] = []

    async def caught() -> None:  # asyncio shows what a task returns, and an exception's repr may raise
        try:
            results.append(await coroutine)
        except BaseException as error:
            errors.append(error)

    asyncio.run(caught())
    if errors:
        raise errors[0]
    return results[0]


class BrokenError(Exception):
    """What the callbacks of tests fail with."""


def raising(error: BaseException) -> Any:
    """Return a callback that raises ``error``, whatever it is called with."""

    def callback(*_: Any) -> None:
        raise error

    return callback
