"""SIGTERM and Ctrl-C as the end of a verb that runs until then."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

from thea_core.cli.exits import Terminated

__all__ = ["Ending", "wait_for_signal"]

_PAUSE: Final = 1.0  # seconds; where a signal does not end a wait, as on Windows, it is heard after it


class Ending:
    """Makes the first SIGTERM or Ctrl-C leave the block that is entered; what was opened in it is closed on the way.

    Leaving in that way is no error: what follows the block goes on. A second signal, while things are being closed, is
    an interruption like any other. Outside the main thread, where no signal arrives, it does nothing.
    """

    def __init__(self) -> None:
        self._heard = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._hear) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        for number, before in self._before.items():
            signal.signal(number, before)
        return isinstance(error, _Ended)

    def _hear(self, number: int, _: FrameType | None) -> NoReturn:
        if self._heard:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self._heard = True
        raise _Ended


class _Ended(KeyboardInterrupt):
    """Leaves the block. Never goes further."""


def wait_for_signal() -> NoReturn:
    """Do nothing until a signal raises."""
    nothing = threading.Event()
    while True:
        nothing.wait(_PAUSE)
