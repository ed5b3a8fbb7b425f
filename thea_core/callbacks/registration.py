"""Registering: what ``register`` returns, and how a plugin's callbacks are found and checked.

pluggy finds the marked functions and keeps the rules of its markers; each plugin is scanned in a manager of its own, so
that nothing of a plugin that does not fit is left behind.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, NamedTuple, Self

import pluggy

from thea_core.callbacks.binding import Callback, Origin, bind, is_async, name_of, place_of
from thea_core.callbacks.chain import plugin_place
from thea_core.callbacks.hooks import Hook, HookTable, Kind, suggestion
from thea_core.callbacks.runtime import Runtime, declared
from thea_core.errors import RegistrationError
from thea_core.markers import PROJECT, hook_options

__all__ = ["PluginBinding", "Registration", "Terms", "bind_plugin"]


class Registration:
    """What was registered; ``remove()`` takes it out again. Thread-safe, idempotent.

    Also a context manager: ``with callbacks.register(...):`` removes it at the end of the block.
    """

    __slots__ = ("_remove",)

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Take it out; calls that have begun still call it. Does nothing the second time."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()


class PluginBinding(NamedTuple):
    """A plugin that fits the hooks, with its callbacks.

    Attributes:
        name: its name.
        plugin: the module or instance.
        callbacks: all of its callbacks.
        runtime: its threads, queue and breakers.
    """

    name: str
    plugin: object
    callbacks: tuple[Callback, ...]
    runtime: Runtime

    def callback(self, hook: str) -> Callback | None:
        """Return its callback of a hook, if it has one."""
        return next((each for each in self.callbacks if each.hook.name == hook), None)


class _Scanner(pluggy.PluginManager):
    """Finds marked functions, and brings the options that are Thea's own with pluggy's."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None:
            return None
        return {**options, **hook_options(getattr(plugin, name))}


class Terms(NamedTuple):
    """On which terms a plugin is bound.

    Attributes:
        rank: source, position in that list, sequence of registration.
        priority: the operator's; None where the author's count.
        guard: whether its transition callbacks fail closed.
        timeout: the operator's limit; ``math.inf`` for none, None where the operator says nothing.
        default_timeout: gives the limit of a hook's callbacks where nobody says anything; None for none.
    """

    rank: tuple[int, ...]
    priority: int | None
    guard: bool
    timeout: float | None
    default_timeout: Callable[[str], float | None]


def bind_plugin(
    hooks: HookTable, plugin: object, origin: Origin, terms: Terms, new_runtime: Callable[[bool, str], Runtime]
) -> PluginBinding:
    """Check every marked function of a plugin and return them as callbacks.

    Args:
        hooks: the hooks that there are.
        plugin: a module or an instance.
        origin: who it is, for messages.
        terms: on which terms it is bound.
        new_runtime: makes its runtime, from whether it is bound to one thread, and the delivery that it asks for.

    Raises:
        RegistrationError: the plugin is a class or None, implements no hook, or one of its functions does not fit.
    """
    if plugin is None or inspect.isclass(plugin):
        raise RegistrationError(
            f"{origin}: {plugin!r} is a class, not an instance; have you forgotten the '()'?"
            if plugin is not None
            else f"{origin}: the plugin is None; give a module or an instance",
            plugin=origin.plugin,
        )
    scanner = _Scanner(PROJECT)
    scanner.register(plugin, origin.plugin)
    found = [each for caller in scanner.get_hookcallers(plugin) or () for each in _implementations(caller, plugin)]
    runtime, rank = new_runtime(*declared(plugin, origin)), terms.rank
    callbacks = []
    for number, (hook_name, function, options) in enumerate(found):
        hook = _hook_of(hooks, hook_name, function, options, origin)
        if hook is not None:
            terms = terms._replace(rank=(*rank, number))
            callback = runtime.equip(_callback(hook, function, options, origin, terms))
            if callback.deferred and callback.wrapper:
                raise _wrapped_later(callback, origin)
            callbacks.append(callback)
    if not found:
        raise RegistrationError(
            f"{origin}: {plugin!r} implements no hook; mark its functions with @hookimpl (from thea_core)",
            plugin=origin.plugin,
        )
    runtime.take(callbacks)
    return PluginBinding(origin.plugin, plugin, tuple(callbacks), runtime)


def _implementations(caller: Any, plugin: object) -> list[tuple[str, Callable[..., Any], Mapping[str, Any]]]:
    """Return name, function and options of what a plugin implements of one hook."""
    return [(caller.name, each.function, each.opts) for each in caller.get_hookimpls() if each.plugin is plugin]


def _hook_of(
    hooks: HookTable, name: str, function: Callable[..., Any], options: Mapping[str, Any], origin: Origin
) -> Hook | None:
    if name in hooks:
        return hooks[name]
    if options["optionalhook"]:
        return None
    names = [each.name for each in hooks]
    raise RegistrationError(
        f"{origin}: {name_of(function)} at {place_of(function)} implements {name!r}, and there is no such hook"
        f"{suggestion(name, names)}\n  the hooks are: {', '.join(names)}\n"
        "  to do: correct the name, or mark it optionalhook=True if another plugin may bring that hook",
        plugin=origin.plugin,
    )


def _callback(
    hook: Hook, function: Callable[..., Any], options: Mapping[str, Any], origin: Origin, terms: Terms
) -> Callback:
    arguments = bind(hook, function, origin, wrapper=options["wrapper"])
    if options["states"] and hook.kind is not Kind.TRANSITION:
        raise RegistrationError(
            f"{origin}: {name_of(function)} at {place_of(function)} has states=, but {hook} is a {hook.kind.value}; "
            "only transition hooks are limited to states",
            plugin=origin.plugin,
        )
    return Callback(
        hook=hook,
        function=function,
        arguments=arguments,
        plugin=origin.plugin,
        name=name_of(function),
        place=plugin_place(terms.rank, options, terms.priority),
        wrapper=options["wrapper"],
        is_async=is_async(function),
        states=frozenset(options["states"]),
        guard=terms.guard and hook.kind is Kind.TRANSITION,
        timeout=None if options["wrapper"] else _timeout(hook, options["timeout"], terms),
    )


def _timeout(hook: Hook, own: float | EllipsisType | None, terms: Terms) -> float | None:
    """Return the limit of a callback: the operator's word, else its author's, else the default."""
    if terms.timeout is not None:
        return None if terms.timeout == math.inf else terms.timeout
    return terms.default_timeout(hook.name) if isinstance(own, EllipsisType) else own


def _wrapped_later(callback: Callback, origin: Origin) -> RegistrationError:
    goes = "wait in the store" if callback.durable else "go to a queue"
    return RegistrationError(
        f"{origin}: {callback.name} at {place_of(callback.function)} is a wrapper of the event {callback.hook}, and "
        f'the plugin\'s events {goes} (delivery = "{callback.delivery}"), where there is no chain to be wrapped\n'
        "  to do: remove wrapper=True, or let its events be delivered inline",
        plugin=origin.plugin,
    )
