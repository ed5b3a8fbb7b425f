"""What has to hold after a run of the kill test, whatever was killed when.

Every check gives what is wrong, in words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.durability.assistant import proof
from tests.durability.lanes import Message

Line = Mapping[str, Any]

_TURN = (
    ("on_state_change", "processing"),
    ("on_intent_detected", "count"),
    ("on_state_change", "executing"),
    ("on_agent_delegated", "counting"),
    ("on_state_change", "completion"),
    ("on_state_change", "idle"),
)
"""What is told in a turn after its ``on_message``, in order."""

_END = "on_session_timeout"


@dataclass(frozen=True)
class Outcome:
    """What a run has left behind.

    Attributes:
        sent: all messages of each user, in the order of sending.
        replies: of each message id all that was answered: text and session.
        contexts: of each user, after the end of the last session.
        durable, inline: the journals of the two plugins.
        expiries: how often so much time has passed at once that all sessions have expired, the end left out.
    """

    sent: Mapping[str, Sequence[Message]]
    replies: Mapping[str, Sequence[tuple[str, str]]]
    contexts: Mapping[str, Mapping[str, Any]]
    durable: Sequence[Line]
    inline: Sequence[Line]
    expiries: int

    def seen(self, user: str) -> list[str]:
        """Return what was applied, in order."""
        return list(self.contexts[user].get("seen", []))

    def sessions(self, user: str) -> list[str]:
        """Return the sessions of that user, in order, as far as replies tell them."""
        each = [session for text in self.seen(user) for _, session in self.replies.get(f"{user}.{text}", ())[:1]]
        return [session for session, before in zip(each, ["", *each], strict=False) if session != before]


def check(outcome: Outcome) -> list[str]:
    """Return all that is wrong."""
    checks = (check_contexts, check_replies, check_events, check_repetitions, check_sessions)
    return [problem for each in checks for problem in each(outcome)]


def check_contexts(outcome: Outcome) -> Iterator[str]:
    """Every message was applied exactly once, in order, and no context is half-written."""
    for user, messages in outcome.sent.items():
        context, seen = outcome.contexts[user], outcome.seen(user)
        texts = [message.text for message in messages]
        if sorted(seen) != sorted(texts):
            yield f"{user}: the messages {texts} were applied as {seen}"
        if context.get("count") != len(messages):
            yield f"{user}: {len(messages)} messages were counted as {context.get('count')}"
        if {key: context.get(key) for key in ("digest", "padding")} != proof(seen):
            yield f"{user}: the context does not fit itself: {dict(context)}"
        if (context.get("user_id"), context.get("state")) != (user, "initial"):
            yield f"{user}: the context is of {context.get('user_id')}, in the state {context.get('state')}"
        groups = {message.text: message.group for message in messages}
        if any(groups.get(one, 0) > groups.get(other, 0) for one, other in pairwise(seen)):
            yield f"{user}: the messages were applied in the order {seen}"


def check_replies(outcome: Outcome) -> Iterator[str]:
    """Every message has a reply, the same one whenever it was given, and it tells what the message did."""
    for user, messages in outcome.sent.items():
        seen = outcome.seen(user)
        for message in messages:
            given = set(outcome.replies.get(message.id, ()))
            place = seen.index(message.text) + 1 if message.text in seen else None
            if {text for text, _ in given} != {f"{place}: {message.text}"} or len(given) != 1:
                yield f"{message.id}: the replies are {sorted(given)}; the message is number {place} of {seen}"


def check_events(outcome: Outcome) -> Iterator[str]:
    """Every durable event was told, in the order in which it became true when it was told first, and no other."""
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in first_of_each(outcome.durable):
        told[line["user"]].append((line["hook"], line["what"]))
    for user in {*told, *outcome.contexts}:
        true = _true_events(outcome, user) if user in outcome.contexts else []
        if told[user] != true:
            at = _first_difference(told[user], true)
            yield (
                f"{user}: {len(told[user])} events were told, and {len(true)} are true; from number {at} on, "
                f"{told[user][at : at + 9]} was told in place of {true[at : at + 9]}"
            )


def check_repetitions(outcome: Outcome) -> Iterator[str]:
    """What was told more than once was the same each time, whoever was told."""
    known: dict[str, Line] = {}
    for line in [*outcome.durable, *outcome.inline]:
        if known.setdefault(line["event_id"], line) != line:
            yield f"the event {line['event_id']} was told as {dict(line)} and as {dict(known[line['event_id']])}"


def check_sessions(outcome: Outcome) -> Iterator[str]:
    """Every session has ended, under one ``event_id`` for whoever was told, and none before its time."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    ended: dict[str, set[str]] = defaultdict(set)
    for line in outcome.inline:
        ended[line["user"]].add(line["what"])
    for line in [*outcome.inline, *outcome.durable]:
        if line["hook"] == _END:
            ids[line["user"], line["what"]].add(line["event_id"])
    for (user, session), known in ids.items():
        if len(known) != 1:
            yield f"{user}: the end of the session {session} was told under {sorted(known)}"
    for user in {*outcome.sent, *ended}:
        sessions = outcome.sessions(user) if user in outcome.sent else []
        if sorted(sessions) != sorted(ended[user]):
            yield f"{user}: there were the sessions {sessions}, and the end of {sorted(ended[user])} was told inline"
        if len(sessions) > outcome.expiries + 1:
            yield f"{user}: {len(sessions)} sessions, though time for one has passed only {outcome.expiries} times"


def first_of_each(lines: Iterable[Line]) -> list[Line]:
    """Return the first line of every event."""
    known: dict[str, Line] = {}
    for line in lines:
        known.setdefault(line["event_id"], line)
    return list(known.values())


def _true_events(outcome: Outcome, user: str) -> list[tuple[str, str]]:
    """Return what has happened, in order."""
    events: list[tuple[str, str]] = []
    session = None
    for text in outcome.seen(user):
        current = next((session for _, session in outcome.replies.get(f"{user}.{text}", ())), session)
        if session not in (None, current):
            events.append((_END, str(session)))
        events += [("on_message", text), *_TURN]
        session = current
    return [*events, (_END, str(session))] if events else []


def _first_difference(some: Sequence[object], others: Sequence[object]) -> int:
    pairs = enumerate(zip(some, others, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(some), len(others)))
