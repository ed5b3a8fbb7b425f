"""Plugins that return what they should not, and change what is not theirs."""

from __future__ import annotations

import itertools

from thea_core import AgentReply, IntentMatch, hookimpl


class Unhelpful:
    """Nothing can be asked of it."""

    def __getattribute__(self, name):
        raise RuntimeError(f"no {name}")

    def __bool__(self):
        raise RuntimeError("neither")

    def __len__(self):
        raise RuntimeError("no length")

    def __iter__(self):
        raise RuntimeError("no items")

    def __eq__(self, other):
        raise RuntimeError("not comparable")

    __hash__ = None


async def _coroutine():
    return []


def _endless():
    while True:
        yield IntentMatch("agenda", 1.0)


RESULTS = {
    "number": lambda: 7,
    "text": lambda: "agenda",
    "coroutine": _coroutine,
    "generator": _endless,
    "count": itertools.count,
    "class": lambda: IntentMatch,
    "unhelpful": Unhelpful,
    "list": lambda: [Unhelpful(), None, 7, "agenda"],
    "nan": lambda: [IntentMatch("agenda", float("nan"))],
    "wrong-types": lambda: [IntentMatch(7, "high"), IntentMatch("", 2.0), IntentMatch("agenda", -1)],
    "bytes": lambda: {b"agenda": 1.0},
    "context": lambda: {"user_id": "somebody else", "state": "idle"},
    "deep": lambda: {"user_id": "somebody else", "state": {"state": "idle"}},
}
"""What to return, by name."""


class Lying:
    """Returns the same nonsense from every hook."""

    def __init__(self, name, make):
        self.name = name
        self._make = make

    @hookimpl
    def on_message(self):
        return self._make()

    @hookimpl
    def on_state_change(self):
        return self._make()

    @hookimpl
    def pre_transition(self):
        return self._make()

    @hookimpl
    def post_transition(self):
        return self._make()

    @hookimpl
    def on_transition_error(self):
        return self._make()

    @hookimpl
    def detect_intents(self):
        return self._make()


class Mutating:
    """Changes whatever it is given, at every depth."""

    name = "mutating"

    @hookimpl(tryfirst=True)
    def pre_transition(self, context):
        _spoil(context)

    @hookimpl(tryfirst=True)
    def post_transition(self, context):
        _spoil(context)

    @hookimpl(tryfirst=True)
    def on_transition_error(self, context):
        _spoil(context)

    @hookimpl(tryfirst=True)
    def detect_intents(self, context):
        _spoil(context)

    @hookimpl(tryfirst=True)
    def on_error(self, error):
        error.args = ("spoiled",)
        error.__traceback__ = None


def _spoil(value):
    """Empty dicts and lists from the inside, and leave something that is no JSON."""
    for each in list(value.values() if isinstance(value, dict) else value):
        if isinstance(each, (dict, list)):
            _spoil(each)
    value.clear()
    if isinstance(value, dict):
        value["spoiled"] = value
    else:
        value.append(object())


class BadAgent:
    """Changes the context in place, and answers with what a test gives it."""

    name = "bad"
    intents = ("bad",)

    def __init__(self, answer=None):
        self._answer = answer

    def handle(self, message, context, turn):
        _spoil(context)
        return self._answer() if self._answer else AgentReply("ok")
