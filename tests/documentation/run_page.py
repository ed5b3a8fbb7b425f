"""Runs the code blocks of one page, top to bottom: ``python -m tests.documentation.run_page PAGE DIRECTORY``.

A process of its own for each page: what a page does to logging, to event loops or to modules stays with it.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import sys
import tomllib
import traceback
from pathlib import Path
from typing import Any

from tests.documentation.pages import RUN, Block, blocks
from tests.documentation.shell import Shell

# The tables by which a TOML block is known to show something else than Thea's configuration.
_OTHER_TOML = frozenset({"build-system", "dependency-groups", "project", "tool"})


class PageRun:
    """One page's namespace, directory and shell."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._shell: Shell | None = None
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        """Run one block, or write the file that it shows."""
        if block.file_name is not None:
            target = self._directory / block.file_name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        if block.file_name is None or block.language != "python":
            getattr(self, f"_{block.language}")(block)
        else:
            compile(block.text, block.place, "exec")

    def _python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, block.page, "exec")
        exec(code, self._names)

    def _pycon(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.text, self._names, block.place, block.page, block.line - 1)
        said: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append, clear_globs=False)
        self._names.update(test.globs)
        if result.failed:
            raise AssertionError("".join(said))

    def _console(self, block: Block) -> None:
        if self._shell is None:
            self._shell = Shell(self._directory)
        self._shell.run(block.text)

    def _toml(self, block: Block) -> None:
        tables = tomllib.loads(block.text)
        if not _OTHER_TOML & tables.keys():
            check_configuration(self._directory, block)

    def _json(self, block: Block) -> None:
        for line in [block.text] if block.text.startswith(("{\n", "[\n")) else block.text.splitlines():
            json.loads(line)


def check_configuration(directory: Path, block: Block) -> None:
    """Let Thea read a block as its configuration; raises ConfigError."""
    from thea_core.config import load_config

    shown = directory / ".shown" / "thea.toml"
    shown.parent.mkdir(exist_ok=True)
    shown.write_text(block.text, encoding="utf-8")
    load_config(shown, environ=dict.fromkeys(re.findall(r"\$\{(\w+)", block.text), "example"))


def main(page: Path, directory: Path) -> int:
    """Run a page's blocks in ``directory``; return 1 after the first that fails."""
    todo = [block for block in blocks(page) if block.not_run is None and block.language in RUN]
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    run = PageRun(directory)
    for block in todo:
        try:
            run.run(block)
        except Exception:
            traceback.print_exc()
            sys.stderr.write(f"\n{block.place}: this {block.language} block fails\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
