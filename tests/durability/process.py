"""A child process that is talked to in lines of JSON."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 60.0  # seconds until a process counts as hanging
ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A program of this directory, as a process of its own; it is killed at the end of the block.

    Args:
        program: the name of its module in this directory.
        options: what it is to do, JSON-shaped.
        log: where its standard error goes.
    """

    def __init__(self, program: str, options: dict[str, Any], log: Path) -> None:
        command = [sys.executable, "-m", f"tests.durability.{program}", json.dumps(options)]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        self._log = log
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._stdin.close()
        self._stdout.close()

    def say(self, **line: object) -> None:
        """Send one line."""
        self._stdin.write(json.dumps(line).encode() + b"\n")

    def hang_up(self) -> None:
        """Let it see the end of its input."""
        self._stdin.close()

    def hear(self, seconds: float) -> list[dict[str, Any]]:
        """Return the lines that have come, as soon as there is one; none where ``seconds`` pass, or it has ended."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            ready, _, _ = select.select([self._stdout], [], [], max(left, 0.0))
            if not ready:
                return []
            piece = os.read(self._stdout.fileno(), 65536)
            whole, _, self._rest = (self._rest + piece).rpartition(b"\n")
            if whole or not piece:
                return [json.loads(line) for line in whole.splitlines()]

    def expect(self, key: str) -> Any:
        """Wait for a line with that key and return its value; other lines are passed over.

        Raises:
            AssertionError: it does not come.
        """
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            for line in self.hear(0.5):
                if key in line:
                    return line[key]
        raise AssertionError(f"the child did not say {key!r}; it has written: {self.errors()}")

    def kill(self) -> None:
        """End it without any warning. What it has said before can still be heard."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Let it come to its end, and return its status."""
        self.hang_up()
        return self.process.wait(PATIENCE)

    def errors(self) -> str:
        """Return the end of what it has written to standard error."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    @property
    def _stdin(self) -> Any:
        return self.process.stdin

    @property
    def _stdout(self) -> Any:
        return self.process.stdout
