"""Both ways to call an engine, and an engine whose event loops are stopped again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fsm.machine import Async, Machine, Sync, Way


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def way(request: pytest.FixtureRequest) -> Way:
    return request.param()


@pytest.fixture
def fsm() -> Iterator[Machine]:
    engine = Machine()
    yield engine
    engine.callbacks.close()
