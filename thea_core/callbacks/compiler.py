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

from thea_core import hookspecs
from thea_core.callbacks import flow
from thea_core.callbacks.binding import Callback
from thea_core.callbacks.breaker import Breaker
from thea_core.callbacks.copies import own, own_results, written
from thea_core.callbacks.durable import Outlet
from thea_core.callbacks.event_json import text_writer
from thea_core.callbacks.history import Call, Failure, Recorder, Shape
from thea_core.callbacks.hooks import EXTRAS, Hook, Kind
from thea_core.callbacks.occurrences import session_of_turn, turn_event_id
from thea_core.types import Clock, HookResult

__all__ = [
    "BREAKER_OPEN",
    "Chain",
    "Compiled",
    "Support",
    "build_function",
    "compile_chain",
    "indented",
    "log_names",
    "record_lines",
]


class Support(NamedTuple):
    """What compiled chains need of their manager.

    Attributes:
        recorder: takes the rows.
        clock: measures, and gives ``timestamp``.
        entropy: gives random bytes, for ``event_id``.
        fail: contains an exception: tells the breaker, which gets its ticket back, logs it, and returns what to note in
            the row; passes KeyboardInterrupt on.
        step: makes the step that waits for a coroutine of a callback.
        on_thread: makes the step that waits for a callback which runs on a thread.
        troubled: the breakers that are not as good as new; empty nearly always, and then none needs to be asked.
        changes: the changes of breakers that are still to be told.
        tell_changes: makes the step that tells them.
        refuse_on_loop: raises where a synchronous call would wait for itself.
        refuse_arguments: raises where the arguments of a call are not the hook's.
        busy: the edition of each chain that is running; empty nearly always, and then nothing can be nested but in a
            delivery from a queue.
        delivering: has one entry for each of those that runs now.
        outlet: takes the events that are stored.
    """

    recorder: Recorder
    clock: Clock
    entropy: Callable[[int], bytes]
    fail: Callable[[Callback, BaseException, int], Failure]
    step: Callable[[Callback, Any], Any]
    on_thread: Callable[..., Any]
    troubled: set[Breaker]
    changes: Sequence[object]
    tell_changes: Callable[[], Any]
    refuse_on_loop: Callable[[Hook], None]
    refuse_arguments: Callable[[Hook, dict[str, Any]], None]
    busy: list[int]
    delivering: Sequence[object]
    outlet: Outlet


