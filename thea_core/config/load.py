"""From files, variables and mappings to a :class:`Config`, with every problem told at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thea_core.config.environment import active_names, apply_overrides, substitute
from thea_core.config.masking import KeyPath
from thea_core.config.model import (
    RESERVED_NAMES,
    Config,
    PluginConfig,
    PluginsConfig,
    PluginSettings,
    Section,
    keys_of,
    sections_of,
)
from thea_core.config.problems import Problem, article
from thea_core.config.sources import find
from thea_core.config.tree import Node, Origin, Tree
from thea_core.errors import ConfigError

__all__ = ["config_from_mapping", "load_config"]


def load_config(path: Path | None = None, *, environ: Mapping[str, str], directory: Path | None = None) -> Config:
    """Read the configuration: ``path``, else ``THEA_CONFIG``, else ``thea.toml``, else ``[tool.thea]``, else defaults.

    Args:
        path: the file to read; one that is called pyproject.toml has the settings in ``[tool.thea]``.
        environ: the environment: ``THEA_CONFIG``, the ``THEA__SECTION__KEY`` overrides and what ``"${NAME}"`` means.
        directory: where files are looked for; None is the working directory.

    Raises:
        ConfigError: with every problem found.
    """
    document = find(path, environ, directory)
    tree = Tree()
    if document is not None:
        name = str(document.path)
        tree.origins = {where: Origin("file", name, line) for where, line in document.lines.items()}
        _adopt(tree, document.data, Origin("file", name), environ)
    apply_overrides(tree, environ)
    return _config(tree, None if document is None else document.path.absolute())


def config_from_mapping(data: Mapping[str, Any], environ: Mapping[str, str] | None) -> Config:
    """Do the work of :meth:`Config.from_mapping`."""
    import os

    tree = Tree()
    origin = Origin("code", "the mapping given to Config.from_mapping")
    _adopt(tree, data, origin, os.environ if environ is None else environ)
    return _config(tree, None)


def _adopt(tree: Tree, data: Mapping[str, Any], origin: Origin, environ: Mapping[str, str]) -> None:
    tree.origins.setdefault((), origin)
    tree.data = substitute(tree, data, (), environ)


def _config(tree: Tree, source: Path | None) -> Config:
    root, sections = tree.root(), sections_of()
    known = {name: make for name, make in sections.items() if name in tree.data}
    read = {name: _section(root.child(name), make) for name, make in known.items()}
    for each in root.children():
        if each.path[-1] not in sections:
            each.unknown(sections)
    deferred = _divide(tree)
    if tree.problems:
        raise ConfigError(list(dict.fromkeys(map(str, sorted(tree.problems, key=_line)))))
    return Config(**read, source=source, origins=tree.complete(), deferred=deferred)


def _line(problem: Problem) -> float:
    """Return the line of a problem, to tell them from top to bottom; what has none comes last."""
    line = re.search(r":(\d+)(?:$|, from )", problem.source)
    return int(line[1]) if line else math.inf


def _divide(tree: Tree) -> dict[str, list[str]]:
    """Make a missing variable a problem now; or later, if only the settings of a disabled plugin need it."""
    active = active_names(tree.data)
    deferred: dict[str, list[str]] = {}
    for path, problem in tree.unset.items():
        if path[:1] == ("plugins",) and path[2:3] == ("settings",) and path[1] not in active:
            deferred.setdefault(str(path[1]), []).append(str(problem))
        else:
            tree.problems.append(problem)
    return deferred


def _section(node: Node, make: type[Any]) -> Any:
    if not isinstance(node.value, dict):
        table = f"a table, [{node.path[-1]}]"
        node.report("has a value that does not fit", article(node.value), table, todo=f"write {table}, with keys in it")
        return make()
    if make is PluginsConfig:
        return _plugins(node)
    _refuse_unknown(node, make)
    return make(**_values(node, make), hidden=node.tree.hidden(node.path))


def _values(node: Node, make: type[Section]) -> dict[str, Any]:
    return {name: key.kind.read(node.child(name)) for name, key in keys_of(make).items() if name in node.value}


def _refuse_unknown(node: Node, make: type[Section], note: str = "") -> None:
    keys = keys_of(make)
    for each in node.children():
        if each.path[-1] not in keys:
            each.unknown(keys, note=note)


def _plugins(node: Node) -> PluginsConfig:
    tables = [each for each in node.children() if each.path[-1] not in RESERVED_NAMES]
    for each in tables:
        if not isinstance(each.value, dict):
            each.unknown(sorted(RESERVED_NAMES), note="what concerns one plugin stands in a table [plugins.NAME]")
    entries = {str(each.path[-1]): _plugin(each) for each in tables if isinstance(each.value, dict)}
    hidden = node.tree.hidden(node.path)
    return PluginsConfig(**_values(node, PluginsConfig), entries=entries, hidden=hidden)


def _plugin(node: Node) -> PluginConfig:
    name = node.path[-1]
    _refuse_unknown(node, PluginConfig, f"a setting of the plugin itself stands in [plugins.{name}.settings]")
    values = _values(node, PluginConfig)
    if values.get("on_failure") == "veto" and values.get("required") is False:
        node.child("required").report(
            'contradicts on_failure = "veto", which makes the plugin required',
            todo=f"remove required from [plugins.{name}]",
        )
    if values.get("on_failure") == "veto":
        node.tree.origins.setdefault((*node.path, "required"), node.child("on_failure").origin)
        node.value.setdefault("required", True)
    hidden = node.tree.hidden(node.path)
    if isinstance(values.get("settings"), dict):
        inner: KeyPath = (*node.path, "settings")
        values["settings"] = PluginSettings(values["settings"], node.tree.hidden(inner))
    return PluginConfig(**values, hidden=hidden)
