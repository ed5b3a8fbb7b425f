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
            written twice. It names all that was found.
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
        given, problems = _read(DEFAULT_TRANSITIONS if transitions is None else transitions)
        named = list(states) if states is not None else [*(each for each in given if each != ANY), *final]
        problems += [f"the state {name!r} is listed twice" for name, count in Counter(named).items() if count > 1]
        self.initial = initial
        self.error = error
        self.final = frozenset(final)
        self.states = tuple(dict.fromkeys(named))
        problems += _unknown(given, self.states, initial, error, self.final)
        if problems:
            raise DefinitionError(problems)
        everywhere = (*given.pop(ANY, ()), error)
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
            DefinitionError: also where a key is unknown or has the wrong type.
        """
        known = ("transitions", "initial", "error", "final", "states")
        problems = [
            f"the key {key!r} is unknown{suggestion(key, known)}; the keys are: {', '.join(known)}"
            for key in table
            if key not in known
        ]
        problems += [
            f"{key} must be a string, not {table[key]!r}" for key in ("initial", "error") if not _is(table, key)
        ]
        problems += [
            f"{key} must be an array of strings, not {table[key]!r}"
            for key in ("final", "states")
            if key in table and not _strings(table[key])
        ]
        if not isinstance(table.get("transitions", {}), Mapping):
            problems.append(f"transitions must be a table, not {table['transitions']!r}")
        if problems:
            raise DefinitionError(problems)
        return cls(**table)

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


def _is(table: Mapping[str, Any], key: str) -> bool:
    return key not in table or isinstance(table[key], str)


def _strings(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _read(transitions: Mapping[str, Iterable[str]]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the transitions with what is wrong about their form."""
    read: dict[str, tuple[str, ...]] = {}
    problems = []
    for source, targets in transitions.items():
        if isinstance(targets, str) or not _strings(tuple(targets)):
            problems.append(f"the targets of {source!r} must be several names of states, not {targets!r}")
            continue
        read[source] = tuple(targets)
        problems += [
            f"the transition {source!r} -> {target!r} is written twice"
            for target, count in Counter(read[source]).items()
            if count > 1
        ]
    return read, problems


def _unknown(
    given: Mapping[str, tuple[str, ...]], states: tuple[str, ...], initial: str, error: str, final: frozenset[str]
) -> list[str]:
    uses = [(initial, "is the initial state"), (error, "is the error state")]
    uses += [(state, "is named in final") for state in final]
    uses += [(source, "has transitions") for source in given if source != ANY]
    uses += [(target, f"is a target of {source!r}") for source, targets in given.items() for target in targets]
    return [
        f"the state {state!r} {use}, but is no state{suggestion(state, states)}; the states are: {', '.join(states)}"
        for state, use in dict.fromkeys(uses)
        if state not in states
    ]
