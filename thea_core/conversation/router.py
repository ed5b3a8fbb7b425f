"""CoreRouter: takes messages, and gives replies."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakMethod

from thea_core.callbacks import flow
from thea_core.callbacks.forking import watch
from thea_core.callbacks.loops import on_loop_thread
from thea_core.callbacks.registration import Registration
from thea_core.conversation.agents import Agents
from thea_core.conversation.contexts import ContextManager
from thea_core.conversation.drivers import arun, run
from thea_core.conversation.intents import Detectors
from thea_core.conversation.keeper import Keeper
from thea_core.conversation.requests import read_request
from thea_core.conversation.sessions import SessionManager
from thea_core.conversation.texts import Texts
from thea_core.conversation.turn import Parts, RunningTurn
from thea_core.errors import DefinitionError, ReentrancyError
from thea_core.fsm import FSMEngine
from thea_core.types import Agent, Clock, Reply, Store

if TYPE_CHECKING:
    import asyncio

__all__ = ["CoreRouter"]

logger = logging.getLogger("thea_core.conversation")

_STATES: Final = ("processing", "disambiguation", "executing", "completion", "idle")
_WAYS: Final = (
    ("processing", "executing"),
    ("executing", "completion"),
    ("completion", "idle"),
    ("idle", "processing"),
)
_HOOKS: Final = (
    *("on_message", "on_state_change", "on_error", "on_session_timeout", "on_intent_detected", "on_agent_delegated"),
    *("pre_transition", "post_transition", "on_transition_error", "detect_intents", "provide_agents"),
)


class CoreRouter:
    """Handles messages, one turn each: whole or not at all, and one user's messages one at a time.

    ::

        router = CoreRouter(fsm_engine=FSMEngine())
        text, context = router.handle_request("alvaro_123", "Agendar reunión")

    Thread-safe and fork-safe: one router serves every thread, task and user.

    Args:
        fsm_engine: takes contexts from state to state; hooks are fired on its ``callbacks``.
        store: where conversations are kept; in memory, if not given.
        language: of the assistant's own texts: ``"en"`` or ``"es"``.
        texts: own texts by name, in place of the shipped ones.
        min_score: an intent with a lower score is left to the fallback agent, 0 to 1.
        ambiguity_margin: intents whose scores are this close make the router ask which one is meant, 0 to 1.
        max_message: the longest message, in bytes of UTF-8.
        agent_timeout: seconds after which a turn ends without its agent's answer, in an error; a synchronous agent runs
            on a thread. None waits for as long as it takes, and ``handle_request`` then calls a synchronous agent in
            its own thread.
        session_timeout: seconds of inactivity after which a session ends.
        sweep_interval: seconds between two looks for such sessions, by a thread that the first message starts.
        message_ids: seconds for which a handled ``message_id`` is remembered.
        clock: where time comes from; the one of ``fsm_engine.callbacks``, if not given.
        entropy: gives that many random bytes.

    Raises:
        DefinitionError: the engine's definition lacks a state or a transition that every turn needs.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        fsm_engine: FSMEngine,
        *,
        store: Store | None = None,
        language: str = "en",
        texts: Mapping[str, str] | None = None,
        min_score: float = 0.5,
        ambiguity_margin: float = 0.1,
        max_message: int = 65536,
        agent_timeout: float | None = 60.0,
        session_timeout: float = 1800.0,
        sweep_interval: float = 30.0,
        message_ids: float = 604800.0,
        clock: Clock | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        _check_definition(fsm_engine)
        _check_share("min_score", min_score)
        _check_share("ambiguity_margin", ambiguity_margin)
        _check_bytes("max_message", max_message)
        _check_limit("agent_timeout", agent_timeout)
        self.fsm = fsm_engine
        self.callbacks = callbacks = fsm_engine.callbacks
        self._clock = clock if clock is not None else callbacks.clock
        self._max_message = max_message
        self.store = store if store is not None else _memory_store(self._clock, entropy)
        definition = fsm_engine.definition
        keeper = Keeper(self.store, clock=self._clock, entropy=entropy, wake=callbacks.wake_couriers)
        self.contexts = ContextManager(self.store, keeper=keeper, initial=definition.initial, states=definition.states)
        self.sessions = SessionManager(
            self.store,
            callbacks,
            keeper=keeper,
            timeout=session_timeout,
            interval=sweep_interval,
            initial=definition.initial,
            message_ids=message_ids,
        )
        own_texts = Texts(language, texts)
        self._agents = Agents(callbacks, own_texts)
        self._parts = Parts(
            fsm=fsm_engine,
            keeper=keeper,
            sessions=self.sessions,
            agents=self._agents,
            detectors=Detectors(callbacks, own_texts, min_score=min_score, margin=ambiguity_margin),
            texts=own_texts,
            agent_timeout=agent_timeout,
        )
        self._forbidden = frozenset([keeper, fsm_engine, *(callbacks.hook(name) for name in _HOOKS)])
        self._turns: set[RunningTurn | asyncio.Task[Reply]] = set()
        keeper.leases.before_looking = WeakMethod(self._give_up_lost)
        watch(self)

    def register(self, agent: Agent) -> Registration:
        """Add an agent of the application; its ``remove()`` takes it out again.

        Its priority is 0: where a plugin's agent answers one of its intents too, the one of the higher priority does,
        the application's among equals. An agent with the name ``"fallback"`` takes the place of the core's, and one
        with the intent ``"cancel"`` answers in place of the core's.

        Raises:
            RegistrationError: it is no agent, or there is one of that name.
        """
        return self._agents.register(agent)

    def handle_request(
        self, user_id: str, message: str, message_id: str | None = None, *, timestamp: datetime | None = None
    ) -> Reply:
        """Handle one message and return the reply: ``text, context = router.handle_request(...)``.

        Waits while another message of that user is being handled. Whatever callbacks and agents raise ends in an
        apology (``reply.ok`` is False), and the conversation goes on with the next message.

        Args:
            user_id: who sent it, 1 to 256 characters.
            message: the text.
            message_id: the caller's id of it, 1 to 256 characters. A message whose id was handled before is not handled
                again: its reply comes back, with the context as it is stored by now.
            timestamp: when it came, aware; now, if not given.

        Raises:
            InvalidRequestError: an argument cannot be handled; nothing was fired.
            ReentrancyError: called by a callback or an agent while a turn is running; nothing was fired.
            StoreError: the store failed, and nothing is stored; the same message may be sent again.
            CommitRefusedError: another process has taken the conversation over.
        """
        turn = self._turn(user_id, message, message_id, timestamp)
        if on_loop_thread():
            raise ReentrancyError(
                "handle_request was called on one of Thea's event loops, which it would hold up; "
                "await ahandle_request instead"
            )
        self._turns.add(turn)
        try:
            return run(turn)
        finally:
            self._turns.discard(turn)

    async def ahandle_request(
        self, user_id: str, message: str, message_id: str | None = None, *, timestamp: datetime | None = None
    ) -> Reply:
        """Do the same as :meth:`handle_request`, from async code.

        The turn runs in a task of its own: a caller that is cancelled is let go, the turn runs to its commit, and the
        same ``message_id`` fetches the reply.
        """
        import asyncio

        turn = self._turn(user_id, message, message_id, timestamp)
        task = asyncio.get_running_loop().create_task(arun(turn))
        self._turns.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._turns.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_lost)
            raise

    @property
    def running(self) -> int:
        """How many turns are under way or wait for their user's turn, those of cancelled callers included."""
        self._give_up_lost()
        return len(self._turns)

    @property
    def runs_here(self) -> bool:
        """Whether the caller runs within a turn, also where that turn's own caller was cancelled."""
        return flow.running(self._parts.keeper)

    def close(self, timeout: float = 5.0) -> bool:
        """Stop the router's threads, within ``timeout`` seconds; whether they have ended. The store stays open.

        An agent that is still at work is left behind.
        """
        self._parts.keeper.leases.stop()
        self._agents.close()
        return self.sessions.close(timeout)

    def end(self) -> None:
        """Let nothing be committed that plugins do not hear of, because they are about to be shut down.

        What turns, or the ends of sessions, are still under way is given up at their commit.
        """
        self._parts.keeper.ended = True

    def after_fork_in_child(self) -> None:
        """Forget the parent's turns: they run there."""
        self._turns = set()

    def _give_up_lost(self) -> None:
        """Give up turns whose loop was closed under them: nothing will ever go on with them."""
        for turn in list(self._turns):
            if isinstance(turn, RunningTurn) or not turn.get_loop().is_closed():
                continue
            with suppress(KeyError):  # somebody else is just doing it
                self._turns.remove(turn)
                Context().run(_close, turn)

    def _turn(self, user_id: Any, message: Any, message_id: Any, timestamp: Any) -> RunningTurn:
        """Check what was asked, before anything is fired."""
        when = self._clock.now() if timestamp is None else timestamp
        request = read_request(user_id, message, message_id, when, max_message=self._max_message)
        if not self._forbidden.isdisjoint(flow.running_keys(stack=self.callbacks.busy)):
            raise ReentrancyError(
                "a message cannot be handled within a turn, a transition or one of its hooks, also where that hook is "
                "delivered later: the callback or agent that does so would wait for itself, or fire its own event "
                "again and again; return first, or put the message into a queue of your own"
            )
        self.sessions.ensure_started()
        return RunningTurn(self._parts, request)


