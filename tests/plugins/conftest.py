"""Fake distributions on disk: what discovery and loading see of an installed plugin, without a network or pip."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from thea_core.plugins import discovery
from thea_core.plugins.discovery import Candidate, discover


class FakeSite:
    """A directory at the front of ``sys.path`` into which a test puts distributions and modules."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def distribution(
        self,
        name: str,
        *,
        version: str = "1.0",
        plugins: Mapping[str, str] | None = None,
        requires: Sequence[str] = (),
        summary: str = "",
    ) -> Path:
        """Write a ``.dist-info`` directory that offers ``plugins`` (name to value); return it."""
        headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        headers += [f"Summary: {summary}"] if summary else []
        headers += [f"Requires-Dist: {each}" for each in requires]
        info = self.root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("\n".join(headers) + "\n\nA long description.\n", encoding="utf-8")
        if plugins is not None:
            lines = ["[console_scripts]", "tool = tool:main", "", "[thea.plugins]"]
            lines += [f"{key} = {value}" for key, value in plugins.items()]
            (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        importlib.invalidate_caches()
        return info

    def module(self, name: str, source: str) -> Path:
        """Write the module ``name`` (dotted for one in a package); return its file."""
        file = self.root.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.parent != self.root:
            (file.parent / "__init__.py").touch()
        file.write_text(textwrap.dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        return file

    def plugin(self, source: str, *, name: str = "weather", value: str = "weather_plugin") -> Candidate:
        """Write the module that ``value`` names, with ``source``, and the distribution; return the candidate."""
        self.module(value.partition(":")[0], source)
        self.distribution(f"thea-{name}", plugins={name: value})
        return discover().find(name)

    def found(self) -> list[Candidate]:
        """Return what discovery finds here, whatever else is installed."""
        return [each for each in discover().candidates if each.location == str(self.root)]


@pytest.fixture
def lantern(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a plugin that the project publishes, and that is not installed."""
    monkeypatch.setattr(discovery, "FIRST_PARTY", (*discovery.FIRST_PARTY, "lantern"))
    return "lantern"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """An empty place to install fake distributions into; what was imported from it is forgotten afterwards."""
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    before = set(sys.modules)
    yield FakeSite(root)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
