"""The daemon threads on which synchronous callbacks run that have a time limit.

A body cannot be stopped. Where its time is up its caller goes on, and thread and body are left behind; the thread is
used again once the body has ended. Both the threads at work and those left behind are bounded for each plugin.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from types import CodeType, CoroutineType
from typing import Any, Final

from thea_core.errors import CallbackSkippedError

__all__ = ["MAX_AT_WORK", "MAX_LEFT_BEHIND", "Job", "Outcome", "Stragglers", "ThreadPool", "place_in", "stack_of"]

MAX_AT_WORK: Final = 16
"""How many threads of one plugin may be at work at once."""

MAX_LEFT_BEHIND: Final = 3
"""With how many bodies left behind a plugin is called no more, until one of them has ended."""

_MAX_FRAMES = 20
_HERE = __file__.removesuffix("threads.py")

Outcome = tuple[Any, "BaseException | None"]
"""What came of a call: its value, or the exception that it raised."""

Follower = Callable[[Any], tuple[Callable[[], Outcome], Callable[[], None]]]


class Stragglers:
    """Counts what a plugin has left behind: bodies whose time was up and that still run. Thread-safe.

    Args:
        crowded: called when the cap is reached.
        relieved: called when one of so many has come back. The two are called in turns, and the last says what is.
    """

    def __init__(self, crowded: Callable[[], None], relieved: Callable[[], None]) -> None:
        self._crowded = crowded
        self._relieved = relieved
        self._fresh()

    def _fresh(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run within, and end a body in its turn
        self._telling = threading.Lock()
        self._count = 0
        self._told = False

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    @property
    def too_many(self) -> bool:
        """Whether nothing may be called before one has come back."""
        return self._count >= MAX_LEFT_BEHIND

    def add(self) -> None:
        """Note that one more is left behind."""
        self._change(1)

    def remove(self) -> None:
        """Note that one has come back."""
        self._change(-1)

    def after_fork_in_child(self) -> None:
        """Start anew: none of the threads runs here."""
        crowded = self.too_many
        self._fresh()
        if crowded:
            self._relieved()

    def _change(self, by: int) -> None:
        with self._lock:
            self._count += by
        while self.too_many is not self._told:
            if not self._telling.acquire(blocking=False):
                return  # whoever tells something just now looks again
            try:
                if (many := self.too_many) is not self._told:
                    self._told = many
                    (self._crowded if many else self._relieved)()
            finally:
                self._telling.release()


class Job:
    """One call on its way through a thread.

    Attributes:
        begun: when the body began, by ``time.monotonic``; None until then.
        outcome: what came of it; None until then.
        ended: when the body ended, in the same way.
        worker: the thread that runs it; None until then.
        capped: whether it is refused where as many are at work as may be.
        give_up: gives up the coroutine that the body has returned, if it has returned one.
        begin: lets it begin, once it is assigned to a thread.
        tell: called at the end; must not raise.
    """

    begun: float | None = None
    outcome: Outcome | None = None
    ended: float = 0.0
    worker: _Worker | None = None
    give_up: Callable[[], None] | None = None
    capped = True

    def __init__(self, call: Callable[[], Any], context: Context, tell: Callable[[], object]) -> None:
        self.call = call
        self.context = context
        self.tell = tell
        self.begin: Callable[[], None] = _nothing
        self._claims = [None]

    @property
    def where(self) -> str:
        """Where its thread is just now; empty where that is not known."""
        return "" if self.worker is None else stack_of(self.worker.thread.ident)

    @property
    def claimed(self) -> bool:
        """Whether it is decided what becomes of it."""
        return not self._claims

    def claim(self) -> bool:
        """Decide what becomes of it: by the body's end, or by the end of its time. The first who claims it decides."""
        try:
            self._claims.pop()  # atomic, and cheaper than a lock
        except IndexError:
            return False
        return True


class _Worker:
    """One thread: it sleeps at its gate until a job lies there; none means that it is to end."""

    __slots__ = ("gate", "job", "thread")

    def __init__(self, name: str) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.job: tuple[Job, ThreadPool] | None = None
        self.thread = threading.Thread(target=_work, args=(self,), name=f"thea-{name}", daemon=True)


