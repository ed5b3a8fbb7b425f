"""Managers that are closed after the test, and both ways to fire a hook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import FakeClock
from thea_core import CallbackManager


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def callbacks() -> Iterator[CallbackManager]:
    manager = CallbackManager()
    yield manager
    assert manager.running_calls == [], "a call was begun and never ended"
    assert manager.close(10.0) == 0, "an event loop did not stop"


@pytest.fixture(params=["trigger", "atrigger"])
def fire(request: pytest.FixtureRequest, callbacks: CallbackManager) -> Callable[..., None]:
    """Fire an event by ``trigger``, and once more by ``atrigger``."""
    if request.param == "trigger":
        return callbacks.trigger
    return lambda event, **arguments: asyncio.run(callbacks.atrigger(event, **arguments))


@pytest.fixture(params=["call", "acall"])
def call(request: pytest.FixtureRequest, callbacks: CallbackManager) -> Callable[..., Any]:
    """Call a result hook by ``call``, and once more by ``acall``."""
    if request.param == "call":
        return callbacks.call
    return lambda hook, **arguments: asyncio.run(callbacks.acall(hook, **arguments))
