"""The broker: hooks, callbacks, chains, history."""

from __future__ import annotations

from thea_core.callbacks.chain import ChainEntry
from thea_core.callbacks.manager import CallbackManager
from thea_core.callbacks.registration import Registration

__all__ = ["CallbackManager", "ChainEntry", "Registration"]
