"""The order of a chain: the rule, whatever registered first, and what ``chain()`` says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.callbacks.helpers import plug, say
from thea_core import CallbackManager, UnknownHookError, hookimpl

SOURCES = {1: "enabled", 2: "modules", 3: "plugins="}


@dataclass(frozen=True)
class Member:
    """One callback to register: a local one (source 0), or a plugin's."""

    source: int
    position: int
    priority: int = 0
    band: str = "number"
    configured: int | None = None

    @property
    def name(self) -> str:
        return f"p{self.source}x{self.position}"

    def expected(self) -> tuple[int, int, int, int]:
        """The rule of the design, written down once more."""
        if self.source == 0:
            return (1, -self.priority, 0, self.position)
        if self.configured is not None:
            return (1, -self.configured, self.source, self.position)
        band = {"first": 0, "number": 1, "last": 2}[self.band]
        return (band, -self.priority if self.band == "number" else 0, self.source, self.position)

    def register(self, callbacks: CallbackManager, ran: list[Member]) -> None:
        def on_message(user_id: str) -> None:
            ran.append(self)

        if self.source == 0:
            callbacks.register("on_message", on_message, priority=self.priority)
            return
        options: dict[str, Any] = {
            "first": {"tryfirst": True},
            "number": {"priority": self.priority},
            "last": {"trylast": True},
        }[self.band]

        class Plugin:
            def __init__(self) -> None:
                self.on_message = hookimpl(**options)(on_message)

        plug(
            callbacks,
            Plugin(),
            self.name,
            source=self.source,
            position=self.position,
            priority=self.configured,
        )


PRIORITIES = st.integers(-3, 3)
PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), unique=True, max_size=8)


@st.composite
def registrations(draw: st.DrawFn) -> list[Member]:
    return [
        Member(
            source,
            position,
            draw(PRIORITIES),
            draw(st.sampled_from(["number", "number", "first", "last"])),
            draw(st.none() | PRIORITIES),
        )
        for source, position in draw(PLACES)
    ]


@given(members=registrations(), data=st.data())
def test_the_order_is_the_rules_whatever_registered_first(members: list[Member], data: st.DataObject) -> None:
    callbacks, ran = CallbackManager(), []
    positions = iter(range(len(members)))
    registered = []
    for member in data.draw(st.permutations(members)):
        # Among local callbacks the order of registration decides: they are numbered as they come.
        numbered = member if member.source else Member(0, next(positions), member.priority)
        numbered.register(callbacks, ran)
        registered.append(numbered)
    say(callbacks)
    assert ran == sorted(registered, key=Member.expected)
    names = [member.name if member.source else "local" for member in ran]
    assert [entry.plugin for entry in callbacks.chain("on_message")] == names


@given(members=registrations(), data=st.data())
def test_plugins_stand_in_one_order_on_every_machine(members: list[Member], data: st.DataObject) -> None:
    plugins = [each for each in members if each.source]
    orders = []
    for order in (plugins, data.draw(st.permutations(plugins))):
        callbacks = CallbackManager()
        for member in order:
            member.register(callbacks, [])
        orders.append([entry.plugin for entry in callbacks.chain("on_message")])
    assert orders[0] == orders[1]


class TestReasons:
    @pytest.mark.parametrize(
        ("member", "reason"),
        [
            (Member(0, 0, 7), "priority 7, local"),
            (Member(1, 2, 7), "priority 7, enabled[2]"),
            (Member(2, 0), "priority 0, modules[0]"),
            (Member(3, 1, band="first"), "tryfirst, plugins=[1]"),
            (Member(1, 0, band="last"), "trylast, enabled[0]"),
            (Member(1, 0, band="last", configured=4), "priority 4 by configuration, enabled[0]"),
        ],
    )
    def test_the_chain_says_why_a_callback_stands_where_it_stands(self, member: Member, reason: str) -> None:
        callbacks = CallbackManager()
        member.register(callbacks, [])
        assert callbacks.chain("on_message")[0].reason == reason

    def test_it_shows_plugin_function_place_and_number(self, callbacks: CallbackManager) -> None:
        async def greet(user_id: str) -> None: ...

        callbacks.register("on_message", greet, priority=3)
        entry = callbacks.chain("on_message")[0]
        assert (entry.plugin, entry.priority, entry.is_async, entry.wrapper, entry.states) == (
            "local",
            3,
            True,
            False,
            (),
        )
        assert entry.callback.endswith("greet")
        assert entry.place == f"{__file__}:{greet.__code__.co_firstlineno}"

    def test_it_shows_the_states_of_a_transition_callback(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl(states=("idle", "executing"))
            def pre_transition(self, context: object) -> None: ...

        plug(callbacks, Plugin())
        assert callbacks.chain("pre_transition")[0].states == ("executing", "idle")

    def test_an_unknown_hook_has_no_chain(self, callbacks: CallbackManager) -> None:
        with pytest.raises(UnknownHookError, match=r"did you mean on_message\?"):
            callbacks.chain("on_mesage")


def test_wrappers_stand_before_all_others(callbacks: CallbackManager) -> None:
    class Plugin:
        @hookimpl(wrapper=True, trylast=True)
        def on_message(self) -> object:
            yield

    plug(callbacks, Plugin())
    callbacks.register("on_message", lambda user_id: None, priority=1000)
    assert [entry.wrapper for entry in callbacks.chain("on_message")] == [True, False]


def test_several_callbacks_of_one_plugin_for_one_hook_all_run(callbacks: CallbackManager) -> None:
    ran = []

    class Plugin:
        @hookimpl
        def on_message(self) -> None:
            ran.append("by name")

        @hookimpl(specname="on_message", priority=1)
        def another(self) -> None:
            ran.append("by specname")

    plug(callbacks, Plugin())
    say(callbacks)
    assert ran == ["by specname", "by name"]
