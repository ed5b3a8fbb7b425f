"""FSMEngine: takes the contexts of conversations from state to state, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, TypeVar, overload

from thea_core.callbacks import flow
from thea_core.callbacks.failures import short_text
from thea_core.callbacks.forking import watch
from thea_core.callbacks.history import Call, Failure, Shape
from thea_core.callbacks.hooks import suggestion
from thea_core.callbacks.manager import CallbackManager
from thea_core.callbacks.steps import Steps, adrive, drive
from thea_core.errors import (
    ContextError,
    GuardUnavailableError,
    IllegalTransitionError,
    ReentrancyError,
    RegistrationError,
    TransitionVeto,
    format_traceback,
)
from thea_core.fsm.compiler import CompiledTransition, TransitionSupport, compile_transition
from thea_core.fsm.context import copy_context, is_flat
from thea_core.fsm.definition import Definition
from thea_core.fsm.diagram import draw
from thea_core.fsm.notes import Note, find_note, new_note
from thea_core.fsm.phases import Member, Phase, Phases
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
        self.definition = definition if definition is not None else Definition()
        self.callbacks = callbacks if callbacks is not None else CallbackManager()
        self._phases = Phases(self.definition, self.callbacks, max_callbacks)
        self._state_change = self.callbacks.hook("on_state_change")
        self._error = self.callbacks.hook("on_error")
        self._transition_error = self.callbacks.hook(Phase.ERROR.value)
        self._compiled: dict[tuple[str, bool], CompiledTransition] = {}
        self._runs: dict[str, Callable[[Context], Context]] = {}
        self.callbacks.tell_changes(self)
        watch(self)

    # Local callbacks

    def pre_transition(self, *states: str, priority: int = 0) -> Callable[[F], F]:
        """Decorate a function that runs before each transition to one of ``states``; without states: to any.

        It is called with the context, and may change it in place, return a new one, or raise ``TransitionVeto``.

        Raises:
            RegistrationError: the function does not fit, or a state is unknown.
            CallbackLimitError: a state has ``max_callbacks`` of them already.
        """
        return self._decorator(Phase.PRE, states, priority)

    def post_transition(self, *states: str, priority: int = 0) -> Callable[[F], F]:
        """Decorate a function that runs after each transition to one of ``states``, while it can still be undone.

        Otherwise like :meth:`pre_transition`.
        """
        return self._decorator(Phase.POST, states, priority)

    def on_error(self, *, priority: int = 0) -> _OnError:
        """Decorate a function that is called with ``(error, context)`` when a transition has failed.

        What it returns is the error context to go on with. ``fsm.on_error()(error, context)``, with both, returns the
        error context for an exception that ``handle`` raised just now, and calls :meth:`fail` for any other.
        """
        return _OnError(self, priority)

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
        return adrive(self.handle_steps(target, context, new_note(self)))

    def reset(self, context: Context) -> Context:
        """Take the conversation to the initial state, from any state; otherwise like :meth:`handle`."""
        return self._transition(self.definition.initial, reset=True).run(context)

    def areset(self, context: Context) -> Coroutine[Any, Any, Context]:
        """Do the same as :meth:`reset`."""
        return adrive(self.reset_steps(context, new_note(self)))

    def fail(self, error: BaseException, context: Context, target: str | None = None) -> Context:
        """Put the conversation into the error state because of ``error``, and return its error context.

        Sets the state without pre and post callbacks, runs the error callbacks, each isolated, then fires
        ``on_state_change`` and ``on_error``. An exception that has no ``critical`` gets ``critical = False``.

        Args:
            error: what happened.
            context: the context as it was before.
            target: the state that was being entered, where there was one.
        """
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
        return target in self.allowed(context.get("state", ""))

    def diagram(self, form: str = "text", *, current: str | None = None) -> str:
        """Return the definition drawn as ``"text"``, ``"mermaid"`` or ``"dot"``, with the state ``current`` marked.

        Raises:
            ValueError: there is no such form or state.
        """
        return draw(self.definition, form, current=current)

    # The same as generators, for parts that drive steps themselves

    def handle_steps(self, target: str, context: Context, note: Note | None = None) -> Steps[Context]:
        """Return the steps of :meth:`handle`."""
        result: Context = yield from self._transition(target).steps(context, note)
        return result

    def reset_steps(self, context: Context, note: Note | None = None) -> Steps[Context]:
        """Return the steps of :meth:`reset`."""
        result: Context = yield from self._transition(self.definition.initial, reset=True).steps(context, note)
        return result

    def fail_steps(self, error: BaseException, context: Context, target: str | None = None) -> Steps[Context]:
        """Return the steps of :meth:`fail`."""
        self._refuse_nested()
        if self.callbacks.busy:
            flow.check_hook(self._error)
        before = copy_context(context)
        self._check_state(before["state"])
        return (yield from self._fail(error, before, target))

    def report_steps(self, error: BaseException, context: Context) -> Steps[Context]:
        """Return the steps of ``fsm.on_error()(error, context)``."""
        note = find_note(self)
        if note is not None and note.error is error and note.given == context:
            return copy_context(note.result)
        return (yield from self.fail_steps(error, context))

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

    def _decorator(self, phase: Phase, states: tuple[str, ...], priority: int) -> Callable[[F], F]:
        if any(callable(each) for each in states):
            raise RegistrationError(f"{phase.value} is called before it decorates: write @fsm.{phase.value}(...)")

        def register(function: F) -> F:
            self._phases.add(phase, function, states, priority)
            self.chains_changed()
            return function

        return register

    def _register_error_callback(self, function: Callable[..., Any], priority: int) -> None:
        self._phases.add(Phase.ERROR, function, (), priority)

    def _transition(self, target: str, *, reset: bool = False) -> CompiledTransition:
        """Return the functions that lead to a target, compiled if need be."""
        compiled, runs = self._compiled, self._runs  # what is compiled while a chain changes goes with these
        if target not in self.definition:
            return self._compile(target, reset=reset)
        if (target, reset) not in compiled:
            compiled[target, reset] = self._compile(target, reset=reset)
            if not reset:
                runs[target] = compiled[target, reset].run
        return compiled[target, reset]

    def chains_changed(self) -> None:
        """Compile anew: a chain of the manager has changed, or a local callback was added."""
        self._compiled, self._runs = {}, {}

    def _compile(self, target: str, *, reset: bool) -> CompiledTransition:
        states = self.definition.states
        sources = frozenset(state for state in states if reset or target in self.definition.targets(state))
        recorder = self.callbacks.recorder
        support = TransitionSupport(
            key=self,
            pre=self.callbacks.hook(Phase.PRE.value),
            post=self.callbacks.hook(Phase.POST.value),
            copy=copy_context,
            checked=_checked,
            refuse_nested=self._refuse_nested,
            refuse_illegal=self._refuse_illegal,
            adopt=self._adopt,
            judge=self._judge,
            step=lambda member, coroutine: self.callbacks.step_for(member.callback, coroutine),
            end=self._end,
            tell=self._tell_change,
            told=bool(self.callbacks.chain("on_state_change")),
            drive=drive,
            recorder=recorder,
            now=self.callbacks.clock.monotonic_ns,
            busy=self.callbacks.running_calls,
            edition=self.callbacks.edition,
        )
        pre, post = (self._phases.members(phase, target) for phase in (Phase.PRE, Phase.POST))
        return compile_transition(target, sources, pre, post, support)

    def _adopt(
        self,
        member: Member,
        position: int,
        result: Any,
        before: tuple[Context, str, str],
        failures: list[Failure] | None,
    ) -> tuple[Context, list[Failure] | None, BaseException | None]:
        """Return the context to go on with, given what a callback returned, or changed in place.

        ``before`` holds the context that it was given, and the user and state that it must have kept.
        """
        work, user_id, state = before
        try:
            adopted = _adopted(result if result is not None else work, user_id, state, copied=not member.local)
        except ContextError as problem:
            return work, *self._judge(member, position, problem, failures)
        return adopted, failures, None

    def _judge(
        self, member: Member, position: int, problem: BaseException, failures: list[Failure] | None
    ) -> tuple[list[Failure], BaseException | None]:
        """Decide what a callback's exception means: a note in the row, and what ends the transition, if anything."""
        failure, ending = self._judged(member, problem)
        return [*(failures or ()), failure._replace(position=position)], ending

    def _judged(self, member: Member, problem: BaseException) -> tuple[Failure, BaseException | None]:
        if isinstance(problem, TransitionVeto):
            return Failure(0, "veto", short_text(problem)), problem
        if member.local:
            if isinstance(problem, KeyboardInterrupt):
                raise problem
            return Failure(0, "error", short_text(problem)), problem
        failure = self.callbacks.contain(member.callback, problem)
        if member.callback.guard:
            return failure, GuardUnavailableError(member.callback.plugin, short_text(problem))
        return failure, None

    def _end(self, ending: BaseException, context: Context, target: str, note: Note | None) -> Steps[None]:
        """End a transition that began with ``context`` by an exception; an error goes through ``fail`` first."""
        if not isinstance(ending, TransitionVeto):
            before = copy_context(context)
            result = yield from self._fail(ending, copy_context(before), target)
            (note or new_note(self)).fill(ending, before, copy_context(result))
        raise ending

    def _fail(self, error: BaseException, work: Context, target: str | None) -> Steps[Context]:
        """Make ``work`` the error context; it belongs to this call."""
        _set_critical(error)
        source, user_id = work["state"], work["user_id"]
        work["state"] = self.definition.error
        frame = flow.enter(self)
        try:
            work = yield from self._run_error_callbacks(error, source, target or source, work)
            if source != self.definition.error:
                yield from self._tell_change(user_id, source, self.definition.error)
            if not flow.running(self._error):  # a transition that fails within on_error is not told again
                text = format_traceback(error)
                yield from self.callbacks.fire("on_error", user_id=user_id, error=error, traceback=text)
        finally:
            flow.leave(frame)
        return work

    def _run_error_callbacks(self, error: BaseException, source: str, target: str, work: Context) -> Steps[Context]:
        """Call the error callbacks, each isolated and with a copy of its own, and adopt each valid result."""
        members = self._phases.members(Phase.ERROR, self.definition.error)
        if not members or flow.running(self._transition_error):
            return work
        now = self.callbacks.clock.monotonic_ns
        times, failures = [now()], []
        call = self.callbacks.begin_call()
        frame = flow.enter(self._transition_error)
        try:
            for position, member in enumerate(members):
                given = copy_context(work)
                result, problem = yield from self._call(member, given, source, target, error)
                if problem is None:
                    chosen = given if member.local and result is None else result
                    try:
                        if chosen is not None:
                            work = _adopted(chosen, work["user_id"], work["state"], copied=True)
                    except ContextError as unfit:
                        problem = unfit
                times.append(now())
                if problem is not None:
                    failures.append(self.callbacks.contain(member.callback, problem)._replace(position=position))
        finally:
            flow.leave(frame)
            self.callbacks.end_call(call)
        self._record_error_callbacks(members, times, failures)
        return work

    def _call(
        self, member: Member, given: Context, source: str, target: str, error: BaseException
    ) -> Steps[tuple[Any, BaseException | None]]:
        """Call one error callback; what it raises comes back as a value, but for KeyboardInterrupt."""
        try:
            result = member.call(given, source, target, error)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            return None, raised
        if type(result) is not CoroutineType:
            return result, None
        step = self.callbacks.step_for(member.callback, result)
        try:
            outcome: tuple[Any, BaseException | None] = yield step
        except BaseException:  # the host's cancellation: what was begun must not go on
            step.cancel()
            raise
        return outcome

    def _record_error_callbacks(self, members: tuple[Member, ...], times: list[int], failures: list[Failure]) -> None:
        recorder = self.callbacks.recorder
        if recorder.active:
            calls = tuple(Call(Phase.ERROR.value, each.callback.plugin, each.callback.name) for each in members)
            spans = tuple((number, number + 1, number) for number in range(len(calls)))
            log = recorder.log(Shape(calls, spans, ((0, len(calls) - 1),)))
            recorder.record(log, (*times, failures or None))

    def _tell_change(self, user_id: str, source: str, target: str) -> Steps[None]:
        return self.callbacks.fire("on_state_change", user_id=user_id, old_state=source, new_state=target)

    def _refuse_nested(self) -> None:
        if not self.callbacks.busy:
            return
        if flow.running(self):
            raise ReentrancyError(
                "a transition of this engine runs already in this flow; one callback cannot start another transition: "
                "return from it first"
            )
        flow.check_hook(self._state_change)

    def _check_state(self, state: object) -> None:
        if state not in self.definition:
            raise ContextError(
                f"context['state'] is {state!r}, which is no state{suggestion(state, self.definition.states)}; "
                f"the states are: {', '.join(self.definition.states)}",
                path="context['state']",
            )

    def _refuse_illegal(self, source: str, target: str) -> None:
        self._check_state(source)
        if target not in self.definition:
            known = self.definition.states
            problem = f"there is no state {target!r}{suggestion(target, known)}; the states are: {', '.join(known)}"
        else:
            legal = ", ".join(self.definition.targets(source))
            problem = f"there is no transition {source!r} -> {target!r}; from {source!r} there are: {legal}"
        raise IllegalTransitionError(problem, source=source, target=str(target))