class ThreadPool:
    """The threads of one plugin. Thread-safe; idle ones are reused, and end with the pool at the latest.

    As many stay idle as may be at work; of calls that are not capped there may be more.

    Args:
        name: the plugin's name.
        one: use one thread only, so that calls wait for each other.
        stragglers: counts what is left behind.
        run_coroutine: begins to run the coroutine that a body has returned; returns what waits for it, and what gives
            it up.
    """

    def __init__(self, name: str, *, one: bool, stragglers: Stragglers, run_coroutine: Follower) -> None:
        self._name = name
        self._stragglers = stragglers
        self._run_coroutine = run_coroutine
        self.one = one
        self._idle: list[_Worker] = []
        weakref.finalize(self, _end, self._idle).atexit = False
        self._fresh()

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._idle.clear()
        self._waiting: deque[Job] = deque()  # only where there is one thread
        self._threads = 0
        self._left_behind = 0
        self._ending = False
        self._only: threading.Thread | None = None

    @property
    def on_own_thread(self) -> bool:
        """Whether the caller runs on the one thread."""
        return self.one and self._only is threading.current_thread()

    def assign(self, job: Job) -> None:
        """Find a thread for a job; its ``begin`` lets it begin, and its ``tell`` is called at the end.

        Raises:
            CallbackSkippedError: there is no thread for it.
        """
        if self._stragglers.too_many:
            raise CallbackSkippedError(
                f"{MAX_LEFT_BEHIND} calls of {self._name!r} hang whose time was up; "
                "it is called again when one of them has come back"
            )
        try:
            worker = self._idle.pop()
        except IndexError:
            self._wait_or_start(job)
        else:
            self._give(worker, job)

    def _give(self, worker: _Worker, job: Job) -> None:
        job.worker = worker
        job.begin = worker.gate.release
        worker.job = job, self

    def withdraw(self, job: Job) -> bool:
        """Take back a job that still waits for the one thread; whether it did."""
        with self._lock:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
        return job.claim()

    def abandon(self, job: Job) -> bool:
        """Leave a job behind; False where it has just ended, and its outcome counts."""
        if not job.claim():
            return False
        with self._lock:
            with suppress(ValueError):  # it has begun already
                self._waiting.remove(job)
                return True
            self._left_behind += 1
        self._stragglers.add()
        if job.give_up is not None:
            job.give_up()
        return True

    def close(self) -> list[threading.Thread]:
        """Let the threads end, as soon as they are idle, and return those that are.

        A call that is made afterwards has a thread of its own.
        """
        with self._lock:
            self._ending = True
            return self._end_idle()

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads: none of them runs here."""
        self._fresh()

    def do(self, worker: _Worker, job: Job) -> tuple[Job | None, bool]:
        """Run a job; return the one that waits for this thread, if any, and whether the thread is to end."""
        lock = self._lock
        job.begun = time.monotonic()
        try:
            value, error = job.context.run(job.call), None
            if type(value) is CoroutineType:
                value, error = job.context.run(self._follow, job, value)
        except BaseException as raised:  # handed to whoever waits
            value, error = None, raised
        job.ended = time.monotonic()
        job.outcome = value, error
        if lock is not self._lock:
            return None, True  # the body has forked, and this is the child, where nobody waits for it
        if not job.claim():
            with lock:
                self._left_behind -= 1
            self._stragglers.remove()
        if self.one or self._ending or len(self._idle) >= MAX_AT_WORK:
            return self._next(worker)
        self._idle.append(worker)  # before its caller goes on, who may need it at once
        if self._ending:  # since just now: whoever finds it idle first decides
            self.close()
        return None, False

    def _follow(self, job: Job, coroutine: Any) -> Outcome:
        wait, job.give_up = self._run_coroutine(coroutine)
        if job.claimed:  # since just now: whoever gave up the job did not know of it
            job.give_up()
        return wait()

    def _end_idle(self) -> list[threading.Thread]:
        ended = _end(self._idle)
        self._threads -= len(ended)
        return ended

    def _next(self, worker: _Worker) -> tuple[Job | None, bool]:
        with self._lock:
            if self._waiting:
                following = self._waiting.popleft()
                following.worker = worker
                return following, False
            if self._ending or len(self._idle) >= MAX_AT_WORK:
                self._threads -= 1
                return None, True
            self._idle.append(worker)
        return None, False

    def _wait_or_start(self, job: Job) -> None:
        with self._lock:
            with suppress(IndexError):  # one may have become idle just now
                self._give(self._idle.pop(), job)
                return
            if job.capped and self._threads - self._left_behind + len(self._waiting) >= MAX_AT_WORK:
                raise CallbackSkippedError(
                    f"{MAX_AT_WORK} calls of {self._name!r} are at work already, which is the limit"
                )
            if self.one and self._threads:
                self._waiting.append(job)
                return
            self._threads += 1
        worker = _Worker(self._name)
        self._give(worker, job)
        if self.one:
            self._only = worker.thread
        try:
            worker.thread.start()
        except RuntimeError as error:  # there are too many, or the interpreter is about to end
            text = f"no thread can be started for {self._name!r} ({error})"
            self._refuse_waiting(text)
            raise CallbackSkippedError(text) from error

    def _refuse_waiting(self, text: str) -> None:
        """Answer those who wait by now for the one thread, which cannot be started."""
        with self._lock:
            self._threads -= 1
            waiting = list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            job.outcome = None, CallbackSkippedError(text)
            if job.claim():
                job.tell()


def _work(worker: _Worker) -> None:
    """Be one thread. While it is idle it keeps nothing alive, not even its pool."""
    gate = worker.gate.acquire
    last = False
    # Between telling one caller and waiting for the next there is as little as can be: both want the interpreter.
    while not last:
        gate()
        given, worker.job = worker.job, None
        if given is None:
            return
        while given is not None:
            job, pool = given
            following, last = pool.do(worker, job)
            tell, given = job.tell, None if following is None else (following, pool)
            del job, pool, following
            tell()
            del tell


def _end(idle: list[_Worker]) -> list[threading.Thread]:
    """Let the idle threads end; return them."""
    ended: list[threading.Thread] = []
    while True:
        try:
            worker = idle.pop()
        except IndexError:
            return ended
        worker.gate.release()
        ended.append(worker.thread)


def _nothing() -> None:
    """Stand for the gate of a thread that will find the job itself."""


def stack_of(thread: int | None) -> str:
    """Return where a thread is just now, innermost call last, from the callback on; empty where it is not known.

    The text of the lines is not looked up: it is read from files, and whoever asks has waited for long enough.
    """
    frame = sys._current_frames().get(thread or 0)  # noqa: SLF001 -- documented in the library's reference
    codes: list[tuple[CodeType, int]] = []
    while frame is not None:
        codes.insert(0, (frame.f_code, frame.f_lineno))
        frame = frame.f_back
    places = [(code, line) for code, line in codes if code.co_filename != __file__]
    while places and places[0][0].co_filename.startswith((threading.__file__, _HERE)):
        del places[0]
    return "".join(place_in(code, line) for code, line in places[-_MAX_FRAMES:])


def place_in(code: CodeType, line: int) -> str:
    """Return a place as a line of a traceback."""
    return f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
