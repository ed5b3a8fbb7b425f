"""The raw configuration while it is read: the values, where each came from, and the problems found so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from thea_core.config.masking import MASK, KeyPath
from thea_core.config.problems import Problem, article, brief, key_text, suggestion, toml_text

__all__ = ["DEFAULT", "Node", "Origin", "Tree", "nearest"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from. ``str()`` gives it in words: ``thea.toml:12``, ``THEA__STORE__URL``, ``default``.

    Attributes:
        kind: which of the four it is.
        source: the file as it was named, or the variable, or a few words.
        line: the line in the file, from 1; None where it is not known.
        substituted: the variable of a ``"${NAME}"`` that gave the value; None for all others.
    """

    kind: Literal["default", "file", "variable", "code"]
    source: str
    line: int | None = None
    substituted: str | None = None

    def __str__(self) -> str:
        place = self.place
        return f"{place}, from ${{{self.substituted}}}" if self.substituted else place

    @property
    def place(self) -> str:
        """The file and line, or the variable."""
        return self.source if self.line is None else f"{self.source}:{self.line}"

    def mend(self, path: KeyPath, example: str) -> str:
        """Return the edit that puts ``example`` (as TOML) where the wrong value is."""
        if self.substituted:
            return f"give the environment variable {self.substituted} such a value, for example {example}"
        if self.kind == "variable":
            return f"set {self.source}='{example}', or unset it"
        where = f"in {self.source}" if self.line is None else f"in line {self.line} of {self.source}"
        element = isinstance(path[-1], int)
        return f"write {example} {where}" if element else f"write {key_text(path[-1:])} = {example} {where}"


DEFAULT = Origin("default", "default")


def nearest(origins: Mapping[KeyPath, Origin], path: KeyPath) -> Origin:
    """Return where the value at ``path`` came from: its own origin, or that of the nearest table around it."""
    for length in range(len(path), -1, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return DEFAULT


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    yield path
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(each, (*path, key))


@dataclass(slots=True)
class Tree:
    """All that was read. Used by one thread, while a configuration is loaded.

    Attributes:
        data: the raw values.
        origins: where the values at these paths came from; a path that is not in it has the origin of its parent.
        problems: what was found to be wrong.
        unset: the problems of ``"${NAME}"`` without a value, by path; such a value is not checked any further.
    """

    data: dict[str, Any] = field(default_factory=dict, repr=False)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unset: dict[KeyPath, Problem] = field(default_factory=dict)

    def forget(self, path: KeyPath) -> None:
        """Drop what is known of the value at ``path`` and of all below it: another value takes its place."""
        for known in (self.origins, self.unset):
            for each in [each for each in known if each[: len(path)] == path]:
                del known[each]

    def hidden(self, path: KeyPath) -> frozenset[KeyPath]:
        """Return the paths of values that came from ``"${NAME}"`` below ``path``, counted from there."""
        size = len(path)
        return frozenset(each[size:] for each, o in self.origins.items() if o.substituted and each[:size] == path)

    def complete(self) -> dict[KeyPath, Origin]:
        """Return the origin of every value that is there, tables and elements included."""
        return {path: nearest(self.origins, path) for path in _paths(self.data, ())}

    def root(self) -> Node:
        """Return the node of the whole configuration."""
        return Node(self, (), self.data)


@dataclass(frozen=True, slots=True)
class Node:
    """One raw value of a tree, with its path."""

    tree: Tree = field(repr=False)
    path: KeyPath
    value: Any = field(repr=False)  # reprs of locals end up in error trackers, and this may be a secret

    @property
    def origin(self) -> Origin:
        """Where the value came from."""
        return nearest(self.tree.origins, self.path)

    def children(self) -> list[Node]:
        """Return the nodes of a table's values or an array's elements."""
        pairs = self.value.items() if isinstance(self.value, dict) else enumerate(self.value)
        return [Node(self.tree, (*self.path, key), value) for key, value in pairs]

    def child(self, key: str) -> Node:
        """Return the node of one value of a table."""
        return Node(self.tree, (*self.path, key), self.value[key])

    def scalar(self) -> Any:
        """Return the value; a text that came from the environment is read as TOML where it is TOML."""
        from thea_core.config.environment import toml_value

        return toml_value(self.value) if self.origin.substituted and isinstance(self.value, str) else self.value

    def refuse(self, expected: str, example: str, *, found: str = "", choices: Iterable[str] = ()) -> None:
        """Note that the value is not what was expected; ``example`` is a good one, as TOML."""
        valid = tuple(choices)
        meant = suggestion(self.value, valid) if isinstance(self.value, str) and not self.origin.substituted else ""
        mend = self.origin.mend(self.path, toml_text(meant) if meant else example)
        self.report("has a value that does not fit", found or self.found(), expected, valid, meant, mend)

    def report(  # noqa: PLR0917 -- the six lines of a problem
        self,
        summary: str,
        found: str = "",
        expected: str = "",
        choices: tuple[str, ...] = (),
        meant: str = "",
        todo: str = "",
    ) -> None:
        """Note a problem of this value, unless it is already known to lack its variable."""
        if self.path not in self.tree.unset:
            text = f"{key_text(self.path)} {summary}"
            self.tree.problems.append(Problem(str(self.origin), text, found, expected, choices, meant, todo))

    def unknown(self, choices: Iterable[str], *, note: str = "") -> None:
        """Note that this key is not known. Its value is never shown: a misplaced secret is still one."""
        valid = tuple(choices)
        name = str(self.path[-1])
        meant = suggestion(name, valid)
        todo = self._rename(name, meant) + (f"; {note}" if note else "")
        self.report("is not a known key", "", "", valid, meant, todo)

    def _rename(self, name: str, meant: str) -> str:
        origin = self.origin
        if origin.kind == "variable":
            new = f"{origin.source.rpartition('__')[0]}__{meant.upper()}"
            return f"rename the variable to {new}, or unset it" if meant else f"unset {origin.source}"
        where = f"in {origin.source}" if origin.line is None else f"in line {origin.line} of {origin.source}"
        return f"rename {name} to {meant} {where}, or remove it" if meant else f"remove {name} {where}"

    def found(self) -> str:
        """Return what the value is, in words; of tables, arrays and hidden values the type only."""
        kind = article(self.value)
        if self.origin.substituted:
            return f"{kind} that is not shown ({MASK})"
        return kind if isinstance(self.value, dict | list) else f"{brief(toml_text(self.value))} ({kind})"
