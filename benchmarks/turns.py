"""A whole turn: what it costs in memory, part by part; and how many there are in a second where each is on the disk.

The parts are told apart by leaving them out: what an assistant takes with a part more than without it, the same
messages handled by both in turns. Nothing is instrumented, which would cost more than some of the parts.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.assistant import AGENDA, BOTH, assistant, in_memory, installed, on_disk
from benchmarks.disk import CONTEXT, TURNS, fill_log, folder_on_disk, messages_to, raw_commits
from benchmarks.graph import checkpointed
from benchmarks.measure import Contender, Effort, Timings, interleave, over, take_turns
from benchmarks.rows import Row, missing, speed
from benchmarks.utterances import utterances
from thea_core import FSMEngine, Thea
from thea_core.storage.memory import MemoryStore
from thea_core.types import Commit, SystemClock

__all__ = ["measure"]

NONE: tuple[str, ...] = ()
WHOLE = "a turn in memory, both plugins"
BARE = "a turn in memory, no plugin"
OURS = "the same, answered by the agenda"
_QUIET = "the agenda alone"
_STORE, _TRANSITIONS, _DETECTORS = "store", "transitions", "detectors"
_STEPS = ("processing", "executing", "completion", "idle")

THEA = "turns on SQLite, both plugins"
THEA_BARE = "turns on SQLite, no plugin"
FLOOR = "one raw commit each"
CHAT = "LangGraph, a chat"
PLAIN = "LangGraph, plain keys"
EXIT = "LangGraph, plain keys, one checkpoint"
_EVERY = 6  # one message in so many stands for the rest, so that a batch ends before a busy machine interrupts it


def measure(effort: Effort) -> Iterator[Row]:
    """Give the rows of turns."""
    if not installed(BOTH):
        yield missing(WHOLE, "", "thea-logging and thea-agenda are not installed")
        return
    with folder_on_disk() as folder:
        yield from _in_memory(effort, Path(folder))
        yield from _on_disk(effort, Path(folder))


# ---------------------------------------------------------------------------------------------------- part by part


def _in_memory(effort: Effort, folder: Path) -> Iterator[Row]:
    with ExitStack() as stack:
        bare, quiet, whole = (
            stack.enter_context(assistant("memory:", plugins, folder)) for plugins in (NONE, (AGENDA,), BOTH)
        )
        ours, others = _sorted(quiet)
        timings = interleave(
            [
                in_memory(WHOLE, whole, others),
                in_memory(_QUIET, quiet, others),
                in_memory(BARE, bare, others),
                _detectors(quiet, others),
                _transitions(others),
                _store(others),
                in_memory(OURS, whole, ours),
            ],
            effort,
        )
    note = f"In µs, for orientation; the mean over {len(others)} messages that are not for the agenda."
    notes = {
        WHOLE: note,
        BARE: note,
        OURS: f"Of {len(ours)} messages that ask what is on: most of it is the library that reads dates.",
    }
    for name, told in notes.items():
        count_of = len(ours if name == OURS else others)
        each = tuple(seconds / count_of * 1e6 for seconds in timings.seconds[name])
        yield Row(name, "", each, unit="µs", note=told)
    yield from _split(timings)


def _sorted(thea: Thea) -> tuple[list[str], list[str]]:
    """Return the messages that ask the agenda what is on, and those that are not for it.

    Those that create events are left out: they would measure a disk.
    """
    ours, others = [], []
    for message in utterances():
        results = thea.callbacks.call("detect_intents", message=message, context=dict(CONTEXT))
        intents = {match.intent for result in results for match in result.value}
        if intents == {AGENDA}:
            ours.append(message)
        elif not intents:
            others.append(message)
    return ours, others[::_EVERY]


def _split(timings: Timings) -> Iterator[Row]:
    """Give the share of each part; together they are the whole."""
    parts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "the store: lease, read, commit": ((_STORE,), ()),
        "four transitions": ((_TRANSITIONS,), ()),
        "the router's own": ((BARE,), (_STORE, _TRANSITIONS)),
        "agenda: the detector": ((_DETECTORS,), ()),
        "agenda: its guard": ((_QUIET,), (BARE, _DETECTORS)),
        "logging: events, their ids, a record each": ((WHOLE,), (_QUIET,)),
    }
    for part, (with_it, without_it) in parts.items():
        sums = zip(*(timings.seconds[each] for each in with_it), strict=True)
        left = zip(*(timings.seconds[each] for each in without_it), strict=True) if without_it else cycle([()])
        shares = (
            100 * (sum(more) - sum(less)) / all_of_it
            for more, less, all_of_it in zip(sums, left, timings.seconds[WHOLE], strict=False)
        )
        yield Row(f"- {part}", "of that turn with both plugins", tuple(shares), unit="%")


def _detectors(thea: Thea, messages: Sequence[str]) -> Contender:
    call, context = thea.callbacks.call, dict(CONTEXT)
    return over(_DETECTORS, messages, lambda message: call("detect_intents", message=message, context=context))


def _transitions(messages: Sequence[str]) -> Contender:
    handle = FSMEngine().handle

    def four(context: dict[str, Any]) -> None:
        for state in _STEPS:
            context = handle(state, context)

    return over(_TRANSITIONS, [{**CONTEXT, "message": text} for text in messages], four)


def _store(messages: Sequence[str]) -> Contender:
    store = MemoryStore(clock=SystemClock())
    text = json.dumps(CONTEXT)

    def turn(user: str) -> None:
        read = store.begin(user, owner="benchmark", duration=30.0)
        if read is None or read.lease is None:
            raise AssertionError("nobody else has the lease")
        session = read.session_id or "session"
        store.commit(Commit(read.lease, read.version, context=text, session_id=session, session_timeout=1800.0))

    return over(_STORE, [f"user-{number}" for number in range(len(messages))], turn)


# ---------------------------------------------------------------------------------------------------- on the disk


def _on_disk(effort: Effort, folder: Path) -> Iterator[Row]:
    with ExitStack() as stack:
        files = {FLOOR: folder / "raw.db"}
        floor = stack.enter_context(closing(sqlite3.connect(files[FLOOR], isolation_level=None)))
        goes = {FLOOR: raw_commits(floor)}
        for name, plugins in {THEA: BOTH, THEA_BARE: NONE}.items():
            files[name] = folder / f"turns-{len(plugins)}.db"
            thea = stack.enter_context(assistant(f"sqlite:///{files[name]}", plugins, folder))
            goes[name] = messages_to(on_disk(thea))
        graphs: dict[str, dict[str, Any]] = {
            CHAT: {"chat": True},
            PLAIN: {"chat": False},
            EXIT: {"chat": False, "durability": "exit"},
        }
        for number, (name, options) in enumerate(graphs.items()):
            files[name] = folder / f"graph-{number}.db"
            invoke = checkpointed(files[name], stack, **options)
            if invoke is not None:
                goes[name] = messages_to(invoke)
        for name, go in goes.items():
            fill_log(go, files[name])
        timings = take_turns(goes, rounds=effort.rounds, turns=max(2, effort.turns // 2), pick=statistics.median)
    yield from _per_second(timings)
    for name in (THEA, THEA_BARE):
        yield speed(name, FLOOR, timings, at_least=0.5)
    for name, at_least in zip(graphs, (20, None, None), strict=True):
        if name in goes:
            yield speed(THEA_BARE, name, timings, at_least=at_least)
        else:
            yield missing(THEA_BARE, name, "not installed")


def _per_second(timings: Timings) -> Iterator[Row]:
    note = "A second, for orientation: they say how fast the disk is."
    for name in (FLOOR, THEA, THEA_BARE):
        yield Row(name, "", tuple(TURNS / seconds for seconds in timings.seconds[name]), unit="a second", note=note)
