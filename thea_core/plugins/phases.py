"""The phases of one plugin's life, each guarded: whatever its code does becomes one PluginError that says what to do.

Imported and constructed, its hook specifications added, checked against the hooks, started; and at last stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from thea_core.callbacks.binding import place_of
from thea_core.callbacks.hooks import suggestion
from thea_core.callbacks.runtime import PluginLimits
from thea_core.callbacks.steps import drive
from thea_core.errors import CallbackTimeoutError, PluginError, PluginLoadError, RegistrationError, error_text
from thea_core.markers import PROJECT
from thea_core.plugins.compatibility import check
from thea_core.plugins.entries import GIVEN, MODULES
from thea_core.plugins.loading import construct, guarded, load_object, make_importable
from thea_core.plugins.waiting import OnThread, contained

if TYPE_CHECKING:
    from thea_core.callbacks.binding import Callback
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.queues import EventQueue
    from thea_core.callbacks.registration import PluginBinding
    from thea_core.callbacks.steps import Steps
    from thea_core.plugins.entries import Entry
    from thea_core.types import Application, Store

__all__ = ["Phases", "SettingsSource", "callbacks_of", "is_durable"]

T = TypeVar("T")

SettingsSource = Callable[[str, "type[Any] | None"], object]
"""Gets a plugin's name and its ``Settings`` class (None where it has none), and returns an instance of that class."""

_GRACE = 0.1  # seconds that a plugin gets for its shutdown where the deadline has passed already
_SETTING = "[plugins] startup_timeout"
_LOOKING = ("to look at its attributes",)


