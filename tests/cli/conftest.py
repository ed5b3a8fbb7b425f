"""The command, run in this process: with a directory, an environment and a pip of the test's own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.plugins.conftest import FakeSite, lantern, site  # noqa: F401 -- fixtures
from thea_core.cli.options import Options
from thea_core.cli.root import thea


class Command:
    """Runs ``thea`` in a directory of its own. What it does with pip goes to ``pip``, which notes the commands.

    Another program does not take the place of the tests: ``became`` notes it, with its environment.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pip_commands: list[list[str]] = []
        self.pip: Callable[[], int] = lambda: 0
        self.pip_streams: dict[str, Any] = {}
        self.became: list[tuple[list[str], dict[str, str]]] = []

    def __call__(self, *arguments: str, typed: str | bytes = "", **environ: str) -> Result:
        options = Options(environ=environ, run=self._run, become=self._become)
        return CliRunner().invoke(thea, list(arguments), input=typed, obj=options, prog_name="thea")

    def ok(self, *arguments: str, typed: str | bytes = "", **environ: str) -> str:
        """Run it, and return what it printed; it must succeed."""
        result = self(*arguments, typed=typed, **environ)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, **environ: str) -> Any:
        """Run it with ``--json``, and return what that says; it must succeed."""
        return json.loads(self.ok(*arguments, "--json", **environ))

    def write(self, text: str, name: str = "thea.toml") -> Path:
        """Write a file into the directory."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def _run(self, command: Sequence[str], **streams: Any) -> int:
        self.pip_commands.append(list(command))
        self.pip_streams = streams
        return self.pip()

    def _become(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.became.append((list(command), dict(environ)))


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in an empty directory."""
    directory = tmp_path / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return Command(directory)


class Process:
    """Starts ``thea`` as a process of its own, which finds what this process finds."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def start(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Give the process while it runs; where the test fails meanwhile it is killed."""
        code = "import sys; from thea_core.cli import main; sys.exit(main())"
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TERM": "xterm", "COLUMNS": "80"}
        command = [sys.executable, "-c", code, *arguments]
        with subprocess.Popen(command, cwd=self._directory, env=environ, **(pipes | options)) as started:
            try:
                yield started
            finally:
                started.kill()


@pytest.fixture
def process(cli: Command) -> Process:
    """The command, as a process in the same directory."""
    return Process(cli.directory)


class Pty:
    """A terminal, seen from the side of the person."""

    def __init__(self) -> None:
        import pty

        self._own, self.theirs = pty.openpty()
        self.seen = ""

    def until(self, text: str) -> None:
        """Read until that is on the screen."""
        while text not in self.seen:
            ready, _, _ = select.select([self._own], [], [], 60)
            assert ready, f"{text!r} is not on the screen, but {self.seen!r}"
            self.seen += os.read(self._own, 4096).decode(errors="replace")

    def type(self, text: str) -> None:
        """Type."""
        self.seen = ""
        os.write(self._own, text.encode())

    def close(self) -> None:
        """Close both sides."""
        os.close(self._own)
        os.close(self.theirs)


@pytest.fixture
def terminal() -> Iterator[Pty]:
    """A terminal."""
    made = Pty()
    yield made
    made.close()
