"""The tape: keeps the events themselves in a file, so that a plugin can be run on them elsewhere.

It is a local callback of every event, before all others but those that are marked ``tryfirst``, and disturbs none of
them: what it cannot write is counted, and logged once.
"""

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.event_json import encode
from thea_core.callbacks.forking import watch
from thea_core.callbacks.hooks import Kind
from thea_core.callbacks.privacy import Redaction
from thea_core.callbacks.record_file import RecordFile
from thea_core.errors import error_text

if TYPE_CHECKING:
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.registration import Registration

__all__ = ["Tape"]

logger = logging.getLogger("thea_core.callbacks")

_FIRST: Final = 10**9
"""The priority: an event is on the tape even if a callback of it takes the process down."""

_PRIVATE: Final = 0o600

_text_of = json.JSONEncoder(allow_nan=False).encode


class Tape:
    """Writes each event of a manager into a file, as one line of JSON. Thread-safe, and safe to fork.

    ::

        from pathlib import Path

        tape = Tape(Path("events.jsonl"), Redaction(key=b"0123456789abcdef"))
        tape.attach(callbacks)
        tape.close()

    A line is the JSON form of the event (see :mod:`thea_core.callbacks.event_json`) and ``at``, when it was written,
    in UTC. It is written before the other callbacks run, by the thread that fires the event: what a crash follows is
    there, and a disk that hangs makes the event wait. Several processes may write into one file. At half of the limit
    it becomes ``FILE.1``, in place of the one before; so the newest half of the limit is always there. Only its owner
    may read it.

    Args:
        path: the file; a relative one starts in the working directory of this moment.
        redaction: what of an event may be kept.
        limit: the most bytes, of both files together.
    """

    def __init__(self, path: Path, redaction: Redaction, limit: int = 100_000_000) -> None:
        self.path = path.absolute()
        self._largest = limit // 2
        self._redaction = redaction
        self._file = RecordFile(self.path, self._largest, mode=_PRIVATE)
        self._lock = threading.RLock()  # a finalizer may run within, and fire an event in its turn
        self._waiting: list[bytes] = []
        self._writing = False
        self._callbacks: CallbackManager | None = None
        self._known: dict[str, object] = {}
        self._registrations: list[Registration] = []
        self._lost = 0
        self._told = False
        watch(self)

    def attach(self, callbacks: CallbackManager) -> None:
        """Keep the events of ``callbacks`` from now on, also those of hooks that are added later. To be called once."""
        self._now = callbacks.clock.now
        self._write(b"")  # makes the file, or tells at once that there is none to be had
        self._callbacks = callbacks
        callbacks.tell_changes(self)
        self.chains_changed()

    def chains_changed(self) -> None:
        """Register for the events that are new. Called whenever a chain has changed, under the manager's lock."""
        callbacks = self._callbacks
        if callbacks is None:
            return
        mine = object()  # to register changes chains, and another thread may be here, too: each event is one caller's
        new = [
            hook.name
            for hook in callbacks.hooks
            if hook.kind is Kind.EVENT and self._known.setdefault(hook.name, mine) is mine
        ]
        for name in new:
            self._registrations.append(callbacks.register(name, partial(self._keep, name), priority=_FIRST))

    def close(self) -> None:
        """Keep no more events. Idempotent."""
        self._callbacks = None
        while self._registrations:
            self._registrations.pop().remove()
        if self._lost:
            lost, self._lost = self._lost, 0
            _log("events are missing in %s: %d could not be written", self.path, lost)

    def after_fork_in_child(self) -> None:
        """Take a fresh lock, and leave to the parent what is being written."""
        self._lock = threading.RLock()
        self._waiting, self._writing = [], False
        self._lost = 0
        self._file.after_fork_in_child()

    def _keep(self, hook: str, /, event_id: Any, session_id: Any, timestamp: Any, **arguments: Any) -> None:
        """Write one event: a callback of each of them."""
        if self._callbacks is None:
            return
        try:
            arguments.update(event_id=event_id, session_id=session_id, timestamp=timestamp)
            event = {"at": self._now().isoformat(), **encode(hook, self._redaction(hook, arguments))}
            line = f"{_text_of(event)}\n".encode()
        except Exception as error:  # whatever it is, the event goes on to the other callbacks
            self._lose(error)
        else:
            self._write(line)

    def _write(self, line: bytes) -> None:
        """Append a line. Within the writing of another one, in the same thread, it is left to that."""
        with self._lock:
            self._waiting.append(line)
            if self._writing:
                return
            self._writing = True
            try:
                while self._waiting:
                    self._append(self._waiting.pop(0))
            finally:
                self._writing = False

    def _append(self, line: bytes) -> None:
        problem: Exception | None = None
        if len(line) > self._largest:
            problem = ValueError(f"the event has {len(line):,} bytes, more than half of the limit")
        else:
            try:
                if self._file.append(line) < len(line):
                    problem = OSError("there is no more room")
            except Exception as error:  # the same
                problem = error
        if problem is not None:
            self._lose(problem, events=1 if line else 0)

    def _lose(self, error: Exception, events: int = 1) -> None:
        """Count what cannot be written, and log the first of it."""
        self._lost += events
        if not self._told:
            self._told = True
            reason = f"{type(error).__name__}: {error_text(error)}"
            _log("events cannot be kept in %s (%s); the application goes on without", self.path, reason)


def _log(message: str, *arguments: object) -> None:
    with suppress(Exception):  # a handler or filter of the host's that raises stops nothing
        logger.warning(message, *arguments)
