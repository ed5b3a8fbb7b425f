"""Running a turn: in the calling thread, or in a task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thea_core.callbacks.steps import Step
    from thea_core.conversation.turn import RunningTurn
    from thea_core.types import Reply

__all__ = ["arun", "run"]


def run(turn: RunningTurn) -> Reply:
    """Run a turn to its end in the calling thread."""
    steps = turn.steps()
    try:
        step = next(steps)
        while True:
            try:
                result = step.wait()
            except BaseException as error:  # handed on to the turn, which decides
                turn.outside = error
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun(turn: RunningTurn) -> Reply:
    """Run a turn to its end in the running task, which is the turn's own.

    Only the end of the host's loop cancels that task. What is under way on a thread or another loop is waited for then,
    as the loop allows; where that cannot be, the turn is given up like one whose process has died.
    """
    steps = turn.steps()
    try:
        step = next(steps)
        while True:
            try:
                result = await _wait(turn, step)
            except BaseException as error:  # handed on to the turn, which decides
                turn.outside = error
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _wait(turn: RunningTurn, step: Step) -> Any:
    import asyncio

    while True:
        try:
            return await step.wait_async()
        except BaseException as error:
            if not (getattr(step, "resumable", False) and isinstance(error, asyncio.CancelledError)):
                raise
            turn.given_up = True
