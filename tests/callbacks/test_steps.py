"""One rule, written once, for synchronous and asynchronous callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from thea_core.callbacks.steps import Steps, adrive, drive


class Value:
    """A step that gives a value, or raises."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def wait(self) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    async def wait_async(self) -> Any:
        await asyncio.sleep(0)
        return self.wait()


def arun(steps: Steps[Any]) -> Any:
    return asyncio.run(adrive(steps))


@pytest.fixture(params=[drive, arun], ids=["drive", "adrive"])
def run(request: pytest.FixtureRequest) -> Callable[[Steps[Any]], Any]:
    return request.param


def test_each_step_gives_its_result_and_the_rule_its_value(run: Callable[[Steps[Any]], Any]) -> None:
    def rule() -> Steps[int]:
        first = yield Value(1)
        second = yield Value(2)
        return first + second

    assert run(rule()) == 3


def test_a_rule_may_need_no_step(run: Callable[[Steps[Any]], Any]) -> None:
    def rule() -> Steps[int]:
        return 7
        yield Value(1)

    assert run(rule()) == 7


def test_what_a_step_raises_is_raised_in_the_rule_which_may_go_on(run: Callable[[Steps[Any]], Any]) -> None:
    def rule() -> Steps[str]:
        try:
            yield Value(KeyError("inside"))
        except KeyError:
            return (yield Value("went on"))
        return "never"

    assert run(rule()) == "went on"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_the_rule_does_not_catch_is_raised(run: Callable[[Steps[Any]], Any], error: type[BaseException]) -> None:
    def rule() -> Steps[None]:
        yield Value(error())

    with pytest.raises(error):
        run(rule())


def test_a_cancellation_is_raised_in_the_rule() -> None:
    seen = []

    class Waiting:
        def wait(self) -> None: ...

        async def wait_async(self) -> None:
            await asyncio.Event().wait()

    def rule() -> Steps[None]:
        try:
            yield Waiting()
        finally:
            seen.append("undone")

    async def scenario() -> None:
        task = asyncio.create_task(adrive(rule()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert seen == ["undone"]
