"""Time limits and circuit breakers of transition callbacks."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from tests.support import FakeClock
from thea_core import (
    CallbackManager,
    CallbackSkippedError,
    CallbackTimeoutError,
    CallRecord,
    Context,
    ContextError,
    FSMEngine,
    HistoryRecord,
    ReentrancyError,
    ValidationError,
    hookimpl,
)
from thea_core.callbacks.limits import Ways
from thea_core.callbacks.runtime import Runtime
from thea_core.callbacks.threads import MAX_LEFT_BEHIND

SHORT = 0.02  # seconds: what hangs has this limit
LONG = 600.0  # what does not hang has this one
PHASES = ["pre_transition", "post_transition"]
KINDS = ["sync", "async"]
WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Late:
    """Hangs until it is let go, or cancelled, and then does what it likes with the context all the same."""

    def __init__(self, change: Callable[[Context], Any] = lambda ctx: None) -> None:
        self.change = change
        self.go_on = threading.Event()
        self.ended = threading.Event()

    def sync(self, *given: Any) -> Any:
        try:
            self.go_on.wait(10)
            return self.change(given[-1])
        finally:
            self.ended.set()

    async def later(self, *given: Any) -> Any:
        try:
            with suppress(asyncio.CancelledError):
                while not self.go_on.is_set():  # noqa: ASYNC110 -- it is set from whichever thread
                    await asyncio.sleep(0.001)
            return self.change(given[-1])
        finally:
            self.ended.set()

    def of(self, kind: str) -> Callable[..., Any]:
        return self.sync if kind == "sync" else self.later

    def release(self) -> None:
        """Let it go, and wait for its end."""
        self.go_on.set()
        assert self.ended.wait(10)


@pytest.fixture
def late() -> Iterator[Late]:
    late = Late()
    yield late
    late.go_on.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def machine(clock: FakeClock) -> Iterator[Machine]:
    """An engine whose breakers open after two failures, on a clock that stands still."""
    engine = Machine(callbacks=CallbackManager(breaker_failures=2, clock=clock))
    yield engine
    assert engine.callbacks.running_calls == []
    engine.callbacks.close()


def of_kind(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function``, or a coroutine function that calls it."""
    if kind == "sync":
        return function

    async def callback(*given: Any, **named: Any) -> Any:
        await asyncio.sleep(0)
        return function(*given, **named)

    return callback


def plugin(phase: str, callback: Callable[..., Any], timeout: float | None = LONG, **options: Any) -> object:
    """Return a plugin that calls ``callback`` with the context."""
    if inspect.iscoroutinefunction(callback):

        async def function(context: Context) -> Any:
            return await callback(context)

    else:

        def function(context: Context) -> Any:  # type: ignore[misc]
            return callback(context)

    function.__name__ = phase
    return type("Plugin", (), {phase: staticmethod(hookimpl(timeout=timeout, **options)(function))})()


def tell(told: list[str], kind: str) -> Callable[..., Any]:
    """Return a callback of on_plugin_health that notes what it hears."""

    def listen(plugin: str, hook: str, state: str) -> None:
        told.append(f"{plugin} {hook} {state}")

    async def listen_async(plugin: str, hook: str, state: str) -> None:
        await asyncio.sleep(0)
        listen(plugin, hook, state)

    return listen if kind == "sync" else listen_async


def bring(fsm: FSMEngine, plugin: object, name: str = "shop", **options: Any) -> Runtime:
    """Put a plugin into the chains, and return what it has of threads and breakers."""
    binding = fsm.callbacks.bind_plugin(plugin, name, source=3, position=0, **options)
    fsm.callbacks.publish_plugins([binding])
    return binding.runtime


@contextmanager
def crowded(ways: Ways) -> Iterator[None]:
    """As much is left behind as may be, so that nothing that has a limit is called."""
    for _ in range(MAX_LEFT_BEHIND):
        ways.stragglers.add()
    try:
        yield
    finally:
        for _ in range(MAX_LEFT_BEHIND):
            ways.stragglers.remove()


def add(fsm: Machine, phase: str, callback: Callable[..., Any], *, local: bool, name: str = "shop") -> None:
    """Add a callback with a long limit, of the engine or of a plugin."""
    if not local:
        bring(fsm, plugin(phase, callback), name)
    elif phase == "on_transition_error":
        fsm.on_error(timeout=LONG)(callback)
    else:
        getattr(fsm, phase)("processing", timeout=LONG)(callback)


def transition_rows(fsm: FSMEngine) -> list[HistoryRecord]:
    """Return the records of transition callbacks and of transitions."""
    hooks = ("pre_transition", "post_transition", "on_transition_error", "transition")
    return [each for each in fsm.callbacks.history if each.hook in hooks]


