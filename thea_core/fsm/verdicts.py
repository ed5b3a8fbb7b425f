"""What becomes of what a transition callback returned, changed in place, or raised."""

from __future__ import annotations

from collections.abc import Sequence
from types import CoroutineType
from typing import Any

from thea_core.callbacks.history import Failure
from thea_core.callbacks.manager import CallbackManager
from thea_core.errors import ContextError, GuardUnavailableError, TransitionVeto
from thea_core.fsm.context import copy_context, is_flat
from thea_core.fsm.phases import Member
from thea_core.types import Context

__all__ = ["Judge", "Verdict", "adopted", "checked", "own_copy"]

Verdict = tuple[Context, "list[Failure] | None", "BaseException | None"]
"""The context to go on with, the failures so far, and what ends the transition, if anything."""


class Judge:
    """Decides for the pre and post callbacks of one engine. Thread-safe."""

    def __init__(self, callbacks: CallbackManager) -> None:
        self._callbacks = callbacks

    def adopt(
        self,
        member: Member,
        position: int,
        result: Any,
        before: tuple[Context, str, str, int],
        failures: list[Failure] | None,
    ) -> Verdict:
        """Judge what a callback returned, or changed in place.

        ``before`` holds the working copy, the user and state that it must have kept, and the ticket of its breaker.
        """
        work, user_id, state, ticket = before
        try:
            if result is not None and result is not work:
                return adopted(result, user_id, state), failures, None
            if member.local:
                _keep(work, user_id, state)
        except ContextError as problem:
            return work, *self.judge(member, position, problem, failures, ticket)
        return work, failures, None

    def judge(
        self, member: Member, position: int, problem: BaseException, failures: list[Failure] | None, ticket: int = 0
    ) -> tuple[list[Failure], BaseException | None]:
        """Judge what a callback raised: a note in the row, and what ends the transition. KeyboardInterrupt passes.

        Where nobody has raised it, it says that the callback's time was up, or that it was not called.
        """
        failure, ending = self._judged(member, problem, ticket)
        return [*(failures or ()), failure._replace(position=position)], ending

    def admit(self, member: Member) -> int:
        """Return a ticket of a plugin callback's breaker, or REFUSED."""
        return 0 if member.callback.breaker is None else member.callback.breaker.admit()

    def succeed(self, member: Member, position: int, ticket: int, failures: list[Failure] | None) -> None:
        """Tell the breaker of a callback that it has ended well, if so."""
        breaker = member.callback.breaker
        if breaker is not None and not any(each.position == position for each in failures or ()):
            breaker.succeed(ticket)

    def release(self, members: Sequence[Member], ticket: int) -> None:
        """Give back the ticket of one of the callbacks, which came to no end that tells anything."""
        for breaker in {each.callback.breaker for each in members}:
            if breaker is not None:
                breaker.release(ticket)

    def _judged(self, member: Member, problem: BaseException, ticket: int) -> tuple[Failure, BaseException | None]:
        if isinstance(problem, TransitionVeto):
            if member.callback.breaker is not None:
                member.callback.breaker.succeed(ticket)
            return Failure(0, "veto", self._callbacks.failures.text(problem)), problem
        if member.local:
            if isinstance(problem, KeyboardInterrupt):
                raise problem
            return Failure(0, self._callbacks.outcome(problem), self._callbacks.failures.text(problem)), problem
        failure = self._callbacks.contain(member.callback, problem, ticket)
        if member.callback.guard:
            return failure, GuardUnavailableError(member.callback.plugin, self._callbacks.failures.text(problem))
        return failure, None


def adopted(result: Any, user_id: str, state: str) -> Context:
    """Return a copy of what a callback returned, if it may take the context's place.

    Raises:
        ContextError: it may not.
    """
    kind = type(result)
    if kind is CoroutineType:
        result.close()  # nobody will await it
    if not issubclass(kind, dict):
        raise ContextError(f"a callback must return a context or None, not {kind.__name__}")
    copy = copy_context(result)
    _keep(copy, user_id, state)
    return copy


def checked(work: Context) -> tuple[Context, BaseException | None]:
    """Return a copy of the working copy, which a local callback may have kept, and what is wrong with it."""
    return (work.copy(), None) if is_flat(work) else own_copy(work)


def own_copy(work: Context) -> tuple[Context, BaseException | None]:
    """Return a copy of the working copy, and what is wrong with it, if anything: a local callback's doing."""
    try:
        return copy_context(work), None
    except ContextError as problem:
        return work, problem


def _keep(work: Context, user_id: str, state: str) -> None:
    """Refuse a context whose user or state a callback has changed."""
    for key, expected in (("user_id", user_id), ("state", state)):
        found: Any = work.get(key)
        if not issubclass(type(found), str) or str.__str__(found) != expected:
            shown = repr(str.__str__(found)) if issubclass(type(found), str) else type(found).__name__
            raise ContextError(
                f"a callback must leave context[{key!r}] as it was ({expected!r}), and not make it {shown}",
                path=f"context[{key!r}]",
            )
        work[key] = expected  # this very object, by which compiled transitions see that nothing has changed
