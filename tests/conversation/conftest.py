"""Both forms of every call, and a world that is closed again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conversation.parts import AsyncDriver, Driver, SyncDriver, World


@pytest.fixture(params=[SyncDriver, AsyncDriver], ids=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return request.param()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def _close_worlds() -> Iterator[None]:
    yield
    while World.open:
        World.open.pop().close()
