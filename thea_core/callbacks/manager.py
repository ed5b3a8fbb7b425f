"""CallbackManager: the broker between those who fire hooks and those who implement them."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from thea_core.callbacks import flow
from thea_core.callbacks.binding import LOCAL, Callback, Origin, Place, bind, is_async, name_of
from thea_core.callbacks.breaker import BreakerLimits
from thea_core.callbacks.chain import ChainEntry, local_place, ordered
from thea_core.callbacks.compiler import Chain, Support, compile_chain
from thea_core.callbacks.couriers import POLL_SECONDS, Courier
from thea_core.callbacks.deliveries import Deliveries
from thea_core.callbacks.durable import Outlet
from thea_core.callbacks.exiting import watch_exit
from thea_core.callbacks.failures import FailureLog
from thea_core.callbacks.firing import EventStep, drive_chain
from thea_core.callbacks.forking import watch
from thea_core.callbacks.health import Health
from thea_core.callbacks.history import Failure, History, Observer, Recorder, Seat, check_observer
from thea_core.callbacks.hooks import Hook, HookTable, Kind
from thea_core.callbacks.limits import Abandoned, CallbackStep, CoroutineStep, ThreadStep, Ways
from thea_core.callbacks.loops import LoopPool
from thea_core.callbacks.occurrences import begin_occurrence
from thea_core.callbacks.refusals import name_taken, not_callable, refuse_arguments, refuse_on_loop
from thea_core.callbacks.registration import PluginBinding, Registration, Terms, bind_plugin
from thea_core.callbacks.runtime import PluginLimits, Runtime
from thea_core.callbacks.watching import Watch
from thea_core.errors import CallbackSkippedError, CallbackTimeoutError, RegistrationError
from thea_core.markers import check_timeout
from thea_core.types import BreakerState, Clock, SystemClock

if TYPE_CHECKING:
    from thea_core.callbacks.queues import EventQueue
    from thea_core.callbacks.steps import Step
    from thea_core.types import Outbox

__all__ = ["CallbackManager"]

_NO_WORD = PluginLimits()
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
        timeout: seconds after which the caller of a plugin's callback goes on without it, where neither its author nor
            the operator says otherwise; None for as long as it takes.
        timeouts: the same for single hooks, by name.
        breaker_failures: how many failures in a row open a circuit breaker.
        breaker_seconds: how many seconds it stays open the first time.
        clock: where time comes from. What hangs does so on the machine's clock: time limits do not ask this one.
        entropy: where randomness comes from: a function that returns as many random bytes as it is asked for.
    """

    def __init__(
        self,
        *,
        history_size: int = 1000,
        timeout: float | None = 2.0,
        timeouts: Mapping[str, float | None] | None = None,
        breaker_failures: int = 5,
        breaker_seconds: float = 30.0,
        clock: Clock | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if type(history_size) is not int or history_size < 0:
            raise ValueError(f"history_size must be a whole number, 0 or more, not {history_size!r}")
        if type(breaker_failures) is not int or breaker_failures < 1:
            raise ValueError(f"breaker_failures must be a whole number, 1 or more, not {breaker_failures!r}")
        if type(breaker_seconds) not in (int, float) or not 0 < breaker_seconds < math.inf:
            raise ValueError(f"breaker_seconds must be a number of seconds greater than 0, not {breaker_seconds!r}")
        for limit in (timeout, *(timeouts or {}).values()):
            check_timeout("CallbackManager", limit)
        self._timeout = timeout
        self._timeouts = dict(timeouts or {})
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
        self._runs = _Runs(self._chains)
        self._sequence = 0
        self._edition = 0
        self._dependents: WeakSet[Dependent] = WeakSet()
        self._busy: list[int] = []
        self._watch = Watch()
        self._health = Health(
            BreakerLimits(breaker_failures, breaker_seconds), self.clock, self._watch, self._tell_health
        )
        self._books = Deliveries(self._recorder, self.clock, self._health, self.contain)
        self._outlet = Outlet(self.new_ways("store", _nothing, _nothing), self._failures)
        self._poll: float | None = None  # how often couriers look for events; None while they do not run
        self._runtimes: WeakSet[Runtime] = WeakSet()  # also of plugins that are being switched off
        self._local = self._new_runtime(LOCAL, PluginLimits(), one=False)
        self._support = Support(
            recorder=self._recorder,
            clock=self.clock,
            entropy=entropy,
            fail=self.contain,
            step=self.step_for,
            on_thread=self._on_thread,
            troubled=self._health.troubled,
            changes=self._health.changes,
            tell_changes=self._health.step,
            refuse_on_loop=refuse_on_loop,
            refuse_arguments=refuse_arguments,
            busy=self._busy,
            delivering=self.running_deliveries,
            outlet=self._outlet,
        )
        self._publish()
        watch(self)
        watch_exit(self)

    # Registering

    def register(
        self, hook: str, callback: Callable[..., Any], *, priority: int = 0, timeout: float | None = None
    ) -> Registration:
        """Add a local callback to an event or a result hook.

        Args:
            hook: the hook's name.
            callback: a function, method or other callable, sync or async. It names the arguments that it needs.
            priority: higher runs first. Among equals, local callbacks run before plugins', in order of registration.
            timeout: seconds after which the caller goes on without it; a synchronous callback that has a limit runs on
                a thread ``thea-local``. None calls it in the caller's own thread, for as long as it takes.

        Returns:
            The registration; its ``remove()`` takes the callback out again.

        Raises:
            UnknownHookError: there is no such hook.
            RegistrationError: the callback does not fit the hook, or the hook takes no local callbacks.
        """
        if type(priority) is not int:
            raise RegistrationError(f"register: priority must be a whole number, not {priority!r}")
        check_timeout("register", timeout)
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
                timeout=timeout,
                breaker=self._health.new_breaker(LOCAL, hook) if known.kind is Kind.EVENT else None,
                ways=self._local.ways,
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

    @property
    def breakers(self) -> list[BreakerState]:
        """The circuit breakers: of each plugin and hook that is called again, and of each local event callback."""
        with self._lock:
            plugins = [breaker for binding in self._plugins.values() for breaker in binding.runtime.breakers]
            local = [each.breaker for callbacks in self._locals.values() for each in callbacks]
        found = [*(each for each in local if each is not None), *plugins]
        return [each.shown for each in found]

    # Ending

    def flush(self, timeout: float = 5.0) -> int:
        """Deliver what is queued now, and let the plugins send it; return how many calls were left.

        All queues are flushed side by side, under one deadline, and where couriers run, what is due in the store's
        outbox is delivered; of a plugin for which that cannot be done, one call counts as left. Called by a plugin
        while its queue or courier delivers to it, it does not wait for that one.

        Args:
            timeout: seconds in all.
        """
        end = time.monotonic() + timeout
        couriers = [courier.begin_flush() for courier in self._couriers()]
        left = self.begin_flush(timeout)()
        return left + sum(not wait(end - time.monotonic()) for wait in couriers)

    def close(self, timeout: float = 5.0) -> int:
        """Stop the couriers, empty the queues, then stop the threads and event loops; return how much was left.

        All queues are emptied side by side, and what is left in them when the time is up is dropped; what is left in
        the store's outbox stays there. What runs on the event loops is cancelled. What is needed afterwards is started
        anew, but for the couriers.

        Args:
            timeout: seconds in all.

        Returns:
            How many calls were not delivered, and how many event loops did not stop.
        """
        end = time.monotonic() + timeout
        couriers = self._end_couriers()
        flushes = [(queue, queue.begin_flush(timeout, everything=True)) for queue in self._queues()]
        left = sum(queue.end_drain(flush) for queue, flush in flushes)
        for courier in couriers:
            courier.join(end - time.monotonic())
        for runtime in self._all_runtimes():
            runtime.close()
        self._outlet.close()
        self._watch.close()
        return left + self._loops.close(max(0.0, end - time.monotonic()))

    # Durable delivery

    @property
    def durable_plugins(self) -> list[str]:
        """The plugins whose events come out of the store, by name: from before their start until after their end."""
        return sorted({each.ways.name for each in self._all_runtimes() if each.courier is not None})

    def attach_outbox(self, outbox: Outbox) -> None:
        """Store in ``outbox``, from now on, events for plugins with durable delivery that belong to no turn.

        It is also where couriers find events. Without one such an event is lost, and logged.
        """
        self._outlet.outbox = outbox

    def start_couriers(self, poll: float = POLL_SECONDS) -> None:
        """Hand over what is in the outbox, to each plugin with durable delivery that is in the chains now or later.

        Idempotent. In a forked child couriers go on by themselves at the next wake.

        Args:
            poll: seconds between two looks of a courier that nobody wakes.
        """
        with self._lock:
            self._poll = poll
        for courier in self._couriers():
            courier.start(poll)

    def wake_couriers(self) -> None:
        """Let the couriers look for events, because there may be some; nothing where none runs. Never waits."""
        if self._poll is not None:
            for courier in self._couriers():
                courier.wake()

    def stop_couriers(self, timeout: float = 5.0) -> bool:
        """Deliver what is due, for half of the time; then claim no more, and wait for what is under way.

        Whatever is not delivered stays in the outbox. Called within a delivery, it does not wait for that one.

        Args:
            timeout: seconds in all.

        Returns:
            Whether all couriers have ended.
        """
        end = time.monotonic() + timeout
        for wait in [courier.begin_flush() for courier in self._couriers()]:
            wait(end - timeout / 2 - time.monotonic())
        ended = [courier.join(end - time.monotonic()) for courier in self._end_couriers()]
        return all(ended)

    # For the other parts of Thea

    def begin_flush(self, timeout: float) -> Callable[[], int]:
        """Begin a :meth:`flush`; return a function that waits for its end, and tells how many calls were left."""
        flushes = [(queue, queue.begin_flush(timeout)) for queue in self._queues()]
        return lambda: sum(queue.end_flush(flush) for queue, flush in flushes)

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
        limits: PluginLimits = _NO_WORD,
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
            limits: what the operator says of how it is called.

        Raises:
            RegistrationError: something of it does not fit, or the name is taken.
        """
        with self._lock:
            if name in self._plugins or name == LOCAL:
                raise name_taken(name, distribution)
            rank = (source, position, self._next())
        terms = Terms(rank, priority, guard, limits.timeout, self._default_timeout)

        def new_runtime(one: bool, delivery: str) -> Runtime:  # noqa: FBT001 -- what the plugin declares
            return self._new_runtime(name, limits._replace(delivery=limits.delivery or delivery), one=one)

        # Not under the lock: to look at a plugin may run code of it, which may hang.
        return bind_plugin(self._hooks, plugin, Origin(name, distribution), terms, new_runtime)

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
                for breaker in binding.runtime.breakers:
                    self._health.restore(breaker)
            self._plugins = plugins
            self._publish()
            poll = self._poll
        if poll is not None:
            self.start_couriers(poll)

    def withdraw_plugin(self, name: str) -> PluginBinding | None:
        """Take the callbacks of a plugin out of the chains, in one step; calls under way keep theirs.

        Its courier claims no more; wait for that with :meth:`~thea_core.callbacks.couriers.Courier.join`.
        """
        with self._lock:
            binding = self._plugins.pop(name, None)
            for breaker in binding.runtime.breakers if binding is not None else ():
                self._health.dismiss(breaker)
            self._publish()
        if binding is not None and binding.runtime.courier is not None:
            binding.runtime.courier.end()
        return binding

    def close_plugin(self, name: str, timeout: float) -> bool:
        """Stop the plugin's event loop, if it has one; whether it stopped in time."""
        return self._loops.close_one(name, timeout)

    def close_runtime(self, runtime: Runtime) -> None:
        """Let a plugin's threads end that have nothing to do; its queue is flushed no more."""
        runtime.close()
        with self._lock:
            self._runtimes.discard(runtime)

    def invoke(
        self, callback: Callback, limit: float | None = None, setting: str = "", /, **arguments: Any
    ) -> Generator[Step, Any, Any]:
        """Steps that call one callback by itself, without a row; what it raises is raised (SystemExit too).

        ``limit`` is the seconds after which CallbackTimeoutError is raised; None waits for as long as it takes.
        ``setting`` is what the operator changes to change that, for its message.
        """
        given = callback.arguments
        named = {name: arguments[name] for name in (*given.keyword, *given.rest)}
        positional = [arguments[name] for name in given.positional]
        callback = callback._replace(timeout=limit)
        if callback.threaded:
            value, error = yield self._on_thread(callback, *positional, **named)
        else:
            value, error = callback.function(*positional, **named), None
            if type(value) is CoroutineType:
                value, error = yield self.step_for(callback, value)
        if error is None:
            return value
        if self.outcome(error) == "timeout":
            why = f" ({setting})" if setting else ""
            error.args = (f"its {callback.hook.name} did not come back within {limit:g} s{why}",)
        raise error

    def reset_breakers(self, name: str) -> Generator[Step, Any, None]:
        """Steps that close the breakers of a plugin, because it was enabled anew, and tell it."""
        with self._lock:
            binding = self._plugins.get(name)
        if binding is not None:
            for breaker in binding.runtime.breakers:
                breaker.reset("the plugin was enabled anew")
            yield self._health.step()

    def retire_breakers(self, runtime: Runtime) -> Generator[Step, Any, None]:
        """Steps that close the breakers of a plugin for good, because it was switched off, and tell it."""
        self._health.retire(runtime.breakers, "the plugin was switched off")
        yield self._health.step()

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
        """Whether any call of a chain runs now, in whichever flow, or a delivery; else nothing can be nested."""
        return bool(self._busy or self._books.running)

    @property
    def running_calls(self) -> list[int]:
        """The editions of the calls that run now, for compiled functions; all others use the methods below."""
        return self._busy

    @property
    def running_deliveries(self) -> Sequence[object]:
        """One entry for each delivery from a queue that runs now, for compiled functions."""
        return self._books.running

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

    def contain(self, callback: Callback, error: BaseException, ticket: int = 0) -> Failure:
        """Log what a callback raised, tell its breaker, and return what to note in the row.

        Raises:
            KeyboardInterrupt: that is what it raised.
        """
        breaker = callback.breaker
        if isinstance(error, KeyboardInterrupt | Abandoned):
            if breaker is not None:
                breaker.release(ticket)
            if isinstance(error, KeyboardInterrupt):
                raise error
            return Failure(0, "cancelled", None)
        text = self._failures.text(error)
        outcome = self.outcome(error)
        guard = callback.guard and callback.hook.name != "on_transition_error"
        if outcome == "skipped":
            if breaker is not None:
                breaker.release(ticket)
            if not guard:  # of a guard it is no trifle: the door stays shut
                return Failure(0, outcome, text)
        elif breaker is not None:
            breaker.fail(ticket, text)
        where = "\n".join(error.__notes__) if outcome == "timeout" and hasattr(error, "__notes__") else ""
        self._failures.report(callback.plugin, callback.hook.name, callback.name, error, guard=guard, detail=where)
        return Failure(0, outcome, text)

    @staticmethod
    def outcome(error: BaseException) -> str:
        """Return the outcome of a callback that ended in an error: ``"timeout"``, ``"skipped"`` or ``"error"``.

        An error that nobody has raised comes from the step that waited: the time was up, or there was no call.
        """
        kinds = {CallbackTimeoutError: "timeout", CallbackSkippedError: "skipped"}
        outcome = kinds.get(type(error), "error")  # of a subclass nothing is asked: it is a plugin's
        return outcome if outcome == "error" or error.__traceback__ is None else "error"

    def step_for(self, callback: Callback, coroutine: CoroutineType[Any, Any, Any], *around: object) -> CallbackStep:
        """Return the step that waits for a coroutine of a callback, on the loop where it belongs, within its limit.

        ``around`` is what runs around it besides the calls of chains, and is not noted in the flow.
        """
        ways = callback.ways or self._local.ways
        return CoroutineStep(coroutine, ways, callback.timeout, self._carried(callback, around))

    def step_on_thread(self, callback: Callback, call: Callable[[], Any], *around: object) -> CallbackStep:
        """Return the step that waits for a call of a callback, on a thread of its plugin, within its limit."""
        ways = callback.ways or self._local.ways
        return ThreadStep(call, ways, callback.timeout, self._carried(callback, around))

    def _carried(self, callback: Callback, around: tuple[object, ...]) -> tuple[object, ...]:
        # With no other call under way no compiled function is on the stack but the callback's own.
        return (*flow.carried(callback.hook, stack=len(self._busy) > 1), *around)

    @property
    def health(self) -> Health:
        """The breakers, and what is still to be told of them."""
        return self._health

    @property
    def local_ways(self) -> Ways:
        """Return where local callbacks run that have a limit."""
        return self._local.ways

    def new_ways(self, name: str, crowded: Callable[[], None], relieved: Callable[[], None]) -> Ways:
        """Return threads of their own for something else of a plugin (``"local"``: the application's), on its loop."""
        return Ways(name, one=False, loops=self._loops, watch=self._watch, crowded=crowded, relieved=relieved)

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
        self._outlet.after_fork_in_child()
        self._watch.after_fork_in_child()
        self._health.after_fork_in_child()
        for runtime in list(self._runtimes):
            runtime.after_fork_in_child()
        if self._busy:  # of other threads, which do not run here; those of this one end as they began
            nested = any(isinstance(key, Hook) for key in flow.running_keys())
            self._busy = [_CALL_OF_PARENT] if nested else []
            self._support = self._support._replace(busy=self._busy)
            self._publish()

    # Within

    def _new_runtime(self, name: str, limits: PluginLimits, *, one: bool) -> Runtime:
        runtime = Runtime(
            name,
            one=one,
            limits=limits,
            loops=self._loops,
            watch=self._watch,
            clock=self.clock,
            books=self._books,
            new_breaker=partial(self._health.new_breaker, name),
            tell=self._health.tell_soon,
            new_courier=self._new_courier,
        )
        with self._lock:
            self._runtimes.add(runtime)
        return runtime

    def _new_courier(self, ways: Ways, limits: PluginLimits) -> Courier:
        return Courier(
            ways,
            outlet=self._outlet,
            hooks=self._hooks,
            clock=self.clock,
            books=self._books,
            failures=self._failures,
            entropy=self._entropy,
            max_attempts=limits.max_attempts,
            flush_interval=limits.flush_interval,
        )

    def _couriers(self) -> list[Courier]:
        found = (binding.runtime.courier for binding in list(self._plugins.values()))
        return [courier for courier in found if courier is not None]

    def _end_couriers(self) -> list[Courier]:
        with self._lock:
            self._poll = None
        couriers = [runtime.courier for runtime in self._all_runtimes() if runtime.courier is not None]
        for courier in couriers:
            courier.end()
        return couriers

    def _all_runtimes(self) -> list[Runtime]:
        with self._lock:  # a set that grows meanwhile cannot be read
            return list(self._runtimes)

    def _queues(self) -> list[EventQueue]:
        return [runtime.queue for runtime in self._all_runtimes() if runtime.queue is not None]

    def _default_timeout(self, hook: str) -> float | None:
        return self._timeouts.get(hook, self._timeout)

    def _on_thread(self, callback: Callback, /, *given: Any, **named: Any) -> CallbackStep:
        return self.step_on_thread(callback, partial(callback.function, *given, **named))

    def _tell_health(self, change: BreakerState) -> Generator[Step, Any, None]:
        return self.fire("on_plugin_health", **change._asdict())

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _remove_local(self, hook: str, callback: Callback) -> None:
        with self._lock:
            self._locals[hook] = tuple(each for each in self._locals[hook] if each is not callback)
            self._publish([hook])
        if callback.breaker is not None:
            self._health.retire([callback.breaker], "the callback was removed")
            self._health.tell_soon()

    def _remove_observer(self, seat: Seat) -> None:
        with self._lock:
            self._recorder.remove_observer(seat)
            self._publish()

    def _callbacks_of(self, hook: Hook) -> list[Callback]:
        plugins = (each for binding in self._plugins.values() for each in binding.callbacks)
        return ordered([*self._locals.get(hook.name, ()), *(each for each in plugins if each.hook is hook)])

    def _publish(self, names: Iterable[str] | None = None) -> None:
        """Make the chains anew and put them in place in one step; the lock is held."""
        self._edition += 1
        chains = dict(self._chains) if names is not None else {}
        hooks = [self._hooks[name] for name in names] if names is not None else list(self._hooks)
        for hook in hooks:
            if hook.kind in (Kind.EVENT, Kind.COLLECT, Kind.FIRSTRESULT):
                chains[hook.name] = compile_chain(hook, self._callbacks_of(hook), self._support, self._edition)
        self._chains = chains
        self._runs = _Runs(chains)
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


def _nothing() -> None:
    """Hear that threads hang, or do so no more, where none has a time limit."""


class _Runs(dict[str, Callable[..., Any]]):
    """What runs each event's chain, compiled at its first use."""

    def __init__(self, chains: Mapping[str, Chain]) -> None:
        super().__init__()
        self._chains = chains

    def __missing__(self, event: str) -> Callable[..., Any]:
        """Compile it; a KeyError where there is no such event."""
        chain = self._chains[event]
        if chain.hook.kind is not Kind.EVENT:
            raise KeyError(event)
        run = self[event] = chain.run
        return run
