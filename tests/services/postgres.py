"""A PostgreSQL server for tests, wherever there is one.

:func:`new_schema` returns the URL of an empty schema, in a database that belongs to this run and is dropped at its end.
The server is the first of these that answers, and lets a database be made:

1. the one that the environment variable ``THEA_TEST_POSTGRES`` names, a URL;
2. one of this machine: through its socket or 127.0.0.1:5432, as ``postgres`` or the current user, without a password;
3. one that is started for this run, on loopback and in a temporary directory, where PostgreSQL's programs are.

Else the test is skipped. In CI (the environment variable ``CI`` is set) it fails instead where the machine has a server
or its programs: what is there has to be used.
"""

from __future__ import annotations

import atexit
import functools
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

__all__ = ["VARIABLE", "database_url", "empty", "forgo_disk", "has_server", "new_schema", "require"]

VARIABLE = "THEA_TEST_POSTGRES"
_PORT = 5432
_INSTALLED = Path("/usr/lib/postgresql")  # Debian's place for them, which is not on the path


def has_server() -> bool:
    """Whether this machine has a PostgreSQL server or its programs."""
    if os.environ.get(VARIABLE) or _programs() is not None:
        return True
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", _PORT)) == 0


def require() -> None:
    """Skip the test, or fail it, where there is no server for it."""
    database_url()


def new_schema() -> str:
    """Return the URL of a new schema, empty and like no other, that is the connection's current one."""
    import psycopg

    name = f"thea_{secrets.token_hex(6)}"
    with psycopg.connect(database_url(), autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"'.encode())
    return f"{database_url()}{'&' if '?' in database_url() else '?'}options=-csearch_path%3D{name}"


def empty(url: str) -> None:
    """Remove what a store keeps in a schema. To make its tables takes fifty times as long."""
    _with_each_table(url, "DELETE FROM {}")


def forgo_disk(url: str) -> None:
    """Let no commit to a schema wait for the disk, for tests of which nothing depends on it: it may be slow."""
    _with_each_table(url, "ALTER TABLE {} SET UNLOGGED")


def _with_each_table(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema AND tablename <> 'thea_store'"
        ).fetchall()
        connection.execute(";".join(statement.format(table) for (table,) in tables).encode())


def database_url() -> str:
    """Return the URL of this run's database; the test is skipped, or fails, where there is no server for it."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'thea-core[postgres]'")
    made = _database()
    if made is not None:
        return made
    reason = (
        f"no PostgreSQL server can be used: name one that lets a database be made in the environment variable "
        f"{VARIABLE}, such as postgresql://postgres@127.0.0.1/postgres, or install PostgreSQL"
    )
    if os.environ.get("CI") and has_server():
        pytest.fail(f"{reason}; this machine has one, so its tests must not be left out")
    pytest.skip(reason)


@functools.cache
def _database() -> str | None:
    """Make this run's database on the first server that can be used."""
    name = f"thea_test_{secrets.token_hex(6)}"
    for server in _servers():
        if _execute(server, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"):
            _at_exit(_execute, server, f"DROP DATABASE {name} WITH (FORCE)")
            head, question, options = server.partition("?")
            return f"{head.rpartition('/')[0]}/{name}{question}{options}"
    return None


def _servers() -> Iterator[str]:
    """Go through the servers that may be there, each by the URL of a database in it."""
    given = os.environ.get(VARIABLE)
    if given:
        yield given
        return
    users = dict.fromkeys(["postgres", getpass.getuser()])
    for user in users:
        yield f"postgresql://{quote(user)}@/postgres"
        yield f"postgresql://{quote(user)}@127.0.0.1:{_PORT}/postgres"
    own = _start()
    if own is not None:
        yield own


def _execute(url: str, statement: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())
    except psycopg.Error:
        if url == os.environ.get(VARIABLE):
            raise
        return False
    return True


def _programs() -> Path | None:
    """Return the directory of PostgreSQL's programs."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    installed = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return installed[-1].parent if installed else None


def _start() -> str | None:
    """Start a server of our own; None where its programs are missing."""
    programs = _programs()
    if programs is None:
        return None
    directory = Path(tempfile.mkdtemp(prefix="thea-postgres-"))
    _at_exit(shutil.rmtree, directory, ignore_errors=True)
    data = directory / "data"
    user = _unprivileged() if os.geteuid() == 0 else None  # it refuses to run as root
    if user is not None:
        shutil.chown(directory, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-h 127.0.0.1 -p {port} -k {directory} -c fsync=off"
    _run(user, programs / "initdb", "--pgdata", data, "--username=postgres", "--auth=trust", "--no-sync")
    _run(user, programs / "pg_ctl", "--pgdata", data, "--log", directory / "log", "--wait", "-o", options, "start")
    _at_exit(_run, user, programs / "pg_ctl", "--pgdata", data, "--mode=immediate", "stop")
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _unprivileged() -> str:
    import pwd

    return "postgres" if any(each.pw_name == "postgres" for each in pwd.getpwall()) else "nobody"


def _run(user: str | None, *command: str | Path) -> None:
    subprocess.run(command, user=user, cwd="/", check=True, stdout=subprocess.DEVNULL)


def _at_exit(function: Callable[..., object], *arguments: Any, **options: Any) -> None:
    """Call ``function`` at the end of this process, and not at that of a forked one."""
    process = os.getpid()
    atexit.register(lambda: function(*arguments, **options) if os.getpid() == process else None)
