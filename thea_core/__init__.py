"""Thea: the core of a conversational assistant, opened up by plugins."""

from thea_core.callbacks import CallbackManager, Registration
from thea_core.markers import hookimpl, hookspec

__all__ = ["CallbackManager", "Registration", "hookimpl", "hookspec"]