def _check_definition(fsm_engine: FSMEngine) -> None:
    definition = fsm_engine.definition
    ways = [(definition.initial, "processing"), *_WAYS]
    problems = [
        f"the state {state!r} is missing, and a turn needs it; add it, or start from the default definition"
        for state in _STATES
        if state not in definition
    ] or [
        f"the transition {source!r} -> {target!r} is missing, and every turn needs it; add it"
        for source, target in ways
        if target not in definition.targets(source)
    ]
    if problems:
        raise DefinitionError(problems)


def _check_share(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, not {value!r}")


def _check_bytes(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of bytes, 1 or more, not {value!r}")


def _check_limit(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number of seconds greater than 0, or None for no limit, not {value!r}")


def _memory_store(clock: Clock, entropy: Callable[[int], bytes]) -> Store:
    from thea_core.storage.memory import MemoryStore

    return MemoryStore(clock=clock, entropy=entropy)


def _close(task: asyncio.Task[Reply]) -> None:
    """End the turn of a task that no loop runs any more; it gives back lock and lease."""
    try:
        task.get_coro().close()
    except Exception:
        logger.exception("a turn whose event loop was closed could not be given up cleanly")
    else:
        logger.warning("a turn was given up: its event loop was closed while it ran; nothing of it is stored")


def _log_lost(task: asyncio.Task[Reply]) -> None:
    """Log why a turn failed whose caller was cancelled: nobody else will be told."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a turn failed whose caller was cancelled", exc_info=(type(error), error, error.__traceback__))
