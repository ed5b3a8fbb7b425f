"""Who answers: the agents that are registered, those of plugins, and the two that the core brings."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.binding import LOCAL, is_async, name_of
from thea_core.callbacks.chain import local_place
from thea_core.callbacks.forking import watch
from thea_core.callbacks.registration import Registration
from thea_core.callbacks.threads import MAX_LEFT_BEHIND
from thea_core.conversation.agent_step import CallStep
from thea_core.conversation.intents import CANCEL
from thea_core.conversation.listing import listed
from thea_core.conversation.locks import Locks
from thea_core.conversation.texts import Texts
from thea_core.errors import RegistrationError
from thea_core.types import Agent, AgentReply, Context, HookResult, Turn

if TYPE_CHECKING:
    from thea_core.callbacks.binding import Callback
    from thea_core.callbacks.limits import Ways
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.steps import Steps

__all__ = ["FALLBACK", "AgentEntry", "AgentTable", "Agents"]

logger = logging.getLogger("thea_core.conversation")

FALLBACK: Final = "fallback"
"""The name of the agent that answers where no intent was found, or nobody answers it."""

_MAX_MISSED: Final = 1000
_ENDING: Final = 1.0  # seconds


class TextAgent:
    """Always answers with the same text."""

    def __init__(self, name: str, text: str, intents: Sequence[str] = ()) -> None:
        self.name = name
        self.intents = intents
        self._text = text

    def handle(self, message: str, context: Context, turn: Turn) -> AgentReply:  # noqa: ARG002 -- the protocol
        """Answer."""
        return AgentReply(self._text)


@dataclass(frozen=True, slots=True, eq=False)
class AgentEntry:
    """An agent, checked.

    Attributes:
        name, intents: as they were when it was checked.
        agent: the agent.
        plugin: who brings it; ``"local"`` where no plugin does.
        resets: whether its answer ends the turn in the initial state.
        is_async: whether calling its ``handle`` gives a coroutine.
        ways: where it runs; None for an agent of the core, which runs in the turn.
    """

    name: str
    intents: tuple[str, ...]
    agent: Agent
    plugin: str
    resets: bool = False
    is_async: bool = False
    ways: Ways | None = None


class AgentTable:
    """Which agent has which name, and which answers which intent. Immutable.

    Args:
        entries: the highest priority first.
        core: what stands behind all of them.
    """

    def __init__(self, entries: Iterable[AgentEntry] = (), core: Iterable[AgentEntry] = ()) -> None:
        self._names: dict[str, AgentEntry] = {}
        self._intents: dict[str, AgentEntry] = {}
        for each in entries:
            self._add(each)
        for each in core:
            self._names.setdefault(each.name, each)
            for intent in each.intents:
                self._intents.setdefault(intent, each)

    def named(self, name: object) -> AgentEntry | None:
        """Return the agent of that name."""
        return self._names.get(name) if isinstance(name, str) else None

    def for_intent(self, intent: str) -> AgentEntry | None:
        """Return the agent that answers ``intent``."""
        return self._intents.get(intent)

    @property
    def fallback(self) -> AgentEntry:
        """The agent that answers where nobody else does."""
        return self._names[FALLBACK]

    def _add(self, entry: AgentEntry) -> None:
        other = self._names.setdefault(entry.name, entry)
        if other is not entry:
            logger.warning(
                "two agents have the name %r: the one of %s counts, that of %s is left out; give it another name",
                entry.name,
                _whose(other),
                _whose(entry),
            )
            return
        for intent in entry.intents:
            first = self._intents.setdefault(intent, entry)
            if first is not entry:
                logger.warning(
                    "two agents answer the intent %r: %r of %s does, and %r of %s never will; "
                    "to change that, change the plugins' priority",
                    intent,
                    first.name,
                    _whose(first),
                    entry.name,
                    _whose(entry),
                )


class Agents:
    """Keeps the table of agents up to date with what is registered and which plugins are enabled.

    Each agent that is not the core's has threads of its own, and what it leaves behind is counted for itself; those of
    a plugin that is bound to one thread run there. Thread-safe, fork-safe.
    """

    def __init__(self, callbacks: CallbackManager, texts: Texts) -> None:
        self._callbacks = callbacks
        self._failures = callbacks.failures
        self._locks = Locks()
        self._local: tuple[AgentEntry, ...] = ()
        self._of_plugins: list[AgentEntry] = []
        self._core = (
            AgentEntry(FALLBACK, (), TextAgent(FALLBACK, texts["fallback"]), LOCAL),
            AgentEntry(CANCEL, (CANCEL,), TextAgent(CANCEL, texts["cancelled"], (CANCEL,)), LOCAL, resets=True),
        )
        self._table = AgentTable(core=self._core)
        self._built_for: tuple[int, tuple[AgentEntry, ...]] | None = None  # the chains' edition, and the local agents
        self._asked: object = None  # which callbacks gave the results below
        self._results: list[HookResult] = []
        self._missed: set[str] = set()
        watch(self)

    def register(self, agent: Agent) -> Registration:
        """Add an agent; see :meth:`thea_core.CoreRouter.register`."""
        try:
            entry = self._entry(agent, LOCAL)
        except (TypeError, ValueError) as error:
            raise RegistrationError(f"register: {error}") from None
        if any(each.name == entry.name for each in self._local):
            raise RegistrationError(f"register: there is an agent {entry.name!r} already; each needs a name of its own")
        self._local = (*self._local, entry)
        return Registration(lambda: self._remove(entry))

    def miss(self, intent: str) -> None:
        """Log, once for each intent, that no agent answers it."""
        if intent not in self._missed and len(self._missed) < _MAX_MISSED:
            self._missed.add(intent)
            logger.warning("no agent answers the intent %r; the fallback agent does, until one is registered", intent)

    def table(self) -> Steps[AgentTable]:
        """Return steps that give the table as it is now; plugins are asked where their callbacks have changed."""
        wanted = (self._callbacks.edition, self._local)
        if self._built_for == wanted:
            return self._table
        yield from self._locks.take(self)
        try:
            if self._built_for != wanted:
                yield from self._ask()
                self._table = AgentTable(self._merged(), self._core)
                self._built_for = wanted
        finally:
            self._locks.give_back(self)
        return self._table

    def close(self) -> None:
        """Let the threads of all agents end as soon as they are idle; one that is needed afterwards is started anew."""
        for each in (*self._local, *self._of_plugins):
            _close(each)

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads, and what they left behind."""
        for each in (*self._local, *self._of_plugins):
            if each.ways is not None:
                each.ways.after_fork_in_child()

    def _remove(self, entry: AgentEntry) -> None:
        self._local = tuple(each for each in self._local if each is not entry)
        _close(entry)

    def _ask(self) -> Steps[None]:
        """Call ``provide_agents``, unless its callbacks are those that were called last."""
        who = (self._callbacks.plugin_callbacks("provide_agents"), self._callbacks.chain("provide_agents"))
        if who != self._asked:
            self._results = (yield CallStep(self._callbacks, "provide_agents")) if who[1] else []
            self._asked = who

    def _merged(self) -> list[AgentEntry]:
        """Return all agents, the highest priority first; local ones stand where a local callback would."""
        before: list[AgentEntry] = []
        behind: list[AgentEntry] = []
        for result in self._results:
            callback = self._callback(result)
            first = callback is None or callback.place.key < local_place(0, 0).key
            (before if first else behind).extend(self._entries(result, callback))
        gone, self._of_plugins = self._of_plugins, [*before, *behind]
        for each in gone:
            if not any(each.ways is other.ways for other in self._of_plugins):
                _close(each)
        return [*before, *self._local, *behind]

    def _callback(self, result: HookResult) -> Callback | None:
        """Return the plugin's callback that gave a result; None where a local one did."""
        for each in self._callbacks.plugin_callbacks("provide_agents"):
            if each.plugin == result.plugin and each.name == result.callback:
                return each
        return None

    def _entries(self, result: HookResult, callback: Callback | None) -> list[AgentEntry]:
        """Return what one callback gave, checked; what is malformed is left out, and logged as its failure."""
        shared = None if callback is None or callback.ways is None else callback.ways
        if shared is not None and not shared.threads.one:
            shared = None
        entries = []
        try:
            values = _listed(result.value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a plugin's object does when it is looked at
            self._failures.report(result.plugin, "provide_agents", result.callback, error)
            return []
        for value in values:
            try:
                entries.append(self._entry(value, result.plugin, shared))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # the same for its attributes
                self._failures.report(result.plugin, "provide_agents", result.callback, error)
        return entries

    def _entry(self, agent: Any, plugin: str, ways: Ways | None = None) -> AgentEntry:
        """Check an agent; raise what is wrong with it. One that was there before keeps its threads."""
        name, intents = _checked(agent)
        kept = (each.ways for each in self._of_plugins if each.agent is agent and each.plugin == plugin)
        ways = ways or next(kept, None) or self._new_ways(name, plugin)
        return AgentEntry(name, intents, agent, plugin, is_async=is_async(agent.handle), ways=ways)

    def _new_ways(self, name: str, plugin: str) -> Ways:
        return self._callbacks.new_ways(plugin, partial(_tell_crowded, name), partial(_tell_relieved, name))


def _listed(value: Any) -> list[Any]:
    values = listed(value)
    if values is None:
        raise TypeError(f"provide_agents must return a list of agents, not {type(value).__name__}")
    return values


def _checked(agent: Any) -> tuple[str, tuple[str, ...]]:
    """Return an agent's name and its intents, or raise what is wrong with it."""
    if inspect.isclass(agent):
        raise TypeError(f"{agent.__qualname__} is a class, not an agent; have you forgotten the '()'?")
    name = getattr(agent, "name", None)
    intents = listed(getattr(agent, "intents", None))
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"an agent needs a name, a str that is not blank; {name_of(agent)} has {name!r}")
    if intents is None:
        raise TypeError(f"the agent {name!r} needs intents, a list of str; it has {getattr(agent, 'intents', None)!r}")
    if not all(isinstance(each, str) and each.strip() for each in intents):
        raise TypeError(f"the agent {name!r} has the intents {intents!r}; each must be a str that is not blank")
    if not callable(getattr(agent, "handle", None)):
        raise TypeError(f"the agent {name!r} has no method handle(message, context, turn)")
    return name, tuple(intents)


def _close(entry: AgentEntry) -> None:
    """Let the agent's own threads end."""
    if entry.ways is None or entry.ways.threads.one:
        return
    for thread in entry.ways.threads.close():
        if thread is not threading.current_thread():
            thread.join(_ENDING)  # it does no more than end


def _tell_crowded(name: str) -> None:
    _log(
        logging.WARNING,
        "%d answers of the agent %r hang whose time was up; it is not asked until one has come back",
        MAX_LEFT_BEHIND,
        name,
    )


def _tell_relieved(name: str) -> None:
    _log(logging.INFO, "the agent %r is asked again: one of its answers that hung has come back", name)


def _log(level: int, text: str, *arguments: object) -> None:
    with suppress(Exception):  # a handler or filter of the host's that raises must not end a turn, or a thread
        logger.log(level, text, *arguments)


def _whose(entry: AgentEntry) -> str:
    return "the application" if entry.plugin == LOCAL else f"the plugin {entry.plugin!r}"
