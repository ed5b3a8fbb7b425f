"""What the tests of the conversation share: ways to call, agents, detectors, and a notebook of what was fired."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from tests.support import FakeClock
from thea_core import AgentReply, CallbackManager, Context, FSMEngine, IntentMatch, Outbox, Reply, Turn
from thea_core.conversation.router import CoreRouter
from thea_core.storage.memory import MemoryStore
from thea_core.types import Store

EVENTS = (
    "on_message",
    "on_state_change",
    "on_error",
    "on_session_timeout",
    "on_intent_detected",
    "on_agent_delegated",
)


class SyncDriver:
    """Calls the synchronous form of everything."""

    def handle(self, router: CoreRouter, user_id: Any, message: Any, message_id: Any = None, **options: Any) -> Reply:
        return router.handle_request(user_id, message, message_id, **options)

    def call(self, owner: Any, method: str, *arguments: Any) -> Any:
        return getattr(owner, method)(*arguments)


class AsyncDriver:
    """Calls the asynchronous form, each time on a loop of its own."""

    def handle(self, router: CoreRouter, user_id: Any, message: Any, message_id: Any = None, **options: Any) -> Reply:
        async def main() -> Reply:
            return await router.ahandle_request(user_id, message, message_id, **options)

        return asyncio.run(main())

    def call(self, owner: Any, method: str, *arguments: Any) -> Any:
        async def main() -> Any:
            return await getattr(owner, f"a{method}")(*arguments)

        return asyncio.run(main())


Driver = SyncDriver | AsyncDriver


class Notebook:
    """Writes down every event, in order: its name, its arguments and its extras."""

    def __init__(self, callbacks: CallbackManager) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []
        for event in EVENTS:
            callbacks.register(event, self._writer(event), priority=1000)

    def _writer(self, event: str) -> Callable[..., None]:
        def write(event_id: str, session_id: str, timestamp: Any, **arguments: Any) -> None:
            extras = {"event_id": event_id, "session_id": session_id, "timestamp": timestamp}
            self.entries.append((event, {**arguments, **extras}))

        return write

    def of(self, event: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.entries if name == event]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.entries]

    @property
    def states(self) -> list[str]:
        """The states that were entered."""
        return [arguments["new_state"] for arguments in self.of("on_state_change")]

    def clear(self) -> None:
        self.entries.clear()


class FunctionAgent:
    """Answers by a function of message, context and turn."""

    def __init__(self, name: str, function: Callable[[str, Context, Turn], Any], intents: Iterable[str] = ()) -> None:
        self.name = name
        self.intents = list(intents) or [name]
        self._function = function

    def handle(self, message: str, context: Context, turn: Turn) -> Any:
        return self._function(message, context, turn)


class AsyncAgent(FunctionAgent):
    """The same, as a coroutine."""

    async def handle(self, message: str, context: Context, turn: Turn) -> Any:
        await asyncio.sleep(0)
        return self._function(message, context, turn)


def detector(**matches: IntentMatch | list[IntentMatch] | float) -> Callable[[str], list[IntentMatch]]:
    """Return a detector that looks a message's first word up; a number is the score of the intent of that name."""

    def detect_intents(message: str) -> list[IntentMatch]:
        word = message.split(" ", maxsplit=1)[0]
        found = matches.get(word, [])
        if isinstance(found, float):
            return [IntentMatch(word, found)]
        return found if isinstance(found, list) else [found]

    return detect_intents


class World:
    """A router with everything around it in reach."""

    open: ClassVar[list[World]] = []

    def __init__(
        self,
        *,
        store: Store | None = None,
        fsm: FSMEngine | None = None,
        clock: FakeClock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock if clock is not None else FakeClock()
        self.fsm = fsm if fsm is not None else FSMEngine(callbacks=CallbackManager(clock=self.clock))
        self.callbacks = self.fsm.callbacks
        self.store = store if store is not None else MemoryStore(clock=self.clock)
        self.router = CoreRouter(self.fsm, store=self.store, clock=self.clock, **options)
        self.events = Notebook(self.callbacks)
        World.open.append(self)

    @property
    def outbox(self) -> Outbox:
        """Where events wait for plugins with durable delivery."""
        assert self.store.outbox is not None
        return self.store.outbox

    def agent(self, name: str, function: Callable[[str, Context, Turn], Any], intents: Iterable[str] = ()) -> None:
        """Register an agent for the intent of its name, which is detected where a message begins with it."""
        self.router.register(FunctionAgent(name, function, intents))
        self.callbacks.register("detect_intents", detector(**{name: 0.9}))

    def echo(self, name: str = "echo") -> None:
        self.agent(name, lambda message, _context, _turn: f"{name}: {message}")

    def close(self) -> None:
        self.router.close()
        self.store.close()


class Gate:
    """Lets a test see that something has been reached, and hold it there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def pass_through(self) -> None:
        self.reached.set()
        assert self._open.wait(20), "the test never opened the gate"

    def open(self) -> None:
        self._open.set()


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Start ``function`` in a thread; the result joins it, and returns or raises what came of it."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:  # handed to the joining thread
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(20)
        assert not thread.is_alive(), "the thread hangs"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return join


def ask_until(count: int) -> Callable[[str, Context, Turn], AgentReply]:
    """Return an agent's function that asks until it has heard ``count`` messages."""

    def handle(message: str, context: Context, turn: Turn) -> AgentReply:
        heard = [*context.get("heard", []), message]
        return AgentReply(f"heard {len(heard)}", {**context, "heard": heard}, ask=len(heard) < count)

    return handle
