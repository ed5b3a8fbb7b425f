"""The store of the configuration, for the verbs that look after what is kept in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.exits import Refusal
from thea_core.cli.options import Options

if TYPE_CHECKING:
    from thea_core.types import Outbox, Store

__all__ = ["outbox_of", "refuse_memory"]


def refuse_memory(options: Options) -> None:
    """Refuse a store that no other process could see.

    Raises:
        Refusal: conversations are kept in memory.
        ConfigError: the configuration is wrong.
    """
    from thea_core.storage import scheme_of

    if scheme_of(options.load().store.url) == "memory":
        raise Refusal(
            "[store] url is memory:, so the application keeps everything in its own memory, where no other process can "
            'see it; write the URL of a store that processes share, such as "sqlite:///thea.db"',
            code="memory-store",
            status=exits.STORE,
        )


@contextmanager
def outbox_of(options: Options) -> Iterator[Outbox]:
    """Give the outbox of the configured store; the store is closed at the end.

    Raises:
        Refusal: the store is in memory, is a file that does not exist, or has no outbox.
        ConfigError: the configuration is wrong.
        StoreError: the store cannot be opened.
    """
    refuse_memory(options)
    with _store_of(options) as store:
        if store.outbox is None:
            raise Refusal(
                "the configured store keeps no outbox: no plugin has durable delivery with it, and no event waits",
                code="no-outbox",
                status=exits.STORE,
            )
        yield store.outbox


@contextmanager
def _store_of(options: Options) -> Iterator[Store]:
    """Give the store. Plugins are loaded only where one of them makes it; else they can be in nobody's way."""
    from thea_core.storage import SCHEMES, open_store, scheme_of, sqlite_path
    from thea_core.types import SystemClock

    url = options.load().store.url
    if scheme_of(url) == "sqlite" and not (path := sqlite_path(url, options.directory)).exists():
        raise Refusal(
            f"there is no {path}: no application has kept anything there; run this in the directory in which the "
            "application runs, and with the same configuration",
            code="no-store",
            status=exits.STORE,
        )
    if scheme_of(url) in SCHEMES:
        with closing(open_store(url, clock=SystemClock(), directory=options.directory)) as store:
            yield store
        return
    from thea_core.cli.application import application, warnings_to

    with (
        warnings_to(lambda text: click.echo(text, err=True)),
        application(options, record=False, worker=False) as thea,
    ):
        yield thea.store
