"""What the environment adds to a file: ``THEA__SECTION__KEY`` and ``"${NAME}"``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from thea_core.config.masking import KeyPath
from thea_core.config.problems import Problem, key_text
from thea_core.config.tree import Origin, Tree, nearest

__all__ = ["PREFIX", "active_names", "apply_overrides", "substitute", "toml_value"]

PREFIX = "THEA__"

_REFERENCE = re.compile(r"\$\{([^}:]*)(?::-(.*))?\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def toml_value(text: str) -> Any:
    """Return ``text`` read as a TOML value; the text itself where it is none."""
    import tomllib

    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text  # a text of several lines may hold more than the value


def substitute(tree: Tree, value: Any, path: KeyPath, environ: Mapping[str, str]) -> Any:
    """Return a copy of ``value`` in which each ``"${NAME}"`` is replaced; notes in ``tree`` what came from where."""
    if isinstance(value, Mapping):
        return {str(key): substitute(tree, each, (*path, str(key)), environ) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(tree, each, (*path, index), environ) for index, each in enumerate(value)]
    reference = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return value if reference is None else _resolve(tree, reference, path, environ)


def _resolve(tree: Tree, reference: re.Match[str], path: KeyPath, environ: Mapping[str, str]) -> str:
    name, default = reference.groups()
    origin = nearest(tree.origins, path)
    tree.origins[path] = replace(origin, substituted=name)
    found = environ.get(name)
    if default is not None and not found:
        return str(default)
    if found is None:
        tree.unset[path] = _unset(origin, path, name)
    return reference[0] if found is None else found


def _unset(origin: Origin, path: KeyPath, name: str) -> Problem:
    if not _NAME.fullmatch(name):
        return Problem(
            origin.place,
            f"{key_text(path)} names no environment variable",
            found=f"${{{name}}}",
            expected='"${NAME}" or "${NAME:-default}", NAME of letters, digits and _',
            todo="correct the name between the braces",
        )
    return Problem(
        origin.place,
        f"{key_text(path)} needs the environment variable {name}, which is not set",
        found=f"${{{name}}}",
        todo=f'run: export {name}=..., or give a default: "${{{name}:-default}}"',
    )


def apply_overrides(tree: Tree, environ: Mapping[str, str]) -> None:
    """Put the values of all ``THEA__...`` variables into ``tree``, a whole table before the keys in it."""
    taken: dict[KeyPath, str] = {}
    for name in sorted(
        (each for each in environ if each.startswith(PREFIX)), key=lambda each: (each.count("__"), each)
    ):
        path = _path(tree, name)
        if path is None:
            continue
        if path in taken:
            _refuse(
                tree, name, f"{key_text(path)} is set by {taken[path]} too", f"unset one of {taken[path]} and {name}"
            )
        taken[path] = name
        _put(tree, path, name, environ)


def _put(tree: Tree, path: KeyPath, name: str, environ: Mapping[str, str]) -> None:
    tree.forget(path)
    tree.origins[path] = Origin("variable", name)
    table: dict[str, Any] = tree.data
    for depth, key in enumerate(path[:-1], start=1):
        if not isinstance(table.get(str(key)), dict):
            tree.forget(path[:depth])
            tree.origins.update({path[:depth]: Origin("variable", name), path: Origin("variable", name)})
            table[str(key)] = {}
        table = table[str(key)]
    table[str(path[-1])] = substitute(tree, toml_value(environ[name]), path, environ)


def _path(tree: Tree, name: str) -> KeyPath | None:
    path: tuple[str, ...] = ()
    table: Any = tree.data
    for word in name.removeprefix(PREFIX).split("__"):
        known = {*table, *(active_names(tree.data) if path == ("plugins",) else ())} if isinstance(table, dict) else ()
        alike = _alike(word, known)
        if not word or len(alike) > 1:
            reason = f"may mean {' or '.join(alike)}" if alike else "has an empty part"
            _refuse(tree, name, f"the name {reason}", f"unset {name}, and set the value in thea.toml")
            return None
        path = (*path, alike[0] if alike else word.lower())
        table = table.get(path[-1]) if isinstance(table, dict) else None
    return path


def _alike(word: str, known: Iterable[str]) -> list[str]:
    return sorted(each for each in known if re.sub("[-.]", "_", each).lower() == word.lower())


def _refuse(tree: Tree, name: str, summary: str, todo: str) -> None:
    tree.problems.append(Problem(name, summary, expected=f"{PREFIX}SECTION__KEY", todo=todo))


def active_names(data: Mapping[str, Any]) -> set[str]:
    """Return the names of the plugins that a raw configuration switches on: ``enabled``, and the ``modules``."""
    plugins = data.get("plugins")
    lists = [plugins.get(key) for key in ("enabled", "modules")] if isinstance(plugins, dict) else [(), ()]
    enabled, modules = (
        [each for each in found if isinstance(each, str)] if isinstance(found, list) else [] for found in lists
    )
    return {*enabled, *(each.rpartition(".")[2] for each in modules)}
