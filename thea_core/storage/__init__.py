"""Where conversations are kept: ``memory:``, ``sqlite:///file.db`` and ``postgresql://host/database``.

:func:`open_store` makes the store that a URL names. A URL whose scheme is not in :data:`SCHEMES` may belong to a
plugin: ask the plugins' ``create_store`` first, and call :func:`open_store` last, for its error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from thea_core.errors import StoreUnavailableError
from thea_core.types import Clock, Store

__all__ = ["SCHEMES", "open_store", "scheme_of", "sqlite_path"]

SCHEMES = ("memory", "sqlite", "postgresql", "postgres")
"""The schemes that the core itself understands."""

_CHOICES = (
    "valid are memory:, sqlite:///file.db, sqlite:////absolute/file.db, postgresql://host/database, and what an "
    "enabled plugin's create_store takes"
)
_FILE_ENDINGS = (".db", ".sqlite", ".sqlite3")


def scheme_of(url: str) -> str:
    """Return what stands before the first colon of ``url``, in lower case; ``""`` where there is no colon."""
    scheme, colon, _ = url.partition(":")
    return scheme.lower() if colon else ""


def open_store(
    url: str,
    *,
    clock: Clock,
    entropy: Callable[[int], bytes] = os.urandom,
    directory: Path | None = None,
) -> Store:
    """Open the store that ``url`` names.

    Args:
        url: ``memory:``, ``sqlite:///file.db`` (relative) or ``sqlite:////absolute/file.db``. The path is taken as it
            stands: nothing in it is decoded. Or ``postgresql://user:password@host:port/database``, as libpq takes it.
        clock: decides over leases and deadlines; with PostgreSQL its server's does.
        entropy: gives that many random bytes; the store's key is made of it.
        directory: where a relative path starts; the working directory, if None.

    Raises:
        StoreUnavailableError: the URL is none that the core understands, or the file or database cannot be opened, or
            psycopg is not installed.
        StoreSchemaError: it is no database of Thea's, or one of a newer version.
    """
    scheme = scheme_of(url)
    if scheme == "memory":
        return _open_memory(url, clock, entropy)
    if scheme == "sqlite":
        from thea_core.storage.sqlite import SQLiteStore

        return SQLiteStore(sqlite_path(url, directory), clock=clock, entropy=entropy)
    if scheme in {"postgresql", "postgres"}:
        return _open_postgres(url, entropy)
    raise StoreUnavailableError(_unknown(url, scheme))


def _open_memory(url: str, clock: Clock, entropy: Callable[[int], bytes]) -> Store:
    from thea_core.storage.memory import MemoryStore

    if url.lower() != "memory:":
        raise StoreUnavailableError("the URL of the memory store is just 'memory:'; write that")
    return MemoryStore(clock=clock, entropy=entropy)


def _open_postgres(url: str, entropy: Callable[[int], bytes]) -> Store:
    try:
        from thea_core.storage.postgres import PostgresStore
    except ImportError as error:
        raise StoreUnavailableError(
            f"the PostgreSQL store needs psycopg, which cannot be imported ({error}): pip install 'thea-core[postgres]'"
        ) from error
    return PostgresStore(url, entropy=entropy)


def sqlite_path(url: str, directory: Path | None = None) -> Path:
    """Return the file that a ``sqlite:`` URL names; a relative one is in ``directory``, or the working directory.

    Raises:
        StoreUnavailableError: the URL names none.
    """
    rest = url.partition(":")[2]
    path = rest.removeprefix("///")
    if path == rest or not path.strip("/"):
        raise StoreUnavailableError(
            f"{url!r} names no file; write sqlite:///file.db for a file in the working directory, "
            "or sqlite:////absolute/file.db with four slashes"
        )
    if path == ":memory:":
        raise StoreUnavailableError(
            f"{url!r} would lose everything in silence; write memory: for a store without a file"
        )
    return (directory or Path.cwd()) / path


def _unknown(url: str, scheme: str) -> str:
    """Say what is wrong; only the scheme is shown, since the rest of a URL may hold a password."""
    if not scheme:
        hint = f"; did you mean sqlite:///{url}?" if url.lower().endswith(_FILE_ENDINGS) else ""
        return f"the store's URL has no scheme{hint}; {_CHOICES}"
    from difflib import get_close_matches

    close = get_close_matches(scheme, SCHEMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no store is known for the scheme {scheme!r}{hint}; {_CHOICES}"
