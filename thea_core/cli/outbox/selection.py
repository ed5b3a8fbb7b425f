"""Which events ``thea outbox retry`` and ``thea outbox drop`` are for, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from thea_core.cli.output import warn

if TYPE_CHECKING:
    from thea_core.types import Outbox, StoredEvent

__all__ = ["Change", "Outcome", "all_at_once", "check", "counted", "one_by_one", "selection_options", "stored_events"]

Change = Callable[[Sequence[int]], int]
"""A method of the outbox: takes numbers of events, and returns how many of them it has changed."""

F = TypeVar("F", bound=Callable[..., Any])

_PAGE = 500
_HIGHEST = 2**63 - 1


class Outcome(NamedTuple):
    """What became of a change.

    Attributes:
        done: how many events were changed.
        passed_over: the others of those that were named, each with the reason.
    """

    done: int
    passed_over: dict[int, str]

    def tell(self) -> None:
        """Say on standard error which events were passed over."""
        for number, reason in self.passed_over.items():
            warn(f"event {number} was passed over: {reason}")

    def passed_over_json(self) -> list[dict[str, Any]]:
        """Return the JSON form of what was passed over."""
        return [{"number": number, "reason": reason} for number, reason in self.passed_over.items()]


def selection_options(text: str) -> Callable[[F], F]:
    """Add the arguments that say which events are meant; ``text`` is the help of ``--all``."""

    def add(function: F) -> F:
        plugin = click.option("--plugin", metavar="NAME", help="With --all, only events for this plugin.")
        every = click.option("--all", "every", is_flag=True, help=text)
        numbers = click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=click.IntRange(1, _HIGHEST))
        return numbers(every(plugin(function)))

    return add


def check(numbers: Sequence[int], plugin: str | None, *, every: bool) -> None:
    """Refuse what does not say which events are meant, or says it twice.

    Raises:
        click.UsageError: so it is.
    """
    if not numbers and not every:
        raise click.UsageError("which events? Give their numbers, as thea outbox list shows them, or --all")
    if numbers and every:
        raise click.UsageError("--all and numbers say two things; leave out one of them")
    if numbers and plugin is not None:
        raise click.UsageError("--plugin goes with --all; a number says already for which plugin the event is")


def stored_events(outbox: Outbox, plugin: str | None, *, parked: bool | None) -> Iterator[StoredEvent]:
    """Give all events of a plugin, or of all, by number."""
    after = 0
    while page := outbox.list(plugin=plugin, parked=parked, after=after, limit=_PAGE):
        yield from page
        after = page[-1].number


def all_at_once(change: Change, numbers: Sequence[int]) -> Outcome:
    """Change these events, many in one step; those that are gone meanwhile are no failure."""
    parts = (numbers[start : start + _PAGE] for start in range(0, len(numbers), _PAGE))
    return Outcome(sum(map(change, parts)), {})


def one_by_one(outbox: Outbox, change: Change, numbers: Sequence[int], otherwise: str) -> Outcome:
    """Change these events, and find out which were passed over; ``otherwise`` says why one was that is there."""
    left = [number for number in dict.fromkeys(numbers) if not change([number])]
    reasons = {each: otherwise if _is_there(outbox, each) else "there is no such event" for each in left}
    return Outcome(len(set(numbers)) - len(left), reasons)


def counted(number: int, what: str = "event") -> str:
    """Return so many of something, in words."""
    return f"{number:,} {what if number == 1 else f'{what}s'}"


def _is_there(outbox: Outbox, number: int) -> bool:
    return any(each.number == number for each in outbox.list(after=number - 1, limit=1))
