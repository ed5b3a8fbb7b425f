"""Compiles the transition to one target state into one function, as events are (:mod:`thea_core.callbacks.compiler`).

What a compiled transition does, in order: refuse nesting; copy and check the context; legality; pre callbacks; the
state; post callbacks; check the context once more; one row for the history; then end by an exception, or tell
``on_state_change``. What is rare (a callback that returns another context, raises or is asynchronous) is left to the
functions of :class:`TransitionSupport`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CoroutineType
from typing import Any, NamedTuple

from thea_core.callbacks import flow
from thea_core.callbacks.compiler import build_function, indented, log_names, record_lines
from thea_core.callbacks.history import Call, Failure, Recorder, Shape
from thea_core.callbacks.hooks import Hook
from thea_core.fsm.phases import Member
from thea_core.types import Context

__all__ = ["CompiledTransition", "TransitionSupport", "compile_transition"]

Judged = tuple[Any, "list[Failure] | None", "BaseException | None"]
"""What became of one callback: the context to go on with, the failures so far, what ends the transition if anything."""


class TransitionSupport(NamedTuple):
    """What compiled transitions need of their engine.

    Attributes:
        key: the engine, for the flow.
        pre, post: the hooks.
        copy: copies and checks a context.
        checked: checks a context that callbacks may have changed; returns it, and what is wrong with it.
        refuse_nested: raises where a transition may not start now.
        refuse_illegal: raises because the source state is unknown, or has no such transition.
        adopt: judges what a callback returned, or changed in place.
        judge: judges what a callback raised.
        step: makes the step that waits for a coroutine of a callback.
        end: steps that end a transition by an exception; they raise it.
        tell: steps that fire ``on_state_change``.
        told: whether that event has any callback.
        drive: runs steps in the calling thread.
        recorder: takes the rows.
        now: nanoseconds.
        busy: the running calls of chains.
        edition: the state of the chains to which the compiled functions belong.
    """

    key: object
    pre: Hook
    post: Hook
    copy: Callable[[Context], Context]
    checked: Callable[[Context], tuple[Context, BaseException | None]]
    refuse_nested: Callable[[], None]
    refuse_illegal: Callable[[str, str], None]
    adopt: Callable[..., Judged]
    judge: Callable[..., tuple[list[Failure], BaseException | None]]
    step: Callable[[Any, Any], Any]
    end: Callable[..., Any]
    tell: Callable[[str, str, str], Any]
    told: bool
    drive: Callable[[Any], Any]
    recorder: Recorder
    now: Callable[[], int]
    busy: list[int]
    edition: int


class CompiledTransition(NamedTuple):
    """The functions that take a context to one target.

    Attributes:
        run: takes the context and does it in the calling thread.
        steps: takes the context and a note, and does it as a generator of steps.
    """

    run: Callable[..., Context]
    steps: Callable[..., Any]


def compile_transition(
    target: str, sources: frozenset[str], pre: Sequence[Member], post: Sequence[Member], support: TransitionSupport
) -> CompiledTransition:
    """Compile the transition to ``target``, legal from ``sources``."""
    writer = _Writer(target, pre, post, support)
    members = [*pre, *post]
    names = {
        "_key": support.key,
        "_pre": support.pre,
        "_post": support.post,
        "_members": members,
        "_target": target,
        "_sources": sources,
        "_copy": support.copy,
        "_checked": support.checked,
        "_refuse_nested": support.refuse_nested,
        "_refuse_illegal": support.refuse_illegal,
        "_adopt": support.adopt,
        "_judge": support.judge,
        "_step": support.step,
        "_end": support.end,
        "_tell": support.tell,
        "_drive": support.drive,
        "_fill": _fill,
        "_now": support.now,
        **log_names(support.recorder, writer.shape),
        "_busy": support.busy,
        "_begin": support.busy.append,
        "_end_call": support.busy.remove,
        "_Coroutine": CoroutineType,
        **{f"_c{index}": member.callback.function for index, member in enumerate(members)},
        **{f"_call{index}": member.call for index, member in enumerate(members)},
    }
    return CompiledTransition(
        build_function(writer.function(waits=True), names, f"<transition to {target}>"),
        build_function(writer.function(waits=False), names, f"<transition to {target}>"),
    )


def _fill(
    times: Sequence[int | None], failures: list[Failure] | None, ending: BaseException | None, count: int
) -> tuple[Any, ...]:
    """Return the row of a transition that ended early: callbacks that were not reached did not run."""
    from thea_core.callbacks.failures import short_text
    from thea_core.errors import TransitionVeto

    known = [each for each in times if each is not None]
    reached = len(known) - 2  # the first and the last time are those of the transition itself
    failures = [*(failures or ()), *(Failure(position, "", None) for position in range(reached, count))]
    if ending is not None:
        outcome = "veto" if isinstance(ending, TransitionVeto) else "error"
        failures.append(Failure(count, outcome, short_text(ending)))
    last = known.pop()
    filled = [*known, *known[-1:] * (len(times) - 1 - len(known)), last]
    return (*filled, failures or None)


class _Writer:
    """Writes the text of the functions of one transition."""

    def __init__(self, target: str, pre: Sequence[Member], post: Sequence[Member], support: TransitionSupport) -> None:
        self._target = target
        self._pre = pre
        self._post = post
        self._support = support
        self._timed = support.recorder.active
        self._times = 1 + len(pre) + len(post) + 1  # before the first, after each, and at the end
        self.shape = self._shape()

    def function(self, *, waits: bool) -> list[str]:
        """Return the lines of one of the two functions."""
        edition = self._support.edition
        return [
            f"def {flow.COMPILED}(_given, _note=None):",
            *([] if waits else ["    if False: yield"]),
            "    if _busy: _refuse_nested()",
            "    _work = _copy(_given)",
            "    _user = _work['user_id']",
            "    _source = _work['state']",
            "    if _source not in _sources: _refuse_illegal(_source, _target)",
            "    _on, _hook = _key, None",  # for the flow: see there
            f"    _begin({edition})",
            "    try:",
            *indented(indented(self._phases(waits=waits))),
            *indented(indented(self._ending(waits=waits))),
            "        return _work",
            "    finally:",
            f"        _end_call({edition})",
        ]

    def _shape(self) -> Shape:
        members = [*self._pre, *self._post]
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
        if self._timed:
            lines.append(" = ".join(f"_t{number}" for number in range(1, self._times)) + " = None")
            lines.append("_t0 = _now()")
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
        plain = member.local and not member.callback.arguments.keyword
        given = "_work" if member.local else "_copy(_work)"
        call = f"_c{index}(_work)" if plain else f"_call{index}({given}, _source, _target, None)"
        quick = f"_work.get('user_id') == _user and _work.get('state') == {state}"
        unchanged = f"(_r is None or _r is _work) and {quick}" if member.local else "_r is None"
        adopt = f"_adopt(_members[{index}], {index}, _r, (_work, _user, {state}), _failures)"
        lines = [
            "try:",
            f"    _r = {call}",
            "except BaseException as _e:",  # _judge passes KeyboardInterrupt on
            f"    _failures, _ending = _judge(_members[{index}], {index}, _e, _failures)",
            "else:",
            f"    if not ({unchanged}):",
            "        _e = None",
            "        if type(_r) is _Coroutine:",
            *indented(indented(indented(_wait(index, waits=waits)))),
            "        if _e is not None:",
            f"            _failures, _ending = _judge(_members[{index}], {index}, _e, _failures)",
            "        else:",
            f"            _work, _failures, _ending = {adopt}",
        ]
        if self._timed:
            lines.append(f"_t{index + 1} = _now()")
        return [*lines, "if _ending is not None: break"]

    def _ending(self, *, waits: bool) -> list[str]:
        end = "_end(_ending, _given, _target, _note)"
        lines = self._record()
        lines.append("if _ending is not None: " + (f"_drive({end})" if waits else f"yield from {end}"))
        if self._support.told:
            tell = "_tell(_user, _source, _target)"
            lines.append(f"_drive({tell})" if waits else f"yield from {tell}")
        return lines

    def _record(self) -> list[str]:
        if not self._timed:
            return []
        last = self._times - 1
        times = ", ".join(f"_t{number}" for number in range(self._times))
        count = len(self._pre) + len(self._post)
        lines = [
            f"_t{last} = _now()",
            f"_row = ({times}, None)",
            "if _failures or _ending is not None:",
            f"    _row = _fill(_row[:-1], _failures, _ending, {count})",
        ]
        return [*lines, *record_lines(self._support.recorder, "_row")]


def _wait(index: int, *, waits: bool) -> list[str]:
    if waits:
        return [f"_r, _e = _step(_members[{index}], _r).wait()"]
    return [
        f"_s = _step(_members[{index}], _r)",
        "try: _r, _e = yield _s",
        "except BaseException:",  # the host's cancellation: what was begun must not go on
        "    _s.cancel()",
        "    raise",
    ]
