"""Returns what it should not, another thing from each call."""

import itertools

from thea_core import IntentMatch, hookimpl


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


async def coroutine():
    return 7


async def async_generator():
    yield 7


def generator():
    while True:
        yield IntentMatch("nonsense", 2.0)


NONSENSE = [
    coroutine,
    async_generator,
    generator,
    itertools.count,
    Unhelpful,
    lambda: 7,
    lambda: "agenda",
    lambda: IntentMatch,
    lambda: [Unhelpful(), None, 7, "agenda"],
    lambda: [IntentMatch(7, "high"), IntentMatch("", 2.0), IntentMatch("agenda", float("nan"))],
    lambda: {b"agenda": 1.0},
    lambda: {"user_id": "somebody else", "state": "idle"},
    lambda: {"user_id": "somebody else", "state": {"state": "idle"}},
]


class Returns:
    def __init__(self):
        self._makers = itertools.cycle(NONSENSE)

    @hookimpl
    def on_message(self):
        return next(self._makers)()

    on_state_change = on_intent_detected = on_agent_delegated = on_plugin_health = on_message
    pre_transition = post_transition = detect_intents = provide_agents = on_shutdown = on_message
