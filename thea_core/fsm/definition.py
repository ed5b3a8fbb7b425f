"""The definition of a state machine: which states there are, and which transitions are legal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from thea_core.callbacks.hooks import suggestion
from thea_core.errors import DefinitionError

__all__ = ["DEFAULT_TRANSITIONS", "Definition"]

ANY = "*"

DEFAULT_TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "initial": ("processing",),
    "processing": ("disambiguation", "executing"),
    "disambiguation": ("executing", "processing"),
    "executing": ("completion", "disambiguation", "processing"),
    "completion": ("idle",),
    "idle": ("processing",),
    "error_handler": ("idle", "processing", "executing", "initial"),
}
"""The transitions of the default definition; every state may also go to ``error_handler``."""


class Definition:
    """States and transitions, validated when built. Immutable, so thread-safe.

    ::

        Definition(
            {"initial": ["processing"], "processing": ["idle"], "idle": ["processing"], "error_handler": ["idle"]}
        )

    Args:
        transitions: for each state, the states to which it may go; the source ``"*"`` stands for every state. Every
            state may go to the error state, whether that is written or not.
        initial: where a conversation begins, and where ``reset`` leads.
        error: where ``fail`` leads.
        final: states in which a conversation may end: they need no way out.
        states: all states, where they are to be checked against a list; if not given, those that have transitions of
            their own, and the final ones.

    Raises:
        DefinitionError: a state is unknown, cannot be reached, or is a dead end that is not final; or something is
            written twice, or is no name. It names all that was found.
    """

    __slots__ = ("_targets", "error", "final", "initial", "states")

    def __init__(
        self,
        transitions: Mapping[str, Iterable[str]] | None = None,
        *,
        initial: str = "initial",
        error: str = "error_handler",
        final: Iterable[str] = (),
        states: Iterable[str] | None = None,
    ) -> None:
        problems: list[str] = []
        given = _read(DEFAULT_TRANSITIONS if transitions is None else transitions, problems)
        ends = _names("final", final, problems)
        listed = None if states is None else _names("states", states, problems)
        roles = {"initial": initial, "error": error}
        problems += [f"{role} must be {_NAME}, not {name!r}" for role, name in roles.items() if not _named(name)]
        if problems:  # what follows from them would only confuse
            raise DefinitionError(problems)
        self.initial, self.error = map(str.__str__, roles.values())
        self.final = frozenset(ends)
        own = (*(each for each in given if each != ANY), *ends)
        self.states = tuple(dict.fromkeys(own if listed is None else listed))
        problems = _unknown(given, self.states, self.initial, self.error, ends)
        if problems:
            raise DefinitionError(problems)
        everywhere = (*given.pop(ANY, ()), self.error)
        self._targets = {
            state: tuple(dict.fromkeys((*given.get(state, ()), *(each for each in everywhere if each != state))))
            for state in self.states
        }
        problems = self._unreachable() + self._dead_ends()
        if problems:
            raise DefinitionError(problems)

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> Definition:
        """Build a definition from the ``[fsm]`` table of a configuration: the same keys as the arguments.

        Raises:
            DefinitionError: also where a key is unknown.
        """
        known = ("transitions", "initial", "error", "final", "states")
        problems = [
            f"the key {key!r} is unknown{suggestion(key, known)}; the keys are: {', '.join(known)}"
            for key in table
            if key not in known
        ]
        try:
            definition = cls(**{key: table[key] for key in known if key in table})
        except DefinitionError as error:
            raise DefinitionError(problems + error.problems) from None
        if problems:
            raise DefinitionError(problems)
        return definition

    def targets(self, state: str) -> tuple[str, ...]:
        """Return the states to which ``state`` may go, in the order in which they are written.

        Raises:
            KeyError: there is no such state.
        """
        return self._targets[state]

    def __contains__(self, state: object) -> bool:
        return isinstance(state, str) and state in self._targets

    def __repr__(self) -> str:
        return f"<Definition: {', '.join(self.states)}>"

    def _unreachable(self) -> list[str]:
        seen: set[str] = set()
        waiting = [self.initial]
        while waiting:
            state = waiting.pop()
            if state not in seen:
                seen.add(state)
                waiting.extend(self._targets[state])
        return [
            f"the state {state!r} cannot be reached from {self.initial!r}; add a transition to it, or remove it"
            for state in self.states
            if state not in seen
        ]

    def _dead_ends(self) -> list[str]:
        return [
            f"the state {state!r} is a dead end: no transition leads out of it; add one, or name it in final"
            for state in self.states
            if state not in self.final and not any(each not in (state, self.error) for each in self._targets[state])
        ]


_NAME = f"the name of a state (a str that is neither blank nor {ANY!r})"


def _named(name: object) -> bool:
    return isinstance(name, str) and bool(name.strip()) and name != ANY


def _names(what: str, given: object, problems: list[str]) -> tuple[str, ...]:
    """Return several names of states; what is wrong about them is added to ``problems``."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        problems.append(f"{what} must be several names of states, not {given!r}")
        return ()
    names = tuple(given)
    wrong = [name for name in names if not _named(name)]
    problems += [f"{what} must hold names of states, and {name!r} is not {_NAME}" for name in wrong]
    if wrong:
        return ()
    names = tuple(map(str.__str__, names))  # a member of a StrEnum is a name too
    problems += [f"{what} holds {name!r} twice" for name, count in Counter(names).items() if count > 1]
    return names


def _read(transitions: object, problems: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the transitions; what is wrong about their form is added to ``problems``."""
    if not isinstance(transitions, Mapping):
        problems.append(f"transitions must be a mapping of states to states, not {transitions!r}")
        return {}
    wrong = [source for source in transitions if source != ANY and not _named(source)]
    problems += [f"transitions has the source {source!r}, which is not {_NAME}" for source in wrong]
    return {
        str.__str__(source): _names(f"the targets of {source!r}", given, problems)
        for source, given in transitions.items()
        if source not in wrong
    }


def _unknown(
    given: Mapping[str, tuple[str, ...]], states: tuple[str, ...], initial: str, error: str, final: tuple[str, ...]
) -> list[str]:
    uses = [(initial, "is the initial state"), (error, "is the error state")]
    uses += [(state, "is named in final") for state in final]
    uses += [(source, "has transitions") for source in given if source != ANY]
    uses += [(target, f"is a target of {source!r}") for source, targets in given.items() for target in targets]
    return [
        f"the state {state!r} {use}, but is no state{suggestion(state, states)}; the states are: {', '.join(states)}; "
        "correct the name, or give it transitions"
        for state, use in dict.fromkeys(uses)
        if state not in states
    ]
