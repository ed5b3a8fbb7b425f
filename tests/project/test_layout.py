"""What keeps the parts apart: public names, who may import what, and when."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import thea_core
from thea_core import errors, types

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "thea_core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").glob("*/src/**/*.py"))

# What the public classes are called, besides the types and the errors.
ENTRANCES = {
    "CallbackManager",
    "ContextManager",
    "CoreRouter",
    "FSMEngine",
    "Registration",
    "SessionManager",
    "Thea",
    "hookimpl",
    "hookspec",
}

# Modules that another distribution brings, at the version that fits it.
COMES_WITH = {"psycopg_pool": "psycopg", "pydantic_core": "pydantic"}

HEAVY = ["asyncio", "click", "importlib_metadata", "psycopg", "pydantic", "rich", "sqlite3", "tomlkit", "tomllib"]


def imports(source: str) -> Iterator[tuple[str, str | None]]:
    """Give ``(module, name)`` for each ``from module import name``, and ``(module, None)`` for ``import module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.module or "", alias.name) for alias in node.names)


def not_public(source: str) -> list[str]:
    """Return what a plugin's source uses of the core beyond its public names."""
    bad = [
        f"{module}.{name}" if name else module
        for module, name in imports(source)
        if module.partition(".")[0] == "thea_core" and (module != "thea_core" or name not in {None, *thea_core.__all__})
    ]
    bad += [
        f"thea_core.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "thea_core"
        if node.attr not in thea_core.__all__
    ]
    return bad


def private_pluggy(source: str) -> list[str]:
    """Return the private modules and names of pluggy that a source uses."""
    dotted = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    names = dotted + [".".join(filter(None, found)) for found in imports(source)]
    return [name for name in names if name.startswith("pluggy.") and "._" in name]


def test_there_are_sources_to_look_at() -> None:
    assert CORE
    assert PLUGINS


@pytest.mark.parametrize("source", PLUGINS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_plugins_import_only_public_names_of_the_core(source: Path) -> None:
    assert not_public(source.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import thea_core.fsm",
        "from thea_core.types import Turn",
        "import thea_core\nthea_core.errors",
        "from thea_core import x",
    ],
)
def test_what_is_not_public_is_noticed(source: str) -> None:
    assert not_public(source)


@pytest.mark.parametrize("source", CORE + PLUGINS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_the_public_interface_of_pluggy_is_used(source: Path) -> None:
    assert private_pluggy(source.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("source", ["from pluggy._hooks import HookImpl", "import pluggy\npluggy._manager.x"])
def test_private_use_of_pluggy_is_noticed(source: str) -> None:
    assert private_pluggy(source)


@pytest.mark.parametrize("folder", [ROOT, *sorted((ROOT / "plugins").iterdir())], ids=lambda path: path.name)
def test_every_module_of_another_project_is_declared_as_a_dependency(folder: Path) -> None:
    """What happens to be installed beside it may be missing elsewhere."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (text for texts in project.get("optional-dependencies", {}).values() for text in texts)
    declared = {Requirement(text).name.replace("-", "_") for text in (*project["dependencies"], *extras)}
    sources = CORE if folder == ROOT else sorted(folder.glob("src/**/*.py"))
    used = {module.partition(".")[0] for source in sources for module, _ in imports(source.read_text(encoding="utf-8"))}
    own = {project["name"].replace("-", "_")}
    assert used - sys.stdlib_module_names - own - declared - COMES_WITH.keys() == set()
    assert {COMES_WITH[name] for name in used & COMES_WITH.keys()} <= declared


def test_the_public_names_are_sorted() -> None:
    assert list(thea_core.__all__) == sorted(thea_core.__all__)


def test_the_public_names_are_complete() -> None:
    assert {*types.__all__, *errors.__all__, *ENTRANCES} - set(thea_core.__all__) == set()


@pytest.mark.parametrize("module", [types, errors], ids=lambda module: module.__name__)
def test_the_modules_of_types_and_errors_export_every_class_they_define(module: object) -> None:
    defined = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert defined - set(module.__all__) == set()


def test_every_public_name_can_be_had_and_nothing_else_shows() -> None:
    assert {name for name in thea_core.__all__ if not hasattr(thea_core, name)} == set()
    assert set(thea_core.__all__) <= set(dir(thea_core))


def test_an_unknown_name_of_the_core_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = thea_core.Nonsense


def loaded_by(statement: str) -> set[str]:
    """Return the heavy modules that are loaded once a fresh interpreter has run the statement."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split()) & set(HEAVY)


def test_importing_the_core_loads_nothing_heavy() -> None:
    assert loaded_by("import thea_core") == set()


def test_the_command_loads_only_click_before_it_is_run() -> None:
    assert loaded_by("import thea_core.cli") <= {"click"}
