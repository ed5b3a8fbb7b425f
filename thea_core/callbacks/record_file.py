"""The record file: what a running application writes down of its calls, so that another process can look.

Whoever calls a hook only puts the record of the call into a queue; one daemon thread writes. Whatever becomes of the
file, the application goes on: what cannot be written is counted.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import logging
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from thea_core.callbacks.exiting import SECONDS, flush_all
from thea_core.callbacks.forking import watch
from thea_core.callbacks.hooks import Kind
from thea_core.callbacks.record_lines import (
    CallLine,
    HealthLine,
    LossLine,
    ProcessLine,
    RecordLine,
    encode,
    rotated_path,
)
from thea_core.types import CallRecord, Clock

if TYPE_CHECKING:
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.registration import Registration

__all__ = ["RecordFile", "RecordWriter"]

logger = logging.getLogger("thea_core.callbacks")

_MAX_SIZE = 16 * 2**20  # bytes of one file; there are two
_ROOM = 8192  # calls that may wait to be written
_BATCH = 256 * 1024  # bytes that are written at once, or a little more
_PAUSE = 0.05  # seconds in which calls are gathered, so that not each of them wakes the thread
_RETRY, _LONGEST_RETRY = 1.0, 60.0  # seconds until a file that could not be written is tried again
_GRACE = 0.1  # seconds for writing, at the end of a process that has used up its time for delivering
_TRIES = 100
_HEALTH = "on_plugin_health"
_CALL = b'{"kind":"call",'  # in a text it would have other quotation marks


class RecordFile:
    """A file of lines to which several processes append at once; when it is full it becomes ``FILE.1``.

    Not thread-safe: each thread that writes needs one of its own, with the same path.

    Args:
        path: the file; absolute, so that a change of the working directory does not move it.
        max_size: bytes; before a file would grow beyond, it takes the place of the ``FILE.1`` that was there.
        mode: who may read a file that is made here.
    """

    def __init__(self, path: Path, max_size: int = _MAX_SIZE, mode: int = 0o666) -> None:
        self.path = path
        self._max_size = max_size
        self._mode = mode
        self._descriptor: int | None = None

    def append(self, lines: bytes) -> int:
        """Append whole lines; return how many bytes of them are in the file now: all, or as many whole lines as fit.

        The file is opened for each call. So it does not matter who moves or removes it meanwhile, and the child of a
        fork keeps nothing. Waits for the lock as long as another process holds it.

        Raises:
            OSError: nothing could be written.
            ValueError: the path can be that of no file.
        """
        for _ in range(_TRIES):
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, self._mode)
            self._descriptor = descriptor
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                written = self._append_locked(descriptor, lines)
                if written is not None:
                    return written
            finally:
                with suppress(OSError):  # said explicitly: a child that was forked just now shares the lock
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                self._descriptor = None
                os.close(descriptor)
        raise OSError(errno.EBUSY, "it is moved away again and again")

    def after_fork_in_child(self) -> None:
        """Close what the parent had open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append_locked(self, descriptor: int, lines: bytes) -> int | None:
        """Append; None where that has to be done anew, for another file has the path by now."""
        status = os.fstat(descriptor)
        if not self._has_path(status):
            return None
        _check(descriptor, status)
        if status.st_size and status.st_size + len(lines) > self._max_size:
            self.path.replace(rotated_path(self.path))
            return None
        return _write(descriptor, status.st_size, lines)

    def _has_path(self, status: os.stat_result) -> bool:
        try:
            return os.path.samestat(status, self.path.stat())
        except FileNotFoundError:
            return False


def _check(descriptor: int, status: os.stat_result) -> None:
    """Refuse what is no record: to write into a database or a log that somebody named by mistake would ruin it."""
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if status.st_size and os.pread(descriptor, 1, 0) != b"{":
        raise OSError(errno.EINVAL, "it holds something else, which is left alone")


def _write(descriptor: int, size: int, lines: bytes) -> int:
    if size and os.pread(descriptor, 1, size - 1) != b"\n":  # somebody was killed within a line
        size += os.write(descriptor, b"\n")
    written = 0
    try:
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
    except OSError:
        whole = lines.rfind(b"\n", 0, written) + 1
        with suppress(OSError):
            os.ftruncate(descriptor, size + whole)
        if not whole:
            raise
        return whole
    return written


