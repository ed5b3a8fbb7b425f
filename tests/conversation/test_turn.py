"""One turn, step by step (the order and the number of everything that is fired and stored)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.conversation.parts import AsyncAgent, Driver, FunctionAgent, World, ask_until, detector
from thea_core import (
    AgentNotAvailableError,
    AgentReply,
    Commit,
    CommitRefusedError,
    IntentMatch,
    StoreUnavailableError,
    ValidationError,
    hookimpl,
)
from thea_core.storage.memory import MemoryStore


def fail(error: BaseException) -> Any:
    def handle(*_: Any) -> Any:
        raise error

    return handle


class CountingStore(MemoryStore):
    """Notes every commit, and fails on demand."""

    def __init__(self, world_clock: Any) -> None:
        super().__init__(clock=world_clock)
        self.commits: list[Commit] = []
        self.failing: Exception | None = None

    def commit(self, change: Commit) -> None:
        if self.failing is not None:
            raise self.failing
        self.commits.append(change)
        super().commit(change)


@pytest.fixture
def counting(world: World) -> World:
    return World(store=CountingStore(world.clock))


class TestTheStraightWay:
    def test_a_router_needs_nothing_but_an_engine(self, driver: Driver) -> None:
        from thea_core import FSMEngine
        from thea_core.conversation.router import CoreRouter

        router = CoreRouter(fsm_engine=FSMEngine())
        text, context = driver.handle(router, "alvaro_123", "Agendar reunión")
        assert text == "Sorry, I cannot help with that yet."
        assert context["state"] == "idle"

    def test_events_come_in_the_order_of_the_turn(self, driver: Driver, world: World) -> None:
        world.echo()
        driver.handle(world.router, "ana", "echo")
        assert world.events.names == [
            "on_message",
            "on_state_change",
            "on_intent_detected",
            "on_state_change",
            "on_agent_delegated",
            "on_state_change",
            "on_state_change",
        ]
        assert world.events.states == ["processing", "executing", "completion", "idle"]

    def test_events_say_what_has_happened(self, driver: Driver, world: World) -> None:
        world.echo()
        driver.handle(world.router, "ana", "echo hola")
        (message,) = world.events.of("on_message")
        assert (message["user_id"], message["message"], message["timestamp"]) == ("ana", "echo hola", world.clock.now())
        (detected,) = world.events.of("on_intent_detected")
        assert (detected["intent"], detected["score"]) == ("echo", 0.9)
        (delegated,) = world.events.of("on_agent_delegated")
        assert (delegated["agent"], delegated["intent"]) == ("echo", "echo")

    def test_the_reply_says_who_answered_what(self, driver: Driver, world: World) -> None:
        world.echo()
        reply = driver.handle(world.router, "ana", "echo")
        assert (reply.text, reply.ok, reply.intent, reply.agent) == ("echo: echo", True, "echo", "echo")
        assert reply.session_id == reply.context["session_id"]

    def test_where_no_intent_is_found_the_fallback_agent_answers(self, driver: Driver, world: World) -> None:
        reply = driver.handle(world.router, "ana", "xyz")
        assert (reply.intent, reply.agent) == (None, "fallback")
        (delegated,) = world.events.of("on_agent_delegated")
        assert (delegated["agent"], delegated["intent"]) == ("fallback", "")
        assert world.events.of("on_intent_detected") == []

    def test_an_empty_message_is_handled_like_any_other(self, driver: Driver, world: World) -> None:
        assert driver.handle(world.router, "ana", "").ok
        assert [each["message"] for each in world.events.of("on_message")] == [""]

    def test_the_reply_holds_the_context_as_it_is_stored(self, driver: Driver, world: World) -> None:
        reply = driver.handle(world.router, "ana", "hola")
        assert reply.context == world.router.contexts.load("ana")

    def test_the_routers_keys_are_set_before_executing(self, driver: Driver, world: World) -> None:
        seen: dict[str, Any] = {}
        world.fsm.pre_transition("processing")(lambda context: seen.update(processing=dict(context)))
        world.fsm.pre_transition("executing")(lambda context: seen.update(executing=dict(context)))
        world.echo()
        driver.handle(world.router, "ana", "echo", "m1")
        assert (seen["processing"]["message"], seen["processing"]["message_id"]) == ("echo", "m1")
        assert seen["processing"]["intent"] is None
        executing = {key: seen["executing"][key] for key in ("intent", "score", "agent")}
        assert executing == {"intent": "echo", "score": 0.9, "agent": "echo"}

    def test_what_a_callback_writes_into_the_routers_keys_does_not_last(self, driver: Driver, world: World) -> None:
        @world.fsm.post_transition("idle")
        def scribble(context: dict[str, Any]) -> None:
            context.update(message="other", pending={"kind": "agent", "agent": "echo"}, session_id="mine", own=1)

        reply = driver.handle(world.router, "ana", "hola")
        assert reply.context["message"] == "hola"
        assert reply.context["pending"] is None
        assert reply.context["session_id"] == reply.session_id
        assert reply.context["own"] == 1

    def test_an_agent_gets_what_its_detector_understood(self, driver: Driver, world: World) -> None:
        seen: list[Any] = []
        world.router.register(FunctionAgent("book", lambda _, context, __: seen.append(context["slots"]) or "ok"))
        world.callbacks.register("detect_intents", detector(book=IntentMatch("book", 1.0, slots={"day": ["1", 2]})))
        reply = driver.handle(world.router, "ana", "book")
        assert seen == [{"day": ["1", 2]}]
        assert "slots" not in reply.context

    def test_an_agent_knows_its_turn(self, driver: Driver, world: World) -> None:
        turns: list[Any] = []
        world.agent("echo", lambda _message, _context, turn: turns.append(turn) or "ok")
        when = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
        reply = driver.handle(world.router, "ana", "echo", "m1", timestamp=when)
        (turn,) = turns
        assert (turn.user_id, turn.message_id, turn.attempt) == ("ana", "m1", 1)
        assert turn.session_id == reply.session_id
        assert turn.timestamp == datetime(2026, 5, 1, 10, tzinfo=UTC)

    def test_an_agents_context_is_adopted(self, driver: Driver, world: World) -> None:
        world.agent("echo", lambda _, context, __: AgentReply("ok", {**context, "cart": [{"n": 1}]}))
        assert driver.handle(world.router, "ana", "echo").context["cart"] == [{"n": 1}]
        assert world.router.contexts.load("ana")["cart"] == [{"n": 1}]

    def test_what_an_agent_changes_in_place_is_its_own(self, driver: Driver, world: World) -> None:
        world.agent("echo", lambda _, context, __: context.update(cart=[1]) or "ok")
        assert "cart" not in driver.handle(world.router, "ana", "echo").context

    def test_an_asynchronous_agent_answers_both_kinds_of_caller(self, driver: Driver, world: World) -> None:
        world.router.register(AsyncAgent("slow", lambda message, _, __: f"slow {message}"))
        world.callbacks.register("detect_intents", detector(slow=1.0))
        assert driver.handle(world.router, "ana", "slow").text == "slow slow"

    def test_a_callback_may_choose_another_agent(self, driver: Driver, world: World) -> None:
        world.echo()
        world.echo("other")
        world.fsm.pre_transition("executing")(lambda context: {**context, "agent": "other"})
        reply = driver.handle(world.router, "ana", "echo")
        assert (reply.text, reply.agent, reply.intent) == ("other: echo", "other", "echo")
        assert world.events.of("on_agent_delegated")[0]["agent"] == "other"

    def test_the_name_of_no_agent_is_logged_and_means_fallback(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.echo()
        world.fsm.pre_transition("executing")(lambda context: {**context, "agent": "nobody"})
        assert driver.handle(world.router, "ana", "echo").agent == "fallback"
        assert "'nobody'" in caplog.text

    def test_an_intent_that_no_agent_answers_is_logged_once(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.callbacks.register("detect_intents", detector(orphan=0.9))
        assert driver.handle(world.router, "ana", "orphan").agent == "fallback"
        driver.handle(world.router, "ana", "orphan")
        assert caplog.text.count("no agent answers the intent 'orphan'") == 1
        assert len(world.events.of("on_intent_detected")) == 2


class TestOneCommit:
    def test_a_turn_writes_once(self, driver: Driver, counting: World) -> None:
        counting.echo()
        driver.handle(counting.router, "ana", "echo", "m1")
        assert len(counting.store.commits) == 1

    def test_the_commit_holds_everything(self, driver: Driver, counting: World) -> None:
        reply = driver.handle(counting.router, "ana", "hola", "m1")
        (change,) = counting.store.commits
        assert json.loads(change.context or "") == reply.context
        assert (change.session_id, change.session_timeout) == (reply.session_id, 1800.0)
        assert change.message_id == "m1"
        assert json.loads(change.reply or "")["text"] == reply.text

    def test_a_reply_that_nobody_can_ask_for_is_not_stored(self, driver: Driver, counting: World) -> None:
        driver.handle(counting.router, "ana", "hola")
        assert (counting.store.commits[0].message_id, counting.store.commits[0].reply) == (None, None)

    def test_every_text_survives_the_store(self, driver: Driver, world: World) -> None:
        odd = "ñ 漢字 \U0001f600 \udc80 \ud83d"
        world.agent("echo", lambda _, context, __: AgentReply("ok", {**context, "odd": odd}))
        driver.handle(world.router, "ana", "echo")
        assert world.router.contexts.load("ana")["odd"] == odd
        assert (world.store.load("ana") or "").isascii()


class TestAMessageThatWasHandledBefore:
    def test_it_returns_its_reply_and_fires_nothing(self, driver: Driver, world: World) -> None:
        world.echo()
        first = driver.handle(world.router, "ana", "echo", "m1")
        world.events.clear()
        assert driver.handle(world.router, "ana", "echo", "m1") == first
        assert world.events.entries == []

    def test_it_is_found_after_other_messages(self, driver: Driver, world: World) -> None:
        world.echo()
        first = driver.handle(world.router, "ana", "echo one", "m1")
        driver.handle(world.router, "ana", "echo two", "m2")
        again = driver.handle(world.router, "ana", "whatever", "m1")
        assert (again.text, again.intent, again.agent, again.ok) == (first.text, "echo", "echo", True)

    def test_the_same_id_of_another_user_is_another_message(self, driver: Driver, world: World) -> None:
        world.echo()
        driver.handle(world.router, "ana", "echo one", "m1")
        assert driver.handle(world.router, "ben", "echo two", "m1").text == "echo: echo two"

    def test_an_apology_is_stored_under_its_id(self, driver: Driver, world: World) -> None:
        world.agent("bad", fail(RuntimeError("no")))
        first = driver.handle(world.router, "ana", "bad", "m1")
        world.events.clear()
        again = driver.handle(world.router, "ana", "bad", "m1")
        assert (again.text, again.ok) == (first.text, False)
        assert world.events.entries == []

    def test_a_veto_is_stored_under_its_id(self, driver: Driver, world: World) -> None:
        world.fsm.pre_transition("processing")(fail(ValidationError("say something")))
        driver.handle(world.router, "ana", "x", "m1")
        assert driver.handle(world.router, "ana", "x", "m1").text == "say something"


class TestErrors:
    @pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), GeneratorExit(), ValidationError("v")])
    def test_an_agents_exception_ends_in_an_apology(self, driver: Driver, world: World, error: BaseException) -> None:
        world.agent("bad", fail(error))
        reply = driver.handle(world.router, "ana", "bad")
        assert (reply.text, reply.ok, reply.agent) == ("Sorry, something went wrong. Please try again.", False, None)
        assert reply.context["state"] == "idle"
        (told,) = world.events.of("on_error")
        assert told["error"] is error

    def test_an_agents_own_cancellation_is_an_error(self, driver: Driver, world: World) -> None:
        import asyncio

        world.agent("bad", fail(asyncio.CancelledError()))
        world.router.register(AsyncAgent("worse", fail(asyncio.CancelledError())))
        world.callbacks.register("detect_intents", detector(worse=0.9))
        assert not driver.handle(world.router, "ana", "bad").ok
        assert not driver.handle(world.router, "ana", "worse").ok
        assert len(world.events.of("on_error")) == 2

    def test_the_way_of_an_agents_error(self, driver: Driver, world: World) -> None:
        world.agent("bad", fail(RuntimeError("no")))
        driver.handle(world.router, "ana", "bad")
        assert world.events.states == ["processing", "executing", "error_handler", "idle"]
        assert world.events.names[-3:] == ["on_state_change", "on_error", "on_state_change"]

    def test_an_error_is_reported_on_the_last_completed_transition(self, driver: Driver, world: World) -> None:
        seen: list[Any] = []
        world.fsm.on_error()(lambda _error, context: seen.append(dict(context)))
        world.fsm.post_transition("executing")(lambda context: context.update(step="executing"))
        world.agent("bad", fail(RuntimeError("no")))
        driver.handle(world.router, "ana", "bad")
        (context,) = seen
        assert (context["state"], context["step"], context["agent"]) == ("error_handler", "executing", "bad")

    @pytest.mark.parametrize("target", ["processing", "executing", "completion", "idle"])
    @pytest.mark.parametrize("phase", ["pre_transition", "post_transition"])
    def test_a_local_callbacks_error_is_reported_once(
        self, driver: Driver, world: World, phase: str, target: str
    ) -> None:
        calls: list[Any] = []
        world.fsm.on_error()(lambda error, _context: calls.append(error))
        error = RuntimeError("no")
        getattr(world.fsm, phase)(target)(fail(error))
        world.echo()
        reply = driver.handle(world.router, "ana", "echo")
        assert (reply.ok, reply.context["state"]) == (False, "idle")
        assert calls == [error]
        assert len(world.events.of("on_error")) == 1
        assert world.events.states[-2:] == ["error_handler", "idle"]

    @pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit()])
    def test_a_local_callback_cannot_end_the_program(self, driver: Driver, world: World, error: BaseException) -> None:
        world.fsm.pre_transition("processing")(fail(error))
        assert not driver.handle(world.router, "ana", "x").ok
        assert len(world.events.of("on_error")) == 1

    def test_what_error_callbacks_write_is_kept(self, driver: Driver, world: World) -> None:
        world.fsm.on_error()(lambda _error, context: {**context, "failures": 1})
        world.agent("bad", fail(RuntimeError("no")))
        assert driver.handle(world.router, "ana", "bad").context["failures"] == 1

    def test_the_conversation_is_usable_again(self, driver: Driver, world: World) -> None:
        world.agent("bad", fail(RuntimeError("no")))
        world.echo()
        driver.handle(world.router, "ana", "bad")
        assert driver.handle(world.router, "ana", "echo").ok

    def test_what_an_agent_waited_for_is_dropped(self, driver: Driver, world: World) -> None:
        answers = iter([AgentReply("when?", ask=True)])
        world.agent("ask", lambda *_: next(answers, None))
        driver.handle(world.router, "ana", "ask")
        reply = driver.handle(world.router, "ana", "tomorrow")
        assert (reply.ok, reply.context["pending"]) == (False, None)

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (None, "not NoneType"),
            (7, "not int"),
            (AgentReply(3), "whose text is int"),  # type: ignore[arg-type]
            (AgentReply("ok", {"user_id": "eve", "state": "executing"}), "'eve' in place of 'ana'"),
            (AgentReply("ok", {"user_id": "ana", "state": "idle"}), "'idle' in place of 'executing'"),
            (AgentReply("ok", {"user_id": "ana", "state": "executing", "x": {1}}), "context['x'] is set"),
            (AgentReply("ok", {"user_id": "ana", "state": "executing", "x": "y" * 17_000_000}), "as JSON"),
            (AgentReply("y" * 17_000_000), "17000000 characters"),
        ],
    )
    def test_nonsense_of_an_agent_is_its_error(self, driver: Driver, world: World, answer: Any, words: str) -> None:
        world.agent("bad", lambda *_: answer)
        assert not driver.handle(world.router, "ana", "bad").ok
        (told,) = world.events.of("on_error")
        assert words in str(told["error"])
        assert world.router.contexts.load("ana")["state"] == "idle"

    def test_an_error_is_logged_once_with_its_traceback_whoever_listens(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.agent("bad", fail(RuntimeError("no")))
        for _ in range(3):
            driver.handle(world.router, "ana", "bad")
        (record,) = caplog.records
        assert (
            record.getMessage()
            == "a turn of the agent 'bad' failed in the state 'executing'; the user gets an apology (RuntimeError: no)"
        )
        assert record.exc_info is not None

    def test_a_second_error_is_logged_and_not_reported(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def settle_steps(_state: str, _context: Any) -> Any:
            raise RuntimeError("second")
            yield

        monkeypatch.setattr(world.fsm, "settle_steps", settle_steps)
        world.agent("bad", fail(RuntimeError("first")))
        reply = driver.handle(world.router, "ana", "bad")
        assert (reply.ok, reply.context["state"]) == (False, "idle")
        assert [str(each["error"]) for each in world.events.of("on_error")] == ["first"]
        assert "second" in caplog.text

    def test_an_error_context_that_cannot_be_stored_is_dropped(
        self, driver: Driver, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.fsm.on_error()(lambda _error, context: {**context, "x": "y" * 17_000_000})
        world.agent("bad", fail(RuntimeError("no")))
        reply = driver.handle(world.router, "ana", "bad")
        assert (reply.ok, reply.context["state"], reply.context.get("x")) == (False, "idle", None)
        assert "cannot be stored" in caplog.text


class TestVetoes:
    @pytest.mark.parametrize("target", ["processing", "executing", "completion", "idle"])
    def test_the_reply_is_the_vetos_text(self, driver: Driver, world: World, target: str) -> None:
        world.fsm.pre_transition(target)(fail(AgentNotAvailableError("come back tomorrow")))
        reply = driver.handle(world.router, "ana", "hola")
        assert (reply.text, reply.ok, reply.intent, reply.agent) == ("come back tomorrow", False, None, None)

    @pytest.mark.parametrize("target", ["processing", "executing", "completion", "idle"])
    def test_the_stored_context_is_the_one_that_was_loaded(self, driver: Driver, world: World, target: str) -> None:
        world.echo()
        before = driver.handle(world.router, "ana", "echo").context
        world.fsm.pre_transition(target)(fail(ValidationError("no")))
        reply = driver.handle(world.router, "ana", "hola")
        assert reply.context == before == world.router.contexts.load("ana")

    def test_no_error_is_told(self, driver: Driver, world: World) -> None:
        calls: list[Any] = []
        world.fsm.on_error()(lambda error, _context: calls.append(error))
        world.fsm.pre_transition("executing")(fail(ValidationError("no")))
        driver.handle(world.router, "ana", "hola")
        assert (calls, world.events.of("on_error")) == ([], [])

    def test_a_veto_without_words_gets_some(self, driver: Driver, world: World) -> None:
        world.fsm.pre_transition("executing")(fail(ValidationError()))
        assert driver.handle(world.router, "ana", "hola").text == "Sorry, I cannot do that now."

    def test_the_first_message_of_a_user_may_be_vetoed(self, driver: Driver, world: World) -> None:
        world.fsm.pre_transition("processing")(fail(ValidationError("no")))
        reply = driver.handle(world.router, "ana", "hola")
        assert reply.context == {"user_id": "ana", "state": "initial"} == world.router.contexts.load("ana")

    def test_what_an_agent_waits_for_stands(self, driver: Driver, world: World) -> None:
        refusals = iter([False, True, False])
        world.agent("ask", ask_until(2))

        @world.fsm.pre_transition("executing")
        def guard(_context: Any) -> None:
            if next(refusals):
                raise ValidationError("not now")

        driver.handle(world.router, "ana", "ask")
        assert not driver.handle(world.router, "ana", "tomorrow").ok
        assert driver.handle(world.router, "ana", "tomorrow").text == "heard 2"

    def test_a_plugin_may_veto(self, driver: Driver, world: World) -> None:
        class Guard:
            @hookimpl
            def pre_transition(self, target: str) -> None:
                raise ValidationError(f"no {target}")

        world.callbacks.publish_plugins([world.callbacks.bind_plugin(Guard(), "guard", source=3, position=0)])
        assert driver.handle(world.router, "ana", "hola").text == "no processing"

    def test_why_a_guard_could_not_decide_is_not_told_to_the_user(self, driver: Driver, world: World) -> None:
        class Guard:
            @hookimpl
            def pre_transition(self) -> None:
                raise OSError("no answer from 10.0.0.7")

        guard = world.callbacks.bind_plugin(Guard(), "guard", source=3, position=0, guard=True)
        world.callbacks.publish_plugins([guard])
        reply = driver.handle(world.router, "ana", "hola")
        assert (reply.text, reply.ok) == ("Sorry, I cannot do that now.", False)


class TestTheStoreFails:
    def test_an_exception_of_the_store_is_no_apology(self, driver: Driver, counting: World) -> None:
        counting.store.failing = StoreUnavailableError("disk full")
        with pytest.raises(StoreUnavailableError, match="disk full"):
            driver.handle(counting.router, "ana", "hola", "m1")
        assert counting.events.of("on_error") == []

    def test_the_message_may_be_sent_again(self, driver: Driver, counting: World) -> None:
        turns: list[int] = []
        counting.agent("echo", lambda _message, _context, turn: turns.append(turn.attempt) or "ok")
        counting.store.failing = StoreUnavailableError("disk full")
        with pytest.raises(StoreUnavailableError):
            driver.handle(counting.router, "ana", "echo", "m1")
        counting.store.failing = None
        assert driver.handle(counting.router, "ana", "echo", "m1").ok
        assert turns == [1, 2]

    def test_a_turn_that_runs_again_fires_events_of_the_same_ids(self, driver: Driver, counting: World) -> None:
        counting.echo()
        counting.store.failing = StoreUnavailableError("disk full")
        with pytest.raises(StoreUnavailableError):
            driver.handle(counting.router, "ana", "echo", "m1")
        first = [(name, each["event_id"], each["session_id"]) for name, each in counting.events.entries]
        counting.events.clear()
        counting.store.failing = None
        driver.handle(counting.router, "ana", "echo", "m1")
        assert [(name, each["event_id"], each["session_id"]) for name, each in counting.events.entries] == first
        assert len({event_id for _, event_id, _ in first}) == len(first)

    def test_a_refused_commit_is_told_and_leaves(self, driver: Driver, counting: World) -> None:
        states: list[Any] = []
        counting.fsm.on_error()(lambda _error, context: states.append(context))
        counting.store.failing = CommitRefusedError("too late")
        with pytest.raises(CommitRefusedError):
            driver.handle(counting.router, "ana", "hola")
        (told,) = counting.events.of("on_error")
        assert isinstance(told["error"], CommitRefusedError)
        assert "too late" in told["traceback"]
        assert states == []

    def test_a_lost_lease_is_learnt_at_the_commit(self, driver: Driver, world: World) -> None:
        def be_overtaken(*_: Any) -> str:
            world.clock.advance(31)
            other = world.store.begin("ana", owner="other", duration=30)
            assert other is not None
            assert other.lease is not None
            world.store.release(other.lease)
            return "too late"

        world.agent("slow", be_overtaken)
        with pytest.raises(CommitRefusedError):
            driver.handle(world.router, "ana", "slow")
        assert world.router.contexts.load("ana") == {"user_id": "ana", "state": "initial"}

    def test_a_store_error_within_an_agent_is_no_apology_either(self, driver: Driver, world: World) -> None:
        world.agent("bad", fail(StoreUnavailableError("disk full")))
        with pytest.raises(StoreUnavailableError):
            driver.handle(world.router, "ana", "bad")
        world.echo()
        assert driver.handle(world.router, "ana", "echo").ok


class TestKeyboardInterrupt:
    def test_it_passes_and_the_lease_is_given_back(self, world: World) -> None:
        world.agent("bad", fail(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            world.router.handle_request("ana", "bad")
        assert world.events.of("on_error") == []
        assert world.store.begin("ana", owner="other", duration=30) is not None

    def test_the_conversation_goes_on_afterwards(self, world: World) -> None:
        world.agent("bad", fail(KeyboardInterrupt()))
        world.echo()
        with pytest.raises(KeyboardInterrupt):
            world.router.handle_request("ana", "bad")
        assert world.router.handle_request("ana", "echo").ok


class TestTheStoredState:
    @pytest.mark.parametrize("state", ["completion", "processing", "no_such_state"])
    def test_a_state_that_takes_no_message_begins_anew(
        self, driver: Driver, world: World, state: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        read = world.store.begin("ana", owner="test", duration=30)
        assert read is not None
        assert read.lease is not None
        text = json.dumps({"user_id": "ana", "state": state, "name": "Ana"})
        world.store.commit(Commit(read.lease, read.version, text, None))
        with caplog.at_level(logging.WARNING):
            reply = driver.handle(world.router, "ana", "hola")
        assert (reply.ok, reply.context["name"]) == (True, "Ana")
        assert repr(state) in caplog.text

    @pytest.mark.parametrize("text", ["{", "[]", '{"user_id": "eve", "state": "idle"}'])
    def test_a_text_that_is_no_context_is_an_error_of_the_store(self, driver: Driver, world: World, text: str) -> None:
        from thea_core import StoreSchemaError

        read = world.store.begin("ana", owner="test", duration=30)
        assert read is not None
        assert read.lease is not None
        world.store.commit(Commit(read.lease, read.version, text, None))
        with pytest.raises(StoreSchemaError, match="clear the user's context"):
            driver.handle(world.router, "ana", "hola")
        world.router.contexts.clear("ana")
        assert driver.handle(world.router, "ana", "hola").ok

    @pytest.mark.parametrize("damaged", ['{"text": "1: xx', '"text"', "null", '{"words": "hello"}', ""])
    def test_a_stored_reply_that_is_none_is_told(
        self, driver: Driver, world: World, monkeypatch: pytest.MonkeyPatch, damaged: str
    ) -> None:
        from thea_core import StoreSchemaError

        driver.handle(world.router, "ana", "hello", "m1")
        begin = world.store.begin
        monkeypatch.setattr(world.store, "begin", lambda *a, **k: begin(*a, **k)._replace(reply=damaged))
        with pytest.raises(StoreSchemaError, match="the reply to this message"):
            driver.handle(world.router, "ana", "hello", "m1")
