"""The checks of the kill test find what they are made for: each is shown a run that went wrong in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.durability.assistant import counted
from tests.durability.checks import Outcome, check
from tests.durability.lanes import Message

SESSIONS = ("one", "one", "two")
TURN = (
    ("on_state_change", "processing"),
    ("on_intent_detected", "count"),
    ("on_state_change", "executing"),
    ("on_agent_delegated", "counting"),
    ("on_state_change", "completion"),
    ("on_state_change", "idle"),
)


def line(hook: str, what: str, event_id: str) -> dict[str, str]:
    return {"hook": hook, "user": "ana", "what": what, "event_id": event_id}


def context() -> dict[str, Any]:
    current: dict[str, Any] = {"user_id": "ana", "state": "initial"}
    for text in ("0", "1", "2"):
        current = counted(text, current)[1]
    return current


def good() -> Outcome:
    """Three messages; a session ended before the last one, and another one after it."""
    told = []
    for text in ("0", "1", "2"):
        told += [line("on_session_timeout", "one", "end of one")] * (text == "2")
        told += [line(hook, what, f"{text} {hook} {what}") for hook, what in (("on_message", text), *TURN)]
    told.append(line("on_session_timeout", "two", "end of two"))
    return Outcome(
        sent={"ana": [Message("ana", str(number), number) for number in range(3)]},
        replies={f"ana.{number}": [(f"{number + 1}: {number}", SESSIONS[number])] for number in range(3)},
        contexts={"ana": context()},
        durable=told,
        inline=[line("on_session_timeout", name, f"end of {name}") for name in ("one", "two")],
        expiries=1,
    )


def in_context(outcome: Outcome, **changes: object) -> Outcome:
    return replace(outcome, contexts={"ana": {**outcome.contexts["ana"], **changes}})


def answered(outcome: Outcome, *replies: tuple[str, str]) -> Outcome:
    return replace(outcome, replies={**outcome.replies, "ana.1": list(replies)})


def told(outcome: Outcome, change: Callable[[list[Any]], Any]) -> Outcome:
    lines = list(outcome.durable)
    change(lines)
    return replace(outcome, durable=lines)


def told_inline(outcome: Outcome, change: Callable[[list[Any]], Any]) -> Outcome:
    lines = list(outcome.inline)
    change(lines)
    return replace(outcome, inline=lines)


def unordered(outcome: Outcome) -> Outcome:
    other: dict[str, Any] = {"user_id": "ana", "state": "initial"}
    for text in ("1", "0", "2"):
        other = counted(text, other)[1]
    return replace(outcome, contexts={"ana": other})


def test_a_run_in_which_everything_holds_has_no_problems() -> None:
    assert check(good()) == []


def test_what_was_told_again_later_is_no_problem() -> None:
    outcome = told(good(), lambda lines: lines.extend(lines[:4]))
    assert check(told_inline(outcome, lambda lines: lines.append(lines[0]))) == []


WRONG = {
    "a message is lost": lambda outcome: in_context(outcome, seen=["0", "1"]),
    "a message was applied twice": lambda outcome: in_context(outcome, seen=["0", "1", "1", "2"]),
    "a message was counted twice": lambda outcome: in_context(outcome, count=4),
    "a message overtook another": unordered,
    "a context is half-written": lambda outcome: in_context(outcome, padding="0"),
    "a context is another user's": lambda outcome: in_context(outcome, user_id="eva"),
    "a conversation is stuck": lambda outcome: in_context(outcome, state="executing"),
    "a context is gone": lambda outcome: replace(outcome, contexts={"ana": {}}),
    "a reply is missing": answered,
    "a reply changed": lambda outcome: answered(outcome, ("2: 1", "one"), ("3: 1", "one")),
    "a reply is of another session": lambda outcome: answered(outcome, ("2: 1", "one"), ("2: 1", "two")),
    "a reply is another message's": lambda outcome: answered(outcome, ("2: 0", "one")),
    "an event is lost": lambda outcome: told(outcome, lambda lines: lines.pop(3)),
    "the end of a session is lost": lambda outcome: told(outcome, lambda lines: lines.pop()),
    "an event is unknown": lambda outcome: told(outcome, lambda lines: lines.append(line("on_error", "x", "x"))),
    "an event has two ids": lambda outcome: told(outcome, lambda lines: lines.insert(1, {**lines[0], "event_id": "x"})),
    "an event overtook another": lambda outcome: told(outcome, lambda lines: lines.insert(0, lines.pop(1))),
    "an event of nobody": lambda outcome: told(outcome, lambda lines: lines.append({**lines[0], "user": "eva"})),
    "an event changed": lambda outcome: told(outcome, lambda lines: lines.append({**lines[0], "what": "9"})),
    "an end was not told inline": lambda outcome: told_inline(outcome, lambda lines: lines.pop()),
    "an end has two ids": lambda outcome: told_inline(
        outcome, lambda lines: lines.append({**lines[0], "event_id": "x"})
    ),
    "an end of no session": lambda outcome: told_inline(
        outcome, lambda lines: lines.append(line("on_session_timeout", "three", "x"))
    ),
    "a session ended too early": lambda outcome: replace(outcome, expiries=0),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_run_that_went_wrong_in_one_way_has_a_problem(change: Callable[[Outcome], Outcome]) -> None:
    assert check(change(good()))
