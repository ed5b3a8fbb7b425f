"""What stays in memory: 10,000 idle conversations, and the history of calls.

Python's own ``tracemalloc`` counts, after a collection of garbage; so these are exact, and one round says it all.
"""

from __future__ import annotations

import gc
import json
import logging
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from typing import Any

from benchmarks.dispatch import ARGUMENTS
from benchmarks.measure import Effort
from benchmarks.rows import AT_MOST, Row, Target
from benchmarks.utterances import utterances
from thea_core import CallbackManager, CoreRouter, FSMEngine

__all__ = ["measure"]

CONVERSATIONS = 10_000
WARM_UP = 2_500  # turns after which the history is full, whatever a turn adds to it
FEW, MANY = 10_000, 100_000  # calls


def measure(effort: Effort) -> Iterator[Row]:  # noqa: ARG001 -- every subject gets it
    """Give the rows of memory."""
    yield Row(
        f"{CONVERSATIONS:,} idle conversations, each",
        "its own context as JSON",
        (_conversations(),),
        unit="bytes beyond it",
        target=Target(AT_MOST, 2048),
    )
    few, many = _history(_well, FEW), _history(_well, MANY)
    failing = _history(_badly, FEW)
    yield Row("history, 1,000 calls of 3 callbacks", "a manager without history", (few / 1024,), unit="KiB more")
    yield Row("history, all callbacks fail", "a manager without history", (failing / 1024,), unit="KiB more")
    yield Row(f"history after {MANY:,} calls", f"after {FEW:,} calls", (many / few,))


def _conversations() -> float:
    """Return the bytes that a conversation keeps beyond its own context, which is counted as JSON text."""
    router = CoreRouter(FSMEngine())
    messages = cycle(utterances())
    for number, message in enumerate(islice(messages, WARM_UP)):
        router.handle_request(f"early-{number}", message)
    users = [f"user-{number}" for number in range(CONVERSATIONS)]

    def talk() -> CoreRouter:
        for user, message in zip(users, messages, strict=False):
            router.handle_request(user, message)
        return router

    kept = _kept(talk)
    own = sum(len(json.dumps(router.contexts.load(user))) for user in users)
    return (kept - own) / CONVERSATIONS


def _history(callback: Callable[..., None], calls: int) -> float:
    """Return the bytes that a manager's history has after so many calls."""
    logging.getLogger("thea_core").setLevel(logging.CRITICAL)
    return _kept(partial(_called, callback, calls, 1000)) - _kept(partial(_called, callback, calls, 0))


def _called(callback: Callable[..., None], calls: int, size: int) -> CallbackManager:
    manager = CallbackManager(history_size=size)
    for _ in range(3):
        manager.register("on_message", callback)
    for _ in range(calls):
        manager.trigger("on_message", **ARGUMENTS)
    return manager


def _well(user_id: str) -> None:
    pass


def _badly(user_id: str) -> None:
    raise ValueError(f"nothing is known of {user_id}")


def _kept(work: Callable[[], Any]) -> float:
    """Return how many bytes more are in use after ``work``, while its result is alive."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        gc.collect()
        kept, _peak = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
    return kept
