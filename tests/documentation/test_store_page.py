"""The store that the documentation builds is a store: it keeps the contract of the core's own."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.documentation.pages import blocks
from tests.support import FakeClock
from thea_core.testing.stores import StoreContract
from thea_core.types import Store

PAGE = Path("docs/how-to/write-a-store.md")


@pytest.fixture(scope="module")
def jsonfile() -> ModuleType:
    """Return the module that the page shows."""
    (code,) = (block.text for block in blocks(PAGE) if block.file_name == "jsonfile.py")
    module = ModuleType("jsonfile")
    exec(code, vars(module))
    return module


class TestTheStoreOfThePage(StoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, jsonfile: ModuleType, clock: FakeClock, tmp_path: Path) -> Store:
        made: Store = jsonfile.JsonFileStore(tmp_path / "conversations.json", clock)
        return made
