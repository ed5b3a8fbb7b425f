"""What is to be done with a message, once its intents are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from thea_core.conversation.choice import MAX_FAILED, Answer, Choice
from thea_core.conversation.intents import Matches
from thea_core.conversation.texts import Texts
from thea_core.types import IntentMatch

__all__ = ["NOTHING_FOUND", "Decision", "NothingFound", "Waiting", "decide", "read_pending"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An agent has asked, and waits for the message."""

    agent: str

    def to_json(self) -> dict[str, Any]:
        """Return the form in which ``context["pending"]`` holds it."""
        return {"kind": "agent", "agent": self.agent}


class NothingFound:
    """The fallback agent answers."""


NOTHING_FOUND: Final = NothingFound()

Decision = Waiting | IntentMatch | Choice | NothingFound
"""Back to the agent that waits; a new intent; a question which intent was meant; or the fallback agent."""


def read_pending(pending: object) -> Waiting | Choice | None:
    """Return what ``context["pending"]`` says; None also where something else has been put there."""
    if not isinstance(pending, dict):
        return None
    try:
        if pending["kind"] == "choice":
            return Choice.from_json(pending)
        agent = pending["agent"]
    except (KeyError, TypeError, ValueError):
        return None
    return Waiting(agent) if isinstance(agent, str) else None


def decide(pending: Waiting | Choice | None, message: str, matches: Matches, texts: Texts) -> Decision:
    """Return what is to be done with ``message``.

    An answer to an open question comes first, then what interrupts, then the agent that waits. A message that is no
    answer to the question, but has a clear intent of its own, is a new request.
    """
    if isinstance(pending, Choice):
        answer = pending.read(message, texts)
        if isinstance(answer, IntentMatch):
            return answer
        if answer is Answer.NONE_OF_THESE:
            return NOTHING_FOUND
    if pending is not None and (urgent := matches.interrupting.candidates):
        return _begin(urgent)
    if isinstance(pending, Waiting):
        return pending
    candidates = matches.candidates
    if isinstance(pending, Choice) and len(candidates) != 1:
        failed = pending.failed_once_more()
        return failed if failed.failed < MAX_FAILED else NOTHING_FOUND
    return _begin(candidates)


def _begin(candidates: Sequence[IntentMatch]) -> Decision:
    if len(candidates) == 1:
        return candidates[0]
    return Choice.of(candidates) if candidates else NOTHING_FOUND
