"""What every outbox must do, written against the protocol alone."""

from __future__ import annotations

__all__ = ["OutboxContract"]


class OutboxContract:
    """The contract of :class:`~thea_core.types.Outbox`, for test classes of stores that have one.

    It needs the same fixtures as :class:`~thea_core.testing.stores.StoreContract`.
    """
