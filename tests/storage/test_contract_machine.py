"""Two clients do whatever they like, and the core's own stores agree with a simple model at each step."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from thea_core.storage.memory import MemoryStore
from thea_core.storage.sqlite import SQLiteStore
from thea_core.testing.machine import StoreMachine
from thea_core.types import Store


class MemoryMachine(StoreMachine):
    """Both clients use one store, since memory belongs to one process."""

    def open_clients(self) -> tuple[Store, Store]:
        store = MemoryStore(clock=self.clock)
        return store, store


class SQLiteMachine(StoreMachine):
    """Each client has the file open for itself, as two processes would."""

    def open_clients(self) -> tuple[Store, Store]:
        self.directory = Path(tempfile.mkdtemp())
        path = self.directory / "thea.db"
        return SQLiteStore(path, clock=self.clock), SQLiteStore(path, clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


TestMemoryMachine = MemoryMachine.TestCase
TestSQLiteMachine = SQLiteMachine.TestCase
