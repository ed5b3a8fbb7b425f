"""Compiles a chain into one function, as dataclasses do with ``__init__``.

A loop over callbacks pays for the loop, for packing arguments and for looking things up; a function written for one
chain does not. The text is written once: for synchronous callers as a function that waits where a coroutine comes back,
for asynchronous ones as a generator that yields there (see :mod:`thea_core.callbacks.steps`).

What a compiled chain does, in order: take its arguments out of the caller's dict (packing them twice would cost as much
as three callbacks); refuse nesting; start the wrappers; call every callback, each guarded by itself; finish the
wrappers; hand one row to the history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, NamedTuple

from thea_core.callbacks import flow
from thea_core.callbacks.binding import Callback
from thea_core.callbacks.history import Call, Failure, Recorder, Shape
from thea_core.callbacks.hooks import EXTRAS, Hook, Kind
from thea_core.callbacks.occurrences import session_of_turn, turn_event_id
from thea_core.types import Clock, HookResult

__all__ = ["Chain", "Support", "build_function", "compile_chain", "indented", "log_names", "record_lines"]


class Support(NamedTuple):
    """What compiled chains need of their manager.

    Attributes:
        recorder: takes the rows.
        clock: measures, and gives ``timestamp``.
        entropy: gives random bytes, for ``event_id``.
        fail: contains an exception: logs it, and returns what to note in the row; passes KeyboardInterrupt on.
        step: makes the step that waits for a coroutine of a callback.
        refuse_on_loop: raises where a synchronous call would wait for itself.
        refuse_arguments: raises where the arguments of a call are not the hook's.
        busy: the edition of each chain that is running; empty nearly always, and then nothing can be nested.
    """

    recorder: Recorder
    clock: Clock
    entropy: Callable[[int], bytes]
    fail: Callable[[Callback, BaseException], Failure]
    step: Callable[[Callback, Any], Any]
    refuse_on_loop: Callable[[Hook], None]
    refuse_arguments: Callable[[Hook, dict[str, Any]], None]
    busy: list[int]


class Chain(NamedTuple):
    """The callbacks of one hook in the order in which they run, and the functions that run them.

    Attributes:
        callbacks: wrappers first, then the others.
        run: takes the arguments as a dict and calls the chain in the calling thread.
        steps: takes the arguments as a dict and calls the chain as a generator of steps.

    Both take as a second argument how many of the running calls are their caller's own: with no others, nothing can be
    nested.
    """

    hook: Hook
    callbacks: tuple[Callback, ...]
    run: Callable[..., Any]
    steps: Callable[..., Any]


def compile_chain(hook: Hook, callbacks: Sequence[Callback], support: Support, edition: int) -> Chain:
    """Compile the chain of an event or a result hook.

    Args:
        hook: the hook.
        support: what the functions need of their manager.
        callbacks: in the order of the chain, wrappers first.
        edition: which state of the chains it belongs to; tells calls that began before a change from later ones.
    """
    source = _Writer(hook, callbacks, support.recorder, edition)
    names = {**_namespace(hook, callbacks, support), **log_names(support.recorder, source.shape)}
    return Chain(hook, tuple(callbacks), source.build("run", names), source.build("steps", names))


# Under names of their own: an argument of a hook may well be called ``type``.
_BUILTINS = {
    "_BaseException": BaseException,
    "_KeyError": KeyError,
    "_StopIteration": StopIteration,
    "_len": len,
    "_next": next,
    "_type": type,
}


def build_function(lines: Sequence[str], names: dict[str, Any], title: str) -> Callable[..., Any]:
    """Compile the lines of a function called ``COMPILED``, with ``names`` as its globals."""
    scope = {**_BUILTINS, **names}
    exec(compile("\n".join(lines), title, "exec"), scope)  # noqa: S102 -- our own text, no input in it
    return scope[flow.COMPILED]  # type: ignore[no-any-return]


def log_names(recorder: Recorder, shape: Shape) -> dict[str, Any]:
    """Return the names that :func:`record_lines` uses; a chain that is not recorded has no log."""
    if not recorder.active:
        return {}
    log = recorder.log(shape)
    return {
        "_extend": log.values.extend,
        "_values": log.values,
        "_full": log.full,
        "_fold": log.fold,
        "_notify": partial(recorder.notify, log),
    }


def record_lines(recorder: Recorder, row: str) -> list[str]:
    """Return the lines that hand a row to the log, as :meth:`Recorder.record` does."""
    lines = [f"_extend({row})", "if _len(_values) > _full: _fold()"] if recorder.size else []
    return [*lines, f"_notify({row})"] if recorder.observed else lines


def random_id(entropy: Callable[[int], bytes]) -> str:
    """Return a random UUID as 36 characters."""
    import uuid

    return str(uuid.UUID(bytes=entropy(16), version=4))


def _namespace(hook: Hook, callbacks: Sequence[Callback], support: Support) -> dict[str, Any]:
    """Return the globals of the compiled functions; each name starts with an underscore, no argument of a hook does."""

    def fail(index: int, error: BaseException, failures: list[Failure] | None) -> list[Failure]:
        failure = support.fail(callbacks[index], error)
        return [*(failures or ()), failure._replace(position=index)]

    def skip(index: int, failures: list[Failure] | None) -> list[Failure]:
        return [*(failures or ()), Failure(index, "", None)]

    def fail_wrapper(
        index: int, error: BaseException | str, failures: list[Failure] | None, generator: Any = None
    ) -> list[Failure]:
        if isinstance(error, StopIteration):
            error = "the wrapper ended before its yield"
        if isinstance(error, str):
            error = RuntimeError(error)
        if generator is not None:
            try:
                generator.close()
            except BaseException as at_close:  # what it does when it is closed is its failure too
                error = at_close
        return fail(index, error, failures)

    def result(index: int, value: Any) -> HookResult:
        return HookResult(callbacks[index].plugin, callbacks[index].name, value)

    return {
        "_key": hook,
        "_busy": support.busy,
        "_begin": support.busy.append,
        "_end_call": support.busy.remove,
        "_check_hook": flow.check_hook,
        "_refuse": support.refuse_arguments,
        "_now": support.clock.monotonic_ns,
        "_date": support.clock.now,
        "_new_id": lambda: turn_event_id(hook.name) or random_id(support.entropy),
        "_session": session_of_turn,
        "_refuse_on_loop": support.refuse_on_loop,
        "_step": lambda index, coroutine: support.step(callbacks[index], coroutine),
        "_fail": fail,
        "_fail_wrapper": fail_wrapper,
        "_skip": skip,
        "_result": result,
        "_Coroutine": CoroutineType,
        "_default": hook.optional,
        **{f"_c{index}": callback.function for index, callback in enumerate(callbacks)},
    }


class _Writer:
    """Writes the text of the functions of one chain."""

    def __init__(self, hook: Hook, callbacks: Sequence[Callback], recorder: Recorder, edition: int) -> None:
        self._hook = hook
        self._callbacks = callbacks
        self._wrappers = [index for index, each in enumerate(callbacks) if each.wrapper]
        self._plain = [index for index, each in enumerate(callbacks) if not each.wrapper]
        self._timed = recorder.active
        self._recorder = recorder
        self._edition = edition
        order = [*self._wrappers, *self._plain, *reversed(self._wrappers)]
        self.shape = Shape(
            calls=tuple(Call(hook.name, each.plugin, each.name) for each in callbacks),
            spans=tuple((number, number + 1, index) for number, index in enumerate(order)),
            groups=((0, len(callbacks) - 1),),
        )

    def build(self, kind: str, names: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
        """Compile one of the two functions."""
        return build_function(self._function(waits=kind == "run"), names, f"<chain of {self._hook.name}>")

    def _function(self, *, waits: bool) -> list[str]:
        head = [f"def {flow.COMPILED}(_arguments, _within=0):", *indented(self._arguments())]
        if not waits:
            head.append("    if False: yield")
        elif any(each.is_async for each in self._callbacks):
            head.append("    _refuse_on_loop(_key)")
        if not self._callbacks:
            return [*head, f"    return {self._empty()}"]
        return [
            *head,
            "    if _busy and _len(_busy) > _within: _check_hook(_key)",
            "    _on = _key",  # for the flow: see there
            "    try:",
            f"        _begin({self._edition})",  # within: Ctrl-C may come right after it
            *indented(indented(self._calls("_step({0}, _r).wait()" if waits else "(yield _step({0}, _r))"))),
            "    finally:",
            f"        _end_call({self._edition})",
        ]

    def _arguments(self) -> list[str]:
        """Take the arguments that some callback names out of the dict; every fault is found here."""
        hook = self._hook
        taken = {name for each in self._callbacks for name in each.arguments.names}
        required = [name for name in hook.parameters if name not in hook.optional]
        lines = ["try:", *(f"    {name} = _arguments[{name!r}]" for name in required), "except _KeyError:"]
        lines = [*lines, "    _refuse(_key, _arguments)"] if required else []
        lines.append(f"if _len(_arguments) != {len(required)}: _refuse(_key, _arguments)")
        lines += [f"{name} = _arguments.get({name!r}, _default[{name!r}])" for name in hook.optional if name in taken]
        makers = {"event_id": "_new_id()", "timestamp": "_date()", "session_id": "_session()"}
        for name in sorted(taken & set(EXTRAS) - set(hook.parameters)):
            lines += [f"{name} = _arguments.get({name!r})", f"if {name} is None: {name} = {makers[name]}"]
        return lines

    def _empty(self) -> str:
        return "[]" if self._hook.kind is Kind.COLLECT else "None"

    def _calls(self, wait: str) -> list[str]:
        first = self._hook.kind is Kind.FIRSTRESULT
        lines = ["_failures = None", *self._keep("_results = []"), *self._time(0)]
        segment = 1
        for index in self._wrappers:
            lines += [*self._start_wrapper(index), *self._time(segment)]
            segment += 1
        for index in self._plain:
            call = self._call(index, wait)
            if first:
                call = ["if _results:", f"    _failures = _skip({index}, _failures)", "else:", *indented(call)]
            lines += [*call, *self._time(segment)]
            segment += 1
        lines += self._keep(
            {Kind.FIRSTRESULT: "_result_of_call = _results[0] if _results else None"}.get(
                self._hook.kind, "_result_of_call = _results"
            )
        )
        for index in reversed(self._wrappers):
            lines += [*self._finish_wrapper(index), *self._time(segment)]
            segment += 1
        return [*lines, *self._record(segment), *self._keep("return _result_of_call")]

    def _keep(self, line: str) -> list[str]:
        """Events have no results, but their wrappers get an empty list."""
        if self._hook.kind is Kind.EVENT and (not self._wrappers or line.startswith("return")):
            return []
        return [line]

    def _time(self, number: int) -> list[str]:
        return [f"_t{number} = _now()"] if self._timed else []

    def _record(self, count: int) -> list[str]:
        if not self._timed:
            return []
        times = ", ".join(f"_t{number}" for number in range(count))
        return record_lines(self._recorder, f"({times}, _failures)")

    def _call(self, index: int, wait: str) -> list[str]:
        lines = [
            "try:",
            f"    _r = {self._expression(index)}",
            "except _BaseException as _e:",  # _fail passes KeyboardInterrupt on
            f"    _failures = _fail({index}, _e, _failures)",
            "else:",
            "    if _r is not None:",
            "        if _type(_r) is _Coroutine:",
            f"            _r, _e = {wait.format(index)}",
            "            if _e is not None:",
            f"                _failures = _fail({index}, _e, _failures)",
        ]
        if self._hook.kind is not Kind.EVENT:
            lines += ["        if _r is not None:", f"            _results.append(_result({index}, _r))"]
        return lines

    def _start_wrapper(self, index: int) -> list[str]:
        return [
            "try:",
            f"    _g{index} = {self._expression(index)}",
            f"    _next(_g{index})",
            "except _BaseException as _e:",
            f"    _failures = _fail_wrapper({index}, _e, _failures)",
            f"    _g{index} = None",
        ]

    def _finish_wrapper(self, index: int) -> list[str]:
        # A list of its own: what a wrapper does to it changes nothing for the others, or for the caller.
        given = "_result_of_call" if self._hook.kind is Kind.FIRSTRESULT else "[*_result_of_call]"
        return [
            f"if _g{index} is not None:",
            "    try:",
            f"        _g{index}.send({given})",
            "    except _StopIteration: pass",
            "    except _BaseException as _e:",
            f"        _failures = _fail_wrapper({index}, _e, _failures)",
            "    else:",
            f"        _failures = _fail_wrapper({index}, 'the wrapper has a second yield', _failures, _g{index})",
        ]

    def _expression(self, index: int) -> str:
        arguments = self._callbacks[index].arguments
        named = (f"{name}={name}" for name in (*arguments.keyword, *arguments.rest))
        return f"_c{index}({', '.join([*arguments.positional, *named])})"


def indented(lines: list[str]) -> list[str]:
    """Return lines of a function's text one level deeper."""
    return [f"    {line}" for line in lines]
