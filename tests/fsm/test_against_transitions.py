"""Where nothing fails, the engine does what the ``transitions`` library does (with ``queued=True``)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fsm.machine import Async, Sync
from thea_core import Context, Definition, FSMEngine, IllegalTransitionError

transitions = pytest.importorskip("transitions")

STATES = ("a", "b", "c", "d", "e")
Told = list[tuple[object, ...]]

WAYS = st.dictionaries(st.sampled_from(STATES), st.sets(st.sampled_from(STATES)))
CALLBACKS = st.lists(
    st.tuples(st.sampled_from(["pre", "post"]), st.sampled_from(STATES), st.integers(-2, 2)), max_size=8
)
EVENTS = st.lists(st.sampled_from(STATES), max_size=30)


class Theirs:
    """A machine of the library: one trigger for each target."""

    def __init__(self, ways: dict[str, list[str]], callbacks: list[tuple[str, str, int]]) -> None:
        self.told: Told = []
        in_order = sorted(enumerate(callbacks), key=lambda each: -each[1][2])

        def of(phase: str, target: str) -> list[Any]:
            return [
                partial(self._tell, phase, number)
                for number, (when, where, _) in in_order
                if (when, where) == (phase, target)
            ]

        self._machine = transitions.Machine(
            self,
            states=[*STATES, "trouble"],
            initial="a",
            auto_transitions=False,
            queued=True,
            after_state_change=lambda: self.told.append(("changed", self.state)),
            transitions=[
                {
                    "trigger": f"go_{target}",
                    "source": source,
                    "dest": target,
                    "before": of("pre", target),
                    "after": of("post", target),
                }
                for source, targets in ways.items()
                for target in targets
            ],
        )

    def _tell(self, phase: str, number: int) -> None:
        self.told.append((phase, number, self.state))

    def go(self, target: str) -> None:
        try:
            getattr(self, f"go_{target}")()
        except (transitions.MachineError, AttributeError):  # AttributeError: no state has a way to that one
            self.told.append(("illegal", target))


class Ours:
    """The same on our engine."""

    def __init__(self, ways: dict[str, list[str]], callbacks: list[tuple[str, str, int]], way: Sync | Async) -> None:
        self.told: Told = []
        self.context: Context = {"user_id": "ana", "state": "a", "count": 0}
        self._way = way
        self._fsm = FSMEngine(Definition(ways, initial="a", error="trouble"), max_callbacks=8)
        for number, (phase, target, priority) in enumerate(callbacks):
            decorate = self._fsm.pre_transition if phase == "pre" else self._fsm.post_transition
            decorate(target, priority=priority)(partial(self._tell, phase, number))
        self._fsm.callbacks.register("on_state_change", lambda new_state: self.told.append(("changed", new_state)))

    def _tell(self, phase: str, number: int, context: Context) -> None:
        context["count"] += 1
        self.told.append((phase, number, context["state"]))

    def go(self, target: str) -> None:
        try:
            self.context = self._way.handle(self._fsm, target, self.context)
        except IllegalTransitionError:
            self.told.append(("illegal", target))


@pytest.mark.parametrize("way", [Sync(), Async()], ids=["sync", "async"])
@given(more=WAYS, callbacks=CALLBACKS, events=EVENTS)
def test_states_and_order_are_the_same(
    way: Sync | Async, more: dict[str, set[str]], callbacks: list[tuple[str, str, int]], events: list[str]
) -> None:
    ring = {state: {STATES[(number + 1) % len(STATES)]} for number, state in enumerate(STATES)}
    ways = {state: sorted(targets | more.get(state, set())) for state, targets in ring.items()}
    ways["trouble"] = ["a"]
    theirs, ours = Theirs(ways, callbacks), Ours(ways, callbacks, way)
    states = []
    for target in events:
        theirs.go(target)
        ours.go(target)
        states.append((theirs.state, ours.context["state"]))
    assert all(one == other for one, other in states)
    assert ours.told == theirs.told
    assert ours.context["count"] == sum(each[0] in ("pre", "post") for each in ours.told)
