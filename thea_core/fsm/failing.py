"""What happens when a transition has failed: the error state, the error callbacks, the events."""

from __future__ import annotations

from functools import partial
from types import CoroutineType
from typing import Any

from thea_core.callbacks import flow
from thea_core.callbacks.compiler import BREAKER_OPEN
from thea_core.callbacks.history import Call, Failure, Shape
from thea_core.callbacks.limits import CallbackStep
from thea_core.callbacks.manager import CallbackManager
from thea_core.callbacks.steps import Steps
from thea_core.errors import CallbackSkippedError, ContextError, format_traceback
from thea_core.fsm.context import copy_context
from thea_core.fsm.definition import Definition
from thea_core.fsm.phases import Member, Phase, Phases
from thea_core.fsm.verdicts import Judge, adopted
from thea_core.types import Context

__all__ = ["Failing"]


class Failing:
    """Makes error contexts, for one engine. Thread-safe.

    Args:
        engine: stands for the engine in the flow.
        definition: tells the error state.
        phases: has the error callbacks.
        callbacks: where events are fired.
    """

    def __init__(self, engine: object, definition: Definition, phases: Phases, callbacks: CallbackManager) -> None:
        self._engine = engine
        self._state = definition.error
        self._phases = phases
        self._callbacks = callbacks
        self._judge = Judge(callbacks)
        self._error = callbacks.hook("on_error")
        self._transition_error = callbacks.hook(Phase.ERROR.value)

    def steps(self, error: BaseException, work: Context, target: str | None) -> Steps[Context]:
        """Return steps that make ``work``, which is given away, the error context."""
        _set_critical(error)
        source, user_id = work["state"], work["user_id"]
        work["state"] = self._state
        frame = flow.enter(self._engine, self)
        try:
            work = yield from self._run_callbacks(error, source, target or source, work)
            if source != self._state:
                yield from self._callbacks.fire(
                    "on_state_change", user_id=user_id, old_state=source, new_state=self._state
                )
            if not flow.running(self._error):  # a transition that fails within on_error is not told again
                text = format_traceback(error)
                yield from self._callbacks.fire("on_error", user_id=user_id, error=error, traceback=text)
            if self._callbacks.health.changes:
                yield self._callbacks.health.step()
        finally:
            flow.leave(frame)
        return work

    def _run_callbacks(self, error: BaseException, source: str, target: str, work: Context) -> Steps[Context]:
        """Call the error callbacks, each isolated and with a copy of its own, and adopt each valid result."""
        members = self._phases.members(Phase.ERROR, target)
        if not members or flow.running(self._transition_error):
            return work
        row = _Row(members, self._callbacks)
        edition = self._callbacks.begin_call()
        frame = flow.enter(self._transition_error)
        try:
            for member in members:
                ticket = self._judge.admit(member)
                try:
                    work, failure = yield from self._run_one(member, ticket, work, (source, target, error))
                except BaseException:
                    self._judge.release((member,), ticket)
                    raise
                row.end_callback(failure)
        except GeneratorExit:
            raise  # the garbage collector's doing, which may come while a lock of the recorder is held
        except BaseException:
            row.record()
            raise
        finally:
            flow.leave(frame)
            self._callbacks.end_call(edition)
        row.record()
        return work

    def _run_one(
        self, member: Member, ticket: int, work: Context, about: tuple[str, str, BaseException]
    ) -> Steps[tuple[Context, Failure | None]]:
        """Call one error callback, and return the context to go on with, and how it failed."""
        if ticket < 0:
            return work, self._callbacks.contain(member.callback, CallbackSkippedError(BREAKER_OPEN))
        result, problem = yield from self._call(member, copy_context(work), *about)
        if problem is None and result is not None:
            try:
                work = adopted(result, work["user_id"], work["state"])
            except ContextError as unfit:
                problem = unfit
        if problem is not None:
            return work, self._callbacks.contain(member.callback, problem, ticket)
        self._judge.succeed(member, 0, ticket, None)
        return work, None

    def _call(
        self, member: Member, given: Context, source: str, target: str, error: BaseException
    ) -> Steps[tuple[Any, BaseException | None]]:
        """Call one error callback; what it raises comes back as a value, but for KeyboardInterrupt."""
        call = partial(member.call, given, source, target, error)
        result: Any = None
        problem: BaseException | None = None
        step: CallbackStep | None = None
        if member.callback.threaded:
            step = self._callbacks.step_on_thread(member.callback, call)
        else:
            try:
                result = call()
            except KeyboardInterrupt:
                raise
            except BaseException as raised:
                return None, raised
            if type(result) is CoroutineType:
                step = self._callbacks.step_for(member.callback, result)
        if step is not None:
            try:
                result, problem = yield step
            except BaseException:  # the host's cancellation: what was begun must not go on
                step.cancel()
                raise
        if member.local and result is None:
            result = given  # changed in place, perhaps
        return result, problem


class _Row:
    """The history's row of one run of the error callbacks."""

    def __init__(self, members: tuple[Member, ...], callbacks: CallbackManager) -> None:
        self._members = members
        self._recorder = callbacks.recorder
        self._now = callbacks.clock.monotonic_ns
        self._times = [self._now()]
        self._failures: list[Failure] = []

    def end_callback(self, failure: Failure | None) -> None:
        """Note that the next callback has ended."""
        if failure is not None:
            self._failures.append(failure._replace(position=len(self._times) - 1))
        self._times.append(self._now())

    def record(self) -> None:
        """Hand the row over; of the callbacks that have not ended, the first was cancelled."""
        if not self._recorder.active:
            return
        calls = tuple(Call(Phase.ERROR.value, each.callback.plugin, each.callback.name) for each in self._members)
        reached = len(self._times) - 1
        for position in range(reached, len(calls)):
            self.end_callback(Failure(position, "cancelled" if position == reached else "", None))
        spans = tuple((number, number + 1, number) for number in range(len(calls)))
        log = self._recorder.log(Shape(calls, spans, ((0, len(calls) - 1),)))
        self._recorder.record(log, (*self._times, self._failures or None))


def _set_critical(error: BaseException) -> None:
    """Make ``error.critical`` readable for error callbacks."""
    try:
        if not hasattr(error, "critical"):
            error.critical = False  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: S110 -- an exception that accepts no attribute, or whose property raises
        pass
