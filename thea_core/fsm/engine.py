"""FSMEngine: takes the contexts of conversations from state to state, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn, TypeVar, overload

from thea_core.callbacks import flow
from thea_core.callbacks.compiler import Compiled
from thea_core.callbacks.forking import watch
from thea_core.callbacks.hooks import suggestion
from thea_core.callbacks.limits import CallbackStep
from thea_core.callbacks.loops import on_loop_thread
from thea_core.callbacks.manager import CallbackManager
from thea_core.callbacks.steps import Steps, adrive, drive
from thea_core.errors import (
    ContextError,
    IllegalTransitionError,
    ReentrancyError,
    RegistrationError,
    TransitionVeto,
)
from thea_core.fsm.compiler import TransitionSupport, compile_transition
from thea_core.fsm.context import copy_context
from thea_core.fsm.definition import Definition
from thea_core.fsm.diagram import draw
from thea_core.fsm.failing import Failing
from thea_core.fsm.notes import Note, Notes, find_note, own_notes
from thea_core.fsm.phases import Member, Phase, Phases
from thea_core.fsm.verdicts import Judge
from thea_core.types import Context

__all__ = ["FSMEngine"]

F = TypeVar("F", bound=Callable[..., Any])


class FSMEngine:
    """A state machine over contexts. It holds no conversation: one engine serves every thread, task and user.

    ::

        fsm = FSMEngine()


        @fsm.pre_transition("processing")
        def validate_message(context):
            if not context.get("message"):
                raise ValidationError("the message is empty")


        context = fsm.handle("processing", {"user_id": "ana", "state": "initial", "message": "hola"})

    Args:
        definition: states and transitions; the default definition, if not given.
        callbacks: where plugins' callbacks are and events are fired; a manager of its own, if not given.
        max_callbacks: how many local callbacks one target state may have in one phase.

    Every ``a...`` method is its namesake for async code. They raise the same:

        ReentrancyError: a transition of this engine runs already in this flow, or ``on_state_change`` does.
        ContextError: the context is not JSON-shaped, or its state is unknown.
        IllegalTransitionError: there is no such transition.
        TransitionVeto: a callback refused; nothing has changed.
        BaseException: whatever a local callback raised, after :meth:`fail` has run.
    """

    def __init__(
        self, definition: Definition | None = None, *, callbacks: CallbackManager | None = None, max_callbacks: int = 5
    ) -> None:
        if definition is not None and not isinstance(definition, Definition):
            raise TypeError(f"FSMEngine: definition must be a Definition, not {definition!r}; use Definition(...)")
        if type(max_callbacks) is not int or max_callbacks < 1:
            raise ValueError(f"FSMEngine: max_callbacks must be a whole number, 1 or more, not {max_callbacks!r}")
        self.definition = definition if definition is not None else Definition()
        self.callbacks = callbacks if callbacks is not None else CallbackManager()
        self._phases = Phases(self.definition, self.callbacks, max_callbacks)
        self._failing = Failing(self, self.definition, self._phases, self.callbacks)
        self._judge = Judge(self.callbacks)
        self._state_change = self.callbacks.hook("on_state_change")
        self._error = self.callbacks.hook("on_error")
        self._compiled: dict[tuple[str, bool], Compiled] = {}
        self._runs: dict[str, Callable[[Context], Context]] = {}
        self.callbacks.tell_changes(self)
        watch(self)

    # Local callbacks

    def pre_transition(self, *states: str, priority: int = 0, timeout: float | None = None) -> Callable[[F], F]:
        """Decorate a function that runs before each transition to one of ``states``; without states: to any.

        It is called with the context, and may change it in place, return a new one, or raise ``TransitionVeto``.
        ``timeout`` is the seconds after which the transition fails with CallbackTimeoutError; a synchronous function
        that has a limit runs on a thread ``thea-local``.

        Raises:
            RegistrationError: the function does not fit, or a state is unknown.
            CallbackLimitError: a state has ``max_callbacks`` of them already.
        """
        return self._decorator(Phase.PRE, states, priority, timeout)

    def post_transition(self, *states: str, priority: int = 0, timeout: float | None = None) -> Callable[[F], F]:
        """Decorate a function that runs after each transition to one of ``states``, while it can still be undone.

        Otherwise like :meth:`pre_transition`.
        """
        return self._decorator(Phase.POST, states, priority, timeout)

    def on_error(self, *, priority: int = 0, timeout: float | None = None) -> _OnError:
        """Decorate a function that is called with ``(error, context)`` when a transition has failed.

        What it returns is the error context to go on with. ``fsm.on_error()(error, context)``, with both, returns the
        error context for an exception that ``handle`` raised just now, and calls :meth:`fail` for any other.
        """
        return _OnError(self._decorator(Phase.ERROR, (), priority, timeout), self._report)

    # Transitions

    def handle(self, target: str, context: Context) -> Context:
        """Take the conversation of ``context`` to the state ``target`` and return its new context.

        In order: legality, pre callbacks, the state, post callbacks, the event ``on_state_change``. All work is done on
        a copy; ``context`` itself never changes.
        """
        try:
            run = self._runs[target]
        except (KeyError, TypeError):
            run = self._transition(target).run
        return run(context)

    def ahandle(self, target: str, context: Context) -> Coroutine[Any, Any, Context]:
        """Do the same as :meth:`handle`; a cancellation leaves everything as it was."""
        return adrive(self.handle_steps(target, context, own_notes()))

    def reset(self, context: Context) -> Context:
        """Take the conversation to the initial state, from any state; otherwise like :meth:`handle`."""
        run: Callable[[Context], Context] = self._transition(self.definition.initial, reset=True).run
        return run(context)

    def areset(self, context: Context) -> Coroutine[Any, Any, Context]:
        """Do the same as :meth:`reset`."""
        return adrive(self.reset_steps(context, own_notes()))

    def fail(self, error: BaseException, context: Context, target: str | None = None) -> Context:
        """Put the conversation into the error state because of ``error``, and return its error context.

        Sets the state without pre and post callbacks, runs the error callbacks, each isolated, then fires
        ``on_state_change`` and ``on_error``. An exception that has no ``critical`` gets ``critical = False``.

        Args:
            error: what happened.
            context: the context as it was before.
            target: the state that was being entered, where there was one.
        """
        if self._fails_async():
            self._refuse_waiting()
        return drive(self.fail_steps(error, context, target))

    def afail(self, error: BaseException, context: Context, target: str | None = None) -> Coroutine[Any, Any, Context]:
        """Do the same as :meth:`fail`."""
        return adrive(self.fail_steps(error, context, target))

    def aon_error(self, error: BaseException, context: Context) -> Coroutine[Any, Any, Context]:
        """Do the same as ``fsm.on_error()(error, context)``."""
        return adrive(self.report_steps(error, context))

    # Looking

    def allowed(self, state: str) -> tuple[str, ...]:
        """Return the states to which ``state`` may go. Runs nothing.

        Raises:
            ContextError: there is no such state.
        """
        self._check_state(state)
        return self.definition.targets(state)

    def can(self, target: str, context: Context) -> bool:
        """Whether the transition to ``target`` is legal. Runs nothing: a callback may still refuse it.

        Raises:
            ContextError: the context's state is missing or unknown.
        """
        if not isinstance(context, dict):
            raise ContextError(f"a context must be a dict, not {type(context).__name__}")
        return target in self.allowed(context.get("state"))  # type: ignore[arg-type]

    def diagram(self, form: str = "text", *, current: str | None = None) -> str:
        """Return the definition drawn as ``"text"``, ``"mermaid"`` or ``"dot"``, with the state ``current`` marked.

        Raises:
            ValueError: there is no such form or state.
        """
        return draw(self.definition, form, current=current)

    # The same as generators, for parts that drive steps themselves

    def handle_steps(self, target: str, context: Context, notes: Notes | None = None) -> Steps[Context]:
        """Return the steps of :meth:`handle`."""
        return self._steps(target, context, notes, reset=False)

    def reset_steps(self, context: Context, notes: Notes | None = None) -> Steps[Context]:
        """Return the steps of :meth:`reset`."""
        return self._steps(self.definition.initial, context, notes, reset=True)

    def fail_steps(self, error: BaseException, context: Context, target: str | None = None) -> Steps[Context]:
        """Return the steps of :meth:`fail`."""
        if not isinstance(error, BaseException):
            raise TypeError(f"fail: error must be an exception, not {error!r}")
        self._refuse_nested()
        if self.callbacks.busy:
            flow.check_hook(self._error)
        work = copy_context(context)
        self._check_state(work["state"])
        if target is not None and target not in self.definition:
            self._refuse_illegal(work["state"], target)
        return (yield from self._failing.steps(error, work, target))

    def failing(self) -> bool:
        """Whether the caller runs within :meth:`fail` of this engine: in an error callback, or what it calls."""
        return flow.running(self._failing)

    def report_steps(self, error: BaseException, context: Context) -> Steps[Context]:
        """Return the steps of ``fsm.on_error()(error, context)``."""
        noted = self._noted(error, context)
        return noted if noted is not None else (yield from self.fail_steps(error, context))

    def settle_steps(self, state: str, context: Context) -> Steps[Context]:
        """Return steps that set a state without pre and post callbacks, and fire ``on_state_change``."""
        self._refuse_nested()
        work = copy_context(context)
        source, work["state"] = work["state"], state
        self._check_state(state)
        frame = flow.enter(self)
        try:
            yield from self._tell_change(work["user_id"], source, state)
        finally:
            flow.leave(frame)
        return work

    def after_fork_in_child(self) -> None:
        """Take fresh locks: the parent's may be held."""
        self._phases.after_fork_in_child()

    # Within

    def _report(self, error: BaseException, context: Context) -> Context:
        noted = self._noted(error, context)
        return noted if noted is not None else self.fail(error, context)

    def _noted(self, error: BaseException, context: Context) -> Context | None:
        """Return the error context that the last failing call of this flow has made, if it was for just this."""
        note = find_note(self)
        if note is None or note.error is not error or note.result is None or note.given != context:
            return None
        return copy_context(note.result)

    def _decorator(
        self, phase: Phase, states: tuple[str, ...], priority: int, timeout: float | None
    ) -> Callable[[F], F]:
        if any(callable(each) for each in states):
            raise RegistrationError(f"{phase.value} is called before it decorates: write @fsm.{phase.value}(...)")

        def register(function: F) -> F:
            self._phases.add(phase, function, states, priority=priority, timeout=timeout)
            self.chains_changed()
            return function

        return register

    def _transition(self, target: str, *, reset: bool = False) -> Compiled:
        """Return the functions that lead to a target, compiled if need be."""
        compiled, runs = self._compiled, self._runs  # what is compiled while a chain changes goes with these
        if type(target) is str and (known := compiled.get((target, reset))) is not None:
            return known
        if target not in self.definition:
            refuse = partial(self._refuse_unknown, target)
            return Compiled(lambda _: refuse)
        target = str.__str__(target)  # a member of a StrEnum is a name too
        if (target, reset) not in compiled:
            compiled[target, reset] = self._compile(target, reset=reset)
            if not reset:
                runs[target] = compiled[target, reset].run
        return compiled[target, reset]

    def chains_changed(self) -> None:
        """Compile anew: a chain of the manager has changed, or a local callback was added."""
        self._compiled, self._runs = {}, {}

    def _compile(self, target: str, *, reset: bool) -> Compiled:
        states = self.definition.states
        sources = frozenset(state for state in states if reset or target in self.definition.targets(state))
        pre, post = (self._phases.members(phase, target) for phase in (Phase.PRE, Phase.POST))
        support = TransitionSupport(
            key=self,
            pre=self.callbacks.hook(Phase.PRE.value),
            post=self.callbacks.hook(Phase.POST.value),
            judge=self._judge,
            refuse_nested=self._refuse_nested,
            refuse_waiting=self._refuse_waiting,
            refuse_illegal=self._refuse_illegal,
            step=lambda member, coroutine: self.callbacks.step_for(member.callback, coroutine, self),
            on_thread=self._on_thread,
            troubled=self.callbacks.health.troubled,
            changes=self.callbacks.health.changes,
            tell_changes=self.callbacks.health.step,
            text=self.callbacks.failures.text,
            end=self._end,
            tell=self._tell_change,
            told=bool(self.callbacks.chain("on_state_change")),
            waits=self._fails_async() or any(each.callback.is_async for each in (*pre, *post)),
            recorder=self.callbacks.recorder,
            now=self.callbacks.clock.monotonic_ns,
            busy=self.callbacks.running_calls,
            delivering=self.callbacks.running_deliveries,
            edition=self.callbacks.edition,
        )
        return compile_transition(target, sources, pre, post, support)

    def _on_thread(self, member: Member, given: Context, source: str, target: str) -> CallbackStep:
        call = partial(member.call, given, source, target, None)
        return self.callbacks.step_on_thread(member.callback, call, self)

    def _steps(self, target: str, context: Context, notes: Notes | None, *, reset: bool) -> Steps[Context]:
        result: Context = yield from self._transition(target, reset=reset).steps(context, notes)
        return result

    def _end(self, ending: BaseException, context: Context, target: str, notes: Notes | None) -> Steps[None]:
        """Do what is to be done before a transition that began with ``context`` ends by an exception."""
        try:
            before = copy_context(context)
        except ContextError as unfit:  # a callback has changed the caller's own dict
            raise unfit from ending
        result = None
        if not isinstance(ending, TransitionVeto):
            result = copy_context((yield from self._failing.steps(ending, copy_context(before), target)))
        (own_notes() if notes is None else notes).keep(self, Note(ending, before, result))

    def _tell_change(self, user_id: str, source: str, target: str) -> Steps[None]:
        # The transition itself is one of the running calls; alone, it nests the event in nothing.
        return self.callbacks.fire("on_state_change", 1, user_id=user_id, old_state=source, new_state=target)

    def _refuse_nested(self) -> None:
        if not self.callbacks.busy:
            return
        if flow.running(self):
            raise ReentrancyError(
                "a transition of this engine runs already in this flow; one callback cannot start another transition: "
                "return from it first"
            )
        flow.check_hook(self._state_change)

    def _fails_async(self) -> bool:
        """Whether a callback of an event, or for errors, is asynchronous."""
        events = (self._state_change, self._error)
        return self._phases.has_async(Phase.ERROR) or any(
            each.is_async for event in events for each in self.callbacks.chain(event.name)
        )

    def _refuse_waiting(self) -> None:
        """Refuse a synchronous call that may have to wait, where it would wait for itself."""
        if on_loop_thread():
            raise ReentrancyError(
                "a transition that may call asynchronous callbacks was started on one of Thea's event loops, where it "
                "would wait for itself; await ahandle (areset, afail, aon_error) instead"
            )

    def _refuse_unknown(self, target: Any, context: Context, _notes: Notes | None = None) -> NoReturn:
        self._refuse_nested()
        self._refuse_illegal(copy_context(context)["state"], target)

    def _check_state(self, state: object) -> None:
        if state not in self.definition:
            raise ContextError(
                f"context['state'] is {state!r}, which is no state{suggestion(state, self.definition.states)}; "
                f"the states are: {', '.join(self.definition.states)}",
                path="context['state']",
            )

    def _refuse_illegal(self, source: str, target: str) -> NoReturn:
        self._check_state(source)
        if target not in self.definition:
            known = self.definition.states
            problem = f"there is no state {target!r}{suggestion(target, known)}; the states are: {', '.join(known)}"
        else:
            legal = ", ".join(self.definition.targets(source))
            problem = f"there is no transition {source!r} -> {target!r}; from {source!r} there are: {legal}"
        raise IllegalTransitionError(problem, source=source, target=str(target))


_MISSING: Any = object()


class _OnError:
    """What ``fsm.on_error()`` returns: a decorator, or with two arguments the way to report an exception."""

    def __init__(self, register: Callable[[Any], Any], report: Callable[[BaseException, Context], Context]) -> None:
        self._register = register
        self._report = report

    @overload
    def __call__(self, error: F) -> F: ...

    @overload
    def __call__(self, error: BaseException, context: Context) -> Context: ...

    def __call__(self, error: Any, context: Any = _MISSING) -> Any:
        return self._register(error) if context is _MISSING else self._report(error, context)
