"""Events for plugins with durable delivery are stored with the commit that made them true."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conversation.parts import Driver, Notebook, World
from thea_core import (
    CommitRefusedError,
    StoredEvent,
    StoreUnavailableError,
    TransitionVeto,
    hookimpl,
)
from thea_core.callbacks.runtime import PluginLimits
from thea_core.types import Commit


class Ledger:
    """Wants to hear everything, durably."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    @hookimpl
    def on_message(self, user_id: str, message: str, event_id: str) -> None:
        self.heard.append(("on_message", event_id))

    @hookimpl
    def on_state_change(self, user_id: str, new_state: str, event_id: str) -> None:
        self.heard.append(("on_state_change", event_id))

    @hookimpl
    def on_error(self, user_id: str, error: Exception, event_id: str) -> None:
        self.heard.append(("on_error", event_id))

    @hookimpl
    def on_session_timeout(self, user_id: str, session_id: str, event_id: str) -> None:
        self.heard.append(("on_session_timeout", event_id))

    @hookimpl
    def on_agent_delegated(self, user_id: str, agent: str, event_id: str) -> None:
        self.heard.append(("on_agent_delegated", event_id))


def bind(world: World) -> Ledger:
    """Put a plugin with durable delivery into a world."""
    ledger = Ledger()
    limits = PluginLimits(delivery="durable")
    binding = world.callbacks.bind_plugin(ledger, "ledger", source=3, position=0, limits=limits)
    world.callbacks.publish_plugins([binding])
    world.callbacks.attach_outbox(world.outbox)
    return ledger


def stored(world: World) -> list[StoredEvent]:
    return list(world.outbox.list(limit=1000))


def hooks(world: World) -> list[str]:
    return [each.hook for each in stored(world)]


def arguments(event: StoredEvent) -> dict[str, Any]:
    return json.loads(event.event)["arguments"]


@pytest.fixture
def ledger(world: World) -> Ledger:
    return bind(world)


