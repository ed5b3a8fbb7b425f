"""The libraries that Thea is measured beside. One that is not installed is left out, and its row says so."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["peer"]


def peer(module: str) -> Any:
    """Return the module, or None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
