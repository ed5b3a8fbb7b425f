from __future__ import annotations

import asyncio
import threading

import pytest

from thea_core.callbacks import CallbackManager, flow
from thea_core.callbacks.steps import adrive, drive
from thea_core.plugins.waiting import OnThread, Until, contained, inside_a_call


class Waiting:
    """A step that raises, or returns, at the waiting."""

    def __init__(self, outcome):
        self.outcome = outcome

    def wait(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def only(step):
    return (yield step)


class TestContained:
    def test_a_value_comes_back(self):
        assert drive(contained(only(Waiting(3)))) == (3, None)

    @pytest.mark.parametrize("error", [ValueError(), SystemExit(), GeneratorExit()])
    def test_what_the_steps_raise_comes_back_as_a_value(self, error):
        def failing():
            yield Waiting(None)
            raise error

        assert drive(contained(failing())) == (None, error)

    def test_ctrl_c_passes(self):
        def failing():
            yield from ()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            drive(contained(failing()))

    def test_what_is_raised_at_the_waiting_passes(self):
        with pytest.raises(asyncio.CancelledError):
            drive(contained(only(Waiting(asyncio.CancelledError()))))


class TestOnThread:
    def test_the_function_runs_on_a_daemon_thread_in_the_callers_context(self):
        frame = flow.enter("marker")
        try:
            found = drive(only(OnThread(lambda: (threading.current_thread(), flow.running("marker")), 10, "thea-x")))
        finally:
            flow.leave(frame)
        (thread, marked), error = found
        assert (thread.name, thread.daemon, marked, error) == ("thea-x", True, True, None)

    def test_what_it_raises_comes_back(self):
        error = SystemExit()

        def fail():
            raise error

        assert drive(only(OnThread(fail, 10, "thea-x"))) == (None, error)
        assert asyncio.run(adrive(only(OnThread(fail, 10, "thea-x")))) == (None, error)

    def test_nothing_comes_back_where_the_time_is_up(self):
        go_on = threading.Event()
        assert drive(only(OnThread(go_on.wait, 0.0, "thea-x"))) is None
        assert asyncio.run(adrive(only(OnThread(go_on.wait, 0.0, "thea-x")))) is None
        go_on.set()


class TestUntil:
    @pytest.mark.parametrize("looks", [1, 3])
    def test_it_looks_until_the_condition_holds(self, looks):
        for run in (drive, lambda steps: asyncio.run(adrive(steps))):
            answers = iter([*[False] * (looks - 1), True])
            assert run(only(Until(lambda answers=answers: next(answers), 10.0))) is True

    def test_it_gives_up_when_the_time_is_up(self):
        for run in (drive, lambda steps: asyncio.run(adrive(steps))):
            asked = []
            assert run(only(Until(lambda asked=asked: asked.append(1) or False, 0.004))) is False
            assert len(asked) == 3

    def test_without_time_it_looks_once(self):
        assert drive(only(Until(lambda: True, 0.0))) is True


def test_a_callback_is_inside_a_call_and_its_caller_is_not():
    callbacks, seen = CallbackManager(), []
    callbacks.register("on_error", lambda error: seen.append((inside_a_call(), str(error))))
    callbacks.trigger("on_error", user_id="ana", error=ValueError("x"), traceback="")
    assert seen == [(True, "x")]
    assert not inside_a_call()
