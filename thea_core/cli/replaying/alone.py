"""An application with one plugin only, with the settings that the configuration has for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thea_core.errors import PluginLoadError, PluginNotFoundError

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.config import Config

__all__ = ["IN_FLIGHT", "alone", "running_alone"]

IN_FLIGHT: Final = 1000
"""How many events may wait in the plugin's queue, where it has one: none is dropped."""

_NEVER = 10**9


def alone(config: Config, plugin: str) -> tuple[Config, str]:
    """Return the configuration with this plugin and no other, and the plugin's name.

    The plugin may be enabled or not. Its settings stay, its time limits and its queue, too; circuit breakers never
    open, for each event is to be tried, and with durable delivery none is tried twice.

    Args:
        config: the configuration.
        plugin: a module of ``[plugins] modules``, or its last part; a plugin's name, or that of the distribution that
            offers it; or the dotted name of any other module.

    Raises:
        PluginError: there is none, or there are two.
    """
    name, module = _found(config, plugin)
    entry = config.plugins.entry(name)
    size = max(entry.queue_size, 2 * IN_FLIGHT)
    entry = replace(entry, required=False, on_failure="contain", queue_size=size, max_attempts=1)
    plugins = replace(
        config.plugins,
        enabled=[] if module else [name],
        modules=[module] if module else [],
        entries={name: entry},
    )
    callbacks = replace(config.callbacks, record=None, breaker_failures=_NEVER, history_size=0)
    return replace(config, plugins=plugins, callbacks=callbacks, source=None), name


@contextmanager
def running_alone(config: Config, plugin: str, environ: Mapping[str, str]) -> Iterator[Thea]:
    """Give the started application of such a configuration, with a store in memory; it is closed at the end.

    Neither its events nor its calls are recorded, and the status of the plugin is noted nowhere.

    Args:
        config: what :func:`alone` has returned.
        plugin: the plugin's name.
        environ: the environment.

    Raises:
        PluginLoadError: the plugin does not load or start.
    """
    from thea_core.app import Thea
    from thea_core.config.recording import without_recording
    from thea_core.storage import open_store
    from thea_core.types import SystemClock

    environ = without_recording(environ)
    for switch in ("THEA_NO_PLUGINS", "THEA_WITHOUT_GUARDS"):
        environ.pop(switch, None)
    with Thea(config, store=open_store("memory:", clock=SystemClock()), environ=environ) as thea:
        for each in thea.plugins:
            if each.state != "running":
                raise PluginLoadError(each.reason, plugin=plugin)
        yield thea


def _found(config: Config, plugin: str) -> tuple[str, str | None]:
    """Return the plugin's name, and its module where no distribution offers it."""
    configured = [each for each in config.plugins.modules if plugin in (each, _last(each))]
    if configured:
        return _last(configured[0]), configured[0]
    from thea_core.plugins.discovery import discover

    try:
        return discover().find(plugin).name, None
    except PluginNotFoundError as error:
        if _may_be_module(plugin):
            return _last(plugin), plugin
        advice = "A module of your own is given by its dotted name, such as myapp.hooks"
        raise PluginNotFoundError(f"{error}\n{advice}", plugin=plugin) from None


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def _may_be_module(plugin: str) -> bool:
    """Whether it is a dotted name, or that of a module in the working directory."""
    parts = plugin.split(".")
    if not all(each.isidentifier() for each in parts):
        return False
    return len(parts) > 1 or Path(f"{plugin}.py").exists() or Path(plugin, "__init__.py").exists()
