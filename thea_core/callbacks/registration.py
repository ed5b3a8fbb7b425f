"""Registering: what ``register`` returns, and how a plugin's callbacks are found and checked.

pluggy finds the marked functions and keeps the rules of its markers; each plugin is scanned in a manager of its own, so
that nothing of a plugin that does not fit is left behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import pluggy

from thea_core.callbacks.binding import Callback, Origin, Place, bind, is_async, name_of, place_of
from thea_core.callbacks.chain import plugin_place
from thea_core.callbacks.hooks import Hook, HookTable, Kind, suggestion
from thea_core.errors import RegistrationError
from thea_core.markers import PROJECT, hook_options

__all__ = ["PluginBinding", "Registration", "bind_plugin"]


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
    """

    name: str
    plugin: object
    callbacks: tuple[Callback, ...]

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


def bind_plugin(
    hooks: HookTable,
    plugin: object,
    origin: Origin,
    *,
    rank: tuple[int, int, int],
    priority: int | None,
    guard: bool,
) -> PluginBinding:
    """Check every marked function of a plugin and return them as callbacks.

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
    callbacks = []
    for number, (hook_name, function, options) in enumerate(found):
        hook = _hook_of(hooks, hook_name, function, options, origin)
        if hook is not None:
            place = plugin_place((*rank, number), options, priority)
            callbacks.append(_callback(hook, function, options, origin, place, guard=guard))
    if not found:
        raise RegistrationError(
            f"{origin}: {plugin!r} implements no hook; mark its functions with @hookimpl (from thea_core)",
            plugin=origin.plugin,
        )
    return PluginBinding(origin.plugin, plugin, tuple(callbacks))


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
    hook: Hook, function: Callable[..., Any], options: Mapping[str, Any], origin: Origin, place: Place, *, guard: bool
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
        place=place,
        wrapper=options["wrapper"],
        is_async=is_async(function),
        states=frozenset(options["states"]),
        guard=guard and hook.kind is Kind.TRANSITION,
    )
