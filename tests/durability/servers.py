"""A PostgreSQL server of a test's own, which may be stopped and started as no shared one may."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_INSTALLED = Path("/usr/lib/postgresql")  # Debian's place, which is not on the path


class OwnServer:
    """A server on loopback; its data are in ``directory``, which is given to the user that it runs as."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        if self._user is not None:
            shutil.chown(directory, self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._directory}"
        self._run("pg_ctl", "--log", str(self._directory / "log"), "--wait", "-o", options, "start")

    def crash(self) -> None:
        """End it at once, as if it had failed: what it has in memory is gone."""
        self._run("pg_ctl", "--mode=immediate", "--wait", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, "--pgdata", self._directory / "data", *arguments]
        subprocess.run(command, user=self._user, cwd="/", check=True, stdout=subprocess.DEVNULL)


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """Run a server; the test is skipped where PostgreSQL's programs are not to be found."""
    found = shutil.which("initdb")
    installed = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found is None and not installed:
        pytest.skip("needs PostgreSQL's programs: initdb and pg_ctl")
    programs = (installed[-1] if found is None else Path(found)).parent
    with tempfile.TemporaryDirectory(prefix="thea-postgres-") as name:
        server = OwnServer(programs, Path(name))
        server.start()
        try:
            yield server
        finally:
            server.crash()
