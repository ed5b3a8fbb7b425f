"""For those who write a store: what every store must do, as test classes to inherit from.

It needs pytest, which nothing else of Thea does; :mod:`thea_core.testing.machine` needs hypothesis too. A test class
gives two fixtures, ``clock`` and ``store``, and inherits the tests::

    import pytest
    from thea_core.testing import FakeClock, OutboxContract, StoreContract

    class TestMyStore(StoreContract, OutboxContract):
        @pytest.fixture
        def clock(self):
            return FakeClock()

        @pytest.fixture
        def store(self, clock, tmp_path):
            store = MyStore(tmp_path / "conversations", clock=clock)
            yield store
            store.close()

A store whose ``outbox`` is None leaves :class:`OutboxContract` out.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(  # so that failures tell why
    *(f"{__name__}.{module}" for module in ("forgetting", "machine", "models", "outboxes", "queues", "stores"))
)

from thea_core.testing.clock import FakeClock  # noqa: E402 -- only what is imported later can be rewritten
from thea_core.testing.outboxes import OutboxContract  # noqa: E402 -- as above
from thea_core.testing.stores import StoreContract  # noqa: E402 -- as above

__all__ = ["FakeClock", "OutboxContract", "StoreContract"]
