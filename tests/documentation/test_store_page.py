"""The store that the documentation builds is a store: it keeps the contract of the core's own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from tests.documentation.pages import blocks

PAGE = Path("docs/how-to/write-a-store.md")


def module_of_the_page(name: str) -> ModuleType:
    """Return a module that the page shows."""
    (code,) = (block.text for block in blocks(PAGE) if block.file_name == f"{name}.py")
    module = ModuleType(name)
    exec(code, vars(module))
    return module


jsonfile = module_of_the_page("jsonfile")
with patch.dict(sys.modules, {"jsonfile": jsonfile}):
    TestTheStoreOfThePage = module_of_the_page("test_jsonfile").TestJsonFileStore


def test_the_test_of_the_page_tries_the_store_of_the_page() -> None:
    assert vars(sys.modules[__name__])["TestTheStoreOfThePage"].test_load_needs_no_lease
    assert jsonfile.JsonFileStore.outbox is None
