"""A plugin that guards keeps the door shut in every way in which it may fail, and opens it when it works again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from tests.support import FakeClock
from thea_core import (
    CallbackManager,
    Context,
    CoreRouter,
    GuardUnavailableError,
    HistoryRecord,
    ValidationError,
    hookimpl,
)
from thea_core.callbacks.breaker import Breaker
from thea_core.callbacks.runtime import PluginLimits, Runtime
from thea_core.callbacks.steps import drive
from thea_core.callbacks.threads import MAX_LEFT_BEHIND

SHORT = 0.02  # seconds: what hangs has this limit
LONG = 600.0  # what does not hang has this one
KINDS = ["sync", "async"]
PHASES = ["pre_transition", "post_transition"]


class Guard:
    """What a guard is made of: it does what ``action`` does, and can be asked how often it was called."""

    def __init__(self, phase: str, kind: str) -> None:
        self.phase = phase
        self.kind = kind
        self.action: Callable[[Context], Any] = lambda ctx: None
        self.calls = 0

    def plugin(self, timeout: float | None) -> object:
        def check(context: Context) -> Any:
            self.calls += 1
            return self.action(context)

        async def check_async(context: Context) -> Any:
            await asyncio.sleep(0)
            return check(context)

        function = check if self.kind == "sync" else check_async
        function.__name__ = self.phase
        return type("Policy", (), {self.phase: staticmethod(hookimpl(timeout=timeout)(function))})()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fsm(clock: FakeClock) -> Iterator[Machine]:
    """An engine whose breakers open after two failures, on a clock that stands still."""
    engine = Machine(callbacks=CallbackManager(breaker_failures=2, clock=clock))
    yield engine
    assert engine.callbacks.running_calls == []
    engine.callbacks.close()


@pytest.fixture(params=PHASES)
def phase(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=KINDS)
def guard(request: pytest.FixtureRequest, phase: str) -> Guard:
    return Guard(phase, request.param)


def bring(fsm: Machine, guard: Guard, timeout: float | None = LONG) -> Runtime:
    """Put a guard into the chains, and return what it has of threads and breakers."""
    binding = fsm.callbacks.bind_plugin(guard.plugin(timeout), "policy", source=3, position=0, guard=True)
    fsm.callbacks.publish_plugins([binding])
    return binding.runtime


def refused(fsm: Machine, way: Way) -> GuardUnavailableError:
    """Return the veto of a transition; nothing else has come of it."""
    given, before = context(deep=[1]), len(fsm.changes)
    with pytest.raises(GuardUnavailableError) as caught:
        way.handle(fsm, "processing", given)
    assert given == context(deep=[1])
    assert (fsm.errors, fsm.changes[before:]) == ([], [])
    assert caught.value.plugin == "policy"
    assert str(caught.value).startswith(f"the guard 'policy' could not decide ({caught.value.reason})")
    return caught.value


def drive_reset(fsm: Machine) -> None:
    """Close the breakers of the guard, as enabling it anew does."""
    drive(fsm.callbacks.reset_breakers("policy"))


def passes(fsm: Machine, way: Way) -> bool:
    return way.handle(fsm, "processing", context()) == context("processing")


def records(fsm: Machine) -> list[HistoryRecord]:
    return [each for each in fsm.callbacks.history if each.plugin in ("policy", "core")]


def opened(breaker: Breaker) -> Breaker:
    for _ in range(2):
        breaker.fail(0, "x")
    return breaker


class TestFailing:
    @pytest.mark.parametrize("timeout", [None, LONG])
    def test_raising(self, fsm: Machine, way: Way, guard: Guard, timeout: float | None) -> None:
        guard.action = raising(BrokenError("down"))
        bring(fsm, guard, timeout)
        assert refused(fsm, way).reason == "BrokenError: down"
        assert [each.outcome for each in records(fsm)] == ["error", "veto"]

    @pytest.mark.parametrize("timeout", [None, LONG])
    @pytest.mark.parametrize("nonsense", ["text", 0, {}, {"user_id": "eva", "state": "initial"}])
    def test_returning_nonsense(
        self, fsm: Machine, way: Way, *, guard: Guard, timeout: float | None, nonsense: Any
    ) -> None:
        guard.action = lambda ctx: nonsense
        bring(fsm, guard, timeout)
        assert refused(fsm, way).reason.startswith("ContextError: ")

    def test_timing_out(self, fsm: Machine, way: Way, guard: Guard) -> None:
        go_on = threading.Event()
        guard.action = lambda ctx: go_on.wait(10) and None
        bring(fsm, guard, SHORT)
        veto = refused(fsm, way)
        go_on.set()
        assert veto.reason == "CallbackTimeoutError: it did not come back within 0.02 s"
        assert [each.outcome for each in records(fsm)] == ["timeout", "veto"]

    def test_its_breaker_is_open(self, fsm: Machine, way: Way, guard: Guard) -> None:
        guard.action = raising(BrokenError("down"))
        bring(fsm, guard)
        for _ in range(2):
            refused(fsm, way)
        guard.action = lambda ctx: None
        for _ in range(3):
            assert refused(fsm, way).reason == "CallbackSkippedError: its circuit breaker is open"
        assert guard.calls == 2
        assert [each.outcome for each in records(fsm)] == ["error", "veto"] * 2 + ["skipped", "veto"] * 3

    def test_the_turn_of_the_probe_is_taken(self, fsm: Machine, way: Way, *, guard: Guard, clock: FakeClock) -> None:
        begun, go_on = threading.Event(), threading.Event()
        results: list[Context] = []
        guard.action = lambda ctx: (begun.set(), go_on.wait(10), None)[-1]
        breaker = opened(bring(fsm, guard).breaker(guard.phase))
        clock.advance(30)
        thread = threading.Thread(target=lambda: results.append(fsm.handle("processing", context())))
        thread.start()
        assert begun.wait(10)
        assert breaker.state == "half-open"
        assert "its circuit breaker is open" in refused(fsm, way).reason
        go_on.set()
        thread.join()
        assert (results, breaker.state) == ([context("processing")], "closed")
        assert passes(fsm, way)

    def test_no_thread_is_to_be_had(
        self, fsm: Machine, way: Way, guard: Guard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runtime = bring(fsm, guard)
        with monkeypatch.context() as patched:
            patched.setattr("thea_core.callbacks.threads.MAX_AT_WORK", 0)
            if guard.kind == "sync":
                assert "are at work already, which is the limit" in refused(fsm, way).reason
        for _ in range(MAX_LEFT_BEHIND):
            runtime.ways.stragglers.add()
        assert "its circuit breaker is open" in refused(fsm, way).reason  # as with anything of a plugin that hangs
        drive_reset(fsm)
        assert "hang whose time was up" in refused(fsm, way).reason  # closed by hand, and still it hangs
        for _ in range(MAX_LEFT_BEHIND):
            runtime.ways.stragglers.remove()
        assert passes(fsm, way)

    def test_it_is_left_behind_as_often_as_may_be(self, fsm: Machine, way: Way, guard: Guard) -> None:
        """Nothing is made up here: it hangs, call after call, until there is no thread for it, and then comes back."""
        go_on, all_back = threading.Event(), threading.Event()
        guard.action = lambda ctx: go_on.wait(10) and None
        runtime = bring(fsm, guard, SHORT)
        stragglers = runtime.ways.stragglers
        come_back = stragglers.remove
        stragglers.remove = lambda: (come_back(), stragglers.count or all_back.set())  # type: ignore[method-assign]
        while not stragglers.too_many:
            refused(fsm, way)
            runtime.breaker(guard.phase).reset("by hand")
        go_on.set()
        assert all_back.wait(10)
        guard.action = lambda ctx: None
        drive_reset(fsm)
        assert passes(fsm, way)

    def test_a_veto_of_its_own_is_no_failure(self, fsm: Machine, way: Way, guard: Guard) -> None:
        guard.action = raising(ValidationError("no"))
        runtime = bring(fsm, guard)
        for _ in range(5):
            with pytest.raises(ValidationError, match="no"):
                way.handle(fsm, "processing", context())
        assert runtime.breaker(guard.phase).state == "closed"

    def test_in_an_error_callback_there_is_nothing_to_refuse(self, fsm: Machine, way: Way) -> None:
        guard = Guard("on_transition_error", "sync")
        guard.action = raising(BrokenError("down"))
        bring(fsm, guard)
        for _ in range(3):
            assert way.fail(fsm, BrokenError(), context()) == context("error_handler")


class TestWorkingAgain:
    def test_the_probe_opens_the_door(self, fsm: Machine, way: Way, *, guard: Guard, clock: FakeClock) -> None:
        told: list[str] = []
        fsm.callbacks.register("on_plugin_health", lambda *, state: told.append(state))
        guard.action = raising(BrokenError("down"))
        bring(fsm, guard)
        for _ in range(3):
            refused(fsm, way)
        clock.advance(30)
        assert refused(fsm, way).reason == "BrokenError: down"  # the probe
        guard.action = lambda ctx: None
        clock.advance(59)
        assert "open" in refused(fsm, way).reason
        clock.advance(1)
        assert passes(fsm, way)
        assert passes(fsm, way)
        assert told == ["open", "half-open", "open", "half-open", "closed"]

    def test_so_does_a_probe_that_refuses_for_a_good_reason(
        self, fsm: Machine, way: Way, *, guard: Guard, clock: FakeClock
    ) -> None:
        guard.action = raising(ValidationError("no"))
        breaker = opened(bring(fsm, guard).breaker(guard.phase))
        clock.advance(30)
        with pytest.raises(ValidationError):
            way.handle(fsm, "processing", context())
        assert breaker.state == "closed"

    def test_and_whoever_enables_it_anew(self, fsm: Machine, way: Way, guard: Guard) -> None:
        opened(bring(fsm, guard).breaker(guard.phase))
        refused(fsm, way)
        drive_reset(fsm)
        assert passes(fsm, way)


class TestTelling:
    def test_each_reason_is_logged_once_and_then_counted(
        self, fsm: Machine, way: Way, *, guard: Guard, caplog: pytest.LogCaptureFixture
    ) -> None:
        guard.action = raising(BrokenError("down"))
        bring(fsm, guard)
        for _ in range(11):
            refused(fsm, way)
        lines = [each.getMessage() for each in caplog.records if "guard 'policy'" in each.getMessage()]
        assert len(lines) == 2
        assert f"failed in {guard.phase}; the transition is refused (BrokenError: down)" in lines[0]
        assert "the transition is refused (CallbackSkippedError: its circuit breaker is open)" in lines[1]

    def test_that_there_is_no_thread_is_logged_too(
        self, fsm: Machine, way: Way, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("thea_core.callbacks.threads.MAX_AT_WORK", 0)
        bring(fsm, Guard("pre_transition", "sync"))
        for _ in range(3):
            refused(fsm, way)
        lines = [each.getMessage() for each in caplog.records if "guard 'policy'" in each.getMessage()]
        assert len(lines) == 1
        assert "are at work already" in lines[0]

    def test_of_a_plugin_that_is_no_guard_only_the_change_is(
        self, fsm: Machine, way: Way, *, guard: Guard, caplog: pytest.LogCaptureFixture
    ) -> None:
        binding = fsm.callbacks.bind_plugin(guard.plugin(LONG), "policy", source=3, position=0)
        fsm.callbacks.publish_plugins([binding])
        opened(binding.runtime.breaker(guard.phase))
        for _ in range(3):
            assert passes(fsm, way)
        assert len([each for each in caplog.records if "'policy'" in each.getMessage()]) == 1

    @pytest.mark.parametrize("handle", ["handle_request", "ahandle_request"])
    def test_the_user_gets_a_refusal_and_the_log_the_reason(
        self, fsm: Machine, guard: Guard, handle: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened(bring(fsm, guard).breaker(guard.phase))
        router = CoreRouter(fsm)
        if handle == "handle_request":
            reply = router.handle_request("ana", "hola")
        else:
            reply = asyncio.run(router.ahandle_request("ana", "hola"))
        assert (reply.text, reply.ok, reply.context["state"]) == ("Sorry, I cannot do that now.", False, "initial")
        assert "the transition is refused (CallbackSkippedError: its circuit breaker is open)" in caplog.text
        assert (fsm.errors, fsm.changes) == ([], [])


class TestWithAQueue:
    def test_a_guard_whose_events_are_queued_decides_in_the_call(self, fsm: Machine, way: Way, guard: Guard) -> None:
        guard.action = raising(BrokenError("down"))
        binding = fsm.callbacks.bind_plugin(
            guard.plugin(LONG), "policy", source=3, position=0, guard=True, limits=PluginLimits(delivery="background")
        )
        fsm.callbacks.publish_plugins([binding])
        assert refused(fsm, way).reason == "BrokenError: down"