class TestATurn:
    """What a turn fires is stored by its commit."""

    def test_its_events_are_stored_in_order_and_not_called(self, driver: Driver, world: World, ledger: Ledger) -> None:
        world.echo()
        driver.handle(world.router, "ana", "echo")
        assert hooks(world) == [
            "on_message",
            "on_state_change",
            "on_state_change",
            "on_agent_delegated",
            "on_state_change",
            "on_state_change",
        ]
        assert {(each.plugin, each.user_id, each.attempts, each.parked) for each in stored(world)} == {
            ("ledger", "ana", 0, False)
        }
        assert not ledger.heard

    def test_they_have_the_ids_and_arguments_that_everybody_gets(
        self, driver: Driver, world: World, ledger: Ledger
    ) -> None:
        told = Notebook(world.callbacks).of
        reply = driver.handle(world.router, "ana", "hello")
        event, (message,) = stored(world)[0], told("on_message")
        assert event.event_id == message["event_id"]
        found = arguments(event)
        assert (found["message"], found["user_id"]) == ("hello", "ana")
        assert (found["event_id"], found["session_id"]) == (event.event_id, reply.session_id)

    def test_nothing_is_stored_before_the_commit(self, driver: Driver, world: World, ledger: Ledger) -> None:
        seen: list[list[str]] = []
        world.callbacks.register("on_agent_delegated", lambda: seen.append(hooks(world)), priority=-1)
        driver.handle(world.router, "ana", "hello")
        assert seen == [[]]
        assert hooks(world)

    def test_a_turn_that_is_handled_again_stores_the_same_ids(
        self, driver: Driver, world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit, attempts = world.store.commit, []

        def failing(change: Commit) -> None:
            attempts.append([each.event_id for each in change.events])
            if len(attempts) == 1:
                raise StoreUnavailableError("disk full")
            commit(change)

        monkeypatch.setattr(world.store, "commit", failing)
        with pytest.raises(StoreUnavailableError):
            driver.handle(world.router, "ana", "hello", "m1")
        assert not stored(world)
        driver.handle(world.router, "ana", "hello", "m1")
        assert attempts[0] == attempts[1] == [each.event_id for each in stored(world)]

    def test_a_repeated_message_stores_nothing(self, driver: Driver, world: World, ledger: Ledger) -> None:
        driver.handle(world.router, "ana", "hello", "m1")
        before = stored(world)
        driver.handle(world.router, "ana", "hello", "m1")
        assert stored(world) == before

    def test_of_a_refused_commit_only_the_error_is_stored(
        self, driver: Driver, world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(change: Commit) -> None:
            assert change.events
            raise CommitRefusedError("the lease of this conversation was lost; nothing was written")

        monkeypatch.setattr(world.store, "commit", refuse)
        with pytest.raises(CommitRefusedError):
            driver.handle(world.router, "ana", "hello")
        assert hooks(world) == ["on_error"]

    def test_a_failed_turn_tells_its_error(self, driver: Driver, world: World, ledger: Ledger) -> None:
        def fail(*_: Any) -> str:
            raise RuntimeError("not today")

        world.agent("echo", fail)
        assert not driver.handle(world.router, "ana", "echo").ok
        assert hooks(world)[-3:] == ["on_state_change", "on_error", "on_state_change"]

    def test_states_that_a_veto_has_undone_are_not_told(self, driver: Driver, world: World, ledger: Ledger) -> None:
        @world.fsm.pre_transition("completion")
        def veto(_: dict[str, Any]) -> None:
            raise TransitionVeto("no")

        world.echo()
        assert not driver.handle(world.router, "ana", "echo").ok
        assert hooks(world) == ["on_message", "on_agent_delegated"]


class TestForgetting:
    """After a clear nothing of the user is kept."""

    def test_a_clear_takes_replies_and_events_along(self, driver: Driver, world: World, ledger: Ledger) -> None:
        driver.handle(world.router, "ana", "hello", "m1")
        driver.handle(world.router, "ben", "hello", "m1")
        driver.call(world.router.contexts, "clear", "ana")
        assert {each.user_id for each in stored(world)} == {"ben"}
        world.events.clear()
        driver.handle(world.router, "ana", "hello", "m1")
        assert world.events.of("on_message")

    def test_a_turn_that_clears_keeps_its_own(self, driver: Driver, world: World, ledger: Ledger) -> None:
        def clear(*_: Any) -> str:
            world.router.contexts.clear("ana")
            return "forgotten"

        world.agent("forget", clear)
        driver.handle(world.router, "ana", "hello", "m1")
        reply = driver.handle(world.router, "ana", "forget", "m2")
        assert driver.handle(world.router, "ana", "forget", "m2").text == reply.text == "forgotten"
        assert [arguments(each)["message"] for each in stored(world) if each.hook == "on_message"] == ["forget"]

    def test_a_clear_that_a_veto_undoes_forgets_nothing(self, driver: Driver, world: World, ledger: Ledger) -> None:
        driver.handle(world.router, "ana", "hello", "m1")
        world.callbacks.register("on_message", lambda: world.router.contexts.clear("ana"))

        @world.fsm.pre_transition("processing")
        def veto(_: dict[str, Any]) -> None:
            raise TransitionVeto("no")

        count = len(stored(world))
        assert not driver.handle(world.router, "ana", "again").ok
        assert len(stored(world)) == count + 1
        assert driver.handle(world.router, "ana", "hello", "m1").ok

    def test_a_clear_at_the_end_of_a_session_forgets_too(self, driver: Driver, world: World, ledger: Ledger) -> None:
        driver.handle(world.router, "ana", "hello", "m1")
        world.callbacks.register("on_session_timeout", lambda: world.router.contexts.clear("ana"))
        world.clock.advance(1800)
        driver.handle(world.router, "ana", "again", "m2")
        assert hooks(world)[0] == "on_session_timeout"
        assert [arguments(each)["message"] for each in stored(world) if each.hook == "on_message"] == ["again"]


class TestSessions:
    """The end of a session is told by the commit that ends it."""

    @pytest.mark.parametrize("how", ["sweep", "message", "expire", "create"])
    def test_its_end_is_stored_once(self, driver: Driver, world: World, ledger: Ledger, how: str) -> None:
        session_id = driver.handle(world.router, "ana", "hello").session_id
        if how != "expire":
            world.clock.advance(1800)
        if how == "message":
            driver.handle(world.router, "ana", "again")
        else:
            driver.call(world.router.sessions, how, *([] if how == "sweep" else ["ana"]))
        driver.call(world.router.sessions, "sweep")
        ends = [each for each in stored(world) if each.hook == "on_session_timeout"]
        assert [arguments(each)["session_id"] for each in ends] == [session_id]
        assert ends[0].event_id == world.events.of("on_session_timeout")[0]["event_id"]

    def test_one_that_could_not_be_ended_is_told_again_under_the_same_id(
        self, driver: Driver, world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver.handle(world.router, "ana", "hello")
        world.clock.advance(1800)

        def fail(_: Commit) -> None:
            raise StoreUnavailableError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "commit", fail)
            assert driver.call(world.router.sessions, "sweep") == 0
        assert "on_session_timeout" not in hooks(world)
        assert driver.call(world.router.sessions, "sweep") == 1
        first, second = (each["event_id"] for each in world.events.of("on_session_timeout"))
        (end,) = (each for each in stored(world) if each.hook == "on_session_timeout")
        assert first == second == end.event_id


class TestPurging:
    """Conversations that are over long ago are forgotten."""

    def test_old_conversations_go_once_their_sessions_are_ended_and_told(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hello", "m1")
        world.clock.advance(3600)
        driver.handle(world.router, "ben", "hello")
        assert driver.call(world.router.sessions, "purge", 3000.0) == 1
        assert [each["user_id"] for each in world.events.of("on_session_timeout")] == ["ana"]
        assert (world.store.load("ana"), world.store.load("ben") is None) == (None, False)
        world.events.clear()
        driver.handle(world.router, "ana", "hello", "m1")
        assert world.events.of("on_message")

    def test_a_session_under_way_is_left_alone(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hello")
        world.clock.advance(1000)
        assert driver.call(world.router.sessions, "purge", 10.0) == 0

    def test_a_time_that_is_none_is_refused(self, driver: Driver, world: World) -> None:
        with pytest.raises(ValueError, match="older_than"):
            driver.call(world.router.sessions, "purge", -1)


def test_an_event_that_a_callback_triggers_joins_the_turn(driver: Driver, world: World, ledger: Ledger) -> None:
    def trigger() -> None:
        world.callbacks.trigger("on_session_timeout", user_id="ana", session_id="another")

    world.callbacks.register("on_agent_delegated", trigger)
    driver.handle(world.router, "ana", "hello")
    assert hooks(world)[-1] != "on_session_timeout"
    assert hooks(world).count("on_session_timeout") == 1
