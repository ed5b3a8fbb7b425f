"""Whatever fails, and whenever: each event arrives, in order for each user, or is set aside, and no other is lost.

Hypothesis makes up what the plugin and the store do; one courier or two deliver, with a clock that stands still.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.callbacks.outboxes import TestOutbox, hooks, plug, tell
from tests.support import FakeClock
from thea_core import CallbackManager
from thea_core.callbacks.couriers import CLAIM_SECONDS, Courier
from thea_core.errors import StoreUnavailableError

ATTEMPTS = 3
USERS = ("ana", "eva")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from(USERS)),
        st.tuples(st.just("deliver"), st.sampled_from([0, 1])),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 30.0, CLAIM_SECONDS])),
        st.tuples(st.just("plugin"), st.booleans()),
        st.tuples(st.just("store"), st.sampled_from(["claim", "settle", "append", ""])),
        st.tuples(st.just("slow"), st.sampled_from([0.0, CLAIM_SECONDS / 4, CLAIM_SECONDS])),
    ),
    max_size=40,
)


class World:
    """Two processes that share an outbox, and the plugin that both have."""

    def __init__(self, *, batches: bool) -> None:
        self.clock = FakeClock()
        self.outbox = TestOutbox(self.clock)
        self.seconds = 0.0
        self.fails = False
        self.stored: dict[str, list[str]] = {user: [] for user in USERS}
        self.heard: dict[str, list[str]] = {user: [] for user in USERS}
        self.managers = [CallbackManager(clock=self.clock, timeout=None, breaker_seconds=1.0) for _ in range(2)]
        self.couriers = [self._plug(manager, batches=batches) for manager in self.managers]

    def _plug(self, manager: CallbackManager, *, batches: bool) -> Courier:
        manager.attach_outbox(self.outbox)
        gathered: list[tuple[str, str]] = []

        def on_message(user_id: str, message: str) -> None:
            self.clock.advance(self.seconds)
            if self.fails and not batches:
                raise ValueError("no")
            gathered.append((user_id, message))
            if not batches:
                self._hear(gathered)

        def on_flush() -> None:
            if self.fails:
                gathered.clear()
                raise OSError("no")
            self._hear(gathered)

        functions: dict[str, Any] = {"on_message": on_message, **({"on_flush": on_flush} if batches else {})}
        return plug(manager, hooks(**functions), max_attempts=ATTEMPTS)

    def _hear(self, gathered: list[tuple[str, str]]) -> None:
        for user_id, message in gathered:
            self.heard[user_id].append(message)
        gathered.clear()

    def do(self, what: str, value: Any) -> None:
        if what == "tell":
            number = str(sum(map(len, self.stored.values())))
            before = len(self.outbox.list(limit=1000))
            for manager in self.managers[:1]:
                tell(manager, number, user=value)
            if len(self.outbox.list(limit=1000)) > before:
                self.stored[value].append(number)
        elif what == "deliver":
            self.couriers[value].run_once()
        elif what == "wait":
            self.clock.advance(value)
        elif what == "plugin":
            self.fails = value
        elif what == "store":
            self.outbox.errors = {value: StoreUnavailableError("away")}
        else:
            self.seconds = value

    def come_to_rest(self) -> None:
        """Let all work again, for long enough."""
        self.fails, self.seconds, self.outbox.errors = False, 0.0, {}
        for _ in range(100):
            for courier in self.couriers:
                courier.run_once()
            self.clock.advance(CLAIM_SECONDS)

    def close(self) -> None:
        for manager in self.managers:
            manager.close()


@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans())
def test_nothing_is_lost_and_the_order_is_kept(steps: list[tuple[str, Any]], batches: bool) -> None:
    world = World(batches=batches)
    try:
        for what, value in steps:
            world.do(what, value)
        world.come_to_rest()
    finally:
        world.close()
    parked = {event_id for event_id, _ in world.outbox.parked}
    assert world.outbox.waiting == []
    for user in USERS:
        arrived = list(dict.fromkeys(world.heard[user]))  # without what came twice
        assert [each for each in arrived if each not in parked] == [
            each for each in world.stored[user] if each not in parked
        ]
        assert set(arrived) | parked >= set(world.stored[user])
        assert set(arrived) <= set(world.stored[user])