class RecordWriter:
    """Writes calls into a record file, on a daemon thread ``thea-record``. Thread-safe, and safe to fork.

    ::

        writer = RecordWriter(Path("calls.jsonl"), clock=callbacks.clock)
        writer.attach(callbacks)
        ...
        writer.close(5.0)

    What is written: names, times, outcomes and the short texts of errors; never a message. At most 8,192 calls wait to
    be written; more are lost, and counted. A file that cannot be written is logged once for each reason, and tried
    again after 1 s, later after up to 60 s.

    Args:
        path: the file; a relative one starts in the working directory of this moment.
        clock: dates what is no call.
        redact: takes the secrets out of a text; None where none is known. Called on the writer's thread.
        max_size: bytes at which the file is rotated; with the file before it there is at most twice as much.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        redact: Callable[[str], str] | None = None,
        max_size: int = _MAX_SIZE,
    ) -> None:
        self.path = path.absolute()
        self._clock = clock
        self._redact = redact
        self._max_size = max_size
        self._lock = threading.RLock()  # a finalizer may run within, and call a hook
        self._closed = False
        self._registrations: list[Registration] = []
        self._scribe = self._new_scribe()
        self._finalizer: weakref.finalize[[float], RecordWriter] | None = None
        watch(self)

    @property
    def lost(self) -> int:
        """How many calls this process could not write so far."""
        return self._scribe.lost

    def attach(self, callbacks: CallbackManager) -> None:
        """Write down every call of a manager, and every change of its circuit breakers, until :meth:`close`."""
        self._registrations.append(callbacks.add_observer(self.observe))
        if any(each.name == _HEALTH and each.kind is Kind.EVENT for each in callbacks.hooks):
            self._registrations.append(callbacks.register(_HEALTH, self.health))
        self._start()

    def observe(self, record: CallRecord) -> None:
        """Take a finished call: an observer. Never waits for the file."""
        scribe = self._scribe
        if not scribe.running:
            self._start()
        scribe.take(record)

    def health(self, plugin: str, hook: str, state: str, reason: str) -> None:
        """Take a change of a circuit breaker: a callback of ``on_plugin_health``. Never waits for the file."""
        self._start()
        self._scribe.take(HealthLine(os.getpid(), self._clock.now(), plugin, hook, state, reason))

    def close(self, timeout: float = 5.0) -> bool:
        """Write what waits, and end, within ``timeout`` seconds; whether that was in time. Idempotent.

        Where the file cannot be written, one more attempt is made. What comes afterwards is not written.
        """
        with self._lock:
            self._closed = True
            registrations, self._registrations = self._registrations, []
            self._scribe.end()
            if self._finalizer is not None:
                self._finalizer.detach()
        for each in registrations:
            each.remove()
        return self._scribe.stop(timeout)

    def after_fork_in_child(self) -> None:
        """Begin anew: the parent writes what waits there, and its thread does not run here."""
        parents, self._lock = self._scribe, threading.RLock()
        parents.forget()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._scribe = self._new_scribe()
        if self._closed:
            self._scribe.end()

    def _new_scribe(self) -> _Scribe:
        return _Scribe(RecordFile(self.path, self._max_size), self._clock, self._redact)

    def _start(self) -> None:
        with self._lock:
            if not self._scribe.running and self._scribe.start():
                self._finalizer = weakref.finalize(self, self._scribe.stop, 0.0)
                self._finalizer.atexit = False


class _Scribe:
    """The thread that writes, and the queue before it. It knows no writer, so that one that is forgotten goes."""

    def __init__(self, file: RecordFile, clock: Clock, redact: Callable[[str], str] | None) -> None:
        self._file = file
        self._clock = clock
        self._redact = redact
        self._pid = os.getpid()
        self._queue: SimpleQueue[CallRecord | RecordLine | None] = SimpleQueue()
        self._room = _ROOM
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._count = threading.RLock()
        self._told = 0
        self._complaints: set[str] = set()
        self._failing = False
        self.running = False
        self.lost = 0

    def start(self) -> bool:
        """Start the thread; whether there is one to be had. If not, what comes next tries again."""
        thread = threading.Thread(target=self._run, name="thea-record", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._complain(str(error))
            return False
        self._thread, self.running = thread, True
        atexit.register(self._exit)
        return True

    def take(self, item: CallRecord | HealthLine) -> None:
        """Queue what is to be written, if there is room."""
        if self._queue.qsize() < self._room:
            self._queue.put(item)
        else:
            self._lose(1)

    def end(self) -> None:
        """Take nothing any more, and let the thread end when it has written what waits."""
        self._room = 0
        self.running = True  # it is not started any more
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(None)

    def stop(self, timeout: float) -> bool:
        """Let the thread end, and wait for that; whether it was in time."""
        self.end()
        atexit.unregister(self._exit)
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def forget(self) -> None:
        """Let go what belongs to the parent of this process."""
        self._file.after_fork_in_child()
        atexit.unregister(self._exit)

    def _exit(self) -> None:
        """Write what an application has left that forgot to close: first its queues are emptied, for the last time."""
        end = time.monotonic() + SECONDS
        flush_all()
        self.stop(max(_GRACE, end - time.monotonic()))

    # On the thread

    def _run(self) -> None:
        lines = self._line(ProcessLine(self._pid, self._clock.now(), running=True))
        ended = False
        while not ended:
            self._append(lines)
            item = self._queue.get()
            self._closing.wait(_PAUSE)
            lines, ended = self._gather(item)
        self._append(lines)

    def _gather(self, item: CallRecord | RecordLine | None) -> tuple[bytes, bool]:
        """Return what waits, from ``item`` on, as lines; and whether it was the last."""
        lines = bytearray()
        while item is not None:
            lines += self._line(item)
            if len(lines) >= _BATCH:
                break
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
        if self.lost > self._told:
            lost, self._told = self.lost - self._told, self.lost
            lines += self._line(LossLine(self._pid, self._clock.now(), lost))
        if item is None:
            lines += self._line(ProcessLine(self._pid, self._clock.now(), running=False))
        return bytes(lines), item is None

    def _line(self, item: CallRecord | RecordLine) -> bytes:
        """Return a line with its end; nothing where there is nothing to tell, or it cannot be told."""
        try:
            if isinstance(item, CallRecord):
                item = CallLine(self._pid, self._without_secrets(_of_others(item)))
            elif isinstance(item, HealthLine) and self._redact is not None:
                item = item._replace(reason=self._redact(item.reason))
            told = not isinstance(item, CallLine) or item.call.callbacks
            return encode(item).encode("ascii") + b"\n" if told else b""
        except Exception:  # a name that is no text: one line less, and the thread goes on
            self._lose(1)
            return b""

    def _without_secrets(self, call: CallRecord) -> CallRecord:
        redact = self._redact
        if redact is None or all(each.error is None for each in call.callbacks):
            return call
        callbacks = (each if each.error is None else each._replace(error=redact(each.error)) for each in call.callbacks)
        return call._replace(callbacks=tuple(callbacks))

    def _append(self, lines: bytes) -> None:
        """Write the lines, however long that takes; while the application is being closed, only once."""
        pause = _RETRY
        while lines:
            last = self._closing.is_set()
            try:
                lines = lines[self._file.append(lines) :]
            except (OSError, ValueError) as error:
                self._complain(getattr(error, "strerror", None) or str(error))
                if last:
                    self._lose(lines.count(_CALL))
                    return
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_RETRY)
        if self._failing:
            self._failing = False
            _log(logging.INFO, "the record %s is written again", self._file.path)

    def _lose(self, records: int) -> None:
        with self._count:
            self.lost += records

    def _complain(self, reason: str) -> None:
        self._failing = True
        if reason not in self._complaints:
            self._complaints.add(reason)
            text = "the record %s cannot be written: %s; the application goes on, and it is tried again"
            _log(logging.WARNING, text, self._file.path, reason)


def _of_others(call: CallRecord) -> CallRecord:
    """Leave out the writer's own callback: what it was told stands in a line of its own."""
    if call.hook != _HEALTH:
        return call
    own = "local", RecordWriter.health.__qualname__
    return call._replace(callbacks=tuple(each for each in call.callbacks if each[:2] != own))


def _log(level: int, text: str, *arguments: object) -> None:
    with suppress(Exception):  # a handler or filter of the host's that raises stops nothing
        logger.log(level, text, *arguments)