class Compiled:
    """Two functions that do the same, each compiled when it is first asked for. Thread-safe.

    Most chains that are published are replaced before they run: each plugin that starts or stops publishes all anew.

    Args:
        build: compiles one of the two, given its name.

    Attributes:
        run: does it in the calling thread.
        steps: does it as a generator of steps.
    """

    run: Callable[..., Any]
    steps: Callable[..., Any]

    def __init__(self, build: Callable[[str], Callable[..., Any]]) -> None:
        self._build = build

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Compile a function that is not there yet; where two threads do so at once, either serves."""
        if name not in Compiled.__annotations__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        function = self._build(name)
        setattr(self, name, function)
        return function


class Chain(Compiled):
    """The callbacks of one hook in the order in which they run, and the functions that run them.

    Both functions take the arguments as a dict, and as a second argument how many of the running calls are their
    caller's own: with no others, nothing can be nested.

    Attributes:
        hook: the hook.
        callbacks: wrappers first, then the others.
    """

    def __init__(self, hook: Hook, callbacks: tuple[Callback, ...], build: Callable[[str], Callable[..., Any]]) -> None:
        super().__init__(build)
        self.hook = hook
        self.callbacks = callbacks


def compile_chain(hook: Hook, callbacks: Sequence[Callback], support: Support, edition: int) -> Chain:
    """Return the chain of an event or a result hook.

    Args:
        hook: the hook.
        support: what the functions need of their manager.
        callbacks: in the order of the chain, wrappers first.
        edition: which state of the chains it belongs to; tells calls that began before a change from later ones.
    """
    source = _Writer(hook, callbacks, support.recorder, edition)
    names = {**_namespace(hook, callbacks, support), **log_names(support.recorder, source.shape)}
    return Chain(hook, tuple(callbacks), partial(source.build, names=names))


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


BREAKER_OPEN = "its circuit breaker is open"


def random_id(entropy: Callable[[int], bytes]) -> str:
    """Return a random UUID as 36 characters."""
    import uuid

    return str(uuid.UUID(bytes=entropy(16), version=4))


def _namespace(hook: Hook, callbacks: Sequence[Callback], support: Support) -> dict[str, Any]:
    """Return the globals of the compiled functions; each name starts with an underscore, no argument of a hook does."""
    ends = _Ends(callbacks, support)

    def result(index: int, value: Any) -> HookResult:
        return HookResult(callbacks[index].plugin, callbacks[index].name, value)

    return {
        "_key": hook,
        "_busy": support.busy,
        "_delivering": support.delivering,
        "_framed": flow.framed,
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
        "_troubled": support.troubled,
        "_changes": support.changes,
        "_tell_changes": support.tell_changes,
        "_admit": ends.admit,
        "_succeed": ends.succeed,
        "_release": ends.release,
        "_fail": ends.fail,
        "_fail_wrapper": ends.fail_wrapper,
        "_refused": partial(ends.note, "skipped", BREAKER_OPEN),
        "_skip": partial(ends.note, "", None),
        "_lose": ends.lose,
        "_share": ends.share,
        "_write_down": text_writer(hook.name, hook.arguments),
        "_written": written,
        "_own": own,
        "_own_results": own_results,
        "_result": result,
        "_Coroutine": CoroutineType,
        "_default": hook.optional,
        **{f"_c{index}": _called(callback, support) for index, callback in enumerate(callbacks)},
        **{f"_full{index}": Failure(index, "dropped", "its queue is full") for index in range(len(callbacks))},
    }


class _Ends:
    """How the callbacks of one chain end, other than well: what is noted of it, and what their breakers are told."""

    def __init__(self, callbacks: Sequence[Callback], support: Support) -> None:
        self._callbacks = callbacks
        self._support = support

    def fail(self, index: int, error: BaseException, failures: list[Failure] | None, ticket: int = 0) -> list[Failure]:
        failure = self._support.fail(self._callbacks[index], error, ticket)
        return [*(failures or ()), failure._replace(position=index)]

    def fail_wrapper(
        self, index: int, error: BaseException | str, failures: list[Failure] | None, generator: Any, ticket: int
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
        return self.fail(index, error, failures, ticket)

    def lose(self, index: int, error: BaseException, failures: list[Failure] | None) -> list[Failure]:
        failure = self._support.outlet.lose(self._callbacks[index], error)
        return [*(failures or ()), failure._replace(position=index)]

    @staticmethod
    def share(index: int, of: int, failures: list[Failure] | None) -> list[Failure] | None:
        shared = [each._replace(position=index) for each in failures or () if each.position == of]
        return [*(failures or ()), *shared] if shared else failures

    @staticmethod
    def note(outcome: str, reason: str | None, index: int, failures: list[Failure] | None) -> list[Failure]:
        return [*(failures or ()), Failure(index, outcome, reason)]

    def admit(self, index: int) -> int:
        breaker = self._callbacks[index].breaker
        return 0 if breaker is None else breaker.admit()

    def succeed(self, index: int, ticket: int, failures: list[Failure] | None) -> None:
        breaker = self._callbacks[index].breaker
        troubled = breaker is not None and breaker in self._support.troubled
        if breaker is not None and troubled and not any(each.position == index for each in failures or ()):
            breaker.succeed(ticket)

    def release(self, *tickets: int) -> None:
        for breaker in {each.breaker for each in self._callbacks if each.breaker is not None}:
            for ticket in tickets:
                breaker.release(ticket)


def _called(callback: Callback, support: Support) -> Callable[..., Any]:
    """Return what a compiled chain calls: the callback itself, what takes the event, or what makes the step for it."""
    if callback.durable:
        return support.outlet.collector(callback, support.busy)
    if callback.queue is not None and callback.queued:
        return callback.queue.putter(callback, support.busy)
    return partial(support.on_thread, callback) if callback.threaded else callback.function


def _dict_of(items: Sequence[tuple[str, str]]) -> str:
    """Return the text of a dict, or of None in the place of an empty one."""
    return f"{{{', '.join(f'{name!r}: {value}' for name, value in items)}}}" if items else "None"


class _Writer:
    """Writes the text of the functions of one chain."""

    def __init__(self, hook: Hook, callbacks: Sequence[Callback], recorder: Recorder, edition: int) -> None:
        self._hook = hook
        self._callbacks = callbacks
        self._wrappers = [index for index, each in enumerate(callbacks) if each.wrapper]
        self._plain = [index for index, each in enumerate(callbacks) if not each.wrapper]
        self._timed = recorder.active
        self._guarded = any(each.wrapper or (each.breaker is not None and not each.deferred) for each in callbacks)
        self._storing = {each.plugin: index for index, each in reversed([*enumerate(callbacks)]) if each.durable}
        self._recorder = recorder
        self._edition = edition
        order = [*self._wrappers, *self._plain, *reversed(self._wrappers)]
        self.shape = Shape(
            calls=tuple(Call(hook.name, each.plugin, each.name) for each in callbacks),
            spans=tuple((number, number + 1, index) for number, index in enumerate(order)),
            groups=((0, len(callbacks) - 1),),
            queued=frozenset(index for index, each in enumerate(callbacks) if each.deferred),
        )

    def build(self, kind: str, names: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
        """Compile one of the two functions."""
        return build_function(self._function(waits=kind == "run"), names, f"<chain of {self._hook.name}>")

    def _function(self, *, waits: bool) -> list[str]:
        head = [f"def {flow.COMPILED}(_arguments, _within=0):", *indented(self._arguments())]
        if not waits:
            head.append("    if False: yield")
        elif any(each.is_async and not each.deferred for each in self._callbacks):
            head.append("    _refuse_on_loop(_key)")
        if not self._callbacks:
            return [*head, f"    return {self._empty()}"]
        return [
            *head,
            "    if (_busy and _len(_busy) > _within) or (_delivering and _framed()): _check_hook(_key)",
            "    _on = _key",  # for the flow: see there
            *([f"    {' = '.join([*self._tickets(), '0'])}"] if self._guarded else []),
            "    try:",
            f"        _begin({self._edition})",  # within: Ctrl-C may come right after it
            *indented(indented(self._calls(_waiting if waits else _yielding))),
            *(self._give_back() if self._guarded else []),
            "    finally:",
            f"        _end_call({self._edition})",
        ]

    def _tickets(self) -> list[str]:
        """Return the names of the tickets of breakers: the last callback's, and one for each wrapper."""
        return ["_k", *(f"_k{index}" for index in self._wrappers)]

    def _give_back(self) -> list[str]:
        """Let no probe stick where the call is left by Ctrl-C, or its generator thrown away."""
        return ["    except _BaseException:", f"        _release({', '.join(self._tickets())})", "        raise"]

    def _arguments(self) -> list[str]:
        """Take the arguments that some callback names out of the dict; every fault is found here."""
        hook = self._hook
        taken = {name for each in self._callbacks for name in each.arguments.names}
        taken |= set(hook.arguments) if self._storing else set()
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

    def _calls(self, wait: Callable[[str], str]) -> list[str]:
        """Return the calls twice, where there are breakers: without a look at them, and for when one is in trouble."""
        if not self._guarded:
            return self._calls_in_order(wait, careful=False)
        plain, careful = (self._calls_in_order(wait, careful=each) for each in (False, True))
        return ["if not _troubled:", *indented(plain), "else:", *indented(careful)]

    def _calls_in_order(self, wait: Callable[[str], str], *, careful: bool) -> list[str]:
        first = self._hook.kind is Kind.FIRSTRESULT
        lines = ["_failures = None", *self._keep("_results = []"), *self._time(0)]
        lines += ["_text = None"] if self._storing else []
        segment = 1
        for index in self._wrappers:
            lines += [*self._start_wrapper(index, careful=careful), *self._time(segment)]
            segment += 1
        for index in self._plain:
            call = self._call_or_queue(index, wait, careful=careful)
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
            lines += [*self._finish_wrapper(index, careful=careful), *self._time(segment)]
            segment += 1
        tell = [f"if _changes: {wait('_tell_changes()')}"] if self._guarded else []  # also of calls within
        return [*lines, *self._record(segment), *tell, *self._keep("return _result_of_call")]

    def _keep(self, line: str) -> list[str]:
        """Events have no results."""
        return [] if self._hook.kind is Kind.EVENT else [line]

    def _time(self, number: int) -> list[str]:
        return [f"_t{number} = _now()"] if self._timed else []

    def _record(self, count: int) -> list[str]:
        if not self._timed:
            return []
        times = ", ".join(f"_t{number}" for number in range(count))
        return record_lines(self._recorder, f"({times}, _failures)")

    def _call_or_queue(self, index: int, wait: Callable[[str], str], *, careful: bool) -> list[str]:
        callback = self._callbacks[index]
        if callback.durable:
            return self._store(index, wait)
        if callback.queued:
            drop = f"_failures = [_full{index}] if _failures is None else [*_failures, _full{index}]"
            return [f"if not {self._expression(index)}: {drop}"]
        careful = careful and callback.breaker is not None
        call = self._call_on_thread if callback.threaded else self._call
        lines = call(index, wait, f"_failures = _fail({index}, _e, _failures{', _k' if careful else ''})")
        if not careful:
            return lines
        return [
            f"_k = _admit({index})",
            "if _k < 0:",
            f"    _failures = _refused({index}, _failures)",
            "else:",
            *indented(lines),
            f"    _succeed({index}, _k, _failures)",
        ]

    def _store(self, index: int, wait: Callable[[str], str]) -> list[str]:
        """Write the event down, once for all, and store it, once for all callbacks that the plugin has of it."""
        stored = self._storing[self._callbacks[index].plugin]
        if stored != index:
            return [f"_failures = _share({index}, {stored}, _failures)"]
        values = "".join(f"{name}, " for name in self._hook.arguments)
        user = "user_id" if "user_id" in self._hook.parameters else "None"
        lose = f"_failures = _lose({index}, _e, _failures)"  # it passes KeyboardInterrupt on
        return [
            "try:",
            f"    if _text is None: _text = _write_down(({values}))",
            f"    _r = _c{index}(_text, event_id, {user})",
            "except _BaseException as _e:",
            f"    {lose}",
            "else:",
            "    if _r is not None:",
            f"        _r, _e = {wait('_r')}",
            f"        if _e is not None: {lose}",
        ]

    def _call(self, index: int, wait: Callable[[str], str], fail: str) -> list[str]:
        step = wait(f"_step({index}, _r)")
        lines = [
            "try:",
            f"    _r = {self._expression(index)}",
            "except _BaseException as _e:",  # _fail passes KeyboardInterrupt on
            f"    {fail}",
            "else:",
            "    if _r is not None:",
            "        if _type(_r) is _Coroutine:",
            f"            _r, _e = {step}",
            "            if _e is not None:",
            f"                {fail}",
        ]
        return [*lines, *indented(indented(self._result(index)))]

    def _call_on_thread(self, index: int, wait: Callable[[str], str], fail: str) -> list[str]:
        return [
            f"_r, _e = {wait(self._expression(index))}",
            f"if _e is not None: {fail}",
            *self._result(index),
        ]

    def _result(self, index: int) -> list[str]:
        if self._hook.kind is Kind.EVENT:
            return []
        return ["if _r is not None:", f"    _results.append(_result({index}, _r))"]

    def _start_wrapper(self, index: int, *, careful: bool) -> list[str]:
        lines = [
            "try:",
            f"    _g{index} = {self._expression(index)}",
            f"    _next(_g{index})",
            "except _BaseException as _e:",
            f"    _failures = _fail_wrapper({index}, _e, _failures, None, _k{index})",
            f"    _g{index} = None",
        ]
        if not careful:
            return [f"_k{index} = 0", *lines]
        return [
            f"_k{index} = _admit({index})",
            f"if _k{index} < 0:",
            f"    _failures, _g{index} = _refused({index}, _failures), None",
            "else:",
            *indented(lines),
        ]

    def _finish_wrapper(self, index: int, *, careful: bool) -> list[str]:
        # Of its own: what a wrapper does to them changes nothing for the others, or for the caller.
        given = "[]" if self._hook.kind is Kind.EVENT else "_own_results(_result_of_call)"
        return [
            f"if _g{index} is not None:",
            "    try:",
            f"        _g{index}.send({given})",
            "    except _StopIteration: pass",
            "    except _BaseException as _e:",
            f"        _failures = _fail_wrapper({index}, _e, _failures, None, _k{index})",
            "    else:",
            "        _e = 'the wrapper has a second yield'",
            f"        _failures = _fail_wrapper({index}, _e, _failures, _g{index}, _k{index})",
            *([f"    _succeed({index}, _k{index}, _failures)"] if careful else []),
        ]

    def _expression(self, index: int) -> str:
        callback = self._callbacks[index]
        arguments = callback.arguments
        given = [self._given(name, queued=callback.queued) for name in arguments.positional]
        named = [(name, self._given(name, queued=callback.queued)) for name in (*arguments.keyword, *arguments.rest)]
        if callback.queued:
            return f"_c{index}(({''.join(f'{each}, ' for each in given)}), {_dict_of(named)})"
        return f"_c{index}({', '.join([*given, *(f'{name}={value}' for name, value in named)])})"

    def _given(self, name: str, *, queued: bool) -> str:
        """Return an argument as a callback gets it, or as it may cross a queue.

        Of the core's own only ``error`` is an exception, and only ``context`` something that a callback could change.
        """
        core = name in EXTRAS or self._hook.function.__module__ == hookspecs.__name__
        if not queued:
            return f"_own({name})" if core and name == "context" else name
        return name if core and name != "error" else f"_written({name})"


def _waiting(step: str) -> str:
    return f"{step}.wait()"


def _yielding(step: str) -> str:
    return f"(yield {step})"


def indented(lines: list[str]) -> list[str]:
    """Return lines of a function's text one level deeper."""
    return [f"    {line}" for line in lines]
