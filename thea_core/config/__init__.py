"""From ``thea.toml``, the environment and plain mappings to a typed configuration.

``load_config(environ=os.environ)`` gives a :class:`Config`, or raises a ConfigError that tells every problem, each with
the line it stands in and the edit that mends it.
"""

from __future__ import annotations

from thea_core.config.load import load_config
from thea_core.config.model import (
    CallbacksConfig,
    Config,
    ConversationConfig,
    FSMConfig,
    PluginConfig,
    PluginsConfig,
    PluginSettings,
    SessionsConfig,
    StoreConfig,
)
from thea_core.config.settings import plugin_settings
from thea_core.config.tree import Origin

__all__ = [
    "CallbacksConfig",
    "Config",
    "ConversationConfig",
    "FSMConfig",
    "Origin",
    "PluginConfig",
    "PluginSettings",
    "PluginsConfig",
    "SessionsConfig",
    "StoreConfig",
    "load_config",
    "plugin_settings",
]
