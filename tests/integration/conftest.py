"""The real command as a process of its own, in an empty directory, as its users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.conftest import site  # noqa: F401 -- a fixture

DATA = Path(__file__).resolve().parents[1] / "data"
THEA = Path(sysconfig.get_path("scripts")) / "thea"
PATIENCE = 60  # seconds until a process counts as hanging


@dataclass(frozen=True)
class Outcome:
    """How a command has ended, and what it has printed."""

    status: int
    output: str
    errors: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output, which is nothing but JSON lines."""
        return [json.loads(line) for line in self.output.splitlines()]


class Command:
    """Runs ``thea`` in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: str, **environ: str) -> Outcome:
        with self.started(*arguments, **environ) as process:
            return self.ended(process)

    @contextmanager
    def started(self, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """Give the process while it runs; it is killed where the test leaves it running."""
        given = {name: value for name, value in os.environ.items() if not name.startswith("THEA")}
        with subprocess.Popen(
            [THEA, *arguments],
            cwd=self.directory,
            env=given | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what a test reads is a line, and the rest stays in the pipe
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @staticmethod
    def ended(process: subprocess.Popen[bytes]) -> Outcome:
        """Wait for the end of a process."""
        output, errors = process.communicate(timeout=PATIENCE)
        return Outcome(process.returncode, output.decode(), errors.decode())

    def write(self, text: str | bytes, name: str = "thea.toml") -> Path:
        """Write a file into the directory."""
        path = self.directory / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def files(self) -> dict[str, bytes]:
        """Return what is in the directory: the names of files, and what they hold."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }


@pytest.fixture
def thea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path)
