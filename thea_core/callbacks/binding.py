"""From a function to a callback: which arguments it takes, and everything that can be wrong with it.

Binding is done once, at registration. What does not fit is refused with a message that names plugin, distribution,
place, the hook's signature and the fix.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from thea_core.callbacks.hooks import Hook, Kind, suggestion
from thea_core.errors import RegistrationError

if TYPE_CHECKING:
    from thea_core.callbacks.breaker import Breaker
    from thea_core.callbacks.limits import Ways
    from thea_core.callbacks.queues import EventQueue

__all__ = ["LOCAL", "Arguments", "Callback", "Origin", "bind", "check_form", "is_async", "name_of", "place_of"]

LOCAL = "local"
"""What stands for the plugin's name where a callback is none of a plugin's."""


class Arguments(NamedTuple):
    """How a callback is called: names given by position, names given by keyword, and whether the rest is given too."""

    positional: tuple[str, ...] = ()
    keyword: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names that are passed."""
        return self.positional + self.keyword + self.rest


class Origin(NamedTuple):
    """Who brings a callback, for messages."""

    plugin: str = LOCAL
    distribution: str | None = None

    def __str__(self) -> str:
        if self.plugin == LOCAL:
            return "local callback"
        return f"plugin {self.plugin!r}" + (f" (distribution {self.distribution})" if self.distribution else "")


class Place(NamedTuple):
    """Where a callback stands in its chain.

    Attributes:
        key: what chains are sorted by.
        priority: the number that counts.
        reason: why it stands there, in words.
    """

    key: tuple[int, ...]
    priority: int
    reason: str


class Callback(NamedTuple):
    """One implementation of one hook, ready to be put into a chain.

    Attributes:
        hook: the hook.
        function: what is called.
        arguments: how it is called.
        plugin: the plugin's name, or ``"local"``.
        name: the function's qualified name.
        place: where it stands in its chain.
        wrapper: whether it is a generator around the chain.
        is_async: whether calling it gives a coroutine.
        states: for transition hooks, the targets to which it is limited; empty means all.
        guard: whether its failure is a veto.
        timeout: seconds after which its caller goes on without it; None for as long as it takes.
        breaker: keeps it from being called while it fails again and again; None where it has none.
        ways: where it runs, if not simply in the call.
        queue: where its events wait; None where they are delivered in the call.
        durable: whether its calls are made later, with events that come out of the store: then it is an event's.
    """

    hook: Hook
    function: Callable[..., Any]
    arguments: Arguments
    plugin: str
    name: str
    place: Place
    wrapper: bool = False
    is_async: bool = False
    states: frozenset[str] = frozenset()
    guard: bool = False
    timeout: float | None = None
    breaker: Breaker | None = None
    ways: Ways | None = None
    queue: EventQueue | None = None
    durable: bool = False

    @property
    def queued(self) -> bool:
        """Whether its calls go to a queue: events do, where there is one."""
        return self.queue is not None and self.hook.kind is Kind.EVENT

    @property
    def deferred(self) -> bool:
        """Whether its calls are made later, with written-down events: from a queue, or out of the store."""
        return self.durable or self.queued

    @property
    def delivery(self) -> str:
        """``"inline"``, ``"background"`` or ``"durable"``: how it is called."""
        return "durable" if self.durable else "background" if self.queued else "inline"

    @property
    def threaded(self) -> bool:
        """Whether it runs on a thread of its plugin's: a synchronous one that has a limit, or a thread of its own."""
        inline = self.wrapper or self.is_async or self.ways is None
        return not inline and (self.timeout is not None or (self.ways is not None and self.ways.threads.one))


def name_of(function: object) -> str:
    """Return the qualified name of a function, or its type's where it has none. Never raises."""
    function = _stripped(function)
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def is_async(function: object) -> bool:
    """Whether calling ``function`` gives a coroutine."""
    return any(map(inspect.iscoroutinefunction, (_stripped(function), _body(function))))


def bind(hook: Hook, function: Callable[..., Any], origin: Origin, *, wrapper: bool = False) -> Arguments:
    """Return how ``function`` is to be called for ``hook``.

    Raises:
        RegistrationError: it does not fit.
    """
    refuse = _Refusal(hook, function, origin)
    _check_form(hook, function, refuse, wrapper=wrapper)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        if inspect.ismethod(function):
            raise refuse("is a method without self", "write 'self' as its first argument") from error
        raise refuse("does not tell its arguments", "wrap it in a function or lambda that does") from error
    _check_self(hook, function, refuse)
    return _match(hook, signature, refuse)


