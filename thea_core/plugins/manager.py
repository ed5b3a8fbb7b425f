"""PluginManager: brings plugins up in phases, switches them on and off while the application runs, shuts them down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thea_core.callbacks.forking import watch
from thea_core.callbacks.loops import on_loop_thread
from thea_core.callbacks.steps import adrive, drive
from thea_core.errors import PluginError, ReentrancyError, StoreUnavailableError, error_text
from thea_core.plugins.entries import Entry, PluginInfo, PluginOptions, Sources, plan
from thea_core.plugins.failures import Failures, log
from thea_core.plugins.phases import Phases, SettingsSource, callbacks_of, is_durable
from thea_core.plugins.registry import Registry
from thea_core.plugins.waiting import Until, contained, inside_a_call

if TYPE_CHECKING:
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.steps import Steps
    from thea_core.plugins.status import StatusFile
    from thea_core.types import Application, Store

__all__ = ["PluginManager"]

_STORE_METHODS = (
    "begin",
    "enqueue",
    "dequeue",
    "renew_places",
    "renew",
    "release",
    "commit",
    "load",
    "claim_expired",
    "purge_messages",
    "purge_conversations",
    "close",
)


class PluginManager:
    """The plugins of one application, ``thea.plugins``.

    ::

        with Thea({"store": {"url": "memory:"}}) as thea:
            for plugin in thea.plugins:
                print(plugin.name, plugin.state, plugin.reason)

    ``thea.plugins.enable("sentry")`` and ``thea.plugins.disable("sentry")`` switch one on and off meanwhile.

    What fails leaves its plugin out, with one message to the logger ``thea_core.plugins``; the others run. Only what is
    enabled is ever imported. Thread-safe; ``enable`` and ``disable`` may also be called from callbacks: no lock is held
    while code of a plugin runs. Of two changes of one plugin at a time the second is refused.

    Args:
        callbacks: where callbacks are checked, published and called.
        enabled, modules, objects: see :class:`~thea_core.plugins.entries.Sources`.
        tables: what the operator says of each plugin, by name.
        settings: makes a plugin's settings; None where no plugin has any.
        redact: takes the secrets of a plugin out of a text; gets the plugin's name and the text.
        states: the states that ``@hookimpl(states=)`` may name; None where none is checked.
        no_plugins: start without any.
        without_guards: a guard that cannot be started is left out like any other plugin, and may be disabled.
        startup_timeout: seconds that a plugin may take to be loaded, and to start; None for as long as it takes.
        status_file: where to note what became of each plugin; None: nowhere.
    """

    def __init__(
        self,
        callbacks: CallbackManager,
        *,
        enabled: Sequence[str] = (),
        modules: Sequence[str] = (),
        objects: Sequence[object] = (),
        tables: Mapping[str, PluginOptions] | None = None,
        settings: SettingsSource | None = None,
        redact: Callable[[str, str], str] | None = None,
        states: Collection[str] | None = None,
        no_plugins: bool = False,
        without_guards: bool = False,
        startup_timeout: float | None = None,
        status_file: StatusFile | None = None,
    ) -> None:
        self._callbacks = callbacks
        self._sources = Sources(tuple(enabled), tuple(modules), tuple(objects), dict(tables or {}))
        self._registry = Registry(self._sources, status_file, callbacks.clock)
        self._phases = Phases(callbacks, settings or (lambda _name, _model: None), states, startup_timeout)
        self._failures = Failures(redact or (lambda _name, text: text), without_guards=without_guards)
        self._startup_timeout = startup_timeout
        self._no_plugins = no_plugins
        self._app: Application | None = None
        self._store_plugin: str | None = None
        self._closing = False
        watch(self)

    # While the application runs

    def status(self) -> list[PluginInfo]:
        """Return what is known of each plugin, in the order of the lists that name them."""
        return [each.info for each in self._registry.entries]

    def __iter__(self) -> Iterator[PluginInfo]:
        return iter(self.status())

    def enable(self, name: str) -> PluginInfo:
        """Load and start a plugin, then publish its callbacks in one step.

        Where it runs already, its circuit breakers are closed, and nothing else is done.

        One that has failed is loaded anew; a module that was imported before is not imported again.

        Args:
            name: the plugin's name, or that of the distribution that offers it. It need not be in the configuration.

        Raises:
            PluginNotFoundError, PluginConflictError: as at the start.
            PluginLoadError: it does not load or start; the application runs on without it.
            PluginError: the application is not running, or the plugin is being switched on or off.
            ReentrancyError: called on one of Thea's event loops: await :meth:`aenable` there.
        """
        if on_loop_thread():
            raise ReentrancyError(
                "enable was called on one of Thea's event loops, where it could wait for itself; await aenable instead"
            )
        return drive(self._enable(name))

    async def aenable(self, name: str) -> PluginInfo:
        """Do the same as :meth:`enable`, from async code."""
        return await adrive(self._enable(name))

    def disable(self, name: str, *, timeout: float = 5.0, without_guards: bool = False) -> PluginInfo:
        """Publish the chains without a plugin, wait for calls under way, shut it down. Nothing where it does not run.

        From within a callback it returns as soon as the chains are published; the rest follows on a thread, once that
        call has ended. In a host's event loop use :meth:`adisable`: tasks there could not end while this waits.

        Args:
            name: the plugin's name, or its distribution's.
            timeout: seconds for all of it.
            without_guards: allow it for a guard.

        Raises:
            PluginNotFoundError: the application has no such plugin.
            GuardRequiredError: it is a guard, and nothing allows to do without.
            PluginError: the application is not running, or the plugin keeps its store, or is being switched on or off.
        """
        return drive(self._disable(name, timeout, without_guards=without_guards))

    async def adisable(self, name: str, *, timeout: float = 5.0, without_guards: bool = False) -> PluginInfo:  # noqa: ASYNC109 -- as in disable
        """Do the same as :meth:`disable`, from async code."""
        return await adrive(self._disable(name, timeout, without_guards=without_guards))

    # For the application: the life of all of them, as steps

    def load(self) -> Steps[None]:
        """Import and construct all plugins, then add their hooks, then check all of their callbacks.

        Raises:
            GuardRequiredError: a guard is left out, and nothing allows to do without.
            PluginError: a required plugin fails.
        """
        entries = plan(self._sources)
        self._registry.fill(entries)
        if self._no_plugins:
            self._leave_all_out(entries)
            return
        for phase in (self._phases.load, self._phases.add_hooks, self._phases.bind):
            for entry in _alive(entries):
                yield from self._attempt(entry, phase(entry))

    def make_store(self, url: str, app: Application) -> Steps[Store | None]:
        """Ask the plugins for the store of a URL; those that have ``create_store`` are started for it.

        What a plugin's ``create_store`` raises is contained; the next one is asked.

        Raises:
            StoreUnavailableError: no plugin made a store, and one failed at it.
        """
        makers = [each for each in _alive(self._registry.entries) if callbacks_of(each, "create_store")]
        for entry in makers:
            yield from self._attempt(entry, self._start(entry, app, with_store=False))
        failed: list[str] = []
        offers = [(each, entry) for entry in _alive(makers) for each in callbacks_of(entry, "create_store")]
        for callback, entry in sorted(offers, key=lambda offer: offer[0].place.key):
            making = self._callbacks.invoke(callback, self._startup_timeout, "[plugins] startup_timeout", url=url)
            store, error = yield from contained(making)
            error = error or _store_problem(store, durable=is_durable(entry))
            if error is not None:
                failed.append(f"{entry.name} ({self._callbacks.contain(callback, error).error})")
            elif store is not None:
                self._store_plugin = entry.name
                return store  # type: ignore[no-any-return]
        if failed:
            raise StoreUnavailableError(
                f"no store could be opened: the plugin {', '.join(failed)} failed at it; "
                "mend what it says, or give another [store] url"
            )
        return None

    def start(self, app: Application) -> Steps[None]:
        """Call every ``on_startup``, one by one, then publish all chains in one step.

        Raises:
            GuardRequiredError, PluginError: as :meth:`load`.
        """
        for entry in _alive(self._registry.entries):
            begun = entry in self._registry.started
            yield from self._attempt(entry, self._check_store(entry, app) if begun else self._start(entry, app))
        started = self._registry.started
        self._callbacks.publish_plugins(each.binding for each in started if each.binding is not None)
        for entry in started:
            entry.state = "running"
        self._app = app
        self._registry.record(self._registry.entries)

    def shutdown(self, timeout: float = 5.0) -> Steps[None]:
        """Shut all plugins down, the last one first, under one deadline. Idempotent.

        A guard's callbacks stay in the chains: no transition that is still under way can slip by.

        Args:
            timeout: seconds. Queues, all of them side by side, may take half of them, calls under way half of what is
                left then; each ``on_shutdown`` gets the rest.
        """
        if self._closing:
            return
        self._closing = True
        left = self._deadline(timeout)
        never_ran = [each for each in self._registry.entries if each.state == "stopped"]
        yield Until(lambda: self._registry.quiet, left())
        yield from self._phases.flush(self._registry.started, left() / 2)
        patience = left() / 2
        for entry in reversed(self._registry.started):
            if not self._registry.changing(entry):
                patience = yield from self._retire(entry, patience, left)
                entry.state = "stopped"
        entries = self._registry.entries
        self._registry.record(each for each in entries if each.reason or each not in never_ran)

    def after_fork_in_child(self) -> None:
        """Take fresh locks."""
        self._registry.after_fork_in_child()

    # Starting

    def _start(self, entry: Entry, app: Application, *, with_store: bool = True) -> Steps[None]:
        if with_store and is_durable(entry):
            self._phases.refuse_durable(entry, app.store)
        yield from self._phases.start(entry, app)
        self._registry.add_started(entry)

    def _check_store(self, entry: Entry, app: Application) -> Steps[None]:
        """Check what could not be checked when the plugin was started, for there was no store yet."""
        try:
            if is_durable(entry):
                self._phases.refuse_durable(entry, app.store)
        except PluginError:
            yield from self._retire(entry, 0.0, self._deadline(self._startup_timeout or 5.0))
            raise

    def _attempt(self, entry: Entry, phase: Steps[None]) -> Steps[None]:
        """Run one phase of one plugin; where it fails, leave the plugin out, or raise if it must not be left out."""
        try:
            yield from phase
        except PluginError as error:
            yield from self._phases.close_loop(entry, lambda: 0.0)
            self._failures.leave_out(entry, self._failures.note(entry, error))

    def _leave_all_out(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.options.guard and not self._failures.without_guards:
                raise self._failures.guard_missing(entry, "all plugins are switched off")
            entry.state, entry.reason = "disabled", "the application was started without plugins"

    # Changing

    def _enable(self, name: str) -> Steps[PluginInfo]:
        app = self._running(name)
        entry = self._registry.begin_enabling(self._registry.find_to_enable(name))
        if entry.state == "running":
            yield from self._callbacks.reset_breakers(entry.name)
            return entry.info
        try:
            yield from self._bring_up(entry, app)
        except PluginError as error:
            yield from self._phases.close_loop(entry, lambda: 0.0)
            told = self._failures.note(entry, error)
            raise told from told.__cause__
        finally:
            self._registry.end_change(entry)
        return entry.info

    def _bring_up(self, entry: Entry, app: Application) -> Steps[None]:
        yield from self._phases.load(entry)
        yield from self._phases.add_hooks(entry)
        yield from self._phases.bind(entry)
        yield from self._start(entry, app)
        if entry.binding is not None and not self._closing:
            self._callbacks.publish_plugins([entry.binding])
        if self._closing:  # also where that began just now, for shutdown leaves alone what is changing
            yield from self._retire(entry, 0.0, lambda: 0.0)
            raise PluginError(f"plugin {entry.name!r}: the application was closed meanwhile", plugin=entry.name)
        entry.state, entry.reason = "running", ""

    def _disable(self, name: str, timeout: float, *, without_guards: bool) -> Steps[PluginInfo]:
        self._running(name)
        entry = self._registry.get(name)
        self._refuse_to_disable(entry, without_guards=without_guards)
        if not self._registry.begin_disabling(entry):
            entry.state, entry.reason = "disabled", ""
            self._registry.end_change(entry)
            return entry.info
        entry.state, entry.reason = "stopped", "it is being switched off"
        self._callbacks.withdraw_plugin(entry.name)
        rest = self._finish_disabling(entry, timeout)
        if inside_a_call():
            threading.Thread(target=drive, args=(rest,), name=f"thea-{entry.name}-end", daemon=True).start()
        else:
            yield from rest
        return entry.info

    def _refuse_to_disable(self, entry: Entry, *, without_guards: bool) -> None:
        if entry.options.guard and not (without_guards or self._failures.without_guards):
            raise self._failures.guard_stays(entry)
        if entry.name == self._store_plugin:
            raise PluginError(
                f"plugin {entry.name!r} keeps the conversations (its create_store made the store): it stays until the "
                "application is closed",
                plugin=entry.name,
            )

    def _finish_disabling(self, entry: Entry, timeout: float) -> Steps[None]:
        try:
            left = self._deadline(timeout)
            binding = entry.binding
            yield from self._retire(entry, left(), left)
            entry.state, entry.reason = "disabled", ""
            if binding is not None:
                yield from self._callbacks.retire_breakers(binding.runtime)
        finally:
            self._registry.end_change(entry)

    def _retire(self, entry: Entry, patience: float, left: Callable[[], float]) -> Steps[float]:
        """Take one plugin out of the chains and shut it down; return the patience that is left for calls under way."""
        if not (self._closing and entry.options.guard):
            self._callbacks.withdraw_plugin(entry.name)
        start = left()
        ended = yield Until(lambda: self._callbacks.wait_for_old_calls(0.0), patience)
        if not ended and patience > 0:
            log(logging.WARNING, "calls are still under way while the plugin %r is shut down", entry.name)
        patience = max(0.0, patience - (start - left())) if ended else 0.0
        if not (yield from self._phases.settle(entry, left() / 2)):
            text = f"a delivery to the plugin {entry.name!r} is still under way; its event is delivered again"
            self._failures.note_end(entry, text)
        undelivered = yield from self._phases.drain(entry, left() / 2)
        if undelivered:
            self._failures.note_end(
                entry, f"{undelivered} calls on the queue of the plugin {entry.name!r} are not delivered"
            )
        try:
            yield from self._phases.stop(entry, left)
        except PluginError as error:
            self._failures.note_end(entry, error_text(error), logging.ERROR)
        if not (yield from self._phases.close_loop(entry, left)):
            late = f"the event loop of the plugin {entry.name!r} did not stop in time; it is left behind"
            self._failures.note_end(entry, late)
        self._registry.remove_started(entry)
        return patience

    def _running(self, name: str) -> Application:
        if self._app is None or self._closing:
            raise PluginError(
                f"the plugin {name!r} cannot be switched on or off now: the application is not running", plugin=name
            )
        return self._app

    def _deadline(self, timeout: float) -> Callable[[], float]:
        """Return a function that tells the seconds left, never less than none."""
        now = self._callbacks.clock.monotonic_ns
        end = now() + round(timeout * 1_000_000_000)
        return lambda: max(0.0, (end - now()) / 1_000_000_000)


def _alive(entries: Iterable[Entry]) -> list[Entry]:
    """Return those that nothing has left out so far."""
    return [each for each in entries if each.state == "stopped"]


def _store_problem(store: Any, *, durable: bool) -> BaseException | None:
    """Return why something that a ``create_store`` returned is no store; None where it is one, or None itself.

    ``durable`` is whether the plugin wants its own events out of a store.
    """
    if store is None:
        return None
    try:
        missing = [name for name in _STORE_METHODS if not callable(getattr(store, name, None))]
        if not missing and durable and getattr(store, "outbox", None) is None:
            return TypeError('its delivery is "durable", and the store that it returned keeps no events for plugins')
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it is a plugin's, and may do anything when it is asked
        return error
    return TypeError(f"what it returned is no store: it has no {', '.join(missing)}") if missing else None
