"""The PostgreSQL store on a server of this machine; see :mod:`tests.services.postgres`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.services.postgres import empty, forgo_disk, new_schema, require
from thea_core.errors import StoreUnavailableError
from thea_core.testing import FakeClock, OutboxContract, StoreContract
from thea_core.testing.machine import StoreMachine
from thea_core.types import Store

pytest.importorskip("psycopg_pool", reason="needs psycopg: pip install 'thea-core[postgres]'")

from thea_core.storage.postgres import PostgresStore


@pytest.fixture(autouse=True, scope="module")
def _server() -> None:
    require()


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def schema() -> str:
    return new_schema()


@pytest.fixture(scope="module")
def stores(schema: str, clock: FakeClock) -> Iterator[list[PostgresStore]]:
    """The stores that were opened for this module, the last of which may be in use."""
    stores = [PostgresStore(schema, clock=clock)]
    forgo_disk(schema)
    yield stores
    stores[-1].close()


@pytest.fixture
def store(schema: str, clock: FakeClock, stores: list[PostgresStore]) -> PostgresStore:
    """An empty store: the same again and again, since to connect takes longer than a test, until one closes it."""
    empty(schema)
    try:
        stores[-1].load("ana")
    except StoreUnavailableError:
        stores.append(PostgresStore(schema, clock=clock))
    return stores[-1]


class TestPostgresStore(StoreContract, OutboxContract):
    pass


class PostgresMachine(StoreMachine):
    """Each client has connections of its own, as two processes would."""

    schema = ""

    def open_clients(self) -> tuple[Store, Store]:
        cls = type(self)
        cls.schema = cls.schema or new_schema()
        clients = PostgresStore(cls.schema, clock=self.clock), PostgresStore(cls.schema, clock=self.clock)
        empty(cls.schema)
        return clients


TestPostgresMachine = PostgresMachine.TestCase
TestPostgresMachine.settings = settings(max_examples=8, deadline=None)
