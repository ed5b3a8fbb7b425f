"""Switching plugins on and off while the application runs."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import pytest

from tests.plugins.running import MESSAGE, Application, Recording, running
from thea_core.errors import PluginConflictError, PluginError, PluginLoadError, PluginNotFoundError, ReentrancyError
from thea_core.markers import hookimpl
from thea_core.plugins.status import StatusFile

SOURCE = """
    from thea_core import hookimpl

    seen = []

    @hookimpl
    def on_message(message):
        seen.append(message)
"""


def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


class Held(Recording):
    """A plugin whose ``on_message`` waits until it is let go."""

    def __init__(self, name: str = "held") -> None:
        super().__init__(name)
        self.entered = threading.Event()
        self.let_go = threading.Event()

    @hookimpl
    def on_message(self, message):
        self.entered.set()
        self.let_go.wait(10)
        self.notes.append("message has ended")


class TestEnable:
    def test_a_plugin_that_is_not_configured_can_be_enabled_when_it_is_installed_meanwhile(self, site):
        with running() as app:
            site.plugin(SOURCE)
            info = app.plugins.enable("weather")
            assert (info.name, info.state, info.source) == ("weather", "running", "enabled")
            app.say()
            assert sys.modules["weather_plugin"].seen == ["hola"]

    def test_it_takes_its_place_behind_those_that_are_enabled(self, site):
        site.module("weather_plugin", SOURCE)
        site.distribution("thea-weather", plugins={"weather": "weather_plugin", "storm": "weather_plugin"})
        with running(Recording("given"), enabled=["weather"]) as app:
            app.plugins.enable("storm")
            assert [each.plugin for each in app.callbacks.chain("on_message")] == ["weather", "storm", "given"]

    def test_its_distributions_name_will_do(self, site):
        with running(enabled=["thea-weather"]) as app:
            assert app.states() == {"thea-weather": "failed"}
            site.plugin(SOURCE)
            app.plugins.enable("thea-weather")
            assert app.states() == {"weather": "running"}

    def test_one_that_failed_can_be_enabled_once_it_is_mended(self):
        class Moody(Recording):
            error: Exception | None = ValueError("boom")

            @hookimpl
            def on_startup(self, app):
                if self.error:
                    raise self.error

        moody = Moody("moody")
        with running(moody) as app:
            with pytest.raises(PluginLoadError, match="boom"):
                app.plugins.enable("moody")
            moody.error = None
            info = app.plugins.enable("moody")
            assert (info.state, info.reason) == ("running", "")
            app.say()
            assert moody.notes == [("message", "moody")]

    def test_one_whose_import_failed_is_imported_again(self, site):
        site.plugin("raise ValueError('boom')")
        with running(enabled=["weather"]) as app:
            site.module("weather_plugin", SOURCE + "\n    # mended\n")
            assert app.plugins.enable("weather").state == "running"

    def test_nothing_happens_where_it_runs_already(self):
        plugin = Recording("plugin")
        with running(plugin) as app:
            assert app.plugins.enable("plugin").state == "running"
            assert plugin.notes == [("start", "plugin")]

    def test_nothing_of_one_that_fails_is_in_any_chain_and_the_failure_is_told(self, site, tmp_path):
        site.plugin(SOURCE + "\n    @hookimpl\n    def on_startup(app):\n        raise SystemExit('boom')\n")
        file = StatusFile(tmp_path)
        with running(status_file=file) as app:
            with pytest.raises(PluginLoadError, match="cannot be started: SystemExit: boom"):
                app.plugins.enable("weather")
            assert app.callbacks.chain("on_message") == []
            assert app.states() == {"weather": "failed"}
            assert "boom" in app.reason("weather")
            assert file.read()["weather"].state == "failed"

    def test_a_secret_is_not_in_what_is_raised(self):
        class Leaky(Recording):
            @hookimpl
            def on_startup(self, app):
                raise ValueError("hunter2")

        with running(Leaky("leaky"), redact=lambda _name, text: text.replace("hunter2", "***")) as app:
            with pytest.raises(PluginLoadError) as caught:
                app.plugins.enable("leaky")
            assert "hunter2" not in str(caught.value)
            assert caught.value.__cause__ is None

    def test_a_name_that_nothing_has_is_refused(self, site):
        site.plugin(SOURCE)
        with running() as app, pytest.raises(PluginNotFoundError, match="did you mean 'weather'"):
            app.plugins.enable("wether")

    def test_an_installed_plugin_beside_an_object_of_its_name_is_refused(self, site):
        site.plugin(SOURCE)
        with running(Recording("weather")) as app:
            with pytest.raises(PluginConflictError, match="has a plugin 'weather' already"):
                app.plugins.enable("thea-weather")
            assert app.states() == {"weather": "running"}

    def test_two_of_one_name_stay_refused(self):
        with running(Recording("same"), Recording("same")) as app:
            with pytest.raises(PluginConflictError, match="two plugins are called 'same'"):
                app.plugins.enable("same")
            assert app.states() == {"same": "failed"}

    def test_two_enabled_of_one_name_stay_refused_too(self, site):
        site.plugin(SOURCE)
        with running(Recording("weather"), enabled=["weather"]) as app:
            with pytest.raises(PluginConflictError, match="two plugins are called 'weather'"):
                app.plugins.enable("weather")
            assert app.states() == {"weather": "failed"}

    def test_before_the_start_and_after_the_end_it_is_refused(self):
        app = Application(objects=[Recording("plugin")])
        with pytest.raises(PluginError, match="the application is not running"):
            app.plugins.enable("plugin")
        app.start()
        app.close()
        with pytest.raises(PluginError, match="the application is not running"):
            app.plugins.enable("plugin")

    def test_it_is_refused_within_on_startup_since_the_others_are_still_to_come(self):
        class Impatient(Recording):
            @hookimpl
            def on_startup(self, app):
                app.plugins.enable("other")

        with running(Impatient("impatient"), Recording("other")) as app:
            assert app.states() == {"impatient": "failed", "other": "running"}
            assert "the application is not running" in app.reason("impatient")

    def test_calls_that_have_begun_keep_their_chain(self):
        held, given = Held(), Recording("given")
        with running(held, given) as app:
            app.plugins.disable("given")
            call = in_thread(app.say)
            assert held.entered.wait(10)
            app.plugins.enable("given")
            held.let_go.set()
            call.join(10)
            assert ("message", "given") not in given.notes
            app.say()
            assert ("message", "given") in given.notes

    def test_a_callback_may_enable_another_plugin(self):
        other = Recording("other")

        class Enabling(Recording):
            @hookimpl
            def on_message(self, message):
                app.plugins.enable("other")

        with running(Enabling("enabling"), other) as app:
            app.plugins.disable("other")
            app.say()
            app.say()
            assert other.notes[-2:] == [("start", "other"), ("message", "other")]

    def test_an_asynchronous_callback_awaits_it_and_is_told_so(self):
        refused = []

        class Enabling(Recording):
            @hookimpl
            async def on_message(self, message):
                try:
                    app.plugins.enable("other")
                except ReentrancyError as error:
                    refused.append(str(error))
                await app.plugins.aenable("other")

        class Asynchronous(Recording):
            @hookimpl
            async def on_startup(self, app):
                await asyncio.sleep(0)

        with running(Enabling("enabling"), Asynchronous("other")) as app:
            app.plugins.disable("other")
            app.say()
            assert app.states() == {"enabling": "running", "other": "running"}
            assert "await aenable instead" in refused[0]

    def test_a_second_change_of_the_same_plugin_is_refused_while_the_first_is_under_way(self):
        starting, go_on = threading.Event(), threading.Event()

        class Slow(Recording):
            wait = False

            @hookimpl
            def on_startup(self, app):
                starting.set()
                if self.wait:
                    go_on.wait(10)

        slow = Slow("slow")
        with running(slow, Recording("other")) as app:
            app.plugins.disable("slow")
            slow.wait = True
            starting.clear()
            first = in_thread(lambda: app.plugins.enable("slow"))
            assert starting.wait(10)
            for change in (app.plugins.enable, app.plugins.disable):
                with pytest.raises(PluginError, match="being switched on or off already"):
                    change("slow")
            app.plugins.disable("other")  # another plugin is not in the way
            go_on.set()
            first.join(10)
            assert app.states() == {"slow": "running", "other": "disabled"}


class TestDisable:
    def test_it_is_out_of_the_chains_shut_down_and_recorded(self, tmp_path):
        plugin, file = Recording("plugin"), StatusFile(tmp_path)
        with running(plugin, status_file=file) as app:
            assert app.plugins.disable("plugin", timeout=3.0).state == "disabled"
            app.say()
            assert plugin.notes == [("start", "plugin"), ("stop", "plugin", 3.0)]
            assert file.read()["plugin"].state == "disabled"
        assert plugin.notes[-1] == ("stop", "plugin", 3.0)  # the end of the application does not shut it down again

    def test_its_distributions_name_will_do(self, site):
        site.plugin(SOURCE)
        with running(enabled=["weather"]) as app:
            assert app.plugins.disable("Thea_Weather").state == "disabled"

    def test_it_can_be_enabled_again(self):
        plugin = Recording("plugin")
        with running(plugin) as app:
            app.plugins.disable("plugin")
            app.plugins.enable("plugin")
            app.say()
            assert plugin.notes[-2:] == [("start", "plugin"), ("message", "plugin")]

    def test_nothing_happens_where_it_does_not_run(self):
        plugin = Recording("plugin")
        with running(plugin, object()) as app:
            app.plugins.disable("plugin")
            notes = list(plugin.notes)
            assert app.plugins.disable("plugin").state == "disabled"
            assert plugin.notes == notes
            assert app.plugins.disable("object").state == "disabled"

    def test_a_name_that_the_application_does_not_know_is_refused(self):
        with (
            running(Recording("plugin")) as app,
            pytest.raises(PluginNotFoundError, match=r"no plugin 'plugni' \(did you mean plugin\?\)"),
        ):
            app.plugins.disable("plugni")

    def test_calls_under_way_are_waited_for_before_it_is_shut_down(self):
        held = Held()
        with running(held) as app:
            call = in_thread(app.say)
            assert held.entered.wait(10)
            disabling = in_thread(lambda: app.plugins.disable("held", timeout=10))
            while app.callbacks.chain("on_message"):
                pass
            assert app.states() == {"held": "stopped"}
            held.let_go.set()
            for thread in (call, disabling):
                thread.join(10)
            assert held.notes == [("start", "held"), "message has ended", ("stop", "held", 10.0)]

    def test_calls_that_do_not_end_hold_it_up_for_the_time_that_was_given(self, caplog):
        held = Held()
        with running(held) as app:
            call = in_thread(app.say)
            assert held.entered.wait(10)
            assert app.plugins.disable("held", timeout=0.01).state == "disabled"
            assert "calls are still under way while the plugin 'held' is shut down" in caplog.text
            held.let_go.set()
            call.join(10)

    def test_from_async_code_tasks_of_the_same_loop_can_end_meanwhile(self):
        async def live():
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def waiting(message):
                begun.set()
                await go_on.wait()
                plugin.notes.append("task has ended")

            app.callbacks.register("on_message", waiting)
            call = asyncio.create_task(app.callbacks.atrigger("on_message", **MESSAGE))
            await begun.wait()
            disabling = asyncio.create_task(app.plugins.adisable("plugin"))
            await asyncio.sleep(0)
            assert app.states() == {"plugin": "stopped"}
            go_on.set()
            await disabling
            await call

        plugin = Recording("plugin")
        with running(plugin) as app:
            asyncio.run(live())
            assert app.states() == {"plugin": "disabled"}
            assert plugin.notes.index("task has ended") < plugin.notes.index(("stop", "plugin", 5.0))

    @pytest.mark.parametrize("error", [ValueError("boom"), SystemExit("boom")])
    def test_what_its_shutdown_raises_is_logged_once_and_it_is_disabled_all_the_same(self, caplog, error):
        class Broken(Recording):
            @hookimpl
            def on_shutdown(self, timeout):
                raise error

        with running(Broken("broken")) as app:
            assert app.plugins.disable("broken").state == "disabled"
            [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
            assert "plugin 'broken' (" in record.getMessage()
            assert f"cannot be shut down: {type(error).__name__}: boom" in record.getMessage()

    def test_a_shutdown_that_hangs_is_left_behind_when_the_time_is_up(self, caplog):
        go_on = threading.Event()

        class Hanging(Recording):
            @hookimpl
            def on_shutdown(self, timeout):
                go_on.wait(10)

        with running(Hanging("hanging")) as app:
            assert app.plugins.disable("hanging", timeout=0.01).state == "disabled"
            assert "plugin 'hanging' (" in caplog.text
            assert "its on_shutdown is still running" in caplog.text
            go_on.set()

    def test_an_asynchronous_shutdown_runs_on_the_plugins_loop_which_is_then_closed(self):
        class Asynchronous(Recording):
            @hookimpl
            async def on_shutdown(self):
                await asyncio.sleep(0)
                self.notes.append(threading.current_thread().name)

        plugin = Asynchronous("plugin")
        with running(plugin) as app:
            app.plugins.disable("plugin")
            assert plugin.notes[-1] == "thea-plugin"
            assert app.callbacks.loops.names() == []

    def test_an_event_loop_that_does_not_stop_is_left_behind_and_told(self, caplog):
        go_on, entered = threading.Event(), threading.Event()

        class Blocking(Recording):
            @hookimpl
            async def on_startup(self, app):
                asyncio.get_running_loop().call_later(0, self.block)

            def block(self):
                entered.set()
                go_on.wait(10)

        with running(Blocking("blocking")) as app:
            assert entered.wait(10)
            app.plugins.disable("blocking", timeout=0.0)
            assert "the event loop of the plugin 'blocking' did not stop in time" in caplog.text
            go_on.set()


class TestDisableWithinACall:
    def finished(self, app, name):
        """Wait for the rest that follows on a thread."""
        for thread in threading.enumerate():
            if thread.name == f"thea-{name}-end":
                thread.join(10)
        return app.states()[name] == "disabled"

    def test_a_callback_may_disable_its_own_plugin_which_is_shut_down_once_the_call_has_ended(self):
        class Tired(Recording):
            @hookimpl
            def on_message(self, message):
                self.notes.append(app.plugins.disable("tired").state)
                self.notes.append("callback has ended")

        plugin = Tired("tired")
        with running(plugin) as app:
            app.say()
            assert self.finished(app, "tired")
            assert plugin.notes == [("start", "tired"), "stopped", "callback has ended", ("stop", "tired", 5.0)]
            app.say()
            assert len(plugin.notes) == 4

    @pytest.mark.parametrize("awaited", [False, True])
    def test_an_asynchronous_callback_may_disable_its_own_plugin(self, awaited):
        class Tired(Recording):
            @hookimpl
            async def on_message(self, message):
                if awaited:
                    await app.plugins.adisable("tired")
                else:
                    app.plugins.disable("tired")
                self.notes.append("callback has ended")

            @hookimpl
            async def on_shutdown(self):
                self.notes.append("shut down")

        plugin = Tired("tired")
        with running(plugin) as app:
            app.say()
            assert self.finished(app, "tired")
            assert plugin.notes == [("start", "tired"), "callback has ended", "shut down"]
            assert app.callbacks.loops.names() == []

    def test_a_callback_may_disable_another_plugin_while_another_thread_disables_a_third(self):
        class Disabling(Held):
            @hookimpl
            def on_message(self, message):
                super().on_message(message)
                app.plugins.disable("second")

        disabling = Disabling("first")
        with running(disabling, Recording("second"), Recording("third")) as app:
            call = in_thread(app.say)
            assert disabling.entered.wait(10)
            other = in_thread(lambda: app.plugins.disable("third", timeout=10))
            while app.states()["third"] == "running":
                pass
            disabling.let_go.set()
            for thread in (call, other):
                thread.join(10)
            assert self.finished(app, "second")
            assert app.states() == {"first": "running", "second": "disabled", "third": "disabled"}

    def test_the_end_of_the_application_waits_for_the_rest(self):
        class Tired(Recording):
            @hookimpl
            def on_message(self, message):
                app.plugins.disable("tired")

        plugin = Tired("tired")
        with running(plugin) as app:
            app.say()
        assert app.states() == {"tired": "disabled"}
        assert plugin.notes == [("start", "tired"), ("stop", "tired", 5.0)]
