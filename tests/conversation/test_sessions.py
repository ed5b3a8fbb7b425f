"""Sessions begin with a message and end by inactivity, each exactly once."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import pytest

from tests.conversation.parts import Driver, Gate, World, ask_until, in_thread
from thea_core import Commit, ReentrancyError, StoreUnavailableError, ValidationError
from thea_core.conversation.sessions import SessionManager
from thea_core.storage.memory import MemoryStore


def sweepers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "thea-sweeper"}


class TestThroughMessages:
    def test_the_first_message_begins_a_session(self, driver: Driver, world: World) -> None:
        reply = driver.handle(world.router, "ana", "hola")
        assert len(reply.session_id) == 36

    def test_activity_keeps_it_alive(self, driver: Driver, world: World) -> None:
        first = driver.handle(world.router, "ana", "hola")
        for _ in range(3):
            world.clock.advance(1799)
            assert driver.handle(world.router, "ana", "hola").session_id == first.session_id
        assert world.events.of("on_session_timeout") == []

    def test_users_have_sessions_of_their_own(self, driver: Driver, world: World) -> None:
        ana, ben = (driver.handle(world.router, name, "hola", "m1") for name in ("ana", "ben"))
        assert ana.session_id != ben.session_id

    def test_a_message_after_the_deadline_ends_the_old_and_begins_a_new_one(self, driver: Driver, world: World) -> None:
        first = driver.handle(world.router, "ana", "hola")
        world.clock.advance(1800)
        world.events.clear()
        second = driver.handle(world.router, "ana", "hola")
        assert second.session_id != first.session_id
        (ended,) = world.events.of("on_session_timeout")
        assert (ended["user_id"], ended["session_id"]) == ("ana", first.session_id)
        assert world.events.names[:2] == ["on_session_timeout", "on_message"]
        assert {each["session_id"] for _, each in world.events.entries[1:]} == {second.session_id}

    def test_what_an_agent_waited_for_is_dropped_then(self, driver: Driver, world: World) -> None:
        world.agent("ask", ask_until(2))
        driver.handle(world.router, "ana", "ask")
        world.clock.advance(1800)
        reply = driver.handle(world.router, "ana", "tomorrow")
        assert reply.agent == "fallback"
        assert world.events.of("on_state_change")[-4]["old_state"] == "initial"
        assert "slots" not in reply.context

    def test_the_applications_keys_stay(self, driver: Driver, world: World) -> None:
        world.agent("ask", ask_until(2))
        driver.handle(world.router, "ana", "ask")
        world.clock.advance(1800)
        assert driver.handle(world.router, "ana", "tomorrow").context["heard"] == ["ask"]

    def test_a_veto_keeps_the_reset_context(self, driver: Driver, world: World) -> None:
        world.agent("ask", ask_until(2))
        driver.handle(world.router, "ana", "ask")
        world.clock.advance(1800)

        @world.fsm.pre_transition("processing")
        def refuse(_: Any) -> None:
            raise ValidationError("no")

        reply = driver.handle(world.router, "ana", "tomorrow")
        assert (reply.context["state"], reply.context["pending"]) == ("initial", None)
        assert world.router.contexts.load("ana") == reply.context

    def test_a_context_that_is_cleared_at_the_end_of_its_session_is_gone(self, driver: Driver, world: World) -> None:
        world.agent("ask", ask_until(2))
        driver.handle(world.router, "ana", "ask")
        world.callbacks.register("on_session_timeout", world.router.contexts.clear)
        world.clock.advance(1800)
        assert "heard" not in driver.handle(world.router, "ana", "hola").context
        assert world.store.load("ana") is not None

    def test_the_timeout_can_be_set(self, driver: Driver) -> None:
        world = World(session_timeout=10.0)
        first = driver.handle(world.router, "ana", "hola")
        world.clock.advance(10)
        assert driver.handle(world.router, "ana", "hola").session_id != first.session_id


class TestSweeping:
    def test_expired_sessions_are_ended_and_told(self, driver: Driver, world: World) -> None:
        sessions = {name: driver.handle(world.router, name, "hola").session_id for name in ("ana", "ben")}
        world.clock.advance(1000)
        driver.handle(world.router, "eve", "hola")
        world.clock.advance(800)
        world.events.clear()
        assert driver.call(world.router.sessions, "sweep") == 2
        told = {each["user_id"]: each["session_id"] for each in world.events.of("on_session_timeout")}
        assert told == sessions
        assert world.events.names == ["on_session_timeout"] * 2

    def test_a_session_is_ended_once(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hola")
        world.clock.advance(1800)
        assert driver.call(world.router.sessions, "sweep") == 1
        assert driver.call(world.router.sessions, "sweep") == 0
        driver.handle(world.router, "ana", "hola")
        assert len(world.events.of("on_session_timeout")) == 1

    def test_nothing_expired_is_nothing_done(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hola")
        assert driver.call(world.router.sessions, "sweep") == 0

    def test_the_state_is_reset_and_what_was_waited_for_dropped(self, driver: Driver, world: World) -> None:
        world.agent("ask", ask_until(2))
        driver.handle(world.router, "ana", "ask")
        world.clock.advance(1800)
        driver.call(world.router.sessions, "sweep")
        context = world.router.contexts.load("ana")
        assert (context["state"], context["pending"], context["heard"]) == ("initial", None, ["ask"])

    def test_the_event_has_one_id_whoever_tells_it(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hola")
        read = world.store.begin("ana", owner="test", duration=1)
        assert read is not None
        assert read.lease is not None
        world.store.release(read.lease)
        world.clock.advance(1800)

        def crash(_change: Commit) -> None:
            raise StoreUnavailableError("crashed before the commit")

        commit, world.store.commit = world.store.commit, crash  # type: ignore[method-assign, assignment]
        assert driver.call(world.router.sessions, "sweep") == 0
        world.store.commit = commit  # type: ignore[method-assign]
        driver.handle(world.router, "ana", "hola")
        ids = [each["event_id"] for each in world.events.of("on_session_timeout")]
        assert len(ids) == 2
        assert len(set(ids)) == 1

    def test_more_than_one_batch_is_ended(self, driver: Driver, world: World) -> None:
        for number in range(205):
            world.router.handle_request(f"user {number}", "hola")
        world.clock.advance(1800)
        assert driver.call(world.router.sessions, "sweep") == 205

    def test_it_keeps_nobody_waiting_for_long(
        self, driver: Driver, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for user_id in ("ana", "ben", "eva"):
            driver.handle(world.router, user_id, "hola")
        world.clock.advance(1800)
        world.callbacks.register("on_session_timeout", lambda: world.clock.advance(0.6))
        release, released = world.store.release, []
        monkeypatch.setattr(world.store, "release", lambda lease: (released.append(lease.user_id), release(lease)))
        assert driver.call(world.router.sessions, "sweep") == 3
        assert released == ["eva"]
        assert [each["user_id"] for each in world.events.of("on_session_timeout")] == ["ana", "ben", "eva"]

    def test_a_user_whose_turn_is_running_is_left_alone(self, driver: Driver, world: World) -> None:
        gate = Gate()
        world.agent("slow", lambda *_: gate.pass_through() or "ok")
        world.router.handle_request("ana", "hola")
        turn = in_thread(lambda: world.router.handle_request("ana", "slow"))
        assert gate.reached.wait(20)
        world.clock.advance(1800)
        world.router._parts.keeper.leases.renew_due()  # noqa: SLF001 -- what the thread would have done in this time
        assert driver.call(world.router.sessions, "sweep") == 0
        gate.open()
        assert turn().ok
        assert world.events.of("on_session_timeout") == []

    def test_one_that_cannot_be_stored_does_not_keep_the_others(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Failing(MemoryStore):
            def commit(self, change: Commit) -> None:
                if change.lease.user_id == "ana" and change.session_id is None:
                    raise StoreUnavailableError("disk full")
                super().commit(change)

        world = World(store=Failing(clock=world.clock), clock=world.clock)
        for name in ("ana", "ben"):
            driver.handle(world.router, name, "hola")
        world.clock.advance(1800)
        assert driver.call(world.router.sessions, "sweep") == 1
        assert "disk full" in caplog.text
        assert world.store.begin("ana", owner="other", duration=1) is not None

    def test_what_a_callback_saves_is_kept(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hola")

        def note(user_id: str) -> None:
            context = world.router.contexts.load(user_id)
            world.router.contexts.save(user_id, {**context, "timeouts": 1})

        world.callbacks.register("on_session_timeout", note)
        world.clock.advance(1800)
        driver.call(world.router.sessions, "sweep")
        assert world.router.contexts.load("ana")["timeouts"] == 1

    def test_what_a_callback_clears_is_gone(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hola")
        world.callbacks.register("on_session_timeout", world.router.contexts.clear)
        world.clock.advance(1800)
        driver.call(world.router.sessions, "sweep")
        assert world.store.load("ana") is None

    def test_a_message_in_a_callback_is_refused(self, driver: Driver, world: World) -> None:
        refusals: list[Any] = []

        def send(user_id: str) -> None:
            try:
                world.router.handle_request(user_id, "are you there?")
            except ReentrancyError as error:
                refusals.append(error)

        driver.handle(world.router, "ana", "hola")
        world.callbacks.register("on_session_timeout", send)
        world.clock.advance(1800)
        driver.call(world.router.sessions, "sweep")
        assert len(refusals) == 1

    def test_ctrl_c_gives_back_what_was_claimed(self, world: World) -> None:
        for name in ("ana", "ben"):
            world.router.handle_request(name, "hola")

        def interrupt(user_id: str) -> None:
            raise KeyboardInterrupt(user_id)

        world.callbacks.register("on_session_timeout", interrupt)
        world.clock.advance(1800)
        with pytest.raises(KeyboardInterrupt):
            world.router.sessions.sweep()
        assert world.store.begin("ana", owner="other", duration=1) is not None
        assert world.store.begin("ben", owner="other", duration=1) is not None


class TestOfOneUser:
    def test_a_session_can_be_created_without_a_message(self, driver: Driver, world: World) -> None:
        session_id = driver.call(world.router.sessions, "create", "ana")
        assert driver.handle(world.router, "ana", "hola").session_id == session_id

    def test_creating_prolongs_the_one_that_is_under_way(self, driver: Driver, world: World) -> None:
        first = driver.handle(world.router, "ana", "hola").session_id
        world.clock.advance(1799)
        assert driver.call(world.router.sessions, "create", "ana") == first
        world.clock.advance(1799)
        assert driver.call(world.router.sessions, "sweep") == 0

    def test_creating_ends_one_that_has_expired(self, driver: Driver, world: World) -> None:
        first = driver.handle(world.router, "ana", "hola").session_id
        world.clock.advance(1800)
        assert driver.call(world.router.sessions, "create", "ana") != first
        assert [each["session_id"] for each in world.events.of("on_session_timeout")] == [first]

    def test_renewing_moves_the_deadline(self, driver: Driver, world: World) -> None:
        driver.handle(world.router, "ana", "hola")
        world.clock.advance(1799)
        assert driver.call(world.router.sessions, "renew", "ana")
        world.clock.advance(1799)
        assert driver.call(world.router.sessions, "sweep") == 0

    def test_nothing_can_be_renewed_where_there_is_no_session(self, driver: Driver, world: World) -> None:
        assert not driver.call(world.router.sessions, "renew", "ana")
        driver.handle(world.router, "ana", "hola")
        world.clock.advance(1800)
        assert not driver.call(world.router.sessions, "renew", "ana")
        assert driver.call(world.router.sessions, "sweep") == 1

    def test_a_session_can_be_ended_before_its_time(self, driver: Driver, world: World) -> None:
        session_id = driver.handle(world.router, "ana", "hola").session_id
        assert driver.call(world.router.sessions, "expire", "ana")
        assert [each["session_id"] for each in world.events.of("on_session_timeout")] == [session_id]
        assert world.router.contexts.load("ana")["state"] == "initial"
        assert not driver.call(world.router.sessions, "expire", "ana")

    def test_a_session_without_a_context_ends_like_any_other(self, driver: Driver, world: World) -> None:
        driver.call(world.router.sessions, "create", "ana")
        assert driver.call(world.router.sessions, "expire", "ana")
        assert world.store.load("ana") is None

    def test_within_the_users_turn(self, driver: Driver, world: World) -> None:
        sessions = world.router.sessions
        seen: list[Any] = []

        def handle(*_: Any) -> str:
            seen.extend([sessions.create("ana"), sessions.renew("ana")])
            with pytest.raises(ReentrancyError, match="cannot be ended within it"):
                sessions.expire("ana")
            return "ok"

        world.agent("echo", handle)
        assert driver.handle(world.router, "ana", "echo").session_id == seen[0]
        assert seen[1] is True


class TestTheThread:
    def test_it_sweeps_every_interval(self, world: World) -> None:
        world.router.handle_request("ana", "hola")
        told = threading.Event()
        world.callbacks.register("on_session_timeout", lambda user_id: told.set())
        world.clock.advance(1800)
        sessions = SessionManager(world.store, world.callbacks, interval=0.001)
        sessions.start()
        assert told.wait(20)
        assert sessions.stop(20)

    def test_starting_twice_starts_one_thread(self, world: World) -> None:
        sessions = SessionManager(world.store, world.callbacks)
        before = sweepers()
        sessions.start()
        sessions.start()
        (thread,) = sweepers() - before
        assert thread.daemon
        assert sessions.stop(20)
        assert sessions.stop(20)
        assert not thread.is_alive()

    def test_the_first_message_starts_it(self, driver: Driver) -> None:
        world = World()
        before = sweepers()
        driver.handle(world.router, "ana", "hola")
        (thread,) = sweepers() - before
        assert world.router.close(20)
        assert not thread.is_alive()
        driver.handle(world.router, "ana", "hola")
        assert sweepers() <= before

    def test_without_a_thread_the_next_message_tries_again(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        sessions = SessionManager(world.store, world.callbacks)
        before = sweepers()
        with monkeypatch.context() as patch:
            patch.setattr("thea_core.conversation.sessions.begin", lambda _thread: False)
            sessions.start()
        assert sweepers() <= before
        sessions.ensure_started()
        assert len(sweepers() - before) == 1
        assert sessions.stop(20)

    def test_it_ends_with_its_manager(self, world: World) -> None:
        sessions = SessionManager(world.store, world.callbacks)
        before = sweepers()
        sessions.start()
        (thread,) = sweepers() - before
        del sessions
        gc.collect()
        thread.join(20)
        assert not thread.is_alive()

    @pytest.mark.parametrize("error", [StoreUnavailableError("disk full"), RuntimeError("a bug")])
    def test_a_sweep_that_fails_is_logged_and_the_next_one_comes(
        self, world: World, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        swept = threading.Event()
        errors = [error]

        class Failing(MemoryStore):
            def claim_expired(self, **options: Any) -> Any:
                if errors:
                    raise errors.pop()
                swept.set()
                return super().claim_expired(**options)

        sessions = SessionManager(Failing(clock=world.clock), world.callbacks, interval=0.001)
        sessions.start()
        assert swept.wait(20)
        assert sessions.stop(20)
        assert str(error) in caplog.text

    def test_it_forgets_old_message_ids_now_and_then(self, world: World) -> None:
        purged: list[float] = []
        again = threading.Event()

        class Purging(MemoryStore):
            def purge_messages(self, *, older_than: float) -> int:
                purged.append(older_than)
                if len(purged) == 2:
                    again.set()
                return 0

            def claim_expired(self, **options: Any) -> Any:
                world.clock.advance(600)
                return super().claim_expired(**options)

        sessions = SessionManager(Purging(clock=world.clock), world.callbacks, interval=0.001, message_ids=99.0)
        sessions.start()
        assert again.wait(20)
        assert sessions.stop(20)
        assert purged[:2] == [99.0, 99.0]

    def test_stopping_waits_no_longer_than_it_is_told(self, world: World) -> None:
        gate = Gate()
        world.router.handle_request("ana", "hola")
        world.callbacks.register("on_session_timeout", lambda user_id: gate.pass_through())
        world.clock.advance(1800)
        sessions = SessionManager(world.store, world.callbacks, interval=0.001)
        sessions.start()
        assert gate.reached.wait(20)
        assert not sessions.stop(0.001)
        gate.open()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_a_forked_child_gets_its_own_with_the_first_message(self, world: World) -> None:
        world.router.handle_request("ana", "hola")
        child = os.fork()
        if child == 0:
            try:
                none = all(each.name != "thea-sweeper" for each in threading.enumerate())
                world.router.handle_request("ben", "hola")
                one = any(each.name == "thea-sweeper" for each in threading.enumerate())
                os._exit(0 if none and one else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("name", ["timeout", "interval", "message_ids"])
@pytest.mark.parametrize("value", [0, -1, "30s", True, float("nan")])
def test_a_time_must_be_a_positive_number(world: World, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds above 0"):
        SessionManager(world.store, world.callbacks, **{name: value})
