"""One turn: from a message to its reply and its one commit.

Every rule is written once, as steps (:mod:`thea_core.callbacks.steps`). A turn ends in one of four ways: an answer; a
veto, which leaves the context as it was loaded; an apology, after the error callbacks have run; or an exception that
leaves it, and then nothing is stored.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thea_core.callbacks import flow
from thea_core.callbacks.failures import short_text
from thea_core.conversation.agent_step import ask
from thea_core.conversation.agents import FALLBACK, AgentEntry, Agents, AgentTable
from thea_core.conversation.choice import Choice
from thea_core.conversation.decision import Decision, Waiting, decide, read_pending
from thea_core.conversation.events import TurnOccurrences
from thea_core.conversation.intents import Detectors
from thea_core.conversation.keeper import Keeper
from thea_core.conversation.requests import Request
from thea_core.conversation.sessions import SessionManager
from thea_core.conversation.texts import Texts
from thea_core.conversation.work import MAX_TEXT, Scope, Work, dump_context, end_session, load_context
from thea_core.errors import (
    CommitRefusedError,
    ContextError,
    GuardUnavailableError,
    LifeCycleError,
    StoreError,
    StoreSchemaError,
    TransitionVeto,
    error_text,
    format_traceback,
)
from thea_core.fsm import FSMEngine, copy_context
from thea_core.types import AgentReply, Commit, Context, Conversation, IntentMatch, Lease, Reply, Turn

if TYPE_CHECKING:
    from thea_core.callbacks.steps import Steps

__all__ = ["Parts", "RunningTurn"]

logger = logging.getLogger("thea_core.conversation")

_KEPT: Final = ("message", "message_id", "session_id", "intent", "score", "agent", "pending")
"""The keys of the context that are the router's, besides ``user_id`` and ``state``."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What every turn of a router works with."""

    fsm: FSMEngine
    keeper: Keeper
    sessions: SessionManager
    agents: Agents
    detectors: Detectors
    texts: Texts
    agent_timeout: float | None


class _Said(NamedTuple):
    """What a turn ended in; the context is added when it is known."""

    text: str
    ok: bool = True
    intent: str | None = None
    agent: str | None = None


_Outcome = tuple[_Said, Context, str | None]  # with the context, and its text as it is stored


class _Vetoed(Exception):  # noqa: N818 -- carries a veto past the handler of errors
    def __init__(self, veto: TransitionVeto) -> None:
        super().__init__()
        self.veto = veto


