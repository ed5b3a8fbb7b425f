"""Every example in a docstring runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation.docstrings import examples
from tests.documentation.pages import ROOT


def modules() -> list[str]:
    """Return the modules of the core and of the plugins that show an example, by name."""
    sources = [ROOT, *(ROOT / "plugins").glob("*/src")]
    files = [(root, file) for root in sources for file in sorted(root.glob("thea_*/**/*.py"))]
    showing = [each for each in files if "::\n" in each[1].read_text(encoding="utf-8")]
    return [".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for root, file in showing]


@pytest.mark.parametrize("module", modules())
def test_the_examples_in_the_docstrings_run(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.documentation.docstrings", module],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_an_example_is_an_indented_block_of_python_after_two_colons() -> None:
    text = """Say what it is.

    As a drawing::

        a ── b

    In use::

        answer = 6 * 7

        assert answer == 42

    And more words.
    """
    assert list(examples(text)) == ["answer = 6 * 7\n\nassert answer == 42\n\n"]
