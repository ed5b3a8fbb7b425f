"""Faults of a store, made from outside, and the application on which they are tried."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.durability.assistant import Counting
from tests.durability.places import QUIET, drained
from tests.durability.process import PATIENCE
from tests.durability.wrapping import WrappedStore
from thea_core import Reply, Store, StoreError, StoreUnavailableError, Thea, hookimpl

BEFORE, AFTER, ALWAYS = "once, before it took effect", "once, after it took effect", "every time"
MODES = (BEFORE, AFTER, ALWAYS)

_RATE = 60


class FastClock:
    """A clock on which an hour takes a minute: a lease that nobody has any more ends after half a second."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC)
        self._begun = time.perf_counter_ns()
        self._ahead = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic_ns() / 1e9)

    def monotonic_ns(self) -> int:
        return (time.perf_counter_ns() - self._begun) * _RATE + round(self._ahead * 1e9)

    def advance(self, seconds: float) -> None:
        """Put it forward."""
        self._ahead += seconds


class Faults:
    """Lets operations of a :class:`WrappedStore` fail. Thread-safe.

    Attributes:
        seen: the operations that were called, however they went.
        reached: set when one was let fail.
    """

    def __init__(self) -> None:
        self.seen: dict[str, threading.Event] = defaultdict(threading.Event)
        self.reached = threading.Event()
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()
        self._mode = ALWAYS

    def begin(self, *names: str, mode: str = ALWAYS) -> None:
        """Let these operations fail from now on."""
        with self._lock:
            self._names, self._mode = frozenset(names), mode
            self.seen.clear()

    def heal(self) -> None:
        """Let everything work again."""
        with self._lock:
            self._names = frozenset()

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        fails = self._fails(name)
        if fails and self._mode != AFTER:
            raise StoreUnavailableError(f"the test lets {name} fail")
        result = work()
        if fails:
            raise StoreUnavailableError(f"the test lets {name} fail after it took effect")
        return result

    def _fails(self, name: str) -> bool:
        with self._lock:
            self.seen[name].set()
            if name not in self._names:
                return False
            if self._mode != ALWAYS:
                self._names -= {name}
            self.reached.set()
            return True


class Slow(Counting):
    """Stays in the turn of the message ``slow`` until it may go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def handle(self, message: str, context: dict[str, Any], turn: Any) -> Any:
        if message == "slow" and not self.go_on.is_set():
            self.begun.set()
            self.go_on.wait(PATIENCE)
        return super().handle(message, context, turn)


class Recorder:
    """Is told durably of messages, and of the ends of sessions."""

    name = "recorder"
    delivery = "durable"

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, str]] = defaultdict(dict)
        self.ends: dict[str, set[str]] = defaultdict(set)
        self.told_end = threading.Event()

    @hookimpl
    def on_message(self, user_id: str, message: str, event_id: str) -> None:
        self.messages[user_id].setdefault(event_id, message)

    @hookimpl
    def on_session_timeout(self, session_id: str, event_id: str) -> None:
        self.ends[session_id].add(event_id)
        self.told_end.set()


class Attempt(threading.Thread):
    """A call on a thread of its own: what hangs fails the test in place of holding it up."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def outcome(self) -> Any:
        """Return its result, or the StoreError that it has raised; anything else is raised again."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it hangs"
        if self._error is not None and not isinstance(self._error, StoreError):
            raise self._error
        return self._result if self._error is None else self._error


class Scene:
    """A running application whose store fails, and what it was asked.

    Attributes:
        app: the application; the same from the first to the last.
        faults: what fails.
        agent, recorder: its plugins.
        clock: what it goes by.
        asynchronous: whether messages are sent from async code.
    """

    def __init__(self, app: Thea, faults: Faults, agent: Slow, recorder: Recorder, clock: FastClock) -> None:
        self.app = app
        self.clock = clock
        self.asynchronous = False
        self.faults = faults
        self.agent = agent
        self.recorder = recorder
        self._sent: dict[str, list[str]] = defaultdict(list)
        self._replies: dict[tuple[str, str], Reply] = {}

    def begin(self, user: str, text: str) -> Attempt:
        """Send a message, for the first time or again, on a thread of its own."""
        if text not in self._sent[user]:
            self._sent[user].append(text)
        return Attempt(lambda: self._handle(user, text))

    def send(self, user: str, text: str) -> bool:
        """Send a message; whether it was answered. It may also be refused with a StoreError."""
        return not isinstance(self.begin(user, text).outcome(), StoreError)

    def _handle(self, user: str, text: str) -> Reply:
        if self.asynchronous:
            reply = asyncio.run(self.app.ahandle_request(user, text, f"{user}.{text}"))
        else:
            reply = self.app.handle_request(user, text, f"{user}.{text}")
        assert reply.ok, f"{text} was answered with an apology: {reply.text}"
        assert reply.text.partition(": ")[2] == text
        before = self._replies.setdefault((user, text), reply)
        assert (before.text, before.session_id) == (reply.text, reply.session_id)
        return reply

    def settle(self) -> None:
        """End what has expired, and wait until everything stored is handed over."""
        self.app.sessions.sweep()
        assert drained(self.app) == 0

    def check(self) -> None:
        """Send everything once more; check that all was applied once, and told, and nothing acknowledged is gone."""
        for user, texts in self._sent.items():
            for text in texts:
                assert self.send(user, text), f"{text} is refused though the store has recovered"
        self.settle()
        for user, texts in self._sent.items():
            context = self.app.contexts.load(user)
            assert sorted(context["seen"]) == sorted(texts)
            assert context["count"] == len(texts)
            for text in texts:
                place = context["seen"].index(text) + 1
                assert self._replies[user, text].text == f"{place}: {text}"
            told = [text for text in self.recorder.messages[user].values() if text != "outside"]
            assert told == context["seen"]
        assert [ids for ids in self.recorder.ends.values() if len(ids) != 1] == []


@contextmanager
def scene(store: Store, clock: FastClock) -> Iterator[Scene]:
    """Run an application whose store can be let fail."""
    faults, agent, recorder = Faults(), Slow(), Recorder()
    app = Thea(QUIET, plugins=[agent, recorder], store=WrappedStore(store, faults), clock=clock)
    app.start()
    try:
        yield Scene(app, faults, agent, recorder, clock)
    finally:
        faults.heal()
        agent.go_on.set()
        app.close(PATIENCE * _RATE)
