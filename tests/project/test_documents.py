"""README, changelog, configuration and hooks agree with each other."""

from __future__ import annotations

import inspect
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from thea_core import errors, hookspecs

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLUGIN_FILES = sorted((ROOT / "plugins").glob("*/pyproject.toml"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

HOOKS = [
    function
    for group in hookspecs.__all__
    for function in vars(getattr(hookspecs, group)).values()
    if inspect.isfunction(function)
]
ERRORS = [getattr(errors, name) for name in errors.__all__]


def plugin_project(path: Path) -> dict[str, object]:
    """Return the ``[project]`` table of a plugin."""
    table: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return table


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: path.parent.name)
def test_every_plugin_bounds_the_core_from_both_sides_and_admits_this_one(path: Path) -> None:
    requirements = [Requirement(text) for text in plugin_project(path)["dependencies"]]
    (core,) = (each for each in requirements if each.name == "thea-core")
    assert {bound.operator for bound in core.specifier} == {">=", "<"}
    assert Version(PROJECT["project"]["version"]) in core.specifier


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: path.parent.name)
def test_every_plugin_is_offered_under_the_entry_point_group(path: Path) -> None:
    assert plugin_project(path)["entry-points"]["thea.plugins"]
    assert plugin_project(path)["requires-python"] == PROJECT["project"]["requires-python"]


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: path.parent.name)
def test_every_plugin_has_an_environment_of_its_own(path: Path) -> None:
    shown = (ROOT / "tox.ini").read_text(encoding="utf-8")
    name = path.parent.name.removeprefix("thea-")
    assert re.search(rf"^    {name}$", shown, re.MULTILINE)
    assert re.search(rf"^\[testenv:\{{.*\b{name}\b.*\}}\]$", shown, re.MULTILINE)


def test_the_changelog_has_a_section_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(PROJECT['project']['version'])}\b", changelog, re.MULTILINE)


def test_the_readme_shows_one_command_to_try_and_one_to_test() -> None:
    shown = re.findall(r"^\$ (python3 -m venv .*)$", README, re.MULTILINE)
    assert [("thea chat" in command, "bin/tox" in command) for command in shown] == [(True, False), (False, True)]


def test_ci_runs_the_command_that_the_readme_shows() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^command=\$\((sed -n '.*' README\.md)\)$", script, re.MULTILINE)
    done = subprocess.run(["bash", "-c", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in README
    assert "bin/tox" in done.stdout


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_every_hook_documents_when_it_is_called_and_each_argument(hook: Callable[..., object]) -> None:
    text = inspect.getdoc(hook) or ""
    assert text.startswith("Called ")
    documented = re.findall(r"^    (\w+): ", text.partition("Args:")[2].partition("\n\n")[0], re.MULTILINE)
    assert documented == [name for name in inspect.signature(hook).parameters if name != "self"]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_every_hook_that_returns_something_documents_what_it_does(hook: Callable[..., object]) -> None:
    returns = inspect.signature(hook).return_annotation not in {None, "None"}
    assert ("Returns:" in (inspect.getdoc(hook) or "")) is returns


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_every_hook_has_a_test(hook: Callable[..., object]) -> None:
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    assert any(re.search(rf"\b{hook.__name__}\b", path.read_text(encoding="utf-8")) for path in tests)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.__dict__.get("code") for error in ERRORS]
    assert None not in codes
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_is_in_the_tree_that_its_module_shows(error: type[errors.TheaError]) -> None:
    assert re.search(rf"^[ │├└─]*{error.__name__}\b", errors.__doc__ or "", re.MULTILINE)


def test_the_error_reference_has_a_section_for_each_code_in_the_order_of_the_tree() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    shown = re.findall(r"^<!-- generated: error ([\w-]+) -->\n\n\*\*What to do\.\*\* \w", page, re.MULTILINE)
    tree = re.findall(r"^[ │├└─]*([A-Z]\w+)", (errors.__doc__ or "").partition("::")[2], re.MULTILINE)
    assert shown == [getattr(errors, name).code for name in tree if hasattr(errors, name)]