class RunningTurn:
    """The handling of one message; :mod:`thea_core.conversation.drivers` runs it, once.

    Attributes:
        outside: what the driver raised inside that is no failure of any callback: Ctrl-C, the end of the host's loop.
        given_up: whether the host's loop has cancelled the task of the turn.
    """

    def __init__(self, parts: Parts, request: Request) -> None:
        self._parts = parts
        self._request = request
        self._user_id = request.user_id
        self._message_id = request.message_id or parts.keeper.entropy(16).hex()
        self._initial = parts.fsm.definition.initial
        self._owned: dict[str, Any] = {}
        self._forget = False
        self._failing: str | None = None  # the agent whose failure ends the turn
        self.outside: BaseException | None = None
        self.given_up = False

    def steps(self) -> Steps[Reply]:
        """Return the whole turn."""
        keeper, user_id = self._parts.keeper, self._user_id
        read = yield from keeper.take(user_id, self._request.message_id)
        if read.lease is None:
            return self._again(read)
        try:
            self._open(read)
            with Scope(keeper, self._work, self._occurrences):
                return (yield from self._run(read, read.lease))
        except BaseException:
            keeper.release(read.lease)
            raise
        finally:
            keeper.unlock(user_id)

    # Beginning and end

    def _again(self, read: Conversation) -> Reply:
        """Return the reply to a message that was handled before, with the context as it is stored now."""
        context = load_context(read.context, self._user_id, self._initial)
        try:
            reply = Reply(context=context, **json.loads(read.reply or ""))
        except (TypeError, ValueError):
            raise StoreSchemaError(
                "what is stored as the reply to this message is none; restore a backup, or clear the user's context"
            ) from None
        return reply

    def _open(self, read: Conversation) -> None:
        """Take up the conversation: its context, its session, the ids of its events."""
        parts, user_id = self._parts, self._user_id
        expired = read.session_expired or read.session_id is None
        session_id = parts.sessions.new_id(read, user_id, self._message_id) if expired else read.session_id or ""
        self._session_id = session_id
        self._attempt = read.attempt
        self._loaded = load_context(read.context, user_id, self._initial)
        self._loaded_text = read.context
        if not self._can_go_on():
            self._restart(self._loaded)
        self._work = Work(parts.keeper.store, user_id, session_id, self._loaded, parts.fsm.failing)
        self._occurrences = TurnOccurrences(parts.keeper.store.key, user_id, session_id, self._message_id)

    def _can_go_on(self) -> bool:
        """Whether a message can be handled in the stored state: an application may have saved any, or changed them."""
        state, definition = str(self._loaded.get("state")), self._parts.fsm.definition
        if state in definition and "processing" in definition.targets(state):
            return True
        logger.warning("no message can be handled in the stored state %r; the conversation begins anew", state)
        return False

    def _restart(self, context: Context) -> None:
        """Take ``context`` as the one that was loaded, after the end of what it belonged to."""
        self._loaded = end_session(context, self._initial)
        self._loaded_text = dump_context(self._loaded)

    def _run(self, read: Conversation, lease: Lease) -> Steps[Reply]:
        yield from self._end_expired(read)
        said, context, text = yield from self._handle()
        session_id: str | None = self._session_id
        if self._work.cleared:
            self._forget = True
            context, text, session_id = load_context(None, self._user_id, self._initial), None, None
        message_id = self._request.message_id
        change = Commit(
            lease=lease,
            version=read.version,
            context=text,
            session_id=session_id,
            session_timeout=self._parts.sessions.timeout,
            message_id=message_id,
            reply=None if message_id is None else json.dumps({**said._asdict(), "session_id": self._session_id}),
            events=self._work.gathered.close(),
            forget=self._forget,
        )
        if self._parts.keeper.ended:
            raise LifeCycleError(
                "the application was closed while this message was handled; nothing of it is stored: send it again"
            )
        try:
            yield from self._parts.keeper.commit(change)
        except CommitRefusedError as error:
            yield from self._fire("on_error", error=error, traceback=format_traceback(error))
            raise
        return Reply(said.text, context, said.ok, said.intent, said.agent, self._session_id)

    def _end_expired(self, read: Conversation) -> Steps[None]:
        """End the session whose time was up before this message came."""
        if read.session_id is None or not read.session_expired:
            return
        yield from self._parts.sessions.tell_end(self._user_id, read.session_id)
        if self._work.cleared:
            self._work.cleared, self._forget = False, True
            self._loaded, self._loaded_text = load_context(None, self._user_id, self._initial), None
        elif read.context is not None or self._work.has_saved:
            self._restart(self._work.adopt(dict(self._loaded)))

    def _handle(self) -> Steps[_Outcome]:
        """Return what to say and what to store, whatever callbacks and agents do."""
        self._work.context = dict(self._loaded)  # top-level keys only are ever set in it
        try:
            request = self._request
            yield from self._fire("on_message", message=request.message, timestamp=request.timestamp)
            return self._finished((yield from self._answer()))
        except _Vetoed as vetoed:
            return self._vetoed(vetoed.veto)
        except BaseException as error:
            if not self._contains(error):
                raise
            return (yield from self._failed(error))

    def _finished(self, said: _Said) -> _Outcome:
        """Add the context as it is stored: in what is the router's, it says what the router says."""
        if len(said.text) > MAX_TEXT:
            raise ValueError(f"the answer has {len(said.text)} characters; at most {MAX_TEXT} are stored")
        context = self._work.context
        context.update(self._owned)
        if self._owned.get("pending") is None:
            context.pop("slots", None)
        return said, context, dump_context(context)

    # The ways that are not straight

    def _contains(self, error: BaseException) -> bool:
        """Whether ``error`` ends in an apology; otherwise it leaves the turn."""
        if isinstance(error, (KeyboardInterrupt, StoreError)):
            return False
        if isinstance(self.outside, GeneratorExit) and isinstance(error, GeneratorExit):
            return False  # Python makes a new one for each generator that it closes
        return isinstance(error, Exception) or error is not self.outside

    def _vetoed(self, veto: TransitionVeto) -> _Outcome:
        # Why a guard failed stands in the log; a user need not know it, and perhaps must not.
        text = "" if isinstance(veto, GuardUnavailableError) else error_text(veto)
        self._work.cleared = False  # a clear is undone like everything else
        self._work.gathered.drop("on_state_change")  # and so are the states
        text = text if text.strip() else self._parts.texts["refusal"]
        return _Said(text, ok=False), self._loaded, self._loaded_text

    def _failed(self, error: BaseException) -> Steps[_Outcome]:
        """Report ``error``, once, and come to rest."""
        fsm, work = self._parts.fsm, self._work
        fsm.callbacks.failures.report_turn(work.context["state"], error, self._failing)
        work.drop_saved()
        self._owned["pending"] = None
        try:
            work.adopt((yield from fsm.report_steps(error, work.context)))
            work.adopt((yield from fsm.settle_steps("idle", work.context)))
        except BaseException as second:
            if not self._contains(second):
                raise
            logger.error(  # noqa: TRY400 -- with the traceback of this one, whatever it is
                "a second error while the error %s was reported: %s",
                short_text(error),
                short_text(second),
                exc_info=(type(second), second, second.__traceback__),
            )
            work.context = {**work.context, "state": "idle"}
        said = _Said(self._parts.texts["apology"], ok=False, intent=self._owned.get("intent"))
        try:
            return self._finished(said)
        except ContextError as second:
            logger.error("the context after an error cannot be stored: %s", short_text(second))  # noqa: TRY400
            work.context = {**self._loaded, "state": "idle"}
            return self._finished(said)

    # The straight way

    def _answer(self) -> Steps[_Said]:
        pending = read_pending(self._work.context.get("pending"))
        table = yield from self._parts.agents.table()
        if isinstance(pending, Waiting) and table.named(pending.agent) is None:
            logger.warning("the agent %r, which waited for a message, is gone; the message is a new one", pending.agent)
            pending = None
        self._take_message(waiting=isinstance(pending, Waiting))
        yield from self._go("processing")
        matches = yield from self._parts.detectors.detect(self._request.message, self._work.context)
        self._adopt_saved()
        decision = decide(pending, self._request.message, matches, self._parts.texts)
        return (yield from self._follow(decision, table))

    def _take_message(self, *, waiting: bool) -> None:
        """Set the keys that belong to this message."""
        context = self._work.context
        owned = self._owned = {key: context.get(key) for key in _KEPT}
        owned["message"] = self._request.message
        owned["message_id"] = self._message_id
        owned["session_id"] = self._session_id
        if not waiting:
            owned["intent"] = owned["score"] = owned["agent"] = None
        context.update(owned)

    def _follow(self, decision: Decision, table: AgentTable) -> Steps[_Said]:
        if isinstance(decision, Choice):
            self._own(pending=decision.to_json())
            yield from self._go("disambiguation")
            return _Said(decision.question(self._parts.texts))
        if isinstance(decision, Waiting):
            self._own(agent=decision.agent, pending=None)
            return (yield from self._delegate(table, waiting=decision.agent))
        if isinstance(decision, IntentMatch):
            yield from self._take_intent(decision, table)
        else:
            self._own(agent=FALLBACK, pending=None)
            self._work.context.pop("slots", None)
        return (yield from self._delegate(table))

    def _take_intent(self, match: IntentMatch, table: AgentTable) -> Steps[None]:
        entry = table.for_intent(match.intent)
        if entry is None:
            self._parts.agents.miss(match.intent)
        agent = FALLBACK if entry is None else entry.name
        self._own(intent=match.intent, score=match.score, agent=agent, pending=None)
        self._work.context["slots"] = dict(match.slots)
        yield from self._fire("on_intent_detected", intent=match.intent, score=match.score)

    def _delegate(self, table: AgentTable, *, waiting: str | None = None) -> Steps[_Said]:
        """Let the agent answer that the context names, and end the turn."""
        yield from self._go("executing")
        entry = self._chosen(table)
        self._own(agent=entry.name)
        intent = None if entry.name == FALLBACK else self._owned["intent"]
        if entry.name != waiting:
            yield from self._fire("on_agent_delegated", agent=entry.name, intent=intent or "")
        answer = yield from self._ask(entry)
        if answer.ask:
            self._own(pending=Waiting(entry.name).to_json())
        elif entry.resets:
            yield from self._step(self._parts.fsm.reset_steps(self._work.context))
        else:
            yield from self._go("completion")
            yield from self._go("idle")
        return _Said(answer.text, intent=intent, agent=entry.name)

    def _chosen(self, table: AgentTable) -> AgentEntry:
        """Return the agent that the context names: a callback may have chosen another."""
        name = self._work.context.get("agent")
        entry = table.named(name)
        if entry is None:
            logger.warning("context['agent'] is %r, which is no agent; the fallback agent answers", name)
            return table.fallback
        return entry

    def _ask(self, entry: AgentEntry) -> Steps[AgentReply]:
        """Let an agent answer, and adopt the context that it returns."""
        parts, request = self._parts, self._request
        timestamp = request.timestamp
        turn = Turn(self._user_id, self._session_id, self._message_id, timestamp, self._attempt)
        arguments = request.message, copy_context(self._work.context), turn
        around = tuple(flow.running_keys(stack=parts.fsm.callbacks.busy))
        answer, error = yield from ask(entry, arguments, parts.agent_timeout, around)
        if error is not None:
            self._failing = entry.name
            if self.given_up and type(error).__name__ == "CancelledError":
                self.outside = error  # the host's loop has cancelled the agent too
            raise error
        self._work.adopt(self._returned(entry, answer.context))
        return answer  # type: ignore[no-any-return]

    def _returned(self, entry: AgentEntry, context: Context | None) -> Context:
        """Check the context that an agent returned; what is the router's stays as it was."""
        before = self._work.context
        if context is None:
            return dict(before)
        try:
            result = copy_context(context)
        except ContextError as error:
            raise ContextError(f"the agent {entry.name!r} returned {error}", path=error.path) from None
        for key in ("user_id", "state"):
            if result[key] != before[key]:
                raise ContextError(
                    f"the agent {entry.name!r} returned a context with the {key} {result[key]!r} in place of "
                    f"{before[key]!r}; an agent changes neither",
                    path=f"context[{key!r}]",
                )
        result.update(self._owned)
        return result

    # Small things

    def _own(self, **values: Any) -> None:
        """Set keys of the context that are the router's."""
        self._owned.update(values)
        self._work.context.update(values)

    def _go(self, target: str) -> Steps[None]:
        return self._step(self._parts.fsm.handle_steps(target, self._work.context))

    def _step(self, transition: Steps[Context]) -> Steps[None]:
        try:
            result = yield from transition
        except TransitionVeto as veto:
            raise _Vetoed(veto) from None
        self._work.adopt(result)

    def _fire(self, event: str, **arguments: Any) -> Steps[None]:
        yield from self._parts.fsm.callbacks.fire(event, user_id=self._user_id, **arguments)
        self._adopt_saved()

    def _adopt_saved(self) -> None:
        if self._work.has_saved:
            self._work.adopt(dict(self._work.context))
