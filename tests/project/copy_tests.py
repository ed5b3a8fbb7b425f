"""Copy the tests away from the source, so that what they import is what pip has installed.

Left out: what looks at the checkout itself (this folder) and what needs the plugins (the documentation's blocks).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ["docs", "examples", "benchmarks"]  # what tests read, or run


def main(target: Path) -> None:
    """Make ``target`` anew with the tests, and what they use besides the core."""
    shutil.rmtree(target, ignore_errors=True)
    leave = shutil.ignore_patterns("__pycache__", "_build", "project", "documentation")
    for folder in ["tests", *BESIDE]:
        shutil.copytree(ROOT / folder, target / folder, ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
