"""One transition with one local callback before and one after it: Thea, a version by hand, and two state machines.

The contexts have five keys: in one all values are plain, in the other one is nested, and copied at every depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import Contender, Effort, interleave, statement
from benchmarks.peers import peer
from benchmarks.rows import Row, cost, missing, speed
from benchmarks.utterances import utterances
from thea_core import FSMEngine

__all__ = ["measure"]

FLOOR = "a version by hand"
TARGET = "processing"

Context = dict[str, Any]


def measure(effort: Effort) -> Iterator[Row]:
    """Give the rows of transitions."""
    message = utterances()[0]
    plain: Context = {"user_id": "ana", "state": "idle", "message": message, "session_id": "s1", "score": 0.5}
    nested: Context = {**plain, "score": {"agenda": 0.5, "evento": [0.25, 0.125]}}
    ours, nested_ours = "fsm.handle, plain context", "fsm.handle, nested context"
    floor, nested_floor = f"{FLOOR}, plain", f"{FLOOR}, nested"
    peers = {name: make(plain) for name, make in _PEERS.items()}
    contenders = [_floor(floor, plain), _thea(ours, plain), _floor(nested_floor, nested), _thea(nested_ours, nested)]
    timings = interleave([*contenders, *(each for each in peers.values() if each)], effort)
    yield cost(ours, floor, timings, at_most=4)
    yield cost(nested_ours, nested_floor, timings, at_most=4)
    for name, contender in peers.items():
        yield (
            speed(ours, name, timings, at_least=_AT_LEAST.get(name))
            if contender
            else missing(ours, name, "not installed")
        )


def _before(context: Context) -> None:
    pass


def _after(context: Context) -> None:
    pass


def _thea(name: str, context: Context) -> Contender:
    fsm = FSMEngine()
    fsm.pre_transition(TARGET)(_before)
    fsm.post_transition(TARGET)(_after)
    return statement(name, f"handle({TARGET!r}, context)", {"handle": fsm.handle, "context": context})


def _copied(value: Any) -> Any:
    """Return a copy of JSON at every depth; unlike Thea, it does not look whether it is JSON."""
    if type(value) is dict:
        return {key: _copied(each) for key, each in value.items()}
    if type(value) is list:
        return [_copied(each) for each in value]
    return value


def _floor(name: str, context: Context) -> Contender:
    """Look the transition up, copy the context, call one function, set the state, call another."""
    transitions = {"idle": {"processing", "error_handler"}, "processing": {"executing", "disambiguation"}}
    before: dict[str, Callable[[Context], None]] = {TARGET: _before}
    after: dict[str, Callable[[Context], None]] = {TARGET: _after}

    def handle(target: str, context: Context) -> Context:
        if target not in transitions[context["state"]]:
            raise ValueError(target)
        copy: Context = _copied(context)
        before[target](copy)
        copy["state"] = target
        after[target](copy)
        return copy

    return statement(name, f"handle({TARGET!r}, context)", {"handle": handle, "context": context})


def _transitions(context: Context) -> Contender | None:
    """There and back are one transition each; nothing is copied."""
    if (transitions := peer("transitions")) is None:
        return None

    class Model:
        def before(self, context: Context) -> None:
            pass

        def after(self, context: Context) -> None:
            pass

    model: Any = Model()
    ways = [("idle", TARGET), (TARGET, "idle")]
    transitions.Machine(
        model,
        states=["idle", TARGET],
        initial="idle",
        auto_transitions=False,
        transitions=[
            {"trigger": "go", "source": source, "dest": target, "before": "before", "after": "after"}
            for source, target in ways
        ],
    )
    return statement("transitions", "go(context)", {"go": model.go, "context": context})


def _statemachine(context: Context) -> Contender | None:
    """There and back are one transition each; nothing is copied."""
    if (statemachine := peer("statemachine")) is None:
        return None

    idle, processing = statemachine.State(initial=True), statemachine.State()

    def before_go(self: Any, context: Context) -> None:
        pass

    def after_go(self: Any, context: Context) -> None:
        pass

    body = {
        "idle": idle,
        "processing": processing,
        "go": idle.to(processing) | processing.to(idle),
        "before_go": before_go,
        "after_go": after_go,
    }
    machine = type(statemachine.StateMachine)("Machine", (statemachine.StateMachine,), body)()
    return statement("python-statemachine", "go(context=context)", {"go": machine.go, "context": context})


_PEERS: dict[str, Callable[[Context], Contender | None]] = {
    "transitions": _transitions,
    "python-statemachine": _statemachine,
}
_AT_LEAST = {"transitions": 4}
