"""Laws: whatever goes wrong in a turn, the conversation is usable again and nothing is reported twice."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.conversation.parts import AsyncDriver, Driver, SyncDriver, World, detector
from thea_core import AgentReply, IntentMatch, ValidationError

TARGETS = ("processing", "disambiguation", "executing", "completion", "idle")
FAULTS = {
    "error": lambda: RuntimeError("no"),
    "exit": lambda: SystemExit(1),
    "closed": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "veto": lambda: ValidationError("no"),
}
NONSENSE: tuple[Any, ...] = (
    None,
    3,
    AgentReply(None),  # type: ignore[arg-type]
    AgentReply("ok", {}),
    AgentReply("ok", {"user_id": "eve", "state": "executing"}),
    AgentReply("ok", {"user_id": "ana", "state": "executing", "x": object()}),
)
faults = st.one_of(
    st.tuples(
        st.sampled_from(["pre_transition", "post_transition"]),
        st.sampled_from(TARGETS),
        st.sampled_from(sorted(FAULTS)),
    ),
    st.tuples(st.just("agent"), st.just(""), st.sampled_from([*sorted(FAULTS), *range(len(NONSENSE))])),
    st.tuples(st.just("on_error"), st.just(""), st.sampled_from(sorted(FAULTS))),
    st.tuples(
        st.just("event"), st.sampled_from(["on_message", "on_state_change", "on_error"]), st.sampled_from(["error"])
    ),
)


class Saboteur:
    """Fails where it is told to, while it is switched on."""

    def __init__(self, world: World, chosen: list[Any]) -> None:
        self.on = True
        self.agent_fault: Any = None
        for place, where, fault in chosen:
            if place == "agent":
                self.agent_fault = fault
            elif place == "on_error":
                world.fsm.on_error()(self._failing(fault))
            elif place == "event":
                world.callbacks.register(where, self._failing_event(fault))
            else:
                getattr(world.fsm, place)(where)(self._failing(fault))

    def fail(self, fault: Any) -> None:
        if self.on:
            make = FAULTS[fault]
            raise make()

    def _failing(self, fault: Any) -> Any:
        def callback(*arguments: Any) -> None:
            arguments[-1]["touched"] = [1]
            self.fail(fault)

        return callback

    def _failing_event(self, fault: Any) -> Any:
        return lambda user_id: self.fail(fault)

    def answer(self, message: str, context: dict[str, Any], _turn: Any) -> Any:
        context["touched"] = "by the agent"
        if self.on and isinstance(self.agent_fault, int):
            return NONSENSE[self.agent_fault]
        if self.on and self.agent_fault is not None:
            self.fail(self.agent_fault)
        return AgentReply("ok", ask=message == "ask")


messages = st.lists(st.sampled_from(["echo", "ask", "both", "1", "xyz", "cancel", ""]), min_size=1, max_size=4)


@given(st.lists(faults, max_size=4), messages, st.sampled_from([SyncDriver(), AsyncDriver()]))
def test_after_any_failing_turn_the_conversation_is_usable(chosen: list[Any], sent: list[str], driver: Driver) -> None:
    world = World()
    saboteur = Saboteur(world, chosen)
    world.agent("echo", saboteur.answer, ["echo", "ask"])
    world.callbacks.register(
        "detect_intents", detector(ask=0.9, both=[IntentMatch("echo", 0.9), IntentMatch("ask", 0.85)])
    )
    reported: list[BaseException] = []
    world.fsm.on_error(priority=100)(lambda error, _context: reported.append(error))
    for message in sent:
        before = world.router.contexts.load("ana")
        reported.clear()
        world.events.clear()
        reply = driver.handle(world.router, "ana", message)
        assert reply.context == world.router.contexts.load("ana")
        assert len(reported) == len(world.events.of("on_error")) <= 1
        if reported:
            assert not reply.ok
            assert (reply.context["state"], reply.context["pending"]) == ("idle", None)
        elif not reply.ok:
            assert reply.context == before
        else:
            assert reply.context["state"] in ("idle", "executing", "disambiguation", "initial")
    saboteur.on = False
    assert driver.handle(world.router, "ana", "cancel").ok
    assert driver.handle(world.router, "ana", "echo").text == "ok"
    world.close()
