"""Who answers: the agents that are registered, those of plugins, and the two that the core brings."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.binding import LOCAL, name_of
from thea_core.callbacks.chain import local_place
from thea_core.callbacks.failures import FailureLog
from thea_core.callbacks.forking import watch
from thea_core.callbacks.registration import Registration
from thea_core.conversation.agent_step import CallStep
from thea_core.conversation.intents import CANCEL
from thea_core.conversation.listing import listed
from thea_core.conversation.locks import Locks
from thea_core.conversation.texts import Texts
from thea_core.errors import RegistrationError
from thea_core.types import Agent, AgentReply, Context, HookResult, Turn

if TYPE_CHECKING:
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.steps import Steps

__all__ = ["FALLBACK", "AgentEntry", "AgentTable", "Agents"]

logger = logging.getLogger("thea_core.conversation")

FALLBACK: Final = "fallback"
"""The name of the agent that answers where no intent was found, or nobody answers it."""

_MAX_MISSED: Final = 1000


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
    """

    name: str
    intents: tuple[str, ...]
    agent: Agent
    plugin: str
    resets: bool = False


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
    """Keeps the table of agents up to date with what is registered and which plugins are enabled. Thread-safe."""

    def __init__(self, callbacks: CallbackManager, texts: Texts) -> None:
        self._callbacks = callbacks
        self._failures = FailureLog()
        watch(self._failures)
        self._locks = Locks()
        self._local: tuple[AgentEntry, ...] = ()
        self._core = (
            AgentEntry(FALLBACK, (), TextAgent(FALLBACK, texts["fallback"]), LOCAL),
            AgentEntry(CANCEL, (CANCEL,), TextAgent(CANCEL, texts["cancelled"], (CANCEL,)), LOCAL, resets=True),
        )
        self._table = AgentTable(core=self._core)
        self._built_for: tuple[int, tuple[AgentEntry, ...]] | None = None  # the chains' edition, and the local agents
        self._asked: object = None  # which callbacks gave the results below
        self._results: list[HookResult] = []
        self._missed: set[str] = set()

    def register(self, agent: Agent) -> Registration:
        """Add an agent; see :meth:`thea_core.CoreRouter.register`."""
        try:
            entry = _entry(agent, LOCAL)
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

    def _remove(self, entry: AgentEntry) -> None:
        self._local = tuple(each for each in self._local if each is not entry)

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
            (before if self._precedes(result) else behind).extend(self._entries(result))
        return [*before, *self._local, *behind]

    def _precedes(self, result: HookResult) -> bool:
        """Whether a callback stands before a local one of priority 0 in the chain."""
        for each in self._callbacks.plugin_callbacks("provide_agents"):
            if each.plugin == result.plugin and each.name == result.callback:
                return each.place.key < local_place(0, 0).key
        return True  # a local callback

    def _entries(self, result: HookResult) -> list[AgentEntry]:
        """Return what one callback gave, checked; what is malformed is left out, and logged as its failure."""
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
                entries.append(_entry(value, result.plugin))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # the same for its attributes
                self._failures.report(result.plugin, "provide_agents", result.callback, error)
        return entries


def _listed(value: Any) -> list[Any]:
    values = listed(value)
    if values is None:
        raise TypeError(f"provide_agents must return a list of agents, not {type(value).__name__}")
    return values


def _entry(agent: Any, plugin: str) -> AgentEntry:
    """Check an agent; raise what is wrong with it."""
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
    return AgentEntry(name, tuple(intents), agent, plugin)


def _whose(entry: AgentEntry) -> str:
    return "the application" if entry.plugin == LOCAL else f"the plugin {entry.plugin!r}"
