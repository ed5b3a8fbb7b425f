"""Starting: the phases, their order, and everything that may fail in them."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import SimpleNamespace

import pytest

from tests.plugins.running import Application, Recording, running
from tests.support import FakeClock, run_in_child
from thea_core.callbacks.steps import adrive, drive
from thea_core.errors import (
    ConfigError,
    PluginConflictError,
    PluginError,
    PluginLoadError,
    PluginNotFoundError,
    StoreUnavailableError,
)
from thea_core.markers import hookimpl, hookspec
from thea_core.plugins.entries import PluginInfo, PluginOptions
from thea_core.plugins.status import StatusFile


@pytest.fixture
def messages(caplog):
    """What was logged about plugins, as text, from WARNING on."""
    caplog.set_level(logging.WARNING, logger="thea_core.plugins")
    return lambda: [each.getMessage() for each in caplog.records if each.name == "thea_core.plugins"]


SOURCE = """
    from thea_core import hookimpl

    @hookimpl
    def on_message(message):
        seen.append("{name}")

    seen = []
"""


class TestPhases:
    def test_plugins_are_constructed_all_then_bring_hooks_then_are_checked_then_started(self, site):
        site.module(
            "noting",
            """
            from thea_core import hookimpl, hookspec
            notes = []

            class Specs:
                @hookspec
                def on_rain(self, city): ...

            class Base:
                def __init__(self):
                    notes.append(("construct", self.name))

                @hookimpl
                def provide_hookspecs(self):
                    notes.append(("hookspecs", self.name))
                    return Specs if self.name == "b" else None

                @hookimpl
                def on_startup(self, app):
                    notes.append(("start", self.name, len(app.callbacks.chain("on_rain"))))

                @hookimpl
                def on_rain(self, city):
                    notes.append(("rain", self.name))

            class A(Base):
                name = "a"

            class B(Base):
                name = "b"
            """,
        )
        site.distribution("thea-ab", plugins={"a": "noting:A", "b": "noting:B"})
        with running(enabled=["a", "b"]) as app:
            app.callbacks.trigger("on_rain", city="Oviedo")
            assert sys.modules["noting"].notes == [
                *(("construct", name) for name in "ab"),
                *(("hookspecs", name) for name in "ab"),
                *(("start", name, 0) for name in "ab"),  # no chain is published before all have started
                *(("rain", name) for name in "ab"),
            ]

    def test_ties_are_decided_by_the_source_and_the_place_in_its_list(self, site, monkeypatch):
        monkeypatch.chdir(site.root)
        for name in ("first", "second", "own"):
            site.module(name, SOURCE.format(name=name))
        site.distribution("thea-two", plugins={"zz": "first", "aa": "second"})
        given = Recording("given")
        with running(given, enabled=["zz", "aa"], modules=["own"]) as app:
            assert [each.plugin for each in app.callbacks.chain("on_message")] == ["zz", "aa", "own", "given"]

    def test_only_what_is_enabled_is_imported(self, site):
        site.module("wanted", SOURCE.format(name="wanted"))
        site.module("unwanted", "raise SystemExit('imported')")
        site.distribution("thea-both", plugins={"wanted": "wanted", "unwanted": "unwanted"})
        with running(enabled=["wanted"]) as app:
            assert app.states() == {"wanted": "running"}
            assert "unwanted" not in sys.modules

    def test_a_distributions_name_stands_for_its_only_plugin(self, site):
        site.plugin(SOURCE.format(name="weather"))
        with running(enabled=["Thea_Weather", "weather"]) as app:
            assert app.states() == {"weather": "running"}

    def test_the_operators_priority_replaces_the_plugins_own(self):
        low, high = Recording("low"), Recording("high")
        with running(low, high, tables={"high": PluginOptions(priority=5)}) as app:
            assert [each.plugin for each in app.callbacks.chain("on_message")] == ["high", "low"]

    def test_settings_come_from_the_operator_by_the_plugins_name(self, site):
        site.plugin(
            """
            from thea_core import hookimpl

            class Weather:
                Settings = dict

                def __init__(self, settings):
                    self.settings = settings

                @hookimpl
                def on_message(self, message):
                    print(self.settings)
            """,
            value="weather_plugin:Weather",
        )
        asked = []
        with running(enabled=["weather"], settings=lambda name, model: asked.append((name, model)) or {}) as app:
            assert asked == [("weather", dict)]
            assert app.states() == {"weather": "running"}

    def test_a_plugins_hooks_are_usable_by_another_whichever_comes_first(self):
        class Specs:
            @hookspec
            def on_rain(self, city): ...

        class Bringer(Recording):
            @hookimpl(specname="provide_hookspecs")
            async def bring(self):
                return Specs

        class User(Recording):
            @hookimpl
            def on_rain(self, city):
                self.notes.append(city)

        user = User("user")
        with running(user, Bringer("bringer")) as app:
            app.callbacks.trigger("on_rain", city="Vigo")
            assert user.notes == [("start", "user"), "Vigo"]

    def test_an_asynchronous_on_startup_runs_on_the_plugins_loop_before_the_start_returns(self):
        class Asynchronous(Recording):
            @hookimpl
            async def on_startup(self, app):
                import threading

                await asyncio.sleep(0)
                self.notes.append(threading.current_thread().name)

        plugin = Asynchronous("slow")
        with running(plugin) as app:
            assert plugin.notes == ["thea-slow"]
            assert app.states() == {"slow": "running"}

    def test_the_steps_can_be_awaited(self):
        class Asynchronous(Recording):
            @hookimpl
            async def on_startup(self, app):
                await asyncio.sleep(0)
                self.notes.append("started")

            @hookimpl
            async def on_shutdown(self):
                await asyncio.sleep(0)
                self.notes.append("stopped")

        plugin = Asynchronous("slow")

        async def live():
            app = Application(objects=[plugin])
            await adrive(app.plugins.load())
            await adrive(app.plugins.start(app))
            await adrive(app.plugins.shutdown(5.0))
            return app.states()

        assert asyncio.run(live()) == {"slow": "stopped"}
        assert plugin.notes == ["started", "stopped"]

    def test_two_applications_in_one_process_do_not_know_of_each_other(self):
        one, other = Recording("plugin"), Recording("plugin")
        with running(one) as first, running(other) as second:
            first.plugins.disable("plugin")
            second.say()
            assert first.states() == {"plugin": "disabled"}
            assert ("message", "plugin") in other.notes
            assert ("message", "plugin") not in one.notes


class TestStatus:
    def test_everything_known_of_a_plugin_is_told(self, site):
        site.plugin(SOURCE.format(name="weather"))
        options = PluginOptions(priority=3, required=True)
        with running(Recording("given"), enabled=["weather"], tables={"weather": options}) as app:
            assert (
                app.plugins.status()
                == list(app.plugins)
                == [
                    PluginInfo(
                        "weather", "thea-weather", "1.0", "enabled", "running", "", ("on_message",), 3, False, True
                    ),
                    PluginInfo(
                        "given",
                        None,
                        "",
                        "plugins=",
                        "running",
                        "",
                        ("on_message", "on_shutdown", "on_startup"),
                        None,
                        False,
                        False,
                    ),
                ]
            )

    def test_it_is_written_down_at_the_start_and_at_the_end(self, tmp_path):
        file = StatusFile(tmp_path)
        with running(Recording("good"), object(), status_file=file):
            assert {name: each.state for name, each in file.read().items()} == {"good": "running", "object": "failed"}
            assert file.read()["good"].hooks == ("on_message", "on_shutdown", "on_startup")
            assert "implements no hook" in file.read()["object"].reason
        assert file.read()["good"].state == "stopped"
        assert file.read()["object"].state == "failed"

    def test_nothing_is_written_where_there_is_no_plugin(self, tmp_path):
        with running(status_file=StatusFile(tmp_path)):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_of_what_never_ran_the_status_stays(self, tmp_path):
        file = StatusFile(tmp_path)
        with running(Recording("good"), status_file=file):
            pass
        before = file.read()["good"]
        with (
            pytest.raises(PluginLoadError),
            running(Recording("good"), object(), tables={"object": PluginOptions(required=True)}, status_file=file),
        ):
            pass
        assert file.read()["good"] == before

    def test_a_start_that_fails_is_written_down(self, tmp_path):
        file = StatusFile(tmp_path)
        with (
            pytest.raises(PluginLoadError),
            running(object(), tables={"object": PluginOptions(required=True)}, status_file=file),
        ):
            pass
        assert file.read()["object"].state == "failed"


class Hostile(Recording):
    """Raises in one phase what a test tells it to raise."""

    def __init__(self, phase: str, error: BaseException) -> None:
        super().__init__("hostile")
        self.phase = phase
        self.error = error

    @hookimpl
    def provide_hookspecs(self):
        self.fail("provide_hookspecs")

    @hookimpl
    def on_startup(self, app):
        self.fail("on_startup")

    def fail(self, phase):
        if phase == self.phase:
            raise self.error


class AsynchronouslyHostile(Hostile):
    @hookimpl
    async def provide_hookspecs(self):
        self.fail("provide_hookspecs")

    @hookimpl
    async def on_startup(self, app):
        self.fail("on_startup")


ERRORS = [
    ValueError("boom"),
    SystemExit(2),
    GeneratorExit("boom"),
    asyncio.CancelledError("boom"),
    RecursionError("boom"),
]


class TestFailures:
    @pytest.mark.parametrize("error", ERRORS, ids=lambda each: type(each).__name__)
    @pytest.mark.parametrize("kind", [Hostile, AsynchronouslyHostile])
    @pytest.mark.parametrize(
        ("phase", "step"), [("provide_hookspecs", "asked for its hooks"), ("on_startup", "started")]
    )
    def test_what_a_phase_raises_leaves_the_plugin_out_with_one_message_and_the_others_run(
        self, messages, phase, step, kind, error
    ):
        good = Recording("good")
        with running(kind(phase, error), good) as app:
            app.say()
            assert app.states() == {"hostile": "failed", "good": "running"}
            assert good.notes == [("start", "good"), ("message", "good")]
            [message] = messages()
            assert message.startswith("a plugin is left out: plugin 'hostile' (")
            assert f"cannot be {step}: {type(error).__name__}" in message
            assert "take it out of Thea(plugins=[...])" in message
            assert app.reason("hostile") in message
            assert app.callbacks.loops.names() == []

    @pytest.mark.parametrize("error", ["ValueError('boom')", "SystemExit(3)"])
    def test_what_an_import_raises_leaves_the_plugin_out(self, site, messages, error):
        site.plugin(f"raise {error}")
        with running(Recording("good"), enabled=["weather"]) as app:
            assert app.states() == {"weather": "failed", "good": "running"}
            [message] = messages()
            assert "cannot be imported" in message
            assert "thea plugins disable weather" in message

    def test_what_a_constructor_raises_leaves_the_plugin_out(self, site, messages):
        site.plugin("class Weather:\n def __init__(self): raise SystemExit", value="weather_plugin:Weather")
        with running(enabled=["weather"]) as app:
            assert app.states() == {"weather": "failed"}
            assert "cannot be constructed (Weather): SystemExit" in messages()[0]

    def test_settings_that_do_not_fit_leave_the_plugin_out(self, site, messages):
        def settings(name, model):
            raise ConfigError(["thea.toml:3: plugins.weather.settings.dsn is missing"])

        site.plugin(SOURCE.format(name="weather"))
        with running(enabled=["weather"], settings=settings) as app:
            assert app.states() == {"weather": "failed"}
            assert "thea.toml:3: plugins.weather.settings.dsn is missing" in messages()[0]

    def test_settings_for_an_object_are_refused_as_for_a_plugin_that_takes_none(self, messages):
        def settings(name, model):
            raise ConfigError([f"{name} takes no settings ({model})"])

        with running(Recording("given"), settings=settings) as app:
            assert app.states() == {"given": "failed"}
            assert "given takes no settings (None)" in messages()[0]

    def test_hooks_that_do_not_fit_leave_the_plugin_out(self, messages):
        class Misspelt:
            @hookimpl
            def on_mesage(self, message): ...

        with running(Misspelt(), Recording("good")) as app:
            assert app.states() == {"Misspelt": "failed", "good": "running"}
            assert "did you mean on_message?" in messages()[0]

    def test_unknown_states_leave_the_plugin_out_with_the_state_that_was_meant(self, messages):
        class Limited:
            @hookimpl(states=("executng", "idle"))
            def pre_transition(self, context): ...

        with running(Limited(), states=["idle", "executing"]) as app:
            assert app.states() == {"Limited": "failed"}
            assert "no such state (did you mean executing?); the states are: idle, executing" in messages()[0]

    def test_any_state_may_be_named_where_the_states_are_not_known(self):
        class Limited:
            @hookimpl(states=("whatever",))
            def pre_transition(self, context): ...

        with running(Limited()) as app:
            assert app.states() == {"Limited": "running"}

    def test_hook_specifications_that_cannot_be_added_leave_the_plugin_out(self, messages):
        class Bringer(Recording):
            @hookimpl
            def provide_hookspecs(self):
                return object()

        with running(Bringer("bringer")) as app:
            assert app.states() == {"bringer": "failed"}
            assert "mark its functions with @hookspec" in messages()[0]

    def test_an_object_that_cannot_be_looked_at_is_left_out(self, messages):
        class Opaque:
            def __dir__(self):
                raise SystemExit("no")

        with running(Opaque()) as app:
            assert app.states() == {"Opaque": "failed"}
            assert len(messages()) == 1

    def test_a_class_in_place_of_an_instance_is_left_out(self, messages):
        with running(Recording) as app:
            assert app.states() == {"Recording": "failed"}
            assert "Thea(plugins=[Recording()])" in messages()[0]

    @pytest.mark.usefixtures("lantern")
    def test_a_plugin_that_is_not_installed_is_left_out_with_the_command_that_installs_it(self, site, messages):
        with running(Recording("good"), enabled=["lantern"]) as app:
            assert app.states() == {"lantern": "failed", "good": "running"}
            assert messages() == ["a plugin is left out: thea-lantern is not installed: pip install thea-lantern"]

    def test_a_plugin_that_needs_another_version_is_left_out_before_it_is_imported(self, site, messages):
        site.module("weather_plugin", "raise AssertionError('imported')")
        site.distribution("thea-core", version="0.1.0")
        site.distribution("thea-weather", plugins={"weather": "weather_plugin"}, requires=["thea-core>=99"])
        with running(enabled=["weather"]) as app:
            assert app.states() == {"weather": "failed"}
            assert "requires thea-core >=99" in messages()[0]

    def test_a_name_that_two_distributions_offer_is_left_out_and_names_both(self, site, messages):
        for distribution in ("acme-weather", "thea-weather"):
            site.distribution(distribution, plugins={"weather": "weather_plugin"})
        with running(enabled=["weather"]) as app:
            assert app.states() == {"weather": "failed"}
            assert "acme-weather 1.0" in messages()[0]
            assert "thea-weather 1.0" in messages()[0]

    def test_two_plugins_of_one_name_are_both_left_out_with_one_message(self, messages):
        with running(Recording("same"), Recording("good"), Recording("same"), Recording("same")) as app:
            assert app.states() == {"same": "failed", "good": "running"}
            [message] = messages()
            assert "two plugins are called 'same'" in message

    def test_ctrl_c_is_never_taken_for_a_failure(self):
        app = Application(objects=[Hostile("on_startup", KeyboardInterrupt())])
        with pytest.raises(KeyboardInterrupt):
            app.start()
        app = Application(objects=[AsynchronouslyHostile("on_startup", KeyboardInterrupt())])
        with pytest.raises(KeyboardInterrupt):
            app.start()
        app.close()

    def test_a_cancelled_start_passes_and_is_not_the_plugins_failure(self):
        async def live():
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            class Waiting(Recording):
                @hookimpl
                async def on_startup(self, app):
                    loop.call_soon_threadsafe(begun.set)
                    await asyncio.Event().wait()

            app = Application(objects=[Waiting("waiting")])
            drive(app.plugins.load())
            task = asyncio.create_task(adrive(app.plugins.start(app)))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert app.states() == {"waiting": "stopped"}
            app.close()

        asyncio.run(live())

    def test_a_log_handler_that_raises_stops_nothing(self):
        def refuse(record):
            raise OSError("no log")

        logger = logging.getLogger("thea_core.plugins")
        logger.addFilter(refuse)
        try:
            with running(object(), Recording("good")) as app:
                assert app.states() == {"object": "failed", "good": "running"}
        finally:
            logger.removeFilter(refuse)


class TestRequired:
    REQUIRED = PluginOptions(required=True)

    def test_a_failure_is_fatal_after_those_that_were_started_are_shut_down(self, messages):
        notes = []
        plugins = Recording("first", notes), Hostile("on_startup", ValueError("boom")), Recording("last", notes)
        with (
            pytest.raises(
                PluginLoadError, match=r"boom(.|\n)*take required = true out of \[plugins.hostile\]"
            ) as caught,
            running(*plugins, tables={"hostile": self.REQUIRED}),
        ):
            pass
        assert caught.value.plugin == "hostile"
        assert isinstance(caught.value.__cause__, ValueError)
        assert notes == [("start", "first"), ("stop", "first", 5.0)]
        assert messages() == []

    @pytest.mark.usefixtures("lantern")
    def test_one_that_is_not_installed_is_fatal_by_whichever_name_it_is_enabled(self, site):
        for name in ("lantern", "thea-lantern", "Thea_Lantern"):
            with (
                pytest.raises(PluginNotFoundError, match="pip install thea-lantern"),
                running(enabled=[name], tables={"lantern": self.REQUIRED}),
            ):
                pass

    def test_two_of_one_name_are_fatal(self):
        with pytest.raises(PluginConflictError), running(object(), object(), tables={"object": self.REQUIRED}):
            pass


class TestWithoutPlugins:
    def test_none_is_imported_and_all_are_told(self, site):
        site.plugin("raise AssertionError('imported')")
        given = Recording("given")
        with running(given, enabled=["weather"], no_plugins=True) as app:
            app.say()
            assert app.states() == {"weather": "disabled", "given": "disabled"}
            assert "without plugins" in app.reason("given")
            assert given.notes == []

    def test_one_can_be_enabled_all_the_same(self):
        given = Recording("given")
        with running(given, no_plugins=True) as app:
            app.plugins.enable("given")
            app.say()
            assert given.notes == [("start", "given"), ("message", "given")]


class TestSecrets:
    def test_they_are_taken_out_of_message_status_and_traceback(self, caplog, tmp_path):
        caplog.set_level(logging.DEBUG, logger="thea_core.plugins")
        hostile = Hostile("on_startup", ValueError("cannot connect to https://hunter2@host"))
        file = StatusFile(tmp_path)
        redact = lambda name, text: text.replace("hunter2", "***") if name == "hostile" else text  # noqa: E731
        with running(hostile, redact=redact, status_file=file) as app:
            assert "https://***@host" in app.reason("hostile")
        assert "hunter2" not in caplog.text
        assert "Traceback" in caplog.text
        assert "hunter2" not in file.path.read_text()

    def test_an_exception_with_a_secret_is_not_the_cause_of_what_is_raised(self):
        hostile = Hostile("on_startup", ValueError("hunter2"))
        with (
            pytest.raises(PluginLoadError) as caught,
            running(
                hostile,
                tables={"hostile": PluginOptions(required=True)},
                redact=lambda _name, text: text.replace("hunter2", "***"),
            ),
        ):
            pass
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


class FakeStore:
    """Has what a store must have."""

    begin = enqueue = dequeue = renew_places = renew = release = commit = load = print
    claim_expired = purge_messages = purge_conversations = close = print


class Maker(Recording):
    def __init__(self, name, offer, notes=None):
        super().__init__(name, notes)
        self.offer = offer

    @hookimpl
    def create_store(self, url):
        self.notes.append(("store", self.name, url))
        if isinstance(self.offer, BaseException):
            raise self.offer
        return self.offer


class TestMakeStore:
    def make(self, *plugins):
        app = Application(objects=plugins)
        drive(app.plugins.load())
        store = drive(app.plugins.make_store("redis:", app))
        drive(app.plugins.start(app))
        return app, store

    def test_plugins_that_have_create_store_are_started_first_and_once(self):
        notes, store = [], FakeStore()
        app, made = self.make(Recording("plain", notes), Maker("maker", store, notes))
        assert made is store
        assert notes == [("start", "maker"), ("store", "maker", "redis:"), ("start", "plain")]
        assert app.states() == {"plain": "running", "maker": "running"}

    def test_the_first_in_the_order_of_the_chain_that_returns_one_is_taken(self):
        store = FakeStore()
        makers = Maker("none", None), Maker("raising", SystemExit()), Maker("lying", object()), Maker("good", store)
        app, made = self.make(*makers, Maker("late", FakeStore()))
        assert made is store
        assert app.states()["raising"] == "running"

    def test_a_store_that_does_anything_when_it_is_asked_is_none(self):
        class Odd:
            def __getattr__(self, name):
                raise SystemExit(name)

        with pytest.raises(StoreUnavailableError, match="the plugin odd "):
            self.make(Maker("odd", Odd()))

    def test_why_no_store_could_be_made_is_said(self):
        with pytest.raises(StoreUnavailableError, match=r"the plugin maker \(OSError: server is down\) failed at it"):
            self.make(Maker("none", None), Maker("maker", OSError("server is down")))

    def test_a_maker_that_does_not_start_is_not_asked(self, messages):
        class Broken(Maker):
            @hookimpl
            def on_startup(self, app):
                raise ValueError("boom")

        broken = Broken("broken", FakeStore())
        app, made = self.make(broken)
        assert made is None
        assert broken.notes == []
        assert app.states() == {"broken": "failed"}

    def test_the_plugin_that_made_it_cannot_be_disabled(self):
        app, _ = self.make(Maker("maker", FakeStore()))
        with pytest.raises(PluginError, match="keeps the conversations"):
            app.plugins.disable("maker")
        assert app.states() == {"maker": "running"}


def test_a_forked_child_can_use_the_plugins_though_a_change_is_under_way_in_the_parent(tmp_path):
    plugin, children = Recording("plugin"), []

    class Forking(Recording):
        @hookimpl
        def on_shutdown(self, timeout):
            children.append(run_in_child(use))

    def use():
        app.plugins.disable("plugin")
        app.plugins.enable("plugin")
        return app.states()["plugin"] == "running"

    with running(plugin, Forking("forking"), status_file=StatusFile(tmp_path)) as app:
        app.plugins.disable("forking")
    assert children == [True]


def test_time_comes_from_the_injected_clock(tmp_path):
    file = StatusFile(tmp_path)
    with running(Recording("plugin"), status_file=file):
        assert file.read()["plugin"].when == FakeClock().now()


def test_a_module_can_be_given(site):
    site.module("own", SOURCE.format(name="own"))
    import own

    with running(own, SimpleNamespace(name="nothing")) as app:
        app.say()
        assert own.seen == ["own"]
        assert app.states() == {"own": "running", "nothing": "failed"}
