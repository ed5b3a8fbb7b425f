"""The phases of one plugin's life, each guarded: whatever its code does becomes one PluginError that says what to do.

Imported and constructed, its hook specifications added, checked against the hooks, started; and at last stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from thea_core.callbacks.binding import place_of
from thea_core.callbacks.hooks import suggestion
from thea_core.callbacks.steps import drive
from thea_core.errors import RegistrationError
from thea_core.markers import PROJECT
from thea_core.plugins.compatibility import check
from thea_core.plugins.entries import GIVEN, MODULES
from thea_core.plugins.loading import construct, guarded, load_object, make_importable
from thea_core.plugins.waiting import OnThread, contained

if TYPE_CHECKING:
    from thea_core.callbacks.binding import Callback
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.registration import PluginBinding
    from thea_core.callbacks.steps import Steps
    from thea_core.plugins.entries import Entry
    from thea_core.types import Application

__all__ = ["Phases", "SettingsSource", "callbacks_of"]

SettingsSource = Callable[[str, "type[Any] | None"], object]
"""Gets a plugin's name and its ``Settings`` class (None where it has none), and returns an instance of that class."""

_GRACE = 0.1  # seconds that a plugin gets for its shutdown where the deadline has passed already


class Phases:
    """The phases, for the plugins of one application. Holds nothing of any plugin; thread-safe.

    Args:
        callbacks: where callbacks are checked, and called.
        settings: makes a plugin's settings.
        states: the states that ``@hookimpl(states=)`` may name; None where none is checked.
    """

    def __init__(
        self, callbacks: CallbackManager, settings: SettingsSource, states: Collection[str] | None = None
    ) -> None:
        self._callbacks = callbacks
        self._settings = settings
        self._states = states

    def load(self, entry: Entry) -> None:
        """Import the plugin and construct it.

        Raises:
            PluginError: it does not fit this version of Thea, or its code or its settings fail.
        """
        if entry.problem is not None:
            raise entry.problem
        if entry.source == GIVEN:
            with guarded(entry.candidate, "given its settings", entry.remedy):
                self._settings(entry.name, None)
            entry.plugin = entry.given
            return
        check(entry.candidate)
        if entry.source == MODULES:
            make_importable()
        found = load_object(entry.candidate)
        entry.plugin = construct(entry.candidate, found, lambda model: self._settings(entry.name, model))

    def add_hooks(self, entry: Entry) -> Steps[None]:
        """Return steps that add the hooks which the plugin brings.

        Raises:
            PluginLoadError: its ``provide_hookspecs`` fails, or what it returns cannot be added.
        """
        with guarded(entry.candidate, "asked for its hooks", entry.remedy):
            provider = _only(entry.plugin, "provide_hookspecs")
            binding = self._bind(entry, provider) if vars(provider) else None
        for callback in binding.callbacks if binding is not None else ():
            specifications, error = yield from contained(self._callbacks.invoke(callback))
            with guarded(entry.candidate, "asked for its hooks", entry.remedy):
                if error is not None:
                    raise error
                if specifications is not None:
                    self._callbacks.add_hookspecs(specifications)

    def bind(self, entry: Entry) -> None:
        """Check all callbacks of the plugin against the hooks.

        Raises:
            PluginLoadError: one does not fit.
        """
        with guarded(entry.candidate, "registered", entry.remedy):
            binding = self._bind(entry, entry.plugin)
            for callback in binding.callbacks:
                self._check_states(callback)
        entry.binding = binding

    def start(self, entry: Entry, app: Application) -> Steps[None]:
        """Return steps that call the plugin's ``on_startup``.

        Raises:
            PluginLoadError: it raised.
        """
        for callback in callbacks_of(entry, "on_startup"):
            _, error = yield from contained(self._callbacks.invoke(callback, app=app))
            with guarded(entry.candidate, "started", entry.remedy):
                if error is not None:
                    raise error

    def stop(self, entry: Entry, left: Callable[[], float]) -> Steps[None]:
        """Return steps that call the plugin's ``on_shutdown``, on a thread that is left behind when the time is up.

        Args:
            entry: the plugin.
            left: tells the seconds until the deadline.

        Raises:
            PluginLoadError: it raised, or did not come back in time.
        """
        for callback in callbacks_of(entry, "on_shutdown"):
            timeout = left()
            outcome = yield self._shutdown_step(entry, callback, timeout)
            with guarded(entry.candidate, "shut down", entry.remedy):
                if outcome is None:
                    raise TimeoutError(f"its on_shutdown is still running after {max(timeout, _GRACE):g} s")
                if outcome[1] is not None:
                    raise outcome[1]

    def close_loop(self, entry: Entry, left: Callable[[], float]) -> Steps[bool]:
        """Return steps that stop the plugin's event loop, if it has one; they tell whether it stopped in time."""
        if entry.name not in self._callbacks.loops.names():
            return True
        timeout = max(left(), _GRACE)
        outcome = yield OnThread(
            lambda: self._callbacks.close_plugin(entry.name, timeout), timeout + _GRACE, f"thea-{entry.name}-end"
        )
        return outcome is not None and outcome[0] is True

    def _shutdown_step(self, entry: Entry, callback: Callback, timeout: float) -> OnThread[Any]:
        invoke = self._callbacks.invoke
        return OnThread(
            lambda: drive(invoke(callback, timeout=timeout)), max(timeout, _GRACE), f"thea-{entry.name}-shutdown"
        )

    def _bind(self, entry: Entry, plugin: object) -> PluginBinding:
        return self._callbacks.bind_plugin(
            plugin,
            entry.name,
            distribution=entry.candidate.distribution,
            source=entry.source,
            position=entry.position,
            priority=entry.options.priority,
            guard=entry.options.guard,
        )

    def _check_states(self, callback: Callback) -> None:
        for state in sorted(callback.states):
            if self._states is not None and state not in self._states:
                raise RegistrationError(
                    f"{callback.name} at {place_of(callback.function)} is limited to the state {state!r}, and there is "
                    f"no such state{suggestion(state, self._states)}; the states are: {', '.join(self._states)}",
                    plugin=callback.plugin,
                )


def callbacks_of(entry: Entry, hook: str) -> list[Callback]:
    """Return the plugin's callbacks of one hook, in their order; none where it is not bound."""
    if entry.binding is None:
        return []
    return sorted((each for each in entry.binding.callbacks if each.hook.name == hook), key=lambda each: each.place.key)


def _only(plugin: object, hook: str) -> SimpleNamespace:
    """Return an object that has nothing but the plugin's callbacks of ``hook``: the others cannot be checked yet."""
    import pluggy

    reader = pluggy.PluginManager(PROJECT)
    names = [name for name in dir(plugin) if _implements(reader.parse_hookimpl_opts(plugin, name), name, hook)]
    return SimpleNamespace(**{name: getattr(plugin, name) for name in names})


def _implements(options: Any, name: str, hook: str) -> bool:
    return options is not None and (options.get("specname") or name) == hook