def ended(fsm: FSMEngine) -> list[tuple[str, str, str]]:
    """Return hook, plugin and outcome of all transition callbacks and transitions so far."""
    return [(each.hook, each.plugin, each.outcome) for each in transition_rows(fsm)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phase", PHASES)
class TestPluginCallbacks:
    """What comes in time counts; what does not leaves nothing behind, and the transition goes on."""

    def test_what_is_returned_in_time_is_adopted(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        fsm.plug(plugin(phase, of_kind(kind, lambda ctx: {**ctx, "seen": [1]})))
        fsm.plug(plugin(phase, of_kind(kind, lambda ctx: ctx["seen"].append(2))))
        assert way.handle(fsm, "processing", context()) == context("processing", seen=[1])

    def test_one_whose_time_is_up(self, fsm: Machine, way: Way, *, late: Late, phase: str, kind: str) -> None:
        late.change = lambda ctx: (ctx["deep"].append(2), ctx.update(late=True), {**ctx, "later": True})[-1]
        fsm.plug(plugin(phase, late.of(kind), SHORT), "slow")
        fsm.plug(plugin(phase, lambda ctx: {**ctx, "next": 1}), "next")
        given = context(deep=[1])
        result = way.handle(fsm, "processing", given)
        late.release()
        assert result == context("processing", deep=[1], next=1)
        assert given == context(deep=[1])
        assert ended(fsm) == [
            (phase, "slow", "timeout"),
            (phase, "next", "ok"),
            ("transition", "core", "ok"),
        ]
        assert (fsm.errors, fsm.changes) == ([], [("ana", "initial", "processing")])

    def test_a_veto_in_time_is_a_veto(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        veto = ValidationError("no")
        fsm.plug(plugin(phase, of_kind(kind, raising(veto))))
        with pytest.raises(ValidationError) as caught:
            way.handle(fsm, "processing", context())
        assert caught.value is veto
        assert (fsm.errors, fsm.changes) == ([], [])

    @pytest.mark.parametrize("error", [BrokenError(), SystemExit(), GeneratorExit(), asyncio.CancelledError()])
    def test_whatever_it_raises_is_contained(
        self, fsm: Machine, way: Way, *, phase: str, kind: str, error: BaseException
    ) -> None:
        fsm.plug(plugin(phase, of_kind(kind, raising(error))), "bad")
        assert way.handle(fsm, "processing", context()) == context("processing")
        assert ended(fsm)[0] == (phase, "bad", "error")

    def test_keyboard_interrupt_passes(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        fsm.plug(plugin(phase, of_kind(kind, raising(KeyboardInterrupt()))))
        with pytest.raises(KeyboardInterrupt):
            way.handle(fsm, "processing", context())
        assert (fsm.errors, fsm.changes) == ([], [])

    def test_one_for_which_there_is_no_thread_is_left_out(
        self, fsm: Machine, way: Way, *, phase: str, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if kind == "sync":
            monkeypatch.setattr("thea_core.callbacks.threads.MAX_AT_WORK", 0)
        runtime = bring(fsm, plugin(phase, of_kind(kind, lambda ctx: {**ctx, "ran": 1})), "busy")
        with crowded(runtime.ways) if kind == "async" else nullcontext():
            assert way.handle(fsm, "processing", context()) == context("processing")
        assert ended(fsm) == [(phase, "busy", "skipped"), ("transition", "core", "ok")]

    def test_limits_to_states_hold(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        fsm.plug(plugin(phase, of_kind(kind, lambda ctx: {**ctx, "seen": ctx["state"]}), states=("idle",)))
        assert way.handle(fsm, "processing", context()) == context("processing")
        assert "seen" in way.handle(fsm, "idle", context("completion"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phase", PHASES)
class TestLocalCallbacks:
    """What they change in time counts, as it does without a limit; one whose time is up is an error."""

    def test_changes_in_place_count(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        decorate = getattr(fsm, phase)
        decorate("processing", timeout=LONG)(of_kind(kind, lambda ctx: ctx["deep"].append(1)))
        decorate("processing")(of_kind(kind, lambda ctx: ctx["deep"].append(2)))
        decorate("processing", timeout=LONG)(of_kind(kind, lambda ctx: ctx["deep"].append(3)))
        given = context(deep=[0])
        assert way.handle(fsm, "processing", given) == context("processing", deep=[0, 1, 2, 3])
        assert given == context(deep=[0])

    def test_a_returned_context_takes_its_place(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        decorate = getattr(fsm, phase)
        decorate("processing", timeout=LONG)(of_kind(kind, lambda ctx: {**ctx, "first": 1}))
        decorate("processing", timeout=LONG)(of_kind(kind, lambda ctx: ctx))
        decorate("processing", timeout=LONG)(of_kind(kind, lambda ctx: {**ctx, "second": ctx["first"] + 1}))
        assert way.handle(fsm, "processing", context()) == context("processing", first=1, second=2)

    def test_what_it_keeps_is_its_own(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        kept: list[Context] = []
        decorate = getattr(fsm, phase)
        decorate(timeout=LONG)(of_kind(kind, kept.append))
        decorate(timeout=LONG)(of_kind(kind, lambda ctx: kept.append(ctx) or ctx))
        decorate(priority=-1)(lambda ctx: [each["deep"].append("late") for each in kept] and None)
        assert way.handle(fsm, "processing", context(deep=[]))["deep"] == []

    def test_source_and_target_are_given(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        def note(ctx: Context, source: str, target: str) -> None:
            ctx["seen"] = [source, target, ctx["state"]]

        def sync(ctx: Context, *, source: str, target: str) -> None:
            note(ctx, source, target)

        async def later(ctx: Context, *, target: str, source: str) -> None:
            note(ctx, source, target)

        getattr(fsm, phase)("processing", timeout=LONG)(sync if kind == "sync" else later)
        state = "initial" if phase == "pre_transition" else "processing"
        assert way.handle(fsm, "processing", context())["seen"] == ["initial", "processing", state]

    def test_one_whose_time_is_up_fails_the_transition(
        self, fsm: Machine, way: Way, *, late: Late, phase: str, kind: str
    ) -> None:
        seen: list[tuple[BaseException, Context]] = []
        ran: list[str] = []

        def report(error: BaseException, ctx: Context) -> None:
            seen.append((error, {**ctx}))
            ctx["reported"] = error.critical  # type: ignore[attr-defined]

        late.change = lambda ctx: (ctx["deep"].append(2), ctx.update(late=True), {**ctx, "later": True})[-1]
        getattr(fsm, phase)("processing", timeout=SHORT, priority=1)(late.of(kind))
        getattr(fsm, phase)("processing")(lambda ctx: ran.append("next"))
        fsm.on_error()(report)
        given = context(deep=[1])
        with pytest.raises(CallbackTimeoutError) as caught:
            way.handle(fsm, "processing", given)
        error_context = way.report(fsm, caught.value, given)
        late.release()
        error = caught.value
        assert (error.seconds, str(error)) == (SHORT, "it did not come back within 0.02 s")
        assert seen == [(error, context("error_handler", deep=[1]))]
        assert error_context == context("error_handler", deep=[1], reported=False)
        assert (given, ran) == (context(deep=[1]), [])
        assert (fsm.errors, fsm.changes) == ([error], [("ana", "initial", "error_handler")])
        assert ended(fsm) == [
            (phase, "local", "timeout"),
            ("transition", "core", "error"),
            ("on_transition_error", "local", "ok"),
        ]

    def test_one_for_which_there_is_no_thread_fails_it_too(
        self, fsm: Machine, way: Way, *, late: Late, phase: str, kind: str
    ) -> None:
        getattr(fsm, phase)("processing", timeout=SHORT)(late.of(kind))
        with crowded(fsm.callbacks.local_ways), pytest.raises(CallbackSkippedError) as caught:
            way.handle(fsm, "processing", context())
        assert fsm.errors == [caught.value]
        assert ended(fsm) == [(phase, "local", "skipped"), ("transition", "core", "error")]
        late.go_on.set()
        assert way.handle(fsm, "processing", context()) == context("processing")

    def test_a_veto_in_time_is_a_veto(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        veto = ValidationError("no")
        getattr(fsm, phase)("processing", timeout=LONG)(of_kind(kind, raising(veto)))
        with pytest.raises(ValidationError) as caught:
            way.handle(fsm, "processing", context())
        assert caught.value is veto
        assert (fsm.errors, fsm.changes) == ([], [])
        assert ended(fsm) == [(phase, "local", "veto"), ("transition", "core", "veto")]

    @pytest.mark.parametrize(
        "error",
        [
            BrokenError(),
            SystemExit(),
            GeneratorExit(),
            asyncio.CancelledError(),
            CallbackTimeoutError("of something within it", 1.0),
            CallbackSkippedError("of something within it"),
        ],
        ids=repr,
    )
    def test_whatever_it_raises_leaves_handle(
        self, fsm: Machine, way: Way, *, phase: str, kind: str, error: BaseException
    ) -> None:
        getattr(fsm, phase)("processing", timeout=LONG)(of_kind(kind, raising(error)))
        with pytest.raises(type(error)) as caught:
            way.handle(fsm, "processing", context())
        assert caught.value is error
        assert fsm.errors == [error]
        assert ended(fsm) == [(phase, "local", "error"), ("transition", "core", "error")]

    def test_keyboard_interrupt_passes(self, fsm: Machine, way: Way, phase: str, kind: str) -> None:
        getattr(fsm, phase)("processing", timeout=LONG)(of_kind(kind, raising(KeyboardInterrupt())))
        with pytest.raises(KeyboardInterrupt):
            way.handle(fsm, "processing", context())
        assert (fsm.errors, fsm.changes) == ([], [])

    @pytest.mark.parametrize(
        "do",
        [
            lambda ctx: ctx.update(user_id="eva"),
            lambda ctx: ctx.pop("state"),
            lambda ctx: ctx.update(x={1}),
            lambda ctx: "context",
            lambda ctx: {},
        ],
    )
    def test_nonsense_is_an_error(self, fsm: Machine, way: Way, *, phase: str, kind: str, do: Any) -> None:
        getattr(fsm, phase)("processing", timeout=LONG)(of_kind(kind, do))
        given = context(deep=[1])
        with pytest.raises(ContextError) as caught:
            way.handle(fsm, "processing", given)
        assert (fsm.errors, given) == ([caught.value], context(deep=[1]))

    def test_it_is_not_called_with_what_an_earlier_one_has_broken(
        self, fsm: Machine, way: Way, phase: str, kind: str
    ) -> None:
        ran: list[Context] = []
        getattr(fsm, phase)("processing", priority=1)(lambda ctx: ctx.update(x={1}))
        getattr(fsm, phase)("processing", timeout=LONG)(of_kind(kind, ran.append))
        with pytest.raises(ContextError):
            way.handle(fsm, "processing", context())
        assert ran == []


@pytest.mark.parametrize("kind", KINDS)
class TestErrorCallbacks:
    """Each is isolated, whether it has a limit or not."""

    def test_what_comes_in_time_counts(self, fsm: Machine, way: Way, kind: str) -> None:
        fsm.on_error(timeout=LONG)(of_kind(kind, lambda error, ctx: ctx.update(changed=1)))
        fsm.on_error(timeout=LONG)(of_kind(kind, lambda error, ctx: {**ctx, "returned": ctx["changed"] + 1}))
        assert way.fail(fsm, BrokenError(), context()) == context("error_handler", changed=1, returned=2)

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    def test_one_whose_time_is_up_leaves_nothing_behind(
        self, fsm: Machine, way: Way, *, late: Late, kind: str, local: bool
    ) -> None:
        late.change = lambda ctx: (ctx.update(late=True), {**ctx, "later": True})[-1]
        if local:
            fsm.on_error(timeout=SHORT, priority=1)(late.of(kind))
        else:
            fsm.plug(plugin("on_transition_error", late.of(kind), SHORT, priority=1), "slow")
        fsm.on_error()(lambda error, ctx: ctx.update(next=1))
        error = BrokenError()
        result = way.fail(fsm, error, context())
        late.release()
        assert result == context("error_handler", next=1)
        assert fsm.errors == [error]
        assert ended(fsm) == [
            ("on_transition_error", "local" if local else "slow", "timeout"),
            ("on_transition_error", "local", "ok"),
        ]

    def test_one_for_which_there_is_no_thread_is_left_out(
        self, fsm: Machine, way: Way, *, late: Late, kind: str
    ) -> None:
        fsm.on_error(timeout=SHORT)(late.of(kind))
        with crowded(fsm.callbacks.local_ways):
            assert way.fail(fsm, BrokenError(), context()) == context("error_handler")
        assert ended(fsm) == [("on_transition_error", "local", "skipped")]

    def test_a_failure_is_contained(self, fsm: Machine, way: Way, kind: str) -> None:
        fsm.on_error(timeout=LONG)(of_kind(kind, raising(SystemExit())))
        assert way.fail(fsm, BrokenError(), context()) == context("error_handler")
        assert ended(fsm) == [("on_transition_error", "local", "error")]

    def test_keyboard_interrupt_passes(self, fsm: Machine, way: Way, kind: str) -> None:
        fsm.on_error(timeout=LONG)(of_kind(kind, raising(KeyboardInterrupt())))
        with pytest.raises(KeyboardInterrupt):
            way.fail(fsm, BrokenError(), context())
        assert fsm.errors == []


class TestFlow:
    """A body on a thread belongs to the flow that waits for it."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    @pytest.mark.parametrize("phase", [*PHASES, "on_transition_error"])
    def test_it_sees_the_engine_running(self, fsm: Machine, way: Way, *, phase: str, kind: str, local: bool) -> None:
        tried: list[str] = []

        def nest(*_: Any) -> None:
            with pytest.raises(ReentrancyError):
                fsm.handle("processing", context("idle"))
            tried.append("sync")

        async def nest_async(*_: Any) -> None:
            with pytest.raises(ReentrancyError):
                await fsm.ahandle("processing", context("idle"))
            tried.append("async")

        add(fsm, phase, nest if kind == "sync" else nest_async, local=local)
        if phase == "on_transition_error":
            way.fail(fsm, BrokenError(), context())
        else:
            way.handle(fsm, "processing", context())
        assert tried == [kind]

    def test_one_that_is_left_behind_may_start_a_transition_of_its_own(
        self, fsm: Machine, way: Way, late: Late
    ) -> None:
        results: list[Context] = []
        late.change = lambda ctx: results.append(fsm.handle("idle", context("completion")))
        fsm.plug(plugin("pre_transition", late.sync, SHORT, states=("processing",)))
        assert way.handle(fsm, "processing", context()) == context("processing")
        late.release()
        assert results == [context("idle")]

    @pytest.mark.parametrize("kind", KINDS)
    def test_context_variables_travel(self, fsm: Machine, way: Way, kind: str) -> None:
        seen: list[str] = []

        def note(*_: Any) -> None:
            seen.append(WHO.get())

        for phase in (*PHASES, "on_transition_error"):
            add(fsm, phase, of_kind(kind, note), local=True)
            add(fsm, phase, of_kind(kind, note), local=False, name=phase)
        token = WHO.set("ana")
        try:
            way.handle(fsm, "processing", context())
            way.fail(fsm, BrokenError(), context())
        finally:
            WHO.reset(token)
        assert seen == ["ana"] * 6

    def test_where_the_callbacks_run(self, fsm: Machine, way: Way) -> None:
        threads: list[str] = []

        def note(*_: Any) -> None:
            threads.append(threading.current_thread().name)

        fsm.pre_transition(timeout=LONG)(note)
        fsm.plug(plugin("pre_transition", note), "shop")
        fsm.plug(plugin("post_transition", of_kind("async", note)), "slow")
        way.handle(fsm, "processing", context())
        assert threads == ["thea-local", "thea-shop", "thea-slow"]

    def test_the_order_of_those_with_and_without_a_limit_is_one(self, fsm: Machine, way: Way) -> None:
        for priority, timeout in enumerate((LONG, None, LONG, None)):
            fsm.pre_transition(priority=priority, timeout=timeout)(lambda ctx, p=priority: ctx["order"].append(p))
        assert way.handle(fsm, "processing", context(order=[]))["order"] == [3, 2, 1, 0]

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    def test_on_a_loop_of_theas_a_sync_callback_with_a_limit_runs(self, fsm: Machine, local: bool) -> None:
        results: list[Context] = []
        add(fsm, "pre_transition", lambda ctx: {**ctx, "seen": 1}, local=local)

        async def call() -> None:
            results.append(fsm.handle("processing", context()))

        fsm.callbacks.register("on_session_timeout", call)
        fsm.callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
        assert results == [context("processing", seen=1)]

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    def test_there_an_async_one_refuses_the_transition(self, fsm: Machine, local: bool) -> None:
        results: list[BaseException] = []
        add(fsm, "pre_transition", of_kind("async", lambda ctx: {**ctx, "seen": 1}), local=local)

        async def call() -> None:
            with pytest.raises(ReentrancyError, match="await ahandle") as caught:
                fsm.handle("processing", context())
            results.append(caught.value)

        fsm.callbacks.register("on_session_timeout", call)
        fsm.callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
        assert len(results) == 1
        assert (fsm.errors, fsm.changes) == ([], [])


class TestRows:
    """What the history and observers get of transitions in which something took too long."""

    def test_outcomes_groups_and_times(self, machine: Machine, way: Way, *, clock: FakeClock, late: Late) -> None:
        records: list[CallRecord] = []
        machine.callbacks.add_observer(records.append)

        def taking(seconds: float) -> Callable[[Context], None]:
            return lambda ctx: clock.advance(seconds)

        def hang(ctx: Context) -> None:
            clock.advance(4)
            late.sync(ctx)

        machine.pre_transition("processing")(taking(1))
        machine.plug(plugin("pre_transition", taking(2)), "quick")
        machine.plug(plugin("post_transition", hang, SHORT), "slow")
        machine.plug(plugin("post_transition", taking(8)), "next")
        way.handle(machine, "processing", context())
        late.release()
        rows = [
            (each.hook, each.duration, [(one.plugin, one.duration, one.outcome) for one in each.callbacks])
            for each in records
            if each.hook != "on_state_change"
        ]
        assert rows == [
            ("pre_transition", 3.0, [("local", 1.0, "ok"), ("quick", 2.0, "ok")]),
            ("post_transition", 12.0, [("slow", 4.0, "timeout"), ("next", 8.0, "ok")]),
            ("transition", 15.0, [("core", 15.0, "ok")]),
        ]
        start = min(each.start for each in machine.callbacks.history)
        starts = {each.plugin: (each.start - start).total_seconds() for each in machine.callbacks.history}
        assert starts == {"local": starts["local"], "quick": 1.0, "slow": 3.0, "next": 7.0, "core": 0.0}

    @pytest.mark.parametrize("ending", ["timeout", "skipped", "veto"])
    def test_of_one_that_ends_the_transition(
        self, machine: Machine, way: Way, *, clock: FakeClock, late: Late, ending: str
    ) -> None:
        def last(ctx: Context) -> None:
            clock.advance(2)
            if ending == "veto":
                raise ValidationError("no")
            late.sync(ctx)

        machine.pre_transition("processing")(lambda ctx: clock.advance(1))
        machine.post_transition("processing", timeout=SHORT)(last)
        machine.post_transition("processing")(lambda ctx: clock.advance(4))
        full = crowded(machine.callbacks.local_ways) if ending == "skipped" else nullcontext()
        with full, pytest.raises((CallbackTimeoutError, CallbackSkippedError, ValidationError)):
            way.handle(machine, "processing", context())
        late.release() if ending == "timeout" else late.go_on.set()
        spent = 0.0 if ending == "skipped" else 2.0
        rows = [(each.hook, each.duration, each.outcome) for each in transition_rows(machine)]
        assert rows == [
            ("pre_transition", 1.0, "ok"),
            ("post_transition", spent, ending),
            ("transition", 1.0 + spent, "veto" if ending == "veto" else "error"),
        ]

    def test_of_error_callbacks(self, machine: Machine, way: Way, *, clock: FakeClock, late: Late) -> None:
        def hang(error: BaseException, ctx: Context) -> None:
            clock.advance(2)
            late.sync(ctx)

        machine.on_error()(lambda error, ctx: clock.advance(1))
        machine.on_error(timeout=SHORT)(hang)
        machine.on_error()(lambda error, ctx: clock.advance(4))
        way.fail(machine, BrokenError(), context())
        late.release()
        rows = [(each.duration, each.outcome) for each in transition_rows(machine)]
        assert rows == [(1.0, "ok"), (2.0, "timeout"), (4.0, "ok")]


class TestCancellation:
    """Of an ahandle whose callback with a limit is under way: nothing is adopted, and its turn is given back."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    @pytest.mark.parametrize("phase", [*PHASES, "on_transition_error"])
    def test_what_it_leaves(self, machine: Machine, *, late: Late, phase: str, kind: str, local: bool) -> None:
        begun = threading.Event()
        late.change = lambda ctx: (ctx.update(late=True), {**ctx, "later": True})[-1]

        def hang(*given: Any) -> Any:
            begun.set()
            return late.sync(*given)

        async def hang_async(*given: Any) -> Any:
            begun.set()
            return await late.later(*given)

        add(machine, phase, hang if kind == "sync" else hang_async, local=local)
        machine.post_transition(priority=-1)(lambda ctx: ctx.update(reached=True))
        given = context(deep=[1])

        async def main() -> None:
            call = machine.afail(BrokenError(), given) if "error" in phase else machine.ahandle("processing", given)
            task = asyncio.create_task(call)
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            late.go_on.set()
            await asyncio.to_thread(late.ended.wait, 10)

        asyncio.run(main())
        assert given == context(deep=[1])
        assert (machine.errors, machine.changes) == ([], [])
        who = "local" if local else "shop"
        rest = [] if "error" in phase else [("transition", "core", "cancelled")]
        assert ended(machine) == [(phase, who, "cancelled"), *rest]
        assert machine.callbacks.running_calls == []

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("phase", [*PHASES, "on_transition_error"])
    def test_a_probe_gives_its_turn_back(
        self, machine: Machine, clock: FakeClock, *, late: Late, phase: str, kind: str
    ) -> None:
        begun = threading.Event()
        calls: list[str] = []

        def hang(*given: Any) -> Any:
            calls.append("")
            begun.set()
            return late.sync(*given)

        async def hang_async(*given: Any) -> Any:
            calls.append("")
            begun.set()
            return await late.later(*given)

        breaker = bring(machine, plugin(phase, hang if kind == "sync" else hang_async), "shop").breaker(phase)
        for _ in range(2):
            breaker.fail(0, "x")
        clock.advance(30)

        def call() -> Any:
            given = context()
            return machine.afail(BrokenError(), given) if "error" in phase else machine.ahandle("processing", given)

        async def main() -> None:
            task = asyncio.create_task(call())
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert breaker.state == "half-open"
            late.go_on.set()
            await asyncio.to_thread(late.ended.wait, 10)
            assert breaker.state == "half-open"
            await call()

        asyncio.run(main())
        assert (len(calls), breaker.state) == (2, "closed")

    def test_of_a_call_that_is_thrown_away(self, machine: Machine, clock: FakeClock, late: Late) -> None:
        breaker = bring(machine, plugin("pre_transition", late.sync), "shop").breaker("pre_transition")
        for _ in range(2):
            breaker.fail(0, "x")
        clock.advance(30)

        async def main() -> None:
            call = machine.ahandle("processing", context())
            call.send(None)
            call.close()
            assert breaker.state == "half-open"
            late.go_on.set()
            assert await machine.ahandle("processing", context()) == context("processing")

        asyncio.run(main())
        assert breaker.state == "closed"

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("phase", [*PHASES, "on_transition_error"])
    def test_whoever_hangs_up_does_not_make_a_plugin_hang(
        self, machine: Machine, *, late: Late, phase: str, kind: str
    ) -> None:
        """Four users go away while a plugin is at work, each well within its limit: it has done nothing wrong."""
        begun = threading.Semaphore(0)
        go_on = threading.Event()

        def work(_: Context) -> None:
            begun.release()
            go_on.wait(10)

        async def work_async(_: Context) -> None:
            begun.release()
            await asyncio.Event().wait()

        runtime = bring(machine, plugin(phase, work if kind == "sync" else work_async))

        async def main() -> None:
            for _ in range(4):
                given = context()
                call = machine.afail(BrokenError(), given) if "error" in phase else machine.ahandle("processing", given)
                task = asyncio.create_task(call)
                await asyncio.to_thread(begun.acquire, timeout=10)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        assert runtime.ways.stragglers.count == 0
        assert runtime.breaker(phase).state == "closed"
        go_on.set()

    def test_one_that_hangs_all_the_same_is_left_behind_when_its_time_is_up(self, machine: Machine) -> None:
        begun, go_on, counted = threading.Event(), threading.Event(), threading.Event()

        def work(_: Context) -> None:
            begun.set()
            go_on.wait(10)

        runtime = bring(machine, plugin("pre_transition", work, SHORT))
        add_one = runtime.ways.stragglers.add
        runtime.ways.stragglers.add = lambda: (add_one(), counted.set())  # type: ignore[method-assign, assignment]

        async def main() -> None:
            task = asyncio.create_task(machine.ahandle("processing", context()))
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert counted.wait(10)
        assert runtime.ways.stragglers.count == 1
        go_on.set()

    def test_one_that_waits_for_the_one_thread_of_its_plugin_is_never_called(self, machine: Machine) -> None:
        begun, go_on = threading.Event(), threading.Event()
        calls: list[str] = []

        def work(ctx: Context) -> None:
            calls.append(ctx["user_id"])
            begun.set()
            go_on.wait(10)

        one = plugin("pre_transition", work)
        one.thread = "one"  # type: ignore[attr-defined]
        bring(machine, one)

        async def main() -> None:
            first = asyncio.create_task(machine.ahandle("processing", context()))
            await asyncio.to_thread(begun.wait, 10)
            second = asyncio.create_task(machine.ahandle("processing", {"user_id": "eva", "state": "initial"}))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            go_on.set()
            await first
            await machine.ahandle("processing", {"user_id": "max", "state": "initial"})

        asyncio.run(main())
        assert calls == ["ana", "max"]
        assert [each.outcome for each in transition_rows(machine) if each.plugin == "shop"] == ["cancelled", "ok", "ok"]

    def test_while_a_change_of_a_breaker_is_told(self, machine: Machine, clock: FakeClock) -> None:
        """The transition has been made by then, and its event told; what is told goes on."""
        told: list[str] = []
        begun, go_on, all_told = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def listen(state: str) -> None:
            begun.set()
            await go_on.wait()
            told.append(state)
            all_told.set()

        machine.callbacks.register("on_plugin_health", listen)
        machine.plug(plugin("pre_transition", raising(BrokenError()), None), "bad")

        async def main() -> None:
            await machine.ahandle("processing", context())
            task = asyncio.create_task(machine.ahandle("processing", context()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()
            await all_told.wait()

        asyncio.run(main())
        assert told == ["open"]
        assert ended(machine)[-1] == ("transition", "core", "ok")
        assert len(machine.changes) == 2


class TestBreakers:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("timeout", [None, LONG])
    @pytest.mark.parametrize("phase", PHASES)
    def test_a_plugin_that_fails_again_and_again_is_skipped(
        self, machine: Machine, way: Way, *, clock: FakeClock, phase: str, kind: str, timeout: float | None
    ) -> None:
        broken = True
        calls: list[str] = []

        def callback(ctx: Context) -> Context:
            calls.append("")
            if broken:
                raise BrokenError
            return {**ctx, "seen": 1}

        machine.plug(plugin(phase, of_kind(kind, callback), timeout), "bad")
        for _ in range(4):
            assert way.handle(machine, "processing", context()) == context("processing")
        assert len(calls) == 2
        assert [each[2] for each in ended(machine) if each[1] == "bad"] == ["error"] * 2 + ["skipped"] * 2
        broken = False
        clock.advance(30)
        for _ in range(2):
            assert way.handle(machine, "processing", context()) == context("processing", seen=1)
        assert [each.state for each in machine.callbacks.breakers if each.plugin == "bad"] == ["closed"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_error_callback_of_a_plugin_too(
        self, machine: Machine, way: Way, *, clock: FakeClock, kind: str
    ) -> None:
        calls: list[str] = []
        broken = True

        def callback(_: Context) -> None:
            calls.append("")
            if broken:
                raise BrokenError

        machine.plug(plugin("on_transition_error", of_kind(kind, callback), None), "bad")
        for _ in range(4):
            way.fail(machine, BrokenError(), context())
        assert [each[2] for each in ended(machine)] == ["error", "error", "skipped", "skipped"]
        broken = False
        clock.advance(30)
        way.fail(machine, BrokenError(), context())
        assert len(calls) == 3
        assert next(each.state for each in machine.callbacks.breakers if each.plugin == "bad") == "closed"

    def test_ctrl_c_in_an_error_callback_gives_the_turn_of_the_probe_back(
        self, machine: Machine, way: Way, clock: FakeClock
    ) -> None:
        errors: list[BaseException] = [KeyboardInterrupt()]

        def callback(_: Context) -> None:
            if errors:
                raise errors.pop()

        breaker = bring(machine, plugin("on_transition_error", callback, None)).breaker("on_transition_error")
        for _ in range(2):
            breaker.fail(0, "x")
        clock.advance(30)
        with pytest.raises(KeyboardInterrupt):
            way.fail(machine, BrokenError(), context())
        way.fail(machine, BrokenError(), context())
        assert breaker.state == "closed"

    def test_local_transition_callbacks_have_none(self, machine: Machine, way: Way) -> None:
        calls: list[str] = []

        @machine.pre_transition("processing")
        def fail(_: Context) -> None:
            calls.append("pre")
            raise BrokenError

        @machine.on_error()
        def fail_again(error: BaseException, _: Context) -> None:
            calls.append("error")
            raise error

        for _ in range(5):
            with pytest.raises(BrokenError):
                way.handle(machine, "processing", context())
        assert calls == ["pre", "error"] * 5
        assert {(each.plugin, each.hook, each.state) for each in machine.callbacks.breakers} == {
            ("local", "on_state_change", "closed"),
            ("local", "on_error", "closed"),
        }

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("timeout", [None, LONG])
    def test_five_empty_messages_in_a_row_do_not_switch_validation_off(
        self, fsm: Machine, way: Way, *, kind: str, timeout: float | None
    ) -> None:
        def validate(ctx: Context) -> None:
            if not ctx["message"]:
                raise ValidationError("the message is empty")

        fsm.plug(plugin("pre_transition", of_kind(kind, validate), timeout), "validation")
        for _ in range(12):
            with pytest.raises(ValidationError):
                way.handle(fsm, "processing", context(message=""))
        assert way.handle(fsm, "processing", context(message="hola"))["state"] == "processing"
        assert next(each.state for each in fsm.callbacks.breakers if each.plugin == "validation") == "closed"

    def test_a_veto_begins_the_count_anew(self, machine: Machine, way: Way) -> None:
        errors = iter([BrokenError(), ValidationError("no")] * 3)

        def fail(_: Context) -> None:
            raise next(errors)

        machine.plug(plugin("pre_transition", fail, None), "shop")
        for _ in range(3):
            way.handle(machine, "processing", context())
            with pytest.raises(ValidationError):
                way.handle(machine, "processing", context())
        assert next(each.state for each in machine.callbacks.breakers if each.plugin == "shop") == "closed"

    def test_a_veto_of_the_probe_closes_it(self, machine: Machine, way: Way, clock: FakeClock) -> None:
        runtime = bring(machine, plugin("pre_transition", raising(ValidationError("no")), None))
        breaker = runtime.breaker("pre_transition")
        for _ in range(2):
            breaker.fail(0, "x")
        clock.advance(30)
        with pytest.raises(ValidationError):
            way.handle(machine, "processing", context())
        assert breaker.state == "closed"

    @pytest.mark.parametrize("nonsense", ["text", {"user_id": "eva"}])
    def test_nonsense_is_a_failure(self, machine: Machine, way: Way, nonsense: Any) -> None:
        machine.plug(plugin("pre_transition", lambda ctx: nonsense, None), "liar")
        for _ in range(3):
            way.handle(machine, "processing", context())
        assert [each[2] for each in ended(machine) if each[1] == "liar"] == ["error", "error", "skipped"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_probe_that_is_not_reached_keeps_no_turn(
        self, machine: Machine, way: Way, *, clock: FakeClock, kind: str
    ) -> None:
        """A local callback has broken the context before it: it is not called, and may probe the next time."""
        shape = [{1}, 1]
        machine.pre_transition("processing")(lambda ctx: ctx.update(x=shape[0]))
        breaker = bring(machine, plugin("pre_transition", of_kind(kind, lambda ctx: None))).breaker("pre_transition")
        for _ in range(2):
            breaker.fail(0, "x")
        clock.advance(30)
        with pytest.raises(ContextError):
            way.handle(machine, "processing", context())
        shape.pop(0)
        way.handle(machine, "processing", context())
        assert breaker.state == "closed"

    @pytest.mark.parametrize("listening", KINDS)
    @pytest.mark.parametrize("failing", [True, False], ids=["of one that fails", "of one that is made"])
    def test_a_transition_tells_changes_when_it_ends(
        self, machine: Machine, way: Way, *, listening: str, failing: bool
    ) -> None:
        told: list[str] = []
        machine.callbacks.register("on_plugin_health", tell(told, listening))
        machine.plug(plugin("pre_transition", raising(BrokenError()), None, priority=1), "bad")
        if failing:
            machine.pre_transition("processing")(raising(ValidationError("no")))
        for _ in range(3):
            with suppress(ValidationError):
                way.handle(machine, "processing", context())
        assert told == ["bad pre_transition open"]

    @pytest.mark.parametrize("listening", KINDS)
    def test_so_do_error_callbacks(self, machine: Machine, way: Way, listening: str) -> None:
        told: list[str] = []
        machine.callbacks.register("on_plugin_health", tell(told, listening))
        machine.plug(plugin("on_transition_error", raising(BrokenError()), None), "bad")
        for _ in range(3):
            way.fail(machine, BrokenError(), context())
        assert told == ["bad on_transition_error open"]

    def test_what_is_told_within_a_transition_may_not_start_another(self, machine: Machine, way: Way) -> None:
        refused: list[BaseException] = []

        def listen() -> None:
            with pytest.raises(ReentrancyError) as caught:
                machine.handle("processing", context())
            refused.append(caught.value)

        machine.callbacks.register("on_plugin_health", listen)
        machine.plug(plugin("pre_transition", raising(BrokenError()), None), "bad")
        for _ in range(2):
            way.handle(machine, "processing", context())
        assert len(refused) == 1
