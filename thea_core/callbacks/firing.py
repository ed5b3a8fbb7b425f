"""Running the chain of an event: as a step for those who drive steps, and so that a cancelled caller loses nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from functools import partial
from typing import Any

from thea_core.callbacks import flow
from thea_core.callbacks.compiler import Chain
from thea_core.callbacks.limits import Abandoned, CallbackStep
from thea_core.callbacks.loops import LoopPool

__all__ = ["EventStep", "drive_chain"]


class EventStep:
    """Fires one event, in either way.

    Args:
        chain: the chain of the event.
        arguments: its arguments.
        within: how many of the running calls are the caller's own, none of which is this event.
        loops: who owns what a cancelled caller leaves behind.
    """

    __slots__ = ("_arguments", "_chain", "_loops", "_within")

    def __init__(self, chain: Chain, arguments: dict[str, Any], within: int, loops: LoopPool) -> None:
        self._chain = chain
        self._arguments = arguments
        self._within = within
        self._loops = loops

    def wait(self) -> None:
        """Call the chain in the calling thread."""
        self._chain.run(self._arguments, self._within)

    async def wait_async(self) -> None:
        """Call the chain in the running task; a cancellation passes at once."""
        frame = flow.enter(*flow.running_keys())
        try:
            await drive_chain(self._chain.steps(self._arguments, self._within), self._loops)
        finally:
            flow.leave(frame)


async def drive_chain(steps: Generator[CallbackStep, Any, Any], loops: LoopPool) -> Any:
    """Like ``adrive``; but a cancellation passes at once, and a task that ``loops`` owns does the rest."""
    try:
        step = next(steps)
        while True:
            try:
                result = await step.wait_async()
            except GeneratorExit:  # thrown away with its loop: there is nothing left to run on
                steps.close()
                raise
            except BaseException:  # only a cancellation comes here: a callback's failure is a result
                loops.own(partial(_finish, steps, step))
                raise
            step = steps.send(result)
    except StopIteration as end:
        return end.value


async def _finish(steps: Generator[CallbackStep, Any, Any], step: CallbackStep) -> None:
    """Do the rest of a chain whose caller was cancelled.

    Where this task is cancelled too, the host's loop is being closed. A callback on that loop is cancelled with it; one
    on the loop of its plugin goes on, but nobody waits for it any more, and the next one is called.
    """
    import asyncio

    with suppress(StopIteration):
        while True:
            try:
                value, error = await step.wait_async()
            except asyncio.CancelledError:
                if step.on_callers_loop:
                    step.cancel()
                    continue
                value, error = None, Abandoned()
            if step.on_callers_loop and isinstance(error, asyncio.CancelledError):
                error = Abandoned()  # by the host: not its failure
            step = steps.send((value, error))
