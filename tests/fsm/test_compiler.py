"""What a transition leaves in the history, and what observers get of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from tests.support import FakeClock
from thea_core import (
    CallbackManager,
    CallRecord,
    Context,
    ContextError,
    GuardUnavailableError,
    ValidationError,
    hookimpl,
)


class TickingClock(FakeClock):
    """A second passes at each look."""

    def monotonic_ns(self) -> int:
        self.advance(1)
        return super().monotonic_ns()


class Guard:
    @hookimpl
    def pre_transition(self, context: Context) -> None:
        if context.get("guarded"):
            raise BrokenError("down")


def first(ctx: Context) -> None:
    pass


def second(ctx: Context) -> None:
    if "post" in ctx:
        raise ctx_error(ctx)


def ctx_error(ctx: Context) -> Exception:
    return {"veto": ValidationError("no"), "error": BrokenError("boom")}[ctx["post"]]


def rows(fsm: Machine) -> list[tuple[str, str, str, str, str | None]]:
    return [(each.hook, each.plugin, each.callback, each.outcome, each.error) for each in fsm.callbacks.history]


@pytest.fixture
def fsm() -> Any:
    engine = Machine(callbacks=CallbackManager(clock=TickingClock()), events=False)
    engine.pre_transition("processing", priority=1)(first)
    engine.plug(Guard(), "guard")
    engine.post_transition("processing")(second)
    yield engine
    engine.callbacks.close()


PRE = ("pre_transition", "local", "first", "ok", None)
GUARD = ("pre_transition", "guard", "Guard.pre_transition", "ok", None)
POST = ("post_transition", "local", "second", "ok", None)


class TestHistory:
    def test_each_callback_and_the_transition_have_a_record(self, fsm: Machine, way: Way) -> None:
        way.handle(fsm, "processing", context())
        assert rows(fsm) == [PRE, GUARD, POST, ("transition", "core", "-> processing", "ok", None)]

    def test_a_transition_without_callbacks_has_one_record(self, fsm: Machine, way: Way) -> None:
        fsm = Machine(events=False)
        way.handle(fsm, "executing", context("processing"))
        way.reset(fsm, context("processing"))
        assert rows(fsm) == [
            ("transition", "core", "-> executing", "ok", None),
            ("transition", "core", "-> initial", "ok", None),
        ]

    def test_a_veto_is_the_outcome_of_its_callback_and_of_the_transition(self, fsm: Machine, way: Way) -> None:
        with pytest.raises(ValidationError):
            way.handle(fsm, "processing", context(post="veto"))
        assert rows(fsm) == [
            PRE,
            GUARD,
            ("post_transition", "local", "second", "veto", "ValidationError: no"),
            ("transition", "core", "-> processing", "veto", "ValidationError: no"),
        ]

    def test_an_error_is_the_outcome_too(self, fsm: Machine, way: Way) -> None:
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context(post="error"))
        assert rows(fsm)[2:] == [
            ("post_transition", "local", "second", "error", "BrokenError: boom"),
            ("transition", "core", "-> processing", "error", "BrokenError: boom"),
        ]

    def test_a_contained_failure_is_the_outcome_of_its_callback_only(self, fsm: Machine, way: Way) -> None:
        way.handle(fsm, "processing", context(guarded=True))
        assert rows(fsm) == [
            PRE,
            (*GUARD[:3], "error", "BrokenError: down"),
            POST,
            ("transition", "core", "-> processing", "ok", None),
        ]

    def test_callbacks_that_were_not_reached_have_no_record(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition("processing", priority=2)(raising(BrokenError("early")))
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context())
        assert [row[3] for row in rows(fsm)] == ["error", "error"]
        assert {key[2]: total.outcomes for key, total in fsm.callbacks.history.totals().items() if total.outcomes} == {
            "raising.<locals>.callback": {"error": 1},
            "-> processing": {"error": 1},
        }

    def test_a_failing_guard_is_an_error_of_its_own_and_a_veto_of_the_transition(self, way: Way) -> None:
        fsm = Machine(events=False)
        fsm.plug(Guard(), "guard", guard=True)
        with pytest.raises(GuardUnavailableError):
            way.handle(fsm, "processing", context(guarded=True))
        assert [row[3] for row in rows(fsm)] == ["error", "veto"]

    def test_a_context_that_is_broken_in_the_end_is_the_transitions_error(self, fsm: Machine, way: Way) -> None:
        fsm.post_transition("processing")(lambda ctx: ctx.update(x={1}))
        with pytest.raises(ContextError):
            way.handle(fsm, "processing", context())
        assert [row[3] for row in rows(fsm)] == ["ok", "ok", "ok", "ok", "error"]

    def test_a_context_that_is_broken_before_a_plugin_ends_the_row_there(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition("processing", priority=1)(lambda ctx: ctx.update(x={1}))
        with pytest.raises(ContextError):
            way.handle(fsm, "processing", context())
        assert [row[3] for row in rows(fsm)] == ["ok", "ok", "error"]

    def test_error_callbacks_have_records(self, fsm: Machine, way: Way) -> None:
        def third(error: BaseException, ctx: Context) -> None:
            raise BrokenError("again")

        fsm.on_error()(lambda error, ctx: None)
        fsm.on_error()(third)
        way.fail(fsm, BrokenError(), context())
        assert [(row[0], row[1], row[3], row[4]) for row in rows(fsm)] == [
            ("on_transition_error", "local", "ok", None),
            ("on_transition_error", "local", "error", "BrokenError: again"),
        ]

    def test_durations_are_seconds_of_each_callback_and_of_the_whole(self, fsm: Machine, way: Way) -> None:
        way.handle(fsm, "processing", context())
        assert [each.duration for each in fsm.callbacks.history] == [1.0, 1.0, 1.0, 4.0]
        way.fail(fsm, BrokenError(), context())
        fsm.on_error()(lambda error, ctx: None)
        way.fail(fsm, BrokenError(), context())
        assert fsm.callbacks.history[-1].duration == 1.0

    def test_durations_of_a_transition_that_ends_early(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition("processing", priority=1)(raising(BrokenError()))
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context())
        assert [each.duration for each in fsm.callbacks.history] == [1.0, 1.0, 3.0]

    def test_no_exception_and_no_message_is_kept(self, fsm: Machine, way: Way) -> None:
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context(post="error", message="my secret"))
        for record in fsm.callbacks.history:
            assert "secret" not in repr(record)
            assert not any(isinstance(each, BaseException) for each in vars_of(record))

    def test_without_history_and_observers_nothing_is_kept(self, way: Way) -> None:
        fsm = Machine(callbacks=CallbackManager(history_size=0))
        fsm.pre_transition("processing")(lambda ctx: None)
        fsm.pre_transition("executing")(raising(BrokenError()))
        fsm.on_error()(lambda error, ctx: None)
        assert way.handle(fsm, "processing", context())["state"] == "processing"
        with pytest.raises(BrokenError):
            way.handle(fsm, "executing", context("processing"))
        assert len(fsm.callbacks.history) == 0
        assert fsm.callbacks.history.totals() == {}


class TestCancelled:
    def test_the_callback_under_way_and_the_transition_are_cancelled(self, fsm: Machine) -> None:
        begun = asyncio.Event()

        @fsm.post_transition("processing", priority=1)
        async def hang(ctx: Context) -> None:
            begun.set()
            await asyncio.Event().wait()

        async def main() -> None:
            task = asyncio.create_task(fsm.ahandle("processing", context(guarded=True)))
            await begun.wait()
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())
        assert [row[3] for row in rows(fsm)] == ["ok", "error", "cancelled", "cancelled"]

    def test_so_is_an_error_callback(self, fsm: Machine) -> None:
        begun = asyncio.Event()

        @fsm.on_error()
        async def hang(error: BaseException, ctx: Context) -> None:
            begun.set()
            await asyncio.Event().wait()

        fsm.on_error(priority=1)(lambda error, ctx: None)
        fsm.on_error(priority=-1)(lambda error, ctx: None)

        async def main() -> None:
            task = asyncio.create_task(fsm.afail(BrokenError(), context()))
            await begun.wait()
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())
        assert [row[3] for row in rows(fsm)] == ["ok", "cancelled"]


class TestObservers:
    @pytest.fixture
    def records(self, fsm: Machine) -> list[CallRecord]:
        found: list[CallRecord] = []
        fsm.callbacks.add_observer(found.append)
        return found

    def test_they_get_one_record_a_phase_and_one_for_the_transition(
        self, fsm: Machine, way: Way, records: list[CallRecord]
    ) -> None:
        fsm.callbacks.register("on_state_change", lambda: None)
        way.handle(fsm, "processing", context())
        assert [each.hook for each in records] == ["pre_transition", "post_transition", "transition", "on_state_change"]
        assert [[one.plugin for one in each.callbacks] for each in records] == [
            ["local", "guard"],
            ["local"],
            ["core"],
            ["local"],
        ]
        assert [each.duration for each in records[:3]] == [2.0, 1.0, 4.0]

    def test_a_phase_that_was_not_reached_has_none(self, fsm: Machine, way: Way, records: list[CallRecord]) -> None:
        fsm.pre_transition("processing", priority=2)(raising(ValidationError("no")))
        with pytest.raises(ValidationError):
            way.handle(fsm, "processing", context())
        assert [(each.hook, [one.outcome for one in each.callbacks]) for each in records] == [
            ("pre_transition", ["veto"]),
            ("transition", ["veto"]),
        ]

    def test_error_callbacks_are_a_call_of_their_own(self, fsm: Machine, way: Way, records: list[CallRecord]) -> None:
        fsm.on_error()(lambda error, ctx: None)
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context(post="error"))
        assert [each.hook for each in records] == [
            "pre_transition",
            "post_transition",
            "transition",
            "on_transition_error",
        ]

    def test_one_that_fails_or_handles_does_no_harm(self, fsm: Machine, way: Way) -> None:
        seen: list[object] = []

        def meddle(record: CallRecord) -> None:
            seen.append(record)
            fsm.handle("idle", context("completion"))

        fsm.callbacks.add_observer(meddle)
        assert way.handle(fsm, "processing", context())["state"] == "processing"
        assert len(seen) == 3

    def test_they_are_served_without_a_history_too(self, way: Way) -> None:
        fsm = Machine(callbacks=CallbackManager(history_size=0), events=False)
        fsm.pre_transition()(lambda ctx: None)
        fsm.on_error()(lambda error, ctx: None)
        records: list[CallRecord] = []
        with fsm.callbacks.add_observer(records.append):
            way.handle(fsm, "processing", context())
            way.fail(fsm, BrokenError(), context())
        way.handle(fsm, "processing", context())
        assert [each.hook for each in records] == ["pre_transition", "transition", "on_transition_error"]


class TestSwitchingPlugins:
    def test_a_plugin_that_is_withdrawn_runs_no_more(self, fsm: Machine, way: Way) -> None:
        fsm.callbacks.withdraw_plugin("guard")
        way.handle(fsm, "processing", context())
        assert rows(fsm)[:2] == [PRE, POST]

    def test_a_call_that_has_begun_keeps_its_chain(self, fsm: Machine, way: Way) -> None:
        class Late:
            @hookimpl
            def post_transition(self, context: Context) -> Context:
                return {**context, "late": True}

        @fsm.pre_transition("processing", priority=2)
        def switch(ctx: Context) -> None:
            if fsm.callbacks.withdraw_plugin("guard"):
                fsm.plug(Late(), "late")

        assert "late" not in way.handle(fsm, "processing", context())
        assert rows(fsm)[1:3] == [PRE, GUARD]
        assert way.handle(fsm, "processing", context())["late"] is True


def vars_of(record: Any) -> list[object]:
    return [getattr(record, name) for name in ("hook", "callback", "plugin", "outcome", "error")]
