"""Finds the pages of the documentation and the code blocks in them.

What the block's language means for a test:

- ``python`` and ``pycon``: run, top to bottom, in one namespace a page;
- ``console``: the commands after ``$`` are run, and what they print is compared with what is shown;
- ``toml`` and ``json``: read; a ``toml`` that shows the configuration is checked by Thea;
- ``text``, ``mermaid``, ``dot`` and ``yaml``: only shown.

A first line ``# name.py`` (or any other file's name) in a ``python`` or ``toml`` block makes it that file, in the
page's own directory. A comment ``<!-- not run here: REASON -->`` before a block leaves it out;
``test_blocks.py`` counts these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]

RUN = frozenset({"python", "pycon", "console", "toml", "json"})
SHOWN = frozenset({"text", "mermaid", "dot", "yaml"})
DIRECTIVES = frozenset({"{toctree}", "{eval-rst}", "{mermaid}"})

_FILE_NAME = re.compile(r"# (?P<name>[\w./-]+\.\w+)")
_NOT_RUN = re.compile(r"<!-- not run here: (?P<reason>.+?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced code block.

    Attributes:
        page: the file, relative to the checkout.
        line: the line of its first line of code, from 1.
        language: what stands after the fence.
        text: the code.
        not_run: why no test runs it; None where one does.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None

    @property
    def place(self) -> str:
        """Where a reader finds it."""
        return f"{self.page}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """The file that the block shows, if its first line names one."""
        if self.language not in {"python", "toml"}:
            return None
        first = _FILE_NAME.fullmatch(self.text.partition("\n")[0])
        return first["name"] if first else None


def pages() -> list[Path]:
    """Return every page, relative to the checkout."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    found += sorted((ROOT / "plugins").glob("*/*.md"))
    return [page.relative_to(ROOT) for page in found if "_build" not in page.parts]


def blocks(page: Path) -> Iterator[Block]:
    """Give the code blocks of a page, in order."""
    reason = None
    for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "html_block":
            comment = _NOT_RUN.fullmatch(token.content.strip())
            reason = comment["reason"] if comment else None
            continue
        if token.type == "fence" and token.map is not None:
            language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
            if language not in DIRECTIVES:
                yield Block(str(page), token.map[0] + 2, language, token.content, reason)
        if token.level == 0 or token.type == "fence":
            reason = None
