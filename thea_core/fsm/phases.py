"""The callbacks around a transition: local ones of one engine, and plugins', in one chain for each phase and target."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from thea_core.callbacks.binding import LOCAL, Arguments, Callback, check_form, is_async, name_of, place_of
from thea_core.callbacks.chain import ordered
from thea_core.callbacks.hooks import suggestion
from thea_core.callbacks.manager import CallbackManager
from thea_core.errors import CallbackLimitError, RegistrationError
from thea_core.fsm.definition import Definition
from thea_core.markers import check_timeout
from thea_core.types import Context

__all__ = ["Member", "Phase", "Phases"]


class Phase(Enum):
    """When a transition callback runs; the value is its hook's name."""

    PRE = "pre_transition"
    POST = "post_transition"
    ERROR = "on_transition_error"


class Member(NamedTuple):
    """One callback in the chain of a phase.

    Attributes:
        callback: the callback.
        local: whether it belongs to the engine, and so shares the working copy.
        call: calls it with context, source, target and error.
    """

    callback: Callback
    local: bool
    call: Callable[[Context, str, str, BaseException | None], Any]


class Phases:
    """What an engine runs around its transitions. Thread-safe.

    Args:
        definition: which states there are.
        callbacks: where plugins' callbacks are.
        limit: how many local callbacks one target may have in one phase.
    """

    def __init__(self, definition: Definition, callbacks: CallbackManager, limit: int) -> None:
        self._definition = definition
        self._callbacks = callbacks
        self._limit = limit
        self._lock = threading.Lock()
        self._locals: dict[Phase, tuple[Callback, ...]] = dict.fromkeys(Phase, ())

    def add(
        self,
        phase: Phase,
        function: Callable[..., Any],
        states: tuple[str, ...] = (),
        *,
        priority: int = 0,
        timeout: float | None = None,
    ) -> None:
        """Add a local callback, to be called for no longer than ``timeout`` seconds.

        Raises:
            RegistrationError: it does not fit, or a state is unknown.
            CallbackLimitError: a target has as many as are allowed.
        """
        if type(priority) is not int:
            raise RegistrationError(f"{phase.value}: priority must be a whole number, not {priority!r}")
        check_timeout(phase.value, timeout)
        for state in states:
            if state not in self._definition:
                raise RegistrationError(
                    f"there is no state {state!r}{suggestion(state, self._definition.states)}; "
                    f"the states are: {', '.join(self._definition.states)}"
                )
        hook = self._callbacks.hook(phase.value)
        arguments = _local_arguments(self._callbacks, phase, function)
        callback = Callback(
            hook=hook,
            function=function,
            arguments=arguments,
            plugin=LOCAL,
            name=name_of(function),
            place=self._callbacks.next_place(priority),
            is_async=is_async(function),
            states=frozenset(states),
            timeout=timeout,
            ways=self._callbacks.local_ways,
        )
        with self._lock:
            self._refuse_too_many(phase, callback)
            self._locals[phase] = (*self._locals[phase], callback)

    def members(self, phase: Phase, target: str) -> tuple[Member, ...]:
        """Return the callbacks of a phase for a target, in the order in which they run."""
        callbacks = ordered(each for each in self._all(phase) if not each.states or target in each.states)
        return tuple(_member(phase, each) for each in callbacks)

    def has_async(self, phase: Phase) -> bool:
        """Whether any callback of a phase is asynchronous."""
        return any(each.is_async for each in self._all(phase))

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: the parent's may be held."""
        self._lock = threading.Lock()

    def _all(self, phase: Phase) -> tuple[Callback, ...]:
        return (*self._locals[phase], *self._callbacks.plugin_callbacks(phase.value))

    def _refuse_too_many(self, phase: Phase, callback: Callback) -> None:
        for state in callback.states or self._definition.states:
            there = [each for each in self._locals[phase] if not each.states or state in each.states]
            if len(there) >= self._limit:
                whose = "the engine" if phase is Phase.ERROR else f"the state {state!r}"
                names = ", ".join(f"{each.name} ({place_of(each.function)})" for each in there)
                raise CallbackLimitError(
                    f"{whose} has {len(there)} local {phase.value} callbacks already, which is the limit: "
                    f"{names}; merge some of them, or give FSMEngine a larger max_callbacks"
                )


def _local_arguments(callbacks: CallbackManager, phase: Phase, function: Callable[..., Any]) -> Arguments:
    """Return which of ``source`` and ``target`` a local callback wants; the rest is given by position."""
    hook = callbacks.hook(phase.value)
    check_form(hook, function)
    given = ("error", "context") if phase is Phase.ERROR else ("context",)
    try:
        signature = inspect.signature(function)
        names = tuple(
            name
            for name, each in signature.parameters.items()
            if each.kind is each.KEYWORD_ONLY and name in ("source", "target")
        )
        signature.bind(*given, **dict.fromkeys(names))
    except (TypeError, ValueError) as error:
        raise RegistrationError(
            f"local callback {name_of(function)} at {place_of(function)} does not fit: it is called as "
            f"{name_of(function)}({', '.join(given)}), with source= and target= where these are keyword-only arguments "
            f"({error})"
        ) from error
    return Arguments(keyword=names)


def _member(phase: Phase, callback: Callback) -> Member:
    local = callback.plugin == LOCAL
    return Member(callback, local, _local_call(phase, callback) if local else _plugin_call(callback))


def _local_call(phase: Phase, callback: Callback) -> Callable[[Context, str, str, BaseException | None], Any]:
    function, names = callback.function, callback.arguments.keyword

    def call(context: Context, source: str, target: str, error: BaseException | None) -> Any:
        ways = {"source": source, "target": target}
        given = (error, context) if phase is Phase.ERROR else (context,)
        return function(*given, **{name: ways[name] for name in names})

    return call


def _plugin_call(callback: Callback) -> Callable[[Context, str, str, BaseException | None], Any]:
    function, arguments = callback.function, callback.arguments
    by_name = (*arguments.keyword, *arguments.rest)

    def call(context: Context, source: str, target: str, error: BaseException | None) -> Any:
        values = {"context": context, "source": source, "target": target, "error": error}
        return function(*(values[name] for name in arguments.positional), **{name: values[name] for name in by_name})

    return call