class _OnError:
    """What ``fsm.on_error()`` returns: a decorator, or with two arguments the way to report an exception."""

    def __init__(self, engine: FSMEngine, priority: int) -> None:
        self._engine = engine
        self._priority = priority

    @overload
    def __call__(self, error: F) -> F: ...

    @overload
    def __call__(self, error: BaseException, context: Context) -> Context: ...

    def __call__(self, error: Any, context: Context | None = None) -> Any:
        if context is not None:
            return drive(self._engine.report_steps(error, context))
        self._engine._register_error_callback(error, self._priority)  # noqa: SLF001 -- same module
        return error


def _adopted(result: Any, user_id: str, state: str, *, copied: bool) -> Context:
    """Return a callback's result if it may take the context's place.

    Raises:
        ContextError: it may not.
    """
    if not isinstance(result, dict):
        raise ContextError(f"a callback must return a context or None, not {type(result).__name__}")
    for key, expected in (("user_id", user_id), ("state", state)):
        if result.get(key) != expected:
            raise ContextError(
                f"a callback must leave context[{key!r}] as it was ({expected!r}), and not make it {result.get(key)!r}",
                path=f"context[{key!r}]",
            )
    return copy_context(result) if copied else result


def _checked(work: Context) -> tuple[Context, BaseException | None]:
    if is_flat(work):
        return work, None
    try:
        return copy_context(work), None
    except ContextError as error:
        return work, error


def _set_critical(error: BaseException) -> None:
    """Make ``error.critical`` readable for error callbacks."""
    try:
        if not hasattr(error, "critical"):
            error.critical = False  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: S110 -- an exception that accepts no attribute, or whose property raises
        pass
