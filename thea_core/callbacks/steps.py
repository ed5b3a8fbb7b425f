"""How synchronous and asynchronous callers share one implementation of every rule.

A rule is written once, as a generator that yields a *step* wherever it has to wait, and gets the step's result back.
Two small drivers run it: :func:`drive` blocks at each step, :func:`adrive` awaits it. What a step raises is raised
inside the generator, at its ``yield``.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Protocol, TypeVar

__all__ = ["Step", "Steps", "adrive", "drive"]

T = TypeVar("T")


class Step(Protocol):
    """Something to wait for, in either way."""

    def wait(self) -> Any:
        """Block the calling thread until it is done; return or raise what came of it."""
        ...

    def wait_async(self) -> Coroutine[Any, Any, Any]:
        """The same for a task. May be called again after a cancellation: it then waits for the same thing."""
        ...


Steps = Generator[Step, Any, T]
"""A rule that may have to wait; its return value is the result."""


def drive(steps: Steps[T]) -> T:
    """Run ``steps`` to its end in the calling thread."""
    try:
        step = next(steps)
        while True:
            try:
                result = step.wait()
            except BaseException as error:  # handed on to the generator, which decides
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def adrive(steps: Steps[T]) -> T:
    """Run ``steps`` to its end in the running task; a cancellation is raised inside it like any other error."""
    try:
        step = next(steps)
        while True:
            try:
                result = await step.wait_async()
            except BaseException as error:  # handed on to the generator, which decides
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
