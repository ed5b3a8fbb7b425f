"""Draws a definition as text, Mermaid or DOT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thea_core.fsm.definition import Definition

__all__ = ["draw"]


def draw(definition: Definition, form: str = "text", *, current: str | None = None) -> str:
    """Return the diagram of ``definition``. Control characters in the names of states are shown as escapes.

    Args:
        definition: what to draw.
        form: ``"text"``, ``"mermaid"`` (a state diagram) or ``"dot"`` (for Graphviz).
        current: a state to mark.

    Raises:
        ValueError: there is no such form, or no such state.
    """
    if form not in tuple(_FORMS):
        raise ValueError(f"there is no diagram form {form!r}; the forms are: {', '.join(_FORMS)}")
    if current is not None and current not in definition:
        raise ValueError(f"there is no state {current!r}; the states are: {', '.join(definition.states)}")
    return "\n".join(_FORMS[form](definition, current)) + "\n"


def _text(definition: Definition, current: str | None) -> Iterator[str]:
    width = max(len("any state"), *(len(_shown(each)) for each in definition.states))
    for state in definition.states:
        mark = ">" if state == current else " "
        targets = [_shown(each) for each in definition.targets(state) if each != definition.error]
        note = "(final)" if state in definition.final else ""
        yield f"{mark} {_shown(state):<{width}} -> {' '.join((' | '.join(targets), note)).strip()}"
    yield f"  {'any state':<{width}} -> {_shown(definition.error)}"


def _mermaid(definition: Definition, current: str | None) -> Iterator[str]:
    names = {state: f"s{number}" for number, state in enumerate(definition.states)}
    yield "stateDiagram-v2"
    for state, name in names.items():
        label = _shown(state).replace("#", "#35;").replace('"', "#quot;")
        yield f'    state "{label}" as {name}'
    yield f"    [*] --> {names[definition.initial]}"
    for source, target in _edges(definition):
        yield f"    {names[source]} --> {names[target]}"
    for state in definition.states:
        if state in definition.final:
            yield f"    {names[state]} --> [*]"
    if current is not None:
        yield "    classDef current font-weight:bold,stroke-width:3px"
        yield f"    class {names[current]} current"


def _dot(definition: Definition, current: str | None) -> Iterator[str]:
    yield "digraph thea {"
    yield "    rankdir=LR;"
    yield "    node [shape=box, style=rounded];"
    yield '    "" [shape=point];'  # no state has an empty name
    for state in definition.states:
        options = ["peripheries=2"] if state in definition.final else []
        options += ["penwidth=3"] if state == current else []
        yield f"    {_quoted(state)}{' [' + ', '.join(options) + ']' if options else ''};"
    yield f'    "" -> {_quoted(definition.initial)};'
    for source, target in _edges(definition):
        style = " [style=dashed]" if target == definition.error else ""
        yield f"    {_quoted(source)} -> {_quoted(target)}{style};"
    yield "}"


def _edges(definition: Definition) -> Iterator[tuple[str, str]]:
    for source in definition.states:
        for target in definition.targets(source):
            yield source, target


def _shown(name: str) -> str:
    """Return a name on one line, whatever characters it has; two names never look the same."""
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(each if each.isprintable() and each != "\\" else ascii(each)[1:-1] for each in name)


def _quoted(name: str) -> str:
    return '"' + _shown(name).replace("\\", "\\\\").replace('"', '\\"') + '"'


_FORMS: dict[str, Callable[[Definition, str | None], Iterator[str]]] = {
    "text": _text,
    "mermaid": _mermaid,
    "dot": _dot,
}
