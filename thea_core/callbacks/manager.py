"""CallbackManager: the broker between those who fire hooks and those who implement them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from thea_core.callbacks import flow
from thea_core.callbacks.binding import LOCAL, Callback, Origin, Place, bind, is_async, name_of
from thea_core.callbacks.chain import ChainEntry, local_place, ordered
from thea_core.callbacks.compiler import Chain, Support, compile_chain
from thea_core.callbacks.failures import FailureLog
from thea_core.callbacks.firing import EventStep, drive_chain
from thea_core.callbacks.forking import watch
from thea_core.callbacks.history import Failure, History, Observer, Recorder, Seat, check_observer
from thea_core.callbacks.hooks import Hook, HookTable, Kind
from thea_core.callbacks.loops import Abandoned, CallbackStep, LoopPool
from thea_core.callbacks.occurrences import begin_occurrence
from thea_core.callbacks.refusals import name_taken, not_callable, refuse_arguments, refuse_on_loop
from thea_core.callbacks.registration import PluginBinding, Registration, bind_plugin
from thea_core.errors import RegistrationError
from thea_core.types import Clock, SystemClock

if TYPE_CHECKING:
    from thea_core.callbacks.steps import Step

__all__ = ["CallbackManager"]

_QUIET_INTERVAL = 0.002  # seconds between two looks for calls under way, when a plugin is switched off
_CALL_OF_PARENT = sys.maxsize  # the edition of a call that a fork has cut in two: older than no change of the chains
_LOCAL_EVENTS = "@fsm.pre_transition(...), @fsm.post_transition(...) and @fsm.on_error() of the engine"


class Dependent(Protocol):
    """Something that keeps what it derives from chains."""

    def chains_changed(self) -> None:
        """Forget it. Called under the manager's lock: must not wait."""
        ...


