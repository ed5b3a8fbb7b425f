from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading

import pytest

from tests.conversation.parts import in_thread
from tests.plugins.running import MESSAGE, Recording
from tests.support import FakeClock, run_in_child
from thea_core import (
    AgentReply,
    CallbackLimitError,
    CommitRefusedError,
    ConfigError,
    DefinitionError,
    GuardRequiredError,
    IntentMatch,
    LifeCycleError,
    PluginLoadError,
    ReentrancyError,
    StoreUnavailableError,
    Thea,
    hookimpl,
    hookspec,
)
from thea_core.app import _to_the_end
from thea_core.callbacks.event_json import decode
from thea_core.callbacks.steps import drive
from thea_core.config import Config
from thea_core.plugins.status import StatusFile
from thea_core.storage.memory import MemoryStore

MEMORY = {"store": {"url": "memory:"}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Each test runs in an empty directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_threads_are_left():
    """What an application starts ends with it; threads that serve turns end by themselves when they are idle."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name not in ("thea-leases", "thea-store"):
            thread.join(10)
            assert not thread.is_alive(), thread.name


class AskingAgent:
    """Does, for the intent of every message, what a test gives it to do."""

    name = "asking"
    intents = ("anything",)

    def __init__(self, act):
        self.act = act

    def handle(self, message, context, turn):
        return AgentReply(str(self.act()))


class TestConstruction:
    def test_nothing_is_read_written_or_started(self, elsewhere):
        (elsewhere / "thea.toml").write_text("not = [toml", encoding="utf-8")
        plugin = Recording("plugin")
        threads = threading.active_count()
        thea = Thea(plugins=[plugin])
        assert [each.name for each in elsewhere.iterdir()] == ["thea.toml"]
        assert threading.active_count() == threads
        assert plugin.notes == []
        assert list(thea.plugins) == []
        assert repr(thea) == "<Thea: new>"

    def test_a_configuration_a_mapping_and_nothing_are_taken(self):
        config = Config.from_mapping({"callbacks": {"history_size": 3}})
        assert Thea(config).config is config
        assert Thea({"sessions": {"timeout": "5m"}}).config.sessions.timeout == 300.0
        assert Thea().config == Config()

    def test_the_environment_is_the_one_that_was_given(self):
        thea = Thea({"store": {"url": "${STORE}"}}, environ={"STORE": "memory:"})
        assert thea.config.store.url == "memory:"

    def test_what_is_wrong_in_a_mapping_is_told(self):
        with pytest.raises(ConfigError, match="sesions"):
            Thea({"sesions": {}})

    def test_the_state_machine_is_that_of_the_configuration(self):
        transitions = {"start": ["end"], "end": ["start"], "broken": ["start"]}
        thea = Thea({"fsm": {"initial": "start", "error": "broken", "transitions": transitions, "max_callbacks": 1}})
        assert thea.fsm.allowed("start") == ("end", "broken")
        thea.fsm.pre_transition("end")(lambda context: None)
        with pytest.raises(CallbackLimitError):
            thea.fsm.pre_transition("end")(lambda context: None)

    def test_a_state_machine_that_is_not_well_formed_is_told(self):
        with pytest.raises(DefinitionError, match="'nowhere'"):
            Thea({"fsm": {"transitions": {"initial": ["nowhere"]}}})

    def test_local_callbacks_can_be_registered_at_once(self):
        thea, seen = Thea(MEMORY), []
        thea.callbacks.register("on_message", lambda message: seen.append(message.upper()))
        thea.fsm.pre_transition("processing")(lambda context: seen.append(context["state"]))
        with thea:
            thea.handle_request("ana", "hola")
        assert seen == ["HOLA", "initial"]


class TestFromConfig:
    def test_the_file_in_the_working_directory_is_read(self, elsewhere):
        (elsewhere / "thea.toml").write_text('[store]\nurl = "memory:"\n', encoding="utf-8")
        assert Thea.from_config(environ={}).config.store.url == "memory:"

    @pytest.mark.parametrize("kind", [str, lambda path: path])
    def test_a_path_is_read_and_overridden_by_the_environment(self, elsewhere, kind):
        file = elsewhere / "other.toml"
        file.write_text('[store]\nurl = "memory:"\n', encoding="utf-8")
        thea = Thea.from_config(kind(file), environ={"THEA__SESSIONS__TIMEOUT": "5m"})
        assert thea.config.store.url == "memory:"
        assert thea.config.sessions.timeout == 300.0

    def test_without_a_file_there_are_defaults(self):
        assert Thea.from_config(environ={}).config == Config()

    def test_what_became_of_plugins_is_written_beside_the_file(self, elsewhere):
        (elsewhere / "thea.toml").write_text('[store]\nurl = "memory:"\n', encoding="utf-8")
        with Thea.from_config(plugins=[Recording("plugin")], environ={}):
            assert StatusFile(elsewhere).read()["plugin"].state == "running"
        assert StatusFile(elsewhere).read()["plugin"].state == "stopped"

    def test_everything_else_is_handed_on(self):
        plugin, store, clock = Recording("plugin"), MemoryStore(clock=FakeClock()), FakeClock()
        options = {"plugins": [plugin], "store": store, "clock": clock, "environ": {}}
        with Thea.from_config(**options, no_plugins=True, without_guards=True) as thea:
            assert thea.store is store
            assert thea.callbacks.clock is clock
            assert [each.state for each in thea.plugins] == ["disabled"]


class TestRunning:
    def test_a_message_goes_through_plugins_and_comes_back(self):
        plugin = Recording("plugin")
        with Thea(MEMORY, plugins=[plugin]) as thea:
            text, context = thea.handle_request("ana", "hola")
            assert text
            assert (context["user_id"], context["state"]) == ("ana", "idle")
        assert plugin.notes == [("start", "plugin"), ("message", "plugin"), ("stop", "plugin", plugin.notes[-1][2])]

    def test_it_is_the_same_from_async_code(self):
        plugin = Recording("plugin")

        async def live():
            async with Thea(MEMORY, plugins=[plugin]) as thea:
                return await thea.ahandle_request("ana", "hola")

        assert asyncio.run(live()).context["state"] == "idle"
        assert [each[0] for each in plugin.notes] == ["start", "message", "stop"]

    def test_a_message_id_and_a_timestamp_are_handed_on(self):
        seen = []
        with Thea(MEMORY) as thea:
            thea.callbacks.register("on_message", lambda timestamp: seen.append(timestamp.isoformat()))
            when = FakeClock().now()
            first = thea.handle_request("ana", "hola", "m1", timestamp=when)
            assert thea.handle_request("ana", "hola", "m1", timestamp=when).text == first.text
            assert asyncio.run(thea.ahandle_request("ana", "hola", "m1")).text == first.text
        assert seen == [when.isoformat()]

    def test_the_application_is_what_on_startup_gets_with_all_its_parts(self):
        given = []

        class Curious(Recording):
            @hookimpl
            def on_startup(self, app):
                given.append(app)
                given.append((app.config, app.callbacks, app.fsm, app.store, app.router, app.contexts, app.sessions))

        with Thea(MEMORY, plugins=[Curious("curious")]) as thea:
            parts = (thea.config, thea.callbacks, thea.fsm, thea.store, thea.router, thea.contexts, thea.sessions)
            assert given == [thea, parts]
            assert thea.router.contexts is thea.contexts
            assert thea.router.sessions is thea.sessions

    def test_the_configuration_reaches_the_router(self):
        config = {
            **MEMORY,
            "sessions": {"timeout": "7m", "sweep_interval": "9s"},
            "conversation": {"language": "es", "max_message": 5, "texts": {"fallback": "Ni idea."}},
        }
        with Thea(config) as thea:
            assert thea.handle_request("ana", "hola").text == "Ni idea."
            with pytest.raises(ValueError, match="5"):
                thea.handle_request("ana", "buenas")
            assert (thea.sessions.timeout, thea.sessions.interval) == (420.0, 9.0)

    def test_the_sweeper_runs_as_long_as_the_application(self):
        def sweepers():
            return [each for each in threading.enumerate() if each.name == "thea-sweeper"]

        with Thea(MEMORY):
            assert len(sweepers()) == 1
        assert sweepers() == []

    def test_two_applications_in_one_process_do_not_know_of_each_other(self):
        one, other = Recording("plugin"), Recording("plugin")
        with Thea(MEMORY, plugins=[one]) as first, Thea(MEMORY, plugins=[other]) as second:
            first.contexts.save("ana", {"user_id": "ana", "state": "idle", "name": "Ana"})
            second.handle_request("ana", "hola")
            first.close()
            assert "name" not in second.contexts.load("ana")
            assert second.handle_request("ana", "hola").ok
        assert [each[0] for each in one.notes] == ["start", "stop"]
        assert [each[0] for each in other.notes] == ["start", "message", "message", "stop"]

    def test_an_application_made_before_a_fork_serves_the_child(self, elsewhere):
        plugin = Recording("plugin")
        with Thea({"store": {"url": "sqlite:///thea.db"}}, plugins=[plugin]) as thea:
            thea.handle_request("ana", "hola")

            def child():
                ok = thea.handle_request("ana", "hola").ok
                thea.close()
                return ok and plugin.notes[-1][0] == "stop"

            assert run_in_child(child)
            assert thea.handle_request("ana", "hola").ok

    def test_a_child_that_is_forked_within_a_turn_can_close_its_copy(self):
        children = []
        with Thea(MEMORY) as thea:
            forking = threading.Thread(target=lambda: children.append(run_in_child(close)))

            def close():
                thea.close()
                return repr(thea) == "<Thea: closed>"

            def fork():
                forking.start()
                forking.join(10)

            thea.callbacks.register("on_message", lambda message: fork())
            thea.handle_request("ana", "hola")
        assert children == [True]


class TestStore:
    def test_the_default_is_a_file_in_the_working_directory(self, elsewhere):
        with Thea() as thea:
            thea.handle_request("ana", "hola")
        assert (elsewhere / "thea.db").exists()
        with Thea() as thea:
            assert thea.contexts.load("ana")["state"] == "idle"

    def test_its_time_is_the_injected_clocks(self):
        clock = FakeClock()
        with Thea({**MEMORY, "sessions": {"timeout": "5m"}}, clock=clock) as thea:
            first = thea.handle_request("ana", "hola").session_id
            clock.advance(301)
            assert thea.handle_request("ana", "hola").session_id != first

    def test_one_that_was_opened_is_closed(self):
        with Thea(MEMORY) as thea:
            store = thea.store
        with pytest.raises(StoreUnavailableError):
            store.load("ana")

    def test_one_that_was_given_stays_open(self):
        store = MemoryStore(clock=FakeClock())
        with Thea(store=store, clock=FakeClock()) as thea:
            thea.handle_request("ana", "hola")
        assert store.load("ana") is not None

    def test_a_plugin_may_make_it(self):
        class Maker(Recording):
            @hookimpl
            def create_store(self, url):
                self.notes.append(url)
                return MemoryStore(clock=FakeClock())

            @hookimpl
            def on_startup(self, app):
                with pytest.raises(LifeCycleError, match="no store yet"):
                    assert app.store
                super().on_startup(app)

        maker = Maker("maker")
        with Thea({"store": {"url": "redis://host"}}, plugins=[maker]) as thea:
            assert isinstance(thea.store, MemoryStore)
            assert maker.notes == [("start", "maker"), "redis://host"]
        with pytest.raises(StoreUnavailableError):
            thea.store.load("ana")

    def test_an_address_that_nobody_knows_is_told_after_all_is_shut_down(self):
        plugin = Recording("plugin")
        with (
            pytest.raises(StoreUnavailableError, match="no store is known for the scheme 'redis'"),
            Thea({"store": {"url": "redis://host"}}, plugins=[plugin]),
        ):
            pass
        assert plugin.notes == []

    def test_a_store_that_cannot_be_opened_is_told(self, elsewhere):
        with pytest.raises(StoreUnavailableError, match="missing"), Thea({"store": {"url": "sqlite:///missing/x.db"}}):
            pass

    def test_an_exception_of_the_store_leaves_handle_request(self):
        class Broken(MemoryStore):
            def commit(self, change):
                raise CommitRefusedError("too late")

        with Thea(store=Broken(clock=FakeClock())) as thea, pytest.raises(CommitRefusedError):
            thea.handle_request("ana", "hola")


class Ledger:
    """Wants to hear of every message, durably."""

    delivery = "durable"

    def __init__(self):
        self.heard = []
        self.told = threading.Semaphore(0)

    @hookimpl
    def on_message(self, message):
        self.heard.append(message)
        self.told.release()

    @hookimpl
    def on_session_timeout(self, session_id):
        self.heard.append(session_id)
        self.told.release()


class TestDurableDelivery:
    def test_events_are_handed_over_after_the_commit(self):
        ledger = Ledger()
        with Thea(MEMORY, plugins=[ledger]) as thea:
            thea.handle_request("ana", "hello")
            assert ledger.told.acquire(timeout=20)
            thea.callbacks.trigger(
                "on_message", user_id="ana", message="by itself", timestamp=thea.callbacks.clock.now()
            )
            assert ledger.told.acquire(timeout=20)
            thea.callbacks.flush()
            assert not thea.store.outbox.list()
        assert ledger.heard == ["hello", "by itself"]

    def test_the_end_of_a_session_is_one_of_them(self):
        ledger, clock = Ledger(), FakeClock()
        with Thea(MEMORY, plugins=[ledger], clock=clock) as thea:
            session_id = thea.handle_request("ana", "hello").session_id
            clock.advance(1800)
            thea.sessions.sweep()
            assert ledger.told.acquire(timeout=20)
            assert ledger.told.acquire(timeout=20)
        assert ledger.heard == ["hello", session_id]

    def test_what_was_not_handed_over_waits_for_another_process(self, elsewhere):
        first, second = Ledger(), Ledger()
        with Thea(plugins=[first], worker=False) as thea:
            thea.handle_request("ana", "hello")
        assert not first.heard
        with Thea(plugins=[second]):
            assert second.told.acquire(timeout=20)
        assert second.heard == ["hello"]

    def test_without_a_worker_no_session_is_ended_by_itself(self):
        with Thea(MEMORY, worker=False) as thea:
            thea.handle_request("ana", "hello")
            assert "thea-sweeper" not in {each.name for each in threading.enumerate()}

    def test_closing_hands_over_what_is_due(self):
        ledger = Ledger()
        with Thea(MEMORY, plugins=[ledger]) as thea:
            for number in range(50):
                thea.handle_request(f"user-{number % 3}", str(number))
        assert sorted(ledger.heard, key=int) == [str(number) for number in range(50)]

    def test_closing_waits_for_the_delivery_under_way_and_settles_it(self, elsewhere):
        begun, go_on = threading.Event(), threading.Event()

        class Slow:
            delivery = "durable"

            @hookimpl
            def on_message(self):
                begun.set()
                assert go_on.wait(20)

        thea = Thea(plugins=[Slow()])
        thea.start()
        thea.handle_request("ana", "hello")
        assert begun.wait(20)
        closing = threading.Thread(target=thea.close, kwargs={"timeout": 20})
        closing.start()
        go_on.set()
        closing.join(20)
        with Thea(worker=False) as thea:
            assert not thea.store.outbox.list()

    def test_a_store_without_an_outbox_leaves_the_plugin_out(self, caplog):
        class Bare(MemoryStore):
            outbox = None

        ledger = Ledger()
        with Thea(store=Bare(clock=FakeClock()), plugins=[ledger]) as thea:
            assert thea.handle_request("ana", "hello").ok
            assert [each.state for each in thea.plugins] == ["failed"]
        assert "outbox" in caplog.text
        assert not ledger.heard


class TestBeforeAndAfter:
    @pytest.mark.parametrize("part", ["store", "router", "contexts", "sessions"])
    def test_a_part_that_comes_with_the_start_is_not_there_before(self, part):
        with pytest.raises(LifeCycleError, match=f"there is no {part} yet: the application is not started"):
            getattr(Thea(), part)

    def test_no_message_is_handled_before_the_start(self):
        thea = Thea(MEMORY)
        with pytest.raises(LifeCycleError, match="the application is not started"):
            thea.handle_request("ana", "hola")
        with pytest.raises(LifeCycleError, match="the application is not started"):
            asyncio.run(thea.ahandle_request("ana", "hola"))

    def test_no_message_is_handled_after_the_end(self):
        with Thea(MEMORY) as thea:
            pass
        with pytest.raises(LifeCycleError, match="the application is closed"):
            thea.handle_request("ana", "hola")

    def test_no_message_is_handled_while_it_starts(self):
        refused = []

        class Impatient(Recording):
            @hookimpl
            def on_startup(self, app):
                with pytest.raises(LifeCycleError) as caught:
                    app.handle_request("ana", "hola")
                refused.append(str(caught.value))

        with Thea(MEMORY, plugins=[Impatient("impatient")]):
            assert "still being started" in refused[0]

    def test_it_is_started_once(self):
        with Thea(MEMORY) as thea, pytest.raises(LifeCycleError, match="running already"):
            thea.start()
        with pytest.raises(LifeCycleError, match="closed already"):
            thea.start()

    def test_it_may_be_closed_twice_and_without_a_start(self):
        plugin = Recording("plugin")
        thea = Thea(MEMORY, plugins=[plugin])
        with thea:
            thea.close()
            thea.close()
        assert [each[0] for each in plugin.notes] == ["start", "stop"]
        unstarted = Thea(MEMORY)
        unstarted.callbacks.register("on_message", asynchronous)
        unstarted.callbacks.trigger("on_message", **MESSAGE)
        unstarted.close()
        assert unstarted.callbacks.loops.names() == []


async def asynchronous(message):
    await asyncio.sleep(0)


REQUIRED = {**MEMORY, "plugins": {"broken": {"required": True}}}


class TestFailedStart:
    class Broken(Recording):
        error: BaseException = ValueError("boom")

        @hookimpl
        def on_startup(self, app):
            self.app = app
            raise self.error

    def test_all_that_was_started_is_shut_down(self):
        first, broken = Recording("first"), self.Broken("broken")
        thea = Thea(REQUIRED, plugins=[first, broken])
        with pytest.raises(PluginLoadError, match="boom"):
            thea.start()
        assert [each[0] for each in first.notes] == ["start", "stop"]
        assert repr(thea) == "<Thea: closed>"
        with pytest.raises(StoreUnavailableError):
            thea.store.load("ana")
        thea.close()

    def test_it_is_the_same_from_async_code(self):
        first = Recording("first")
        with pytest.raises(PluginLoadError, match="boom"):
            asyncio.run(Thea(REQUIRED, plugins=[first, self.Broken("broken")]).astart())
        assert [each[0] for each in first.notes] == ["start", "stop"]

    def test_ctrl_c_shuts_down_too(self):
        first, broken = Recording("first"), self.Broken("broken")
        broken.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt), Thea(MEMORY, plugins=[first, broken]):
            pass
        assert [each[0] for each in first.notes] == ["start", "stop"]

    def test_a_cancelled_start_shuts_down_too(self):
        first = Recording("first")

        async def live():
            loop, begun = asyncio.get_running_loop(), asyncio.Event()

            class Waiting(Recording):
                @hookimpl
                async def on_startup(self, app):
                    loop.call_soon_threadsafe(begun.set)
                    await asyncio.sleep(0)
                    await asyncio.Event().wait()

            task = asyncio.create_task(Thea(MEMORY, plugins=[first, Waiting("waiting")]).astart())
            await begun.wait()
            task.cancel()
            await task

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(live())
        assert [each[0] for each in first.notes] == ["start", "stop"]

    def test_a_start_that_nobody_drives_any_more_is_undone(self):
        first = Recording("first")

        class Waiting(Recording):
            @hookimpl
            async def on_startup(self, app):
                await asyncio.Event().wait()

        async def live():
            config = {**MEMORY, "plugins": {"startup_timeout": "none"}}  # else loading waits, too
            thea = Thea(config, plugins=[first, Waiting("waiting")])
            start = thea.astart()
            start.send(None)
            start.close()
            return repr(thea)

        assert asyncio.run(live()) == "<Thea: closed>"
        assert [each[0] for each in first.notes] == ["start", "stop"]

    def test_a_definition_that_lacks_a_state_of_a_turn_is_told(self):
        transitions = {"initial": ["initial2"], "initial2": ["initial"], "error_handler": ["initial"]}
        plugin = Recording("plugin")
        with pytest.raises(DefinitionError, match="'processing' is missing"):
            Thea({**MEMORY, "fsm": {"transitions": transitions}}, plugins=[plugin]).start()
        assert plugin.notes == []


class TestClose:
    def test_messages_under_way_are_waited_for(self):
        entered, go_on, replies = threading.Event(), threading.Event(), []
        thea = Thea(MEMORY)

        def hold(message):
            entered.set()
            go_on.wait(10)

        thea.callbacks.register("on_message", hold)
        thea.start()
        turn = threading.Thread(target=lambda: replies.append(thea.handle_request("ana", "hola")))
        turn.start()
        assert entered.wait(10)
        closing = threading.Thread(target=lambda: thea.close(timeout=20))
        closing.start()
        while repr(thea) != "<Thea: closing>":
            pass
        with pytest.raises(LifeCycleError, match="being closed"):
            thea.handle_request("eva", "hola")
        go_on.set()
        for thread in (turn, closing):
            thread.join(10)
        assert replies[0].ok
        assert repr(thea) == "<Thea: closed>"

    def test_the_turn_of_a_cancelled_caller_is_waited_for_too(self, caplog):
        async def main():
            entered, go_on = asyncio.Event(), asyncio.Event()

            async def hold(message):
                entered.set()
                await go_on.wait()

            thea = Thea(MEMORY, store=MemoryStore(clock=FakeClock()))
            thea.callbacks.register("on_message", hold)
            await thea.astart()
            caller = asyncio.create_task(thea.ahandle_request("ana", "hola"))
            await entered.wait()
            caller.cancel()
            await asyncio.wait({caller})
            await thea.aclose(timeout=0.1)
            go_on.set()

        asyncio.run(main())
        assert "messages are still being handled" in caplog.text

    def test_messages_that_do_not_end_are_left_behind_and_told(self, caplog):
        entered, go_on = threading.Event(), threading.Event()
        plugin = Recording("plugin")
        thea = Thea(MEMORY, plugins=[plugin])

        def hold(message):
            entered.set()
            go_on.wait(10)

        thea.callbacks.register("on_message", hold)
        thea.start()
        failures = []

        def handle():
            try:
                thea.handle_request("ana", "hola")
            except LifeCycleError as error:
                failures.append(error)

        turn = threading.Thread(target=handle)
        turn.start()
        assert entered.wait(10)
        thea.close(timeout=0.02)
        assert "messages are still being handled" in caplog.text
        assert plugin.notes[-1][0] == "stop"
        go_on.set()
        turn.join(10)
        assert len(failures) == 1

    def test_what_outlives_it_commits_nothing_that_plugins_do_not_hear_of(self):
        entered, go_on = threading.Event(), threading.Event()
        store, plugin = MemoryStore(clock=FakeClock()), Recording("plugin")
        thea = Thea(MEMORY, plugins=[plugin], store=store)

        def hold(message):
            entered.set()
            assert go_on.wait(20)

        thea.callbacks.register("on_message", hold)
        thea.start()
        turn = in_thread(lambda: thea.handle_request("ana", "hola", "m1"))
        assert entered.wait(20)
        thea.close(timeout=0.02)
        go_on.set()
        with pytest.raises(LifeCycleError, match="send it again"):
            turn()
        assert store.load("ana") is None
        with Thea(MEMORY, store=store) as another:
            assert another.handle_request("ana", "hola", "m1").ok

    def test_sessions_that_were_not_told_before_it_are_told_by_another_application(self):
        begun, go_on = threading.Event(), threading.Event()
        told = []

        class Slow:
            @hookimpl(timeout=None)
            def on_session_timeout(self, user_id):
                told.append(user_id)
                begun.set()
                assert go_on.wait(20)

        clock = FakeClock()
        store = MemoryStore(clock=clock)
        thea = Thea(MEMORY, plugins=[Slow()], store=store, clock=clock)
        thea.start()
        users = [f"user-{number}" for number in range(5)]
        for user in users:
            thea.handle_request(user, "hola")
        clock.advance(1800)
        sweep = in_thread(thea.sessions.sweep)
        assert begun.wait(20)
        closing = in_thread(lambda: thea.close(timeout=0.02))
        closing()
        go_on.set()
        sweep()
        with Thea(MEMORY, plugins=[Slow()], store=store, clock=clock, worker=False) as another:
            another.sessions.sweep()
        assert set(told) == set(users)
        assert len(told) <= len(users) + 1  # the one that was under way may be told twice

    def test_all_share_one_deadline_by_the_injected_clock(self):
        clock = FakeClock()

        class Slow(Recording):
            @hookimpl
            def on_shutdown(self, timeout):
                super().on_shutdown(timeout)
                clock.advance(3)

        notes = []
        thea = Thea(MEMORY, plugins=[Slow("first", notes), Slow("second", notes)], clock=clock)
        thea.start()
        thea.close(timeout=10)
        assert [each for each in notes if each[0] == "stop"] == [("stop", "second", 10.0), ("stop", "first", 7.0)]

    def test_what_raises_is_logged_and_the_rest_is_closed(self, caplog):
        class Broken(MemoryStore):
            def close(self):
                raise StoreUnavailableError("the disk is gone")

        class Maker(Recording):
            @hookimpl
            def create_store(self, url):
                return Broken(clock=FakeClock())

        with Thea({"store": {"url": "broken:"}}, plugins=[Maker("maker")]) as thea:
            pass
        assert "the store could not be closed: StoreUnavailableError: the disk is gone" in caplog.text
        assert repr(thea) == "<Thea: closed>"

    def test_what_hangs_is_left_behind(self, caplog):
        go_on = threading.Event()

        class Hanging(MemoryStore):
            def close(self):
                go_on.wait(10)

        class Maker(Recording):
            @hookimpl
            def create_store(self, url):
                return Hanging(clock=FakeClock())

        thea = Thea({"store": {"url": "hanging:"}}, plugins=[Maker("maker")])
        thea.start()
        thea.close(timeout=0.01)
        go_on.set()
        assert "the store did not come to its end in time" in caplog.text

    @pytest.mark.parametrize("held", ["on_message", "on_shutdown"])
    def test_where_its_caller_is_cancelled_all_is_brought_to_its_end(self, held):
        entered, go_on, closed = threading.Event(), threading.Event(), threading.Event()

        class Closing(MemoryStore):
            def close(self):
                closed.set()

        class Holding(Recording):
            @hookimpl
            def create_store(self, url):
                return Closing(clock=FakeClock())

            @hookimpl(timeout=None)
            def on_message(self):
                self.hold("on_message")

            @hookimpl
            def on_shutdown(self, timeout):
                super().on_shutdown(timeout)
                self.hold("on_shutdown")

            def hold(self, hook):
                if hook == held:
                    entered.set()
                    assert go_on.wait(10)

        async def main():
            await thea.astart()
            turn = asyncio.create_task(asyncio.to_thread(thea.handle_request, "ana", "hola"))
            await asyncio.to_thread(entered.wait, 10) if held == "on_message" else await turn
            closing = asyncio.create_task(thea.aclose(20))
            await asyncio.to_thread(entered.wait, 10)
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert (repr(thea), closed.is_set()) == ("<Thea: closing>", False)
            go_on.set()
            await thea.aclose(20)
            assert (repr(thea), closed.is_set()) == ("<Thea: closed>", True)
            await turn

        plugin = Holding("plugin")
        thea = Thea({"store": {"url": "own:"}}, plugins=[plugin])
        asyncio.run(main())
        assert [each[0] for each in plugin.notes] == ["start", "stop"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
    def test_a_wait_that_is_interrupted_is_gone_on_with_elsewhere(self, error):
        class Interrupted:
            raised = False

            def wait(self):
                if not self.raised:
                    self.raised = True
                    raise error
                return "waited"

        done = threading.Event()

        def ending():
            try:
                seen.append((yield Interrupted()))
            except ValueError:  # nobody was interrupted: the wait itself has failed
                seen.append("failed")
            done.set()

        seen = []
        if isinstance(error, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                drive(_to_the_end(ending()))
        else:
            drive(_to_the_end(ending()))
        assert done.wait(10)
        assert seen == ["waited" if isinstance(error, KeyboardInterrupt) else "failed"]

    def test_loops_of_local_callbacks_are_stopped(self):
        with Thea(MEMORY) as thea:
            thea.callbacks.register("on_message", asynchronous)
            thea.handle_request("ana", "hola")
        assert thea.callbacks.loops.names() == []

    def test_within_a_callback_it_is_refused(self):
        refused = []

        def close(message):
            with pytest.raises(ReentrancyError) as caught:
                thea.close()
            refused.append(str(caught.value))

        with Thea(MEMORY) as thea:
            thea.callbacks.register("on_message", close)
            thea.handle_request("ana", "hola")
            assert thea.handle_request("ana", "hola").ok
        assert "close it from outside" in refused[0]

    def test_within_an_agent_it_is_refused(self):
        def close():
            with pytest.raises(ReentrancyError, match="close it from outside"):
                thea.close()
            return "refused"

        class Anything:
            @hookimpl
            def detect_intents(self):
                from thea_core import IntentMatch

                return [IntentMatch("anything", 1.0)]

        with Thea(MEMORY, plugins=[Anything()]) as thea:
            thea.router.register(AskingAgent(close))
            assert thea.handle_request("ana", "hola").text == "refused"
            assert asyncio.run(thea.ahandle_request("ana", "hola")).text == "refused"

    def test_within_a_turn_whose_caller_was_cancelled_it_is_refused(self):
        async def main():
            loop = asyncio.get_running_loop()
            entered, go_on, outcome = asyncio.Event(), asyncio.Event(), loop.create_future()

            class Closing:
                name, intents = "closing", ("cancel",)

                async def handle(self, message, context, turn):
                    entered.set()
                    await go_on.wait()
                    with pytest.raises(ReentrancyError, match="close it from outside"):
                        await thea.aclose()
                    outcome.set_result("refused")
                    return ""

            async with Thea(MEMORY) as thea:
                thea.router.register(Closing())
                caller = asyncio.create_task(thea.ahandle_request("ana", "cancel"))
                await entered.wait()
                caller.cancel()
                await asyncio.wait({caller})
                go_on.set()
                assert await asyncio.wait_for(outcome, 10) == "refused"

        asyncio.run(main())

    def test_within_on_startup_it_is_refused(self):
        class Closing(Recording):
            @hookimpl
            def on_startup(self, app):
                app.close()

        with Thea(MEMORY, plugins=[Closing("closing")]) as thea:
            [info] = thea.plugins
            assert info.state == "failed"
            assert "close it from outside" in info.reason

    def test_another_application_may_be_used_and_closed_within_a_callback(self):
        replies = []

        def ask_another(message):
            with Thea(MEMORY) as other:
                replies.append(other.handle_request("eva", message))

        with Thea(MEMORY) as thea:
            thea.callbacks.register("on_message", ask_another)
            thea.handle_request("ana", "hola")
        assert replies[0].ok

    def test_while_it_is_being_started_it_is_closed_afterwards(self):
        entered, go_on, failures = threading.Event(), threading.Event(), []

        class Slow(Recording):
            @hookimpl
            def on_startup(self, app):
                super().on_startup(app)
                entered.set()
                go_on.wait(10)

        plugin = Slow("slow")
        thea = Thea(MEMORY, plugins=[plugin])

        def start():
            try:
                thea.start()
            except LifeCycleError as error:
                failures.append(str(error))

        starting = threading.Thread(target=start)
        starting.start()
        assert entered.wait(10)
        thea.close(timeout=0.01)
        go_on.set()
        starting.join(10)
        assert failures == ["the application was closed while it was being started"]
        assert [each[0] for each in plugin.notes] == ["start", "stop"]
        assert repr(thea) == "<Thea: closed>"

    def test_a_log_filter_that_raises_stops_nothing(self):
        def refuse(record):
            raise OSError("no log")

        class Broken(MemoryStore):
            def close(self):
                raise StoreUnavailableError("the disk is gone")

        class Maker(Recording):
            @hookimpl
            def create_store(self, url):
                return Broken(clock=FakeClock())

        logger = logging.getLogger("thea_core.app")
        logger.addFilter(refuse)
        try:
            with Thea({"store": {"url": "broken:"}}, plugins=[Maker("maker")]) as thea:
                pass
        finally:
            logger.removeFilter(refuse)
        assert repr(thea) == "<Thea: closed>"


class TestLimits:
    """What the configuration says of how long things may take reaches them."""

    class Detecting(Recording):
        @hookimpl(timeout=None)
        def detect_intents(self):
            return [IntentMatch("anything", 1.0)]

    def test_an_agent_that_takes_too_long_ends_in_an_apology(self):
        go_on, told = threading.Event(), []
        config = {**MEMORY, "conversation": {"agent_timeout": "20ms"}}
        with Thea(config, plugins=[self.Detecting("detecting")]) as thea:
            thea.router.register(AskingAgent(lambda: go_on.wait(10)))
            thea.callbacks.register("on_error", lambda error: told.append(str(error)))
            reply = thea.handle_request("ana", "hola")
            assert (reply.ok, reply.context["state"]) == (False, "idle")
            go_on.set()
        assert told == ["the agent 'asking' did not come back within 0.02 s ([conversation] agent_timeout)"]

    def test_without_a_limit_an_agent_answers_in_the_callers_thread(self):
        with Thea({**MEMORY, "conversation": {"agent_timeout": "none"}}, plugins=[self.Detecting("detecting")]) as thea:
            thea.router.register(AskingAgent(threading.get_ident))
            assert thea.handle_request("ana", "hola").text == str(threading.get_ident())

    @pytest.mark.parametrize("sync", [True, False])
    def test_a_detector_that_takes_too_long_is_left_behind_and_the_others_count(self, sync):
        go_on = threading.Event()

        class Hanging(Recording):
            @hookimpl(priority=1)
            def detect_intents(self):
                go_on.wait(10)

        class AsyncHanging(Recording):
            @hookimpl(priority=1)
            async def detect_intents(self):
                await asyncio.Event().wait()

        plugins = [(Hanging if sync else AsyncHanging)("hanging"), self.Detecting("detecting")]
        with Thea({**MEMORY, "conversation": {"detect_timeout": "20ms"}}, plugins=plugins) as thea:
            thea.router.register(AskingAgent(lambda: "here"))
            assert thea.handle_request("ana", "hola").text == "here"
            rows = [(each.plugin, each.outcome) for each in thea.callbacks.history if each.hook == "detect_intents"]
            assert rows == [("hanging", "timeout"), ("detecting", "ok")]
            go_on.set()

    def test_a_local_detector_has_no_limit_and_runs_in_the_turn(self):
        seen = []
        with Thea({**MEMORY, "conversation": {"detect_timeout": "20ms"}}) as thea:
            thea.callbacks.register("detect_intents", lambda message: seen.append(threading.get_ident()))
            thea.handle_request("ana", "hola")
        assert seen == [threading.get_ident()]

    def test_a_plugin_that_never_says_its_agents_has_none_and_the_others_have_theirs(self, caplog):
        go_on = threading.Event()

        class Hanging(Recording):
            @hookimpl(priority=1)
            def provide_agents(self):
                go_on.wait(10)

        class Providing(self.Detecting):
            @hookimpl(timeout=None)
            def provide_agents(self):
                return [AskingAgent(lambda: "here")]

        config = {**MEMORY, "callbacks": {"timeout": "20ms"}}
        with Thea(config, plugins=[Hanging("hanging"), Providing("providing")]) as thea:
            assert thea.handle_request("ana", "hola").text == "here"
            go_on.set()
        (record,) = [each for each in caplog.records if "provide_agents" in each.getMessage()]
        assert "plugin 'hanging', callback" in record.getMessage()
        assert "did not come back within 0.02 s" in record.getMessage()

    def test_a_plugin_that_does_not_start_is_left_out_from_async_code_too(self, caplog):
        async def main():
            class Hanging(Recording):
                @hookimpl
                async def on_startup(self, app):
                    await asyncio.Event().wait()

            config = {**MEMORY, "plugins": {"startup_timeout": "500ms"}}
            async with Thea(config, plugins=[Hanging("hanging"), Recording("other")]) as thea:
                assert (await thea.ahandle_request("ana", "hola")).ok
                return {each.name: each.state for each in thea.plugins}

        assert asyncio.run(main()) == {"hanging": "failed", "other": "running"}
        assert "its on_startup did not come back within 0.5 s ([plugins] startup_timeout)" in caplog.text

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_a_plugin_that_does_not_shut_down_is_left_behind(self, caplog, asynchronous):
        go_on = threading.Event()

        class Hanging(Recording):
            @hookimpl
            def on_shutdown(self, timeout):
                go_on.wait(10)

        class AsyncHanging(Recording):
            @hookimpl
            async def on_shutdown(self):
                await asyncio.Event().wait()

        other = Recording("other")
        thea = Thea(MEMORY, plugins=[other, (AsyncHanging if asynchronous else Hanging)("hanging")])
        thea.start()
        thea.close(timeout=0.02)
        go_on.set()
        assert "its on_shutdown is still running" in caplog.text
        assert [each[0] for each in other.notes] == ["start", "stop"]


class Guard(Recording):
    @hookimpl
    def on_startup(self, app):
        raise ValueError("boom")


GUARDED = {**MEMORY, "plugins": {"guard": {"on_failure": "veto"}}}


class TestSwitches:
    @pytest.mark.parametrize("value", ["1", "true", "Yes", "on"])
    def test_the_environment_may_switch_all_plugins_off(self, value):
        plugin = Recording("plugin")
        with Thea(MEMORY, plugins=[plugin], environ={"THEA_NO_PLUGINS": value}) as thea:
            assert thea.handle_request("ana", "hola").ok
        assert plugin.notes == []

    @pytest.mark.parametrize("value", ["", "0", "false", "no", "off"])
    def test_a_variable_that_says_no_switches_nothing(self, value):
        with Thea(MEMORY, plugins=[Recording("plugin")], environ={"THEA_NO_PLUGINS": value}) as thea:
            assert [each.state for each in thea.plugins] == ["running"]

    @pytest.mark.parametrize("name", ["THEA_NO_PLUGINS", "THEA_WITHOUT_GUARDS"])
    def test_a_variable_that_says_neither_is_refused(self, name):
        with pytest.raises(ConfigError, match=f"{name}: means neither yes nor no"):
            Thea(MEMORY, environ={name: "perhaps"})

    def test_a_guard_that_fails_refuses_the_start(self):
        thea = Thea(GUARDED, plugins=[Guard("guard")], environ={})
        with pytest.raises(GuardRequiredError, match="boom"):
            thea.start()

    def test_switching_all_plugins_off_is_refused_where_a_guard_is_enabled(self):
        with pytest.raises(GuardRequiredError):
            Thea(GUARDED, plugins=[Guard("guard")], no_plugins=True, environ={}).start()

    @pytest.mark.parametrize("options", [{"without_guards": True}, {"environ": {"THEA_WITHOUT_GUARDS": "1"}}])
    def test_argument_and_environment_may_allow_it(self, options):
        for no_plugins in (False, True):
            with Thea(GUARDED, plugins=[Guard("guard")], no_plugins=no_plugins, **options) as thea:
                assert thea.handle_request("ana", "hola").ok


def test_the_operators_table_counts_for_an_object():
    config = {**MEMORY, "plugins": {"second": {"priority": 7}}}
    with Thea(config, plugins=[Recording("first"), Recording("second")]) as thea:
        assert [each.plugin for each in thea.callbacks.chain("on_message")] == ["second", "first"]


def test_secrets_of_the_configuration_are_kept_out_of_what_is_logged_of_callbacks(caplog):
    class Talkative:
        name = "talkative"

        @hookimpl
        def on_message(self):
            raise RuntimeError("cannot reach https://swordfish@host")

        @hookimpl
        def pre_transition(self):
            raise RuntimeError("swordfish is too short")

    config = {**MEMORY, "plugins": {"other": {"settings": {"dsn": "https://swordfish@host", "token": "swordfish"}}}}
    with Thea(config, plugins=[Talkative()]) as thea:
        thea.handle_request("ana", "hola")
        noted = str(list(thea.callbacks.history))
    assert "cannot reach ***" in caplog.text
    assert "cannot reach ***" in noted
    assert "swordfish is" not in noted
    assert "Error: swordfish" not in caplog.text


def test_states_that_the_definition_has_not_are_told():
    class Limited:
        @hookimpl(states=("procesing",))
        def pre_transition(self, context): ...

    with Thea(MEMORY, plugins=[Limited()]) as thea:
        [info] = thea.plugins
        assert "did you mean processing?" in info.reason


class TestRecording:
    def recorded(self, path):
        return [decode(json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]

    def test_the_environment_may_ask_for_the_events(self, elsewhere):
        with Thea(MEMORY, environ={"THEA_RECORD": "events.jsonl"}) as thea:
            thea.handle_request("ana", "hola")
        events = self.recorded(elsewhere / "events.jsonl")
        assert events[0].hook == "on_message"
        assert {each.hook for each in events} == {"on_message", "on_state_change", "on_agent_delegated"}
        assert len({each.arguments["event_id"] for each in events}) == len(events)
        assert len({each.arguments["session_id"] for each in events}) == 1
        assert "ana" not in (elsewhere / "events.jsonl").read_text(encoding="ascii")

    def test_what_is_personal_is_there_where_it_is_asked_for(self, elsewhere):
        environ = {"THEA_RECORD": "events.jsonl", "THEA_RECORD_MESSAGES": "1", "THEA_RECORD_USER_IDS": "1"}
        with Thea(MEMORY, environ=environ) as thea:
            thea.handle_request("ana", "hola")
        first = self.recorded(elsewhere / "events.jsonl")[0]
        assert (first.arguments["user_id"], first.arguments["message"], first.left_out) == ("ana", "hola", 0)

    def test_events_are_kept_from_on_startup_to_on_shutdown(self, elsewhere):
        class Shop:
            name = "shop"

            @hookimpl
            def provide_hookspecs(self):
                class Specifications:
                    @hookspec
                    def on_order(self, thing):
                        pass

                return Specifications

            @hookimpl
            def on_startup(self, app):
                self.app = app
                app.callbacks.trigger("on_order", thing=1)

            @hookimpl
            def on_shutdown(self):
                self.app.callbacks.trigger("on_order", thing=2)

        with Thea(MEMORY, plugins=[Shop()], environ={"THEA_RECORD": "events.jsonl"}):
            pass
        events = self.recorded(elsewhere / "events.jsonl")
        assert [each.arguments["thing"] for each in events] == [1, 2]

    def test_the_secrets_of_the_configuration_are_not_in_errors(self, elsewhere):
        def fail():
            raise LookupError("no door for hunter2")

        environ = {"THEA_RECORD": "events.jsonl", "THEA_RECORD_MESSAGES": "1", "PASSWORD": "hunter2"}
        config = {**MEMORY, "plugins": {"door": {"settings": {"password": "${PASSWORD}"}}}}
        with Thea(config, environ=environ) as thea:
            thea.callbacks.register("detect_intents", lambda message: [IntentMatch("anything", 1.0)])
            thea.router.register(AskingAgent(fail))
            thea.handle_request("ana", "hola")
        text = (elsewhere / "events.jsonl").read_text(encoding="ascii")
        assert "no door for ***" in text
        assert "hunter2" not in text

    def test_a_file_that_cannot_be_written_stops_nothing(self, caplog):
        with Thea(MEMORY, environ={"THEA_RECORD": "missing/events.jsonl"}) as thea:
            assert thea.handle_request("ana", "hola").ok
        assert "events cannot be kept" in caplog.text

    def test_what_is_wrong_is_told_before_anything_starts(self):
        with pytest.raises(ConfigError, match="THEA_RECORD_LIMIT"):
            Thea(MEMORY, environ={"THEA_RECORD": "events.jsonl", "THEA_RECORD_LIMIT": "much"})

    def test_one_that_is_never_started_writes_nothing(self, elsewhere):
        Thea(MEMORY, environ={"THEA_RECORD": "events.jsonl"}).close()
        assert list(elsewhere.iterdir()) == []


FORGOTTEN = """
from thea_core import Thea

def running():
    with Thea({"store": {"url": "memory:"}}) as thea:
        yield thea

forgotten = running()
print(next(forgotten).handle_request("ana", "hola").ok)
"""


def test_one_that_is_forgotten_until_the_interpreter_ends_does_not_hold_it_up():
    """No thread begins to run any more then, and to wait for one would be to wait for ever."""
    ended = subprocess.run([sys.executable, "-c", FORGOTTEN], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