class Phases:
    """The phases, for the plugins of one application. Holds nothing of any plugin; thread-safe.

    Args:
        callbacks: where callbacks are checked, and called.
        settings: makes a plugin's settings.
        states: the states that ``@hookimpl(states=)`` may name; None where none is checked.
        limit: seconds that a plugin may take to be loaded, to tell its hooks, and to start, each; None for as long as
            it takes.
    """

    def __init__(
        self,
        callbacks: CallbackManager,
        settings: SettingsSource,
        states: Collection[str] | None = None,
        limit: float | None = None,
    ) -> None:
        self._callbacks = callbacks
        self._settings = settings
        self._states = states
        self._limit = limit

    def load(self, entry: Entry) -> Steps[None]:
        """Return steps that import the plugin and construct it, on a thread that is left behind when its time is up.

        Raises:
            PluginError: it does not fit this version of Thea, its code or its settings fail, or it takes too long.
        """
        doing = ["its import"]
        entry.plugin = yield from self._limited(entry, partial(self._load, entry, doing), "loaded", doing)

    def _load(self, entry: Entry, doing: list[str]) -> object:
        """Return the plugin; the last of ``doing`` tells what is under way."""
        if entry.problem is not None:
            raise entry.problem
        if entry.source == GIVEN:
            with guarded(entry.candidate, "given its settings", entry.remedy):
                self._settings(entry.name, None)
            return entry.given
        check(entry.candidate)
        if entry.source == MODULES:
            make_importable()
        found = load_object(entry.candidate)

        def settings(model: type[Any] | None) -> object:
            doing.append("the check of its settings")
            given = self._settings(entry.name, model)
            doing.append("its constructor")
            return given

        return construct(entry.candidate, found, settings)

    def add_hooks(self, entry: Entry) -> Steps[None]:
        """Return steps that add the hooks which the plugin brings.

        Raises:
            PluginLoadError: its ``provide_hookspecs`` fails or takes too long, or what it returns cannot be added.
        """
        step = "asked for its hooks"
        binding = yield from self._limited(entry, partial(self._bind_provider, entry, step), step, _LOOKING)
        if binding is None:
            return
        try:
            for callback in binding.callbacks:
                specifications, error = yield from contained(self._callbacks.invoke(callback, self._limit, _SETTING))
                with guarded(entry.candidate, step, entry.remedy):
                    if error is not None:
                        raise error
                    if specifications is not None:
                        self._callbacks.add_hookspecs(specifications)
        finally:
            self._callbacks.close_runtime(binding.runtime)

    def _bind_provider(self, entry: Entry, step: str) -> PluginBinding | None:
        with guarded(entry.candidate, step, entry.remedy):
            provider = _only(entry.plugin, "provide_hookspecs")
            return self._bind(entry, provider) if vars(provider) else None

    def bind(self, entry: Entry) -> Steps[None]:
        """Return steps that check all callbacks of the plugin against the hooks.

        Raises:
            PluginLoadError: one does not fit, or to look at it takes too long.
        """
        entry.binding = yield from self._limited(entry, partial(self._bind_all, entry), "registered", _LOOKING)

    def _bind_all(self, entry: Entry) -> PluginBinding:
        with guarded(entry.candidate, "registered", entry.remedy):
            binding = self._bind(entry, entry.plugin)
            for callback in binding.callbacks:
                self._check_states(callback)
            return binding

    def refuse_durable(self, entry: Entry, store: Store) -> None:
        """Refuse a plugin whose events are to come out of a store that keeps none.

        Raises:
            PluginLoadError: it is so.
        """
        if not is_durable(entry) or getattr(store, "outbox", None) is not None:
            return
        said = f"[plugins.{entry.name}]" if entry.options.delivery else "its author"
        raise PluginLoadError(
            f"plugin {entry.name!r} ({entry.candidate.origin}) cannot be started: {said} asks for the delivery "
            f'"durable", and the store ({type(store).__qualname__}) keeps no events for plugins. Choose another '
            f'delivery: [plugins.{entry.name}] delivery = "background" or "inline"; or another store: [store] url',
            plugin=entry.name,
        )

    def start(self, entry: Entry, app: Application) -> Steps[None]:
        """Return steps that call the plugin's ``on_startup``.

        Raises:
            PluginLoadError: it raised, or did not come back in time.
        """
        for callback in callbacks_of(entry, "on_startup"):
            _, error = yield from contained(self._callbacks.invoke(callback, self._limit, _SETTING, app=app))
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
            PluginError: it raised one of its own, to tell something; only the plugin's name stands before the text.
        """
        for callback in callbacks_of(entry, "on_shutdown"):
            timeout = left()
            outcome = yield self._shutdown_step(entry, callback, timeout)
            error = None if outcome is None else outcome[1]
            if type(error) is PluginError and error.plugin == entry.name:
                raise PluginError(f"plugin {entry.name!r}: {error_text(error)}", plugin=entry.name) from error
            with guarded(entry.candidate, "shut down", entry.remedy):
                if outcome is None:
                    raise TimeoutError(f"its on_shutdown is still running after {max(timeout, _GRACE):g} s")
                if outcome[1] is not None:
                    raise outcome[1]

    def flush(self, entries: Iterable[Entry], timeout: float) -> Steps[None]:
        """Return steps that deliver what waits on the queues of plugins, side by side."""
        if any(queue.waiting for queue in map(_queue_of, entries) if queue is not None):
            yield OnThread(lambda: self._callbacks.flush(timeout), timeout + _GRACE, "thea-closing")

    def settle(self, entry: Entry, timeout: float) -> Steps[bool]:
        """Return steps that let the plugin's courier finish its delivery; they tell whether it has.

        What it does not deliver stays in the store.
        """
        courier = None if entry.binding is None else entry.binding.runtime.courier
        if courier is None:
            return True
        courier.end()
        if courier.join(0.0):
            return True
        outcome = yield OnThread(lambda: courier.join(timeout), timeout + _GRACE, f"thea-{entry.name}-end")
        return outcome is not None and outcome[0] is True

    def drain(self, entry: Entry, timeout: float) -> Steps[int]:
        """Return steps that deliver what waits on the plugin's queue, and drop the rest; they tell how much that is."""
        queue = _queue_of(entry)
        if queue is None:
            return 0
        outcome = yield OnThread(lambda: queue.drain(timeout), timeout + _GRACE, f"thea-{entry.name}-end")
        return queue.waiting if outcome is None or outcome[0] is None else outcome[0]

    def close_loop(self, entry: Entry, left: Callable[[], float]) -> Steps[bool]:
        """Return steps that stop the plugin's threads and its event loop; they tell whether that stopped in time."""
        if entry.binding is not None:
            self._callbacks.close_runtime(entry.binding.runtime)
        if entry.name not in self._callbacks.loops.names():
            return True
        timeout = max(left(), _GRACE)
        outcome = yield OnThread(
            lambda: self._callbacks.close_plugin(entry.name, timeout), timeout + _GRACE, f"thea-{entry.name}-end"
        )
        return outcome is not None and outcome[0] is True

    def _shutdown_step(self, entry: Entry, callback: Callback, timeout: float) -> OnThread[Any]:
        def call() -> Any:
            bound = callback.ways is not None and callback.ways.threads.one
            return drive(self._callbacks.invoke(callback, max(timeout, _GRACE) if bound else None, timeout=timeout))

        return OnThread(call, max(timeout, _GRACE), f"thea-{entry.name}-shutdown")

    def _limited(self, entry: Entry, function: Callable[[], T], step: str, doing: Sequence[str]) -> Steps[T]:
        """Return steps that run something of a plugin, on a thread that is left behind where its time is up.

        Raises:
            PluginLoadError: the time is up: the plugin cannot be ``step``, because of the last of ``doing``.
        """
        if self._limit is None:
            return function()
        thread = OnThread(function, self._limit, f"thea-{entry.name}-load")
        outcome = yield thread
        if outcome is None:
            late = f"{doing[-1]} did not come back within {self._limit:g} s ({_SETTING})"
            with guarded(entry.candidate, step, entry.remedy):
                error = CallbackTimeoutError(late, self._limit)
                error.add_note(f"It was hanging at:\n{thread.where}")
                raise error
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]  # type: ignore[no-any-return]

    def _bind(self, entry: Entry, plugin: object) -> PluginBinding:
        return self._callbacks.bind_plugin(
            plugin,
            entry.name,
            distribution=entry.candidate.distribution,
            source=entry.source,
            position=entry.position,
            priority=entry.options.priority,
            guard=entry.options.guard,
            limits=PluginLimits(
                entry.options.timeout,
                entry.options.delivery,
                entry.options.queue_size,
                entry.options.flush_interval,
                entry.options.max_attempts,
            ),
        )

    def _check_states(self, callback: Callback) -> None:
        for state in sorted(callback.states):
            if self._states is not None and state not in self._states:
                raise RegistrationError(
                    f"{callback.name} at {place_of(callback.function)} is limited to the state {state!r}, and there is "
                    f"no such state{suggestion(state, self._states)}; the states are: {', '.join(self._states)}",
                    plugin=callback.plugin,
                )


def _queue_of(entry: Entry) -> EventQueue | None:
    return None if entry.binding is None else entry.binding.runtime.queue


def is_durable(entry: Entry) -> bool:
    """Whether events for the plugin come out of the store."""
    return entry.binding is not None and entry.binding.runtime.courier is not None


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
