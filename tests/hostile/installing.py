"""Installs the distributions of the zoo into a directory, as pip would, without pip, an index or a build backend."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ZOO", "animals", "install"]

ZOO = Path(__file__).parent / "zoo"


def animals() -> list[Path]:
    """Return the folder of each distribution, by name."""
    return sorted(each.parent for each in ZOO.glob("*/pyproject.toml"))


def install(folder: Path, site: Path) -> str:
    """Put a distribution into ``site``: its one module, and a ``.dist-info`` made from its ``pyproject.toml``.

    Returns:
        The name of the plugin that it offers.
    """
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = project["name"].replace("-", "_")
    info = site / f"{base}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    shutil.copy(folder / f"{base}.py", site)
    (info / "METADATA").write_text(_metadata(project), encoding="utf-8")
    (info / "entry_points.txt").write_text(_entry_points(project["entry-points"]), encoding="utf-8")
    files = [f"{base}.py", *(f"{info.name}/{each}" for each in ("METADATA", "RECORD", "entry_points.txt"))]
    (info / "RECORD").write_text("".join(f"{each},,\n" for each in files), encoding="utf-8")
    (name,) = project["entry-points"]["thea.plugins"]
    return name


def _metadata(project: Mapping[str, object]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {each}" for each in project["dependencies"]),
    ]
    return "\n".join(lines) + "\n"


def _entry_points(groups: Mapping[str, Mapping[str, str]]) -> str:
    lines: list[str] = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    return "\n".join(lines)
