"""The known hooks: names, kinds and arguments, read from specifications."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import pluggy

from thea_core import hookspecs
from thea_core.errors import RegistrationError, UnknownHookError
from thea_core.markers import PROJECT, spec_options

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXTRAS", "Hook", "HookTable", "Kind", "suggestion"]

EXTRAS = ("event_id", "session_id", "timestamp")
"""What every event offers besides its own arguments."""


class Kind(Enum):
    """What a hook is for; decides who may call it and what becomes of the results."""

    EVENT = "event"
    COLLECT = "result hook, all results"
    FIRSTRESULT = "result hook, first result"
    TRANSITION = "transition hook"
    LIFECYCLE = "life-cycle hook"


_CORE_KINDS: tuple[tuple[type, Kind | None], ...] = (
    (hookspecs.Events, None),
    (hookspecs.Transitions, Kind.TRANSITION),
    (hookspecs.Conversation, None),
    (hookspecs.LifeCycle, Kind.LIFECYCLE),
    (hookspecs.Health, None),
)


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One extension point.

    Attributes:
        name: its name.
        kind: what it is for.
        parameters: its own arguments, in order.
        optional: the arguments that a caller may leave out, with their defaults.
        doc: the specification's docstring.
        function: the specification.
        owner: the table that it belongs to; hooks of different managers do not know of each other.
    """

    name: str
    kind: Kind
    parameters: tuple[str, ...]
    optional: Mapping[str, Any]
    doc: str
    function: Callable[..., Any]
    owner: HookTable

    @property
    def arguments(self) -> tuple[str, ...]:
        """All that a callback may name: the hook's own arguments, and for an event the extras."""
        if self.kind is not Kind.EVENT:
            return self.parameters
        return self.parameters + tuple(name for name in EXTRAS if name not in self.parameters)

    @property
    def signature(self) -> str:
        """The hook as it is written in messages, such as ``on_message(user_id, message, timestamp)``."""
        shown = (f"{name}=..." if name in self.optional else name for name in self.parameters)
        return f"{self.name}({', '.join(shown)})"

    def __str__(self) -> str:
        return self.name


class HookTable:
    """The hooks that one manager knows. Changed under the manager's lock; reading needs none."""

    def __init__(self) -> None:
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._hooks: dict[str, Hook] = {}
        for group, kind in _CORE_KINDS:
            self.add(group, kind)

    def __iter__(self) -> Iterator[Hook]:
        return iter(list(self._hooks.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._hooks

    def __getitem__(self, name: str) -> Hook:
        try:
            return self._hooks[name]
        except (KeyError, TypeError):
            raise UnknownHookError(
                f"there is no hook {name!r}{suggestion(name, self._hooks)}; the hooks are: {', '.join(self._hooks)}",
                hook=str(name),
            ) from None

    def add(self, namespace: object, kind: Kind | None = None) -> list[Hook]:
        """Add every ``@hookspec`` of an object, class or module; all of them, or none.

        Raises:
            RegistrationError: nothing is marked, a name is taken, or a specification is not fit for a hook.
        """
        found = [self._read(namespace, name, kind) for name in dir(namespace)]
        hooks = [hook for hook in found if hook is not None]
        if not hooks:
            raise RegistrationError(
                f"add_hookspecs: {namespace!r} has no hook specification; mark its functions with @hookspec"
            )
        new = [hook for hook in hooks if not self._is_known(hook)]
        self._hooks.update((hook.name, hook) for hook in new)
        return new

    def _is_known(self, hook: Hook) -> bool:
        known = self._hooks.get(hook.name)
        if known is None:
            return False
        if known.function is not hook.function:
            raise RegistrationError(
                f"the hook {hook.name!r} is specified twice: at {_place(known.function)} and at "
                f"{_place(hook.function)}; give one of them another name"
            )
        return True

    def _read(self, namespace: object, name: str, kind: Kind | None) -> Hook | None:
        options = self._pluggy.parse_hookspec_opts(namespace, name)  # type: ignore[arg-type]
        if options is None:
            return None
        static = inspect.getattr_static(namespace, name)
        function = getattr(namespace, name)
        function = getattr(function, "__func__", function)
        parameters = list(inspect.signature(function).parameters.values())
        if isinstance(static, classmethod) or (parameters and parameters[0].name == "self"):
            parameters = parameters[1:]
        _check_parameters(name, function, parameters)
        if kind is None:
            kind = Kind.FIRSTRESULT if options["firstresult"] else Kind.EVENT
            if spec_options(function)["collect"]:
                kind = Kind.COLLECT
        return Hook(
            name=name,
            kind=kind,
            parameters=tuple(each.name for each in parameters),
            optional={each.name: each.default for each in parameters if each.default is not each.empty},
            doc=inspect.getdoc(function) or "",
            function=function,
            owner=self,
        )


def suggestion(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)", or nothing where no known name is near."""
    import difflib

    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _check_parameters(name: str, function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) or each.name.startswith("_"):
            raise RegistrationError(
                f"the hook {name!r} at {_place(function)} has the argument {each}; "
                "a hook names each argument, without a leading underscore"
            )


def _place(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
