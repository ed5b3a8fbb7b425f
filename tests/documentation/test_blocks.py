"""Every code block of the documentation does what the page says."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT, RUN, SHOWN, Block, blocks, pages

# How many blocks of a page no test runs; each has its reason in a comment before it.
NOT_RUN = {"README.md": 2, "docs/how-to/work-on-thea.md": 1, "docs/tutorial/first-plugin.md": 1}

# The pages that build a package, for which pip fetches the build backend.
INSTALLING = {"docs/tutorial/first-plugin.md"}

ALL = [block for page in pages() for block in blocks(page)]
PAGES = [
    pytest.param(page, id=str(page), marks=[pytest.mark.network] if str(page) in INSTALLING else []) for page in pages()
]


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_top_to_bottom(page: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.documentation.run_page", page, tmp_path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.place)
def test_the_language_of_a_block_says_how_it_is_tested(block: Block) -> None:
    assert block.language in RUN | SHOWN, f"{block.place}: no test knows what to do with {block.language!r}"


def test_blocks_that_are_not_run_are_few_and_have_a_reason() -> None:
    assert Counter(block.page for block in ALL if block.not_run is not None) == NOT_RUN
