"""The two decorators: ``hookspec`` declares a hook, ``hookimpl`` marks a plugin's callback.

::

    from thea_core import hookimpl


    class Greeter:
        @hookimpl(priority=10)
        def on_message(self, user_id, message):
            print(f"{user_id} says {message}")

They are pluggy's own markers with what Thea adds to them: ``priority``, ``timeout`` and ``states`` for a callback,
``collect`` for a specification.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import EllipsisType
from typing import Any, TypeVar, overload

import pluggy

from thea_core.errors import RegistrationError

__all__ = ["PROJECT", "HookOptions", "check_timeout", "hook_options", "hookimpl", "hookspec", "spec_options"]

PROJECT = "thea"
"""The project's name, as pluggy's markers carry it."""

HookOptions = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

_EXTRA_IMPL = "thea_impl_extra"
_EXTRA_SPEC = "thea_spec_extra"
_mark_impl = pluggy.HookimplMarker(PROJECT)
_mark_spec = pluggy.HookspecMarker(PROJECT)


@overload
def hookimpl(function: F) -> F: ...


@overload
def hookimpl(
    *,
    priority: int | None = ...,
    timeout: float | EllipsisType | None = ...,
    states: Iterable[str] = ...,
    tryfirst: bool = ...,
    trylast: bool = ...,
    wrapper: bool = ...,
    optionalhook: bool = ...,
    specname: str | None = ...,
) -> Callable[[F], F]: ...


def hookimpl(
    function: F | None = None,
    *,
    priority: int | None = None,
    timeout: float | EllipsisType | None = ...,
    states: Iterable[str] = (),
    tryfirst: bool = False,
    trylast: bool = False,
    wrapper: bool = False,
    optionalhook: bool = False,
    specname: str | None = None,
) -> F | Callable[[F], F]:
    """Mark a function or method as a plugin's callback of the hook of the same name.

    Args:
        function: the callback, where the decorator is used without parentheses.
        priority: higher runs first; 0 if not given. The operator's ``[plugins.NAME] priority`` replaces it.
        timeout: seconds after which its caller goes on without it; None asks for a plain call in the caller's own
            thread, however long it takes. Where it is not given, ``[callbacks] timeout`` counts. The operator's
            ``[plugins.NAME] timeout`` replaces it.
        states: for transition hooks, the target states to which the callback is limited; empty means every state.
        tryfirst: run before every callback that has a number.
        trylast: run after every callback that has a number.
        wrapper: the callback is a generator around the rest of the chain (events and result hooks only).
        optionalhook: do not complain where no such hook exists.
        specname: the hook's name, where the function has another one.

    Raises:
        RegistrationError: the options contradict each other or have the wrong type, or it decorates no function.
    """
    if priority is not None and type(priority) is not int:
        raise RegistrationError(f"hookimpl: priority must be a whole number, not {priority!r}")
    if sum((priority is not None, bool(tryfirst), bool(trylast))) > 1:
        raise RegistrationError("hookimpl: give one of priority, tryfirst and trylast, not several")
    if timeout is not ...:
        check_timeout("hookimpl", timeout)
        if wrapper and timeout is not None:
            raise RegistrationError("hookimpl: a wrapper runs in its caller's thread and has no timeout of its own")
    limited = _state_names(states)

    def mark(marked: F) -> F:
        target = _markable("hookimpl", marked)
        setattr(target, _EXTRA_IMPL, {"priority": priority or 0, "timeout": timeout, "states": limited})
        _mark_impl(tryfirst=tryfirst, trylast=trylast, wrapper=wrapper, optionalhook=optionalhook, specname=specname)(
            target
        )
        return marked

    return mark if function is None else mark(function)


@overload
def hookspec(function: F) -> F: ...


@overload
def hookspec(*, collect: bool = ..., firstresult: bool = ...) -> Callable[[F], F]: ...


def hookspec(function: F | None = None, *, collect: bool = False, firstresult: bool = False) -> F | Callable[[F], F]:
    """Declare a hook by the signature and docstring of a function, for ``callbacks.add_hookspecs``.

    Args:
        function: the specification, where the decorator is used without parentheses: an event.
        collect: the hook's results are collected (``callbacks.call`` returns a list).
        firstresult: the first result that is not None ends the call.

    Raises:
        RegistrationError: both ``collect`` and ``firstresult`` are asked for, or it decorates no function.
    """
    if collect and firstresult:
        raise RegistrationError("hookspec: give one of collect and firstresult, not both")

    def mark(marked: F) -> F:
        target = _markable("hookspec", marked)
        setattr(target, _EXTRA_SPEC, {"collect": collect})
        _mark_spec(firstresult=firstresult)(target)
        return marked

    return mark if function is None else mark(function)


def hook_options(function: object) -> HookOptions:
    """Return what ``hookimpl`` noted besides pluggy's own options: ``priority``, ``timeout`` and ``states``.

    A ``timeout`` of ``...`` was not given.
    """
    return getattr(function, _EXTRA_IMPL, {"priority": 0, "timeout": ..., "states": ()})


def spec_options(function: object) -> HookOptions:
    """Return what ``hookspec`` noted besides pluggy's own options: ``collect``."""
    return getattr(function, _EXTRA_SPEC, {"collect": False})


def check_timeout(who: str, timeout: object) -> None:
    """Refuse what is no time limit: a number of seconds greater than 0, or None.

    Raises:
        RegistrationError: it is something else; the message begins with ``who``.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise RegistrationError(
            f"{who}: timeout must be a number of seconds greater than 0, or None for no limit, not {timeout!r}"
        )


def _state_names(states: Iterable[str]) -> tuple[str, ...]:
    if isinstance(states, str):
        raise RegistrationError(f"hookimpl: states must be several names, such as states=({states!r},), not one string")
    try:
        names = tuple(states)
    except TypeError:
        raise RegistrationError(f"hookimpl: states must be names of states, not {states!r}") from None
    if not all(isinstance(name, str) for name in names):
        raise RegistrationError(f"hookimpl: states must be names of states, not {names!r}")
    return names


def _markable(decorator: str, marked: Any) -> Any:
    """Return what carries the marks: the function, also where it is a static method or a class method."""
    target = getattr(marked, "__func__", marked)
    if not inspect.isroutine(target):
        raise RegistrationError(
            f"{decorator} decorates functions and methods, not {marked!r}; its options are given by keyword"
        )
    return target