class CallbackManager:
    """Calls the callbacks of a hook in the order of their priority, each isolated from the others.

    ::

        callbacks = CallbackManager()
        callbacks.register("on_message", print_message, priority=10)
        callbacks.trigger("on_message", user_id="ana", message="hola", timestamp=now)

    Every method is thread-safe and may be called from callbacks too; calls that have begun keep the chain with which
    they began. Two managers do not know of each other.

    Args:
        history_size: how many calls of chains are kept in :attr:`history`; 0 keeps neither rows nor counts.
        clock: where time comes from.
        entropy: where randomness comes from: a function that returns as many random bytes as it is asked for.
    """

    def __init__(
        self,
        *,
        history_size: int = 1000,
        clock: Clock | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if type(history_size) is not int or history_size < 0:
            raise ValueError(f"history_size must be a whole number, 0 or more, not {history_size!r}")
        self.clock: Clock = SystemClock() if clock is None else clock
        self._entropy = entropy
        self._lock = threading.RLock()
        self._hooks = HookTable()
        self._failures = FailureLog()
        self._recorder = Recorder(history_size, self.clock, self._failures)
        self._loops = LoopPool()
        self._locals: dict[str, tuple[Callback, ...]] = {}
        self._plugins: dict[str, PluginBinding] = {}
        self._chains: dict[str, Chain] = {}
        self._runs: dict[str, Callable[..., Any]] = {}
        self._sequence = 0
        self._edition = 0
        self._dependents: WeakSet[Dependent] = WeakSet()
        self._busy: list[int] = []
        self._support = Support(
            recorder=self._recorder,
            clock=self.clock,
            entropy=entropy,
            fail=self.contain,
            step=self.step_for,
            refuse_on_loop=refuse_on_loop,
            refuse_arguments=refuse_arguments,
            busy=self._busy,
        )
        self._publish()
        watch(self)

    # Registering

    def register(self, hook: str, callback: Callable[..., Any], *, priority: int = 0) -> Registration:
        """Add a local callback to an event or a result hook.

        Args:
            hook: the hook's name.
            callback: a function, method or other callable, sync or async. It names the arguments that it needs.
            priority: higher runs first. Among equals, local callbacks run before plugins', in order of registration.

        Returns:
            The registration; its ``remove()`` takes the callback out again.

        Raises:
            UnknownHookError: there is no such hook.
            RegistrationError: the callback does not fit the hook, or the hook takes no local callbacks.
        """
        if type(priority) is not int:
            raise RegistrationError(f"register: priority must be a whole number, not {priority!r}")
        known = self._hooks[hook]
        if known.kind is Kind.TRANSITION:
            raise RegistrationError(
                f"{hook!r} is a transition hook: a local callback of it belongs to one engine; use {_LOCAL_EVENTS}"
            )
        if known.kind is Kind.LIFECYCLE:
            raise RegistrationError(f"{hook!r} is a life-cycle hook: only plugins have it")
        arguments = bind(known, callback, Origin())
        with self._lock:
            added = Callback(
                hook=known,
                function=callback,
                arguments=arguments,
                plugin=LOCAL,
                name=name_of(callback),
                place=local_place(priority, self._next()),
                is_async=is_async(callback),
            )
            self._locals[hook] = (*self._locals.get(hook, ()), added)
            self._publish([hook])
        return Registration(lambda: self._remove_local(hook, added))

    def add_hookspecs(self, namespace: object) -> None:
        """Add the hooks that ``namespace`` (an object, class or module) declares with ``@hookspec``.

        Raises:
            RegistrationError: there is none, a name is taken, or one is not fit for a hook; then none is added.
        """
        with self._lock:
            self._hooks.add(namespace)
            self._publish()

    def add_observer(self, observer: Observer) -> Registration:
        """Give a :class:`CallRecord` of each finished call to ``observer``.

        It is called inline, in the thread of the call, and isolated. It is no hook: it cannot be nested, and has no
        row of its own.

        Raises:
            RegistrationError: it is no function, or an asynchronous one.
        """
        check_observer(observer)
        with self._lock:
            seat = self._recorder.add_observer(observer)
            self._publish()
        return Registration(lambda: self._remove_observer(seat))

    # Calling

    def trigger(self, event: str, /, **arguments: Any) -> None:
        """Fire an event: call its callbacks in order, and wait for them. Nothing that they do raises.

        Args:
            event: the hook's name.
            arguments: its arguments, all of them; ``event_id``, ``session_id`` and ``timestamp`` may be added.

        Raises:
            UnknownHookError: there is no such hook.
            HookCallError: an argument is missing or unknown, or the hook is no event.
            ReentrancyError: the event runs already in this flow, hooks are nested too deep, or the call would wait
                for itself on one of Thea's event loops.
        """
        try:
            run = self._runs[event]
        except (KeyError, TypeError):
            raise not_callable(self._hooks, event, Kind.EVENT) from None
        run(arguments)

    async def atrigger(self, event: str, /, **arguments: Any) -> None:
        """Fire an event from async code; the same as :meth:`trigger` in every other way.

        When the caller is cancelled, the rest of the chain goes on in a task of the manager's.
        """
        await drive_chain(self._chain(event, Kind.EVENT).steps(arguments), self._loops)

    def call(self, hook: str, /, **arguments: Any) -> Any:
        """Call a result hook.

        Returns:
            A list of :class:`HookResult` in the order of the chain; None is left out. Of a ``firstresult`` hook: one,
            or None.

        Raises:
            UnknownHookError, HookCallError, ReentrancyError: as :meth:`trigger`.
        """
        return self._chain(hook, Kind.COLLECT, Kind.FIRSTRESULT).run(arguments)

    async def acall(self, hook: str, /, **arguments: Any) -> Any:
        """Call a result hook from async code; the same as :meth:`call` in every other way."""
        return await drive_chain(self._chain(hook, Kind.COLLECT, Kind.FIRSTRESULT).steps(arguments), self._loops)

    # Looking

    @property
    def history(self) -> History:
        """The last calls, oldest first, and exact totals."""
        return History(self._recorder)

    @property
    def hooks(self) -> list[Hook]:
        """Every hook that is known."""
        return list(self._hooks)

    def chain(self, hook: str) -> list[ChainEntry]:
        """Return what would run, in order, and why in that order. Local transition callbacks are the engine's.

        Raises:
            UnknownHookError: there is no such hook.
        """
        known = self._hooks[hook]
        with self._lock:
            return [ChainEntry.of(each) for each in self._callbacks_of(known)]

    def close(self, timeout: float = 5.0) -> int:
        """Stop the event loops of callbacks, within ``timeout`` seconds in all; return how many did not stop.

        What runs on them is cancelled. A loop that is needed afterwards is started anew.
        """
        return self._loops.close(timeout)

    # For the other parts of Thea

    def bind_plugin(
        self,
        plugin: object,
        name: str,
        *,
        distribution: str | None = None,
        source: int,
        position: int,
        priority: int | None = None,
        guard: bool = False,
    ) -> PluginBinding:
        """Check a plugin against the hooks and return its callbacks, in no chain yet.

        Args:
            plugin: a module or an instance with ``@hookimpl`` functions.
            name: its name.
            distribution: what it was installed from, for messages.
            source: 1 for ``[plugins] enabled``, 2 for ``modules``, 3 for ``Thea(plugins=)``.
            position: its place in that list.
            priority: the operator's; replaces number, ``tryfirst`` and ``trylast`` of all its callbacks.
            guard: whether its transition callbacks fail closed.

        Raises:
            RegistrationError: something of it does not fit, or the name is taken.
        """
        with self._lock:
            if name in self._plugins or name == LOCAL:
                raise name_taken(name, distribution)
            self._sequence += 1
            return bind_plugin(
                self._hooks,
                plugin,
                Origin(name, distribution),
                rank=(source, position, self._sequence),
                priority=priority,
                guard=guard,
            )

    def publish_plugins(self, bindings: Iterable[PluginBinding]) -> None:
        """Put the callbacks of plugins into the chains, in one step.

        Raises:
            RegistrationError: a name is taken; then none of them is in any chain.
        """
        with self._lock:
            plugins = dict(self._plugins)
            for binding in bindings:
                if binding.name in plugins:
                    raise name_taken(binding.name)
                plugins[binding.name] = binding
            self._plugins = plugins
            self._publish()

    def withdraw_plugin(self, name: str) -> PluginBinding | None:
        """Take the callbacks of a plugin out of the chains, in one step; calls under way keep theirs."""
        with self._lock:
            binding = self._plugins.pop(name, None)
            self._publish()
            return binding

    def close_plugin(self, name: str, timeout: float) -> bool:
        """Stop the plugin's event loop, if it has one; whether it stopped in time."""
        return self._loops.close_one(name, timeout)

    def invoke(self, callback: Callback, **arguments: Any) -> Generator[Step, Any, Any]:
        """Steps that call one callback by itself, without a row; what it raises is raised (SystemExit too)."""
        given = callback.arguments
        named = {name: arguments[name] for name in (*given.keyword, *given.rest)}
        value = callback.function(*(arguments[name] for name in given.positional), **named)
        if type(value) is CoroutineType:
            value, error = yield self.step_for(callback, value)
            if error is not None:
                raise error
        return value

    def plugin_callbacks(self, hook: str) -> tuple[Callback, ...]:
        """Return the plugins' callbacks of a transition hook, in no particular order."""
        with self._lock:  # several plugins are published in one step
            plugins = list(self._plugins.values())
        return tuple(each for binding in plugins for each in binding.callbacks if each.hook.name == hook)

    def tell_changes(self, dependent: Dependent) -> None:
        """Call ``dependent.chains_changed()`` whenever a chain has changed, for as long as it lives."""
        with self._lock:
            self._dependents.add(dependent)

    @property
    def edition(self) -> int:
        """A number that grows whenever a chain changes: who keeps something derived compares it."""
        return self._edition

    @property
    def busy(self) -> bool:
        """Whether any call of a chain runs now, in whichever flow; where none does, nothing can be nested."""
        return bool(self._busy)

    @property
    def running_calls(self) -> list[int]:
        """The editions of the calls that run now, for compiled functions; all others use the methods below."""
        return self._busy

    def begin_call(self) -> int:
        """Note that a chain which is not compiled begins to run; give what it returns to :meth:`end_call`."""
        edition = self._edition
        self._busy.append(edition)
        return edition

    def end_call(self, edition: int) -> None:
        """Note that what began with :meth:`begin_call` has ended."""
        with suppress(ValueError):  # this process was forked meanwhile
            self._busy.remove(edition)

    def wait_for_old_calls(self, timeout: float) -> bool:
        """Wait until every call that began before the chains last changed has ended; whether they have.

        Called within such a call it returns False at once: it would wait for itself.
        """
        edition = self._edition
        end = time.monotonic() + timeout
        pause = threading.Event()
        while any(each < edition for each in self._busy[:]):
            if time.monotonic() >= end or any(isinstance(key, Hook) for key in flow.running_keys()):
                return False
            pause.wait(_QUIET_INTERVAL)
        return True

    @property
    def failures(self) -> FailureLog:
        """Where failures are logged."""
        return self._failures

    @property
    def recorder(self) -> Recorder:
        """Where rows go."""
        return self._recorder

    @property
    def loops(self) -> LoopPool:
        """Where coroutines of callbacks run."""
        return self._loops

    def hook(self, name: str) -> Hook:
        """Return a hook by its name, or raise UnknownHookError."""
        return self._hooks[name]

    def next_place(self, priority: int) -> Place:
        """Return where a local callback stands that is registered now."""
        with self._lock:
            return local_place(priority, self._next())

    def contain(self, callback: Callback, error: BaseException) -> Failure:
        """Log what a callback raised and return what to note in the row; KeyboardInterrupt passes."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, Abandoned):
            return Failure(0, "cancelled", None)
        guard = callback.guard and callback.hook.name != "on_transition_error"
        self._failures.report(callback.plugin, callback.hook.name, callback.name, error, guard=guard)
        return Failure(0, "error", self._failures.text(error))

    def step_for(self, callback: Callback, coroutine: Coroutine[Any, Any, Any]) -> CallbackStep:
        """Return the step that waits for a coroutine of a callback, on the loop where it belongs."""
        return CallbackStep(callback, coroutine, self._loops)

    def fire(self, event: str, within: int = 0, /, **arguments: Any) -> Generator[Step, Any, None]:
        """Steps that fire an event, for the parts that drive steps themselves.

        ``within`` is how many of the :attr:`running_calls` are the caller's own, none of which is this event.
        """
        begin_occurrence(event)
        chain = self._chain(event, Kind.EVENT)
        if chain.callbacks:
            yield EventStep(chain, arguments, within, self._loops)

    def after_fork_in_child(self) -> None:
        """Take fresh locks, and forget the parent's loops and the calls of its other threads."""
        self._lock = threading.RLock()
        self._failures.after_fork_in_child()
        self._recorder.after_fork_in_child()
        self._loops.after_fork_in_child()
        if self._busy:  # of other threads, which do not run here; those of this one end as they began
            nested = any(isinstance(key, Hook) for key in flow.running_keys())
            self._busy = [_CALL_OF_PARENT] if nested else []
            self._support = self._support._replace(busy=self._busy)
            self._publish()

    # Within

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _remove_local(self, hook: str, callback: Callback) -> None:
        with self._lock:
            self._locals[hook] = tuple(each for each in self._locals[hook] if each is not callback)
            self._publish([hook])

    def _remove_observer(self, seat: Seat) -> None:
        with self._lock:
            self._recorder.remove_observer(seat)
            self._publish()

    def _callbacks_of(self, hook: Hook) -> list[Callback]:
        plugins = (each for binding in self._plugins.values() for each in binding.callbacks)
        return ordered([*self._locals.get(hook.name, ()), *(each for each in plugins if each.hook is hook)])

    def _publish(self, names: Iterable[str] | None = None) -> None:
        """Compile the chains anew and put them in place in one step; the lock is held."""
        self._edition += 1
        chains = dict(self._chains) if names is not None else {}
        hooks = [self._hooks[name] for name in names] if names is not None else list(self._hooks)
        for hook in hooks:
            if hook.kind in (Kind.EVENT, Kind.COLLECT, Kind.FIRSTRESULT):
                chains[hook.name] = compile_chain(hook, self._callbacks_of(hook), self._support, self._edition)
        self._chains = chains
        self._runs = {name: chain.run for name, chain in chains.items() if chain.hook.kind is Kind.EVENT}
        for dependent in list(self._dependents):
            dependent.chains_changed()

    def _chain(self, name: str, *kinds: Kind) -> Chain:
        try:
            chain = self._chains[name]
        except (KeyError, TypeError):
            raise not_callable(self._hooks, name, *kinds) from None
        if chain.hook.kind not in kinds:
            raise not_callable(self._hooks, name, *kinds)
        return chain
