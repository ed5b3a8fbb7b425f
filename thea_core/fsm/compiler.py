"""Compiles the transition to one target state into one function, as events are (:mod:`thea_core.callbacks.compiler`).

What a compiled transition does, in order: refuse nesting; copy and check the context; legality; pre callbacks; the
state; post callbacks; check the context once more; one row for the history; then end by an exception, or tell
``on_state_change``. What is rare (a callback that returns another context, raises or is asynchronous) is left to
:class:`~thea_core.fsm.verdicts.Judge` and the functions of :class:`TransitionSupport`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, NamedTuple

from thea_core.callbacks import flow
from thea_core.callbacks.breaker import Breaker
from thea_core.callbacks.compiler import BREAKER_OPEN, Compiled, build_function, indented, log_names, record_lines
from thea_core.callbacks.history import Call, Failure, Recorder, Shape
from thea_core.callbacks.hooks import Hook
from thea_core.callbacks.steps import Steps, drive
from thea_core.errors import CallbackSkippedError, TransitionVeto
from thea_core.fsm.context import copy_context
from thea_core.fsm.phases import Member
from thea_core.fsm.verdicts import Judge, checked, own_copy
from thea_core.types import Context

__all__ = ["TransitionSupport", "compile_transition"]


class TransitionSupport(NamedTuple):
    """What compiled transitions need of their engine.

    Attributes:
        key: the engine, for the flow.
        pre, post: the hooks.
        judge: judges what callbacks do.
        refuse_nested: raises where a transition may not start now.
        refuse_waiting: raises where a synchronous call would wait for itself.
        refuse_illegal: raises because the source state is unknown, or has no such transition.
        step: makes the step that waits for a coroutine of a callback.
        on_thread: makes the step that waits for a callback which runs on a thread.
        troubled: the breakers that are not as good as new; empty nearly always, and then none needs to be asked.
        changes: the changes of breakers that are still to be told.
        tell_changes: makes the step that tells them.
        text: an exception's type and the start of its text, without secrets.
        end: steps that do what is to be done before a transition ends by an exception.
        tell: steps that fire ``on_state_change``.
        told: whether that event has any callback.
        waits: whether any callback that a transition may lead to is asynchronous.
        recorder: takes the rows.
        now: nanoseconds.
        busy: the running calls of chains.
        delivering: the running deliveries from queues.
        edition: the state of the chains to which the compiled functions belong.
    """

    key: object
    pre: Hook
    post: Hook
    judge: Judge
    refuse_nested: Callable[[], None]
    refuse_waiting: Callable[[], None]
    refuse_illegal: Callable[[str, str], None]
    step: Callable[[Any, Any], Any]
    on_thread: Callable[[Member, Context, str, str], Any]
    troubled: set[Breaker]
    changes: Sequence[object]
    tell_changes: Callable[[], Any]
    text: Callable[[BaseException], str]
    end: Callable[..., Steps[None]]
    tell: Callable[[str, str, str], Steps[None]]
    told: bool
    waits: bool
    recorder: Recorder
    now: Callable[[], int]
    busy: list[int]
    delivering: Sequence[object]
    edition: int


def compile_transition(
    target: str, sources: frozenset[str], pre: Sequence[Member], post: Sequence[Member], support: TransitionSupport
) -> Compiled:
    """Return the transition to ``target``, legal from ``sources``.

    Its ``run`` takes the context; its ``steps``, the context and the notes of its flow.
    """
    writer = _Writer(target, pre, post, support)
    recorder = support.recorder
    members = [*pre, *post]
    names = {
        "_key": support.key,
        "_pre": support.pre,
        "_post": support.post,
        "_members": members,
        "_target": target,
        "_sources": sources,
        "_copy": copy_context,
        "_own": own_copy,
        "_checked": checked,
        "_refuse_nested": support.refuse_nested,
        "_refuse_waiting": support.refuse_waiting,
        "_refuse_illegal": support.refuse_illegal,
        "_adopt": support.judge.adopt,
        "_judge": support.judge.judge,
        "_admit": support.judge.admit,
        "_succeed": support.judge.succeed,
        "_release": support.judge.release,
        "_step": support.step,
        "_on_thread": support.on_thread,
        "_troubled": support.troubled,
        "_changes": support.changes,
        "_tell_changes": support.tell_changes,
        "_end": support.end,
        "_leaving": _leaving,
        "_tell": support.tell,
        "_drive": drive,
        "_fill": _fill,
        "_ended": partial(_ended, support.text),
        "_cancelled": _canceller(recorder, writer.shape, support.now),
        "_now": support.now,
        **log_names(recorder, writer.shape),
        "_busy": support.busy,
        "_delivering": support.delivering,
        "_begin": support.busy.append,
        "_end_call": support.busy.remove,
        "_enter": flow.enter,
        "_leave": flow.leave,
        "_Coroutine": CoroutineType,
        "_refused": CallbackSkippedError(BREAKER_OPEN),
        **{f"_c{index}": member.callback.function for index, member in enumerate(members)},
        **{f"_call{index}": member.call for index, member in enumerate(members)},
    }
    return Compiled(partial(writer.build, names=names))


def _fill(times: Sequence[int | None], failures: Sequence[Failure], last: Failure | None) -> tuple[Any, ...]:
    """Return the row of a transition in which something failed: callbacks that were not reached did not run.

    Args:
        times: the times that were taken; those of callbacks that were not reached are None.
        failures: how callbacks ended.
        last: how the transition ended; None where well.
    """
    count = len(times) - 2  # the first and the last time are those of the transition itself
    known = [each for each in times if each is not None]
    reached = len(known) - 2
    filled = [*known[:-1], *known[-2:-1] * (count - reached), known[-1]]
    not_called = (Failure(position, "", None) for position in range(reached, count))
    return (*filled, [*failures, *not_called, *([last] if last else ())])


def _ended(text: Callable[[BaseException], str], ending: BaseException | None, position: int) -> Failure | None:
    """Return how a transition ended."""
    if ending is None:
        return None
    return Failure(position, "veto" if isinstance(ending, TransitionVeto) else "error", text(ending))


def _canceller(recorder: Recorder, shape: Shape, now: Callable[[], int]) -> Callable[..., None]:
    """Return what records a transition that was cancelled while it waited for a callback."""

    def cancelled(
        position: int, times: Sequence[int | None], failures: Sequence[Failure] | None, reason: BaseException
    ) -> None:
        if isinstance(reason, GeneratorExit):
            return  # the garbage collector's doing, which may come while a lock of the recorder is held
        count = len(times) - 2
        end = now()
        times = [end if number in (position + 1, count + 1) else each for number, each in enumerate(times)]
        stopped = [Failure(number, "cancelled", None) for number in (position, count)]
        recorder.record(recorder.log(shape), _fill(times, [*(failures or ()), stopped[0]], stopped[1]))

    return cancelled


def _leaving(ending: BaseException) -> BaseException:
    """Return what can leave a generator or a coroutine, in place of what cannot."""
    if not isinstance(ending, StopIteration):
        return ending
    error = RuntimeError("a callback raised StopIteration, which cannot leave a coroutine")
    error.__cause__ = ending
    return error


class _Writer:
    """Writes the text of the functions of one transition."""

    def __init__(self, target: str, pre: Sequence[Member], post: Sequence[Member], support: TransitionSupport) -> None:
        self._target = target
        self._pre = pre
        self._post = post
        self._members = [*pre, *post]
        self._support = support
        self._timed = support.recorder.active
        self._guarded = any(each.callback.breaker is not None for each in self._members)
        self._times = 1 + len(pre) + len(post) + 1  # before the first, after each, and at the end
        self.shape = self._shape()

    def build(self, kind: str, names: dict[str, Any]) -> Callable[..., Any]:
        """Compile one of the two functions."""
        return build_function(self._function(waits=kind == "run"), names, f"<transition to {self._target!a}>")

    def _function(self, *, waits: bool) -> list[str]:
        support = self._support
        # A task that is spawned within must find the engine running; what only blocks this thread needs no frame.
        framed = any(member.callback.is_async for member in self._members) if waits else self._members or support.told
        return [
            f"def {flow.COMPILED}(_given, _notes=None):",
            *([] if waits else ["    if False: yield"]),
            *(["    _refuse_waiting()"] if waits and support.waits else []),
            "    if _busy or _delivering: _refuse_nested()",
            "    _work = _copy(_given)",
            # Others may change theirs while this one waits for a callback.
            *(["    _given = _copy(_work)"] if self._members and not waits else []),
            "    _user = _work['user_id']",
            "    _source = _work['state']",
            "    if _source not in _sources: _refuse_illegal(_source, _target)",
            "    _on, _hook = _key, None",  # for the flow: see there
            *(["    _frame = _enter(_key)"] if framed else []),
            *(["    _k = 0"] if self._guarded else []),
            f"    _begin({support.edition})",
            "    try:",
            *indented(indented(self._phases(waits=waits))),
            *indented(indented(self._ending(waits=waits))),
            "        return _work",
            # No probe sticks where the call is left by Ctrl-C, cancelled, or its generator thrown away.
            *(["    except BaseException: _release(_members, _k); raise"] if self._guarded else []),
            "    finally:",
            f"        _end_call({support.edition})",
            *(["        _leave(_frame)"] if framed else []),
            "        _ending = None",  # an exception that holds this frame by its traceback
        ]

    def _shape(self) -> Shape:
        members = self._members
        count = len(members)
        pre, post = len(self._pre), len(self._post)
        hooks = [self._support.pre.name] * pre + [self._support.post.name] * post
        names = [(each.callback.plugin, each.callback.name) for each in members]
        calls = [Call(hook, *name) for hook, name in zip(hooks, names, strict=True)]
        groups = [(0, pre - 1)] if pre else []
        groups += [(pre, count - 1)] if post else []
        return Shape(
            calls=(*calls, Call("transition", "core", f"-> {self._target}")),
            spans=(*((number, number + 1, number) for number in range(count)), (0, count + 1, count)),
            groups=(*groups, (count, count)),
        )

    def _phases(self, *, waits: bool) -> list[str]:
        lines = ["_failures = _ending = None"]
        if self._guarded:
            lines.append("_w = len(_troubled)")
        if self._timed:
            lines.append(" = ".join(f"_t{number}" for number in range(1, self._times)) + " = None")
            lines.append("_t0 = _now()")
        if not self._members:  # then the copy stays as it was checked
            return [*lines, "_work['state'] = _target"]
        lines.append("while True:")
        state = "_source"
        index = 0
        for hook, members in (("_pre", self._pre), ("_post", self._post)):
            if hook == "_post":
                lines += ["    _work['state'] = _target"]
                state = "_target"
            if members:
                lines.append(f"    _hook = {hook}")
            for member in members:
                lines += indented(self._call(index, member, state, waits=waits))
                index += 1
        return [*lines, "    _work, _ending = _checked(_work)", "    break", "_hook = None"]

    def _call(self, index: int, member: Member, state: str, *, waits: bool) -> list[str]:
        callback = member.callback
        # What may be left behind, and so may change its context later, gets one of its own; so does every plugin's.
        own = not member.local or callback.timeout is not None
        call = self._call_on_thread if callback.threaded else self._call_inline
        lines = call(index, member, state, waits=waits)
        if callback.breaker is not None:
            lines = [
                f"_k = _admit(_members[{index}]) if _w else 0",
                "if _k < 0:",
                f"    {self._judged(index, member, '_refused')}",
                "else:",
                *indented(lines),
                f"    if _w: _succeed(_members[{index}], {index}, _k, _failures)",
            ]
        if own:
            lines = ["_o, _ending = _own(_work)", "if _ending is not None: break", *lines]
        if self._timed:
            lines.append(f"_t{index + 1} = _now()")
        return [*lines, "if _ending is not None: break"]

    def _call_inline(self, index: int, member: Member, state: str, *, waits: bool) -> list[str]:
        shared = member.local and member.callback.timeout is None
        given = "_work" if shared else "_o"
        plain = member.local and not member.callback.arguments.keyword
        call = f"_c{index}({given})" if plain else f"_call{index}({given}, _source, _target, None)"
        # That a local callback has left user and state alone is seen by identity: an __eq__ could do anything.
        kept = f"_work.get('user_id') is _user and _work.get('state') is {state}"
        unchanged = f"(_r is None or _r is _work) and {kept}" if shared else "_r is None"
        changed = "True" if member.local and not shared else f"not ({unchanged})"
        return [
            "try:",
            f"    _r = {call}",
            "except BaseException as _e:",  # _judge passes KeyboardInterrupt on
            f"    {self._judged(index, member, '_e')}",
            "else:",
            f"    if {changed}:",
            "        _e = None",
            "        if type(_r) is _Coroutine:",
            *indented(indented(indented(self._wait(index, f"_step(_members[{index}], _r)", waits=waits)))),
            *indented(indented(self._taken(index, member, state))),
        ]

    def _call_on_thread(self, index: int, member: Member, state: str, *, waits: bool) -> list[str]:
        step = f"_on_thread(_members[{index}], _o, _source, _target)"
        return [*self._wait(index, step, waits=waits), *self._taken(index, member, state)]

    def _taken(self, index: int, member: Member, state: str) -> list[str]:
        """Return the lines that judge what came of a callback: ``_r``, or ``_e``."""
        given = "_o if _r is None else _r" if member.local and member.callback.timeout is not None else "_r"
        ticket = 0 if member.callback.breaker is None else "_k"
        adopt = f"_adopt(_members[{index}], {index}, {given}, (_work, _user, {state}, {ticket}), _failures)"
        return [
            "if _e is not None:",
            f"    {self._judged(index, member, '_e')}",
            "else:",
            f"    _work, _failures, _ending = {adopt}",
        ]

    def _judged(self, index: int, member: Member, problem: str) -> str:
        ticket = self._ticket(member) if problem != "_refused" else ""
        return f"_failures, _ending = _judge(_members[{index}], {index}, {problem}, _failures{ticket})"

    @staticmethod
    def _ticket(member: Member) -> str:
        return "" if member.callback.breaker is None else ", _k"

    def _wait(self, index: int, step: str, *, waits: bool) -> list[str]:
        if waits:
            return [f"_r, _e = {step}.wait()"]
        return [
            f"_s = {step}",
            "try: _r, _e = yield _s",
            "except BaseException as _e:",  # the host's cancellation: what was begun must not go on
            "    _s.cancel()",
            *([f"    _cancelled({index}, ({self._row_times()}), _failures, _e)"] if self._timed else []),
            "    raise",
        ]

    def _ending(self, *, waits: bool) -> list[str]:
        end = "_end(_ending, _given, _target, _notes)"
        tell = "_tell(_user, _source, _target)"
        step = "_tell_changes()"
        changes = [f"if _changes: {step}.wait()" if waits else f"if _changes: yield {step}"] if self._guarded else []
        return [
            *self._record(),
            "if _ending is not None:",
            *([f"    _drive({end})"] if waits else ["    _ending = _leaving(_ending)", f"    yield from {end}"]),
            *indented(changes),
            "    raise _ending",
            *([f"_drive({tell})" if waits else f"yield from {tell}"] if self._support.told else []),
            *changes,  # at the very end: who is cancelled here has made the transition
        ]

    def _record(self) -> list[str]:
        if not self._timed:
            return []
        count = len(self._members)
        return [
            f"_t{count + 1} = _now()",
            f"_row = ({self._row_times()}, None)",
            "if _failures or _ending is not None:",
            f"    _row = _fill(_row[:-1], _failures or (), _ended(_ending, {count}))",
            *record_lines(self._support.recorder, "_row"),
        ]

    def _row_times(self) -> str:
        return ", ".join(f"_t{number}" for number in range(self._times))