class _Refusal:
    """Builds the error for one callback."""

    def __init__(self, hook: Hook, function: object, origin: Origin) -> None:
        self._hook = hook
        self._function = function
        self._origin = origin

    def __call__(self, problem: str, fix: str) -> RegistrationError:
        return RegistrationError(
            f"{self._origin}: {name_of(self._function)} at {place_of(self._function)} {problem}\n"
            f"  the hook is: {self._hook.signature}\n"
            f"  to do: {fix}",
            plugin=self._origin.plugin,
        )


def place_of(function: object) -> str:
    """Return ``file:line`` of a function, as far as it can be told."""
    function = _stripped(function)
    body = getattr(_body(function), "__func__", _body(function))
    code = getattr(inspect.unwrap(body) if callable(body) else body, "__code__", None)
    if code is None:
        kind = function if isinstance(function, type) else type(function)
        return f"<{kind.__module__}.{kind.__qualname__}>"
    return f"{code.co_filename}:{code.co_firstlineno}"


def _stripped(function: object) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _body(function: object) -> object:
    """Return what runs when ``function`` is called: what a partial holds, or the ``__call__`` of an instance."""
    function = _stripped(function)
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return getattr(type(function), "__call__", function)  # noqa: B004


def check_form(hook: Hook, function: Callable[..., Any]) -> None:
    """Refuse what cannot be a local callback, whatever its arguments.

    Raises:
        RegistrationError: it is no function, a class or a generator.
    """
    _check_form(hook, function, _Refusal(hook, function, Origin()), wrapper=False)


def _check_form(hook: Hook, function: Callable[..., Any], refuse: _Refusal, *, wrapper: bool) -> None:
    if not callable(function):
        raise refuse(f"is no function but {function!r}", "give a function, a method or another callable")
    if inspect.isclass(function):
        raise refuse("is a class", "give an instance or a function (have you forgotten the '()'?)")
    body = _body(function)
    if inspect.isasyncgenfunction(body):
        raise refuse("is an async generator", "make it an 'async def' without 'yield'")
    if inspect.isgeneratorfunction(body) is not wrapper:
        if wrapper:
            raise refuse("is a wrapper but no generator", "write one 'yield', where the rest of the chain is to run")
        raise refuse("is a generator, so its body would never run", "remove the 'yield', or mark it wrapper=True")
    if wrapper and hook.kind not in (Kind.EVENT, Kind.COLLECT, Kind.FIRSTRESULT):
        raise refuse(
            f"is a wrapper of a {hook.kind.value}", "only events and result hooks have wrappers; use a plain callback"
        )


def _match(hook: Hook, signature: inspect.Signature, refuse: _Refusal) -> Arguments:
    known = hook.arguments
    positional: list[str] = []
    keyword: list[str] = []
    takes_rest = False
    for position, each in enumerate(signature.parameters.values()):
        if each.kind is each.VAR_KEYWORD:
            takes_rest = True
        elif each.kind is each.VAR_POSITIONAL or (each.name not in known and each.default is not each.empty):
            continue
        elif each.name not in known:
            raise refuse(
                f"asks for {each.name!r}, which the hook has not{suggestion(each.name, known)}",
                f"name only arguments of the hook: {', '.join(known)}",
            )
        elif each.kind is each.KEYWORD_ONLY or len(positional) < position:  # the second: after a skipped default
            if each.kind is each.POSITIONAL_ONLY:
                raise refuse(
                    f"takes {each.name!r} only by position, after an argument that the hook has not",
                    "put the arguments of the hook first, or remove the '/'",
                )
            keyword.append(each.name)
        else:
            positional.append(each.name)
    named = {*positional, *keyword}
    rest = tuple(name for name in hook.parameters if name not in named) if takes_rest else ()
    return Arguments(tuple(positional), tuple(keyword), rest)


def _check_self(hook: Hook, function: object, refuse: _Refusal) -> None:
    """Refuse ``def on_message(user_id)`` in a class: bound to its instance, it would take that for the user's id."""
    if not inspect.ismethod(function) or inspect.isclass(function.__self__):
        return
    first = next(iter(inspect.signature(function.__func__).parameters), None)
    if first in hook.arguments:
        raise refuse("is a method without self", "write 'self' as its first argument, or make it a staticmethod")
