"""The running application, for the verbs that need one, and what is said while it runs."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from thea_core.cli.exits import Terminated
from thea_core.cli.options import Options
from thea_core.cli.output import plain
from thea_core.errors import format_traceback

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.types import Store

__all__ = ["application", "terminable", "warnings_to"]

_LOGGERS = ("thea_core", "thea.plugins")


@contextmanager
def application(
    options: Options,
    store: Store | None = None,
    *,
    record: bool = True,
    worker: bool = True,
    prepare: Callable[[Thea], object] = id,
) -> Iterator[Thea]:
    """Give the started application of the configuration; it is closed at the end.

    Args:
        options: which configuration, and what to leave out.
        store: where conversations are kept, in place of the configured one.
        record: whether its calls and events are written down, where configuration and environment say so.
        worker: whether it also ends expired sessions and delivers durable events.
        prepare: what is done with it before it starts.
    """
    from thea_core.app import Thea
    from thea_core.config.recording import without_recording

    config = options.load()
    made = Thea(
        config if record else replace(config, callbacks=replace(config.callbacks, record=None)),
        store=store,
        environ=options.environ if record else without_recording(options.environ),
        no_plugins=options.no_plugins,
        without_guards=options.without_guards,
        worker=worker,
    )
    prepare(made)
    with made as thea:
        yield thea


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM end what runs as Ctrl-C does, while entered: the application is closed before the process ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated


@contextmanager
def warnings_to(write: Callable[[str], None], *, tracebacks: bool = False) -> Iterator[None]:
    """Let ``write`` have each warning and error that Thea or a plugin of it logs, while entered.

    Args:
        write: gets it as one line.
        tracebacks: whether the traceback follows that line.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    handler = _Remarks(write, tracebacks=tracebacks)
    for each in loggers:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in loggers:
            each.removeHandler(handler)


class _Remarks(logging.Handler):
    """Hands records over as text."""

    def __init__(self, write: Callable[[str], None], *, tracebacks: bool) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._tracebacks = tracebacks

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        title = click.style("warning", fg="yellow", bold=True)
        try:
            text = record.getMessage()
            if self._tracebacks and record.exc_info and record.exc_info[1] is not None:
                text = f"{text}\n{format_traceback(record.exc_info[1]).rstrip()}"
            self._write(f"{title}: {plain(text)}")
        except Exception:  # a remark that cannot be written must not stop what it is about
            self.handleError(record)
