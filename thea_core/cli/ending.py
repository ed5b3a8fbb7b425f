"""SIGTERM and Ctrl-C as the end of a verb that runs until then."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

from thea_core.cli.exits import Terminated
from thea_core.types import Clock, SystemClock

__all__ = ["Ending", "wait_for_signal"]

_ECHO_NS: Final = 250_000_000
_PAUSE: Final = 0.5  # seconds; a signal that comes just before a wait, and on Windows any, is heard after it


class Ending:
    """Makes the first SIGTERM or Ctrl-C leave the block that is entered; what was opened in it is closed on the way.

    Leaving in that way is no error: what follows the block goes on. A second signal, while things are being closed, is
    an interruption like any other; but one within a quarter of a second is the first one again, which programs such as
    timeout(1) send to the process and to its group. Outside the main thread, where no signal arrives, it does nothing.

    Args:
        clock: measures that quarter.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._now = (clock or SystemClock()).monotonic_ns
        self._heard: int | None = None
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

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._heard is None:
            self._heard = self._now()
            raise _Ended
        if self._now() - self._heard >= _ECHO_NS:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


class _Ended(KeyboardInterrupt):
    """Leaves the block. Never goes further."""


def wait_for_signal() -> NoReturn:
    """Do nothing until a signal raises."""
    nothing = threading.Event()
    while True:
        nothing.wait(_PAUSE)
