"""How long a plugin may take to be loaded, to tell its hooks, and to start; one that takes longer is left out."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from tests.plugins.running import Application, Recording, running
from thea_core import CallbackTimeoutError, PluginLoadError, StoreUnavailableError, hookimpl
from thea_core.callbacks.steps import adrive, drive
from thea_core.plugins.entries import PluginOptions
from thea_core.plugins.settings import validated

SHORT = 0.5  # long enough for all that does not hang
LIMIT = "did not come back within 0.5 s ([plugins] startup_timeout)"

IMPORT = "opened.wait(20)"
CONSTRUCTOR = """
    class Weather:
        def __init__(self):
            opened.wait(20)
"""
SETTINGS = """
    from pydantic import BaseModel, field_validator

    class Settings(BaseModel):
        city: str = "Oviedo"

        @field_validator("city")
        @classmethod
        def check(cls, value):
            opened.wait(20)
            return value

        model_config = {"validate_default": True}

    class Weather:
        Settings = Settings

        def __init__(self, settings): ...

        @hookimpl
        def on_message(self): ...
"""
ATTRIBUTES = """
    class Weather:
        @hookimpl
        def on_message(self): ...

        @property
        def delivery(self):
            opened.wait(20)
"""
HOOKSPECS = """
    class Weather:
        @hookimpl
        def provide_hookspecs(self):
            opened.wait(20)
"""
STARTUP = """
    class Weather:
        @hookimpl
        def on_startup(self, app):
            opened.wait(20)
"""
ASYNC_STARTUP = """
    import asyncio

    class Weather:
        @hookimpl
        async def on_startup(self, app):
            await asyncio.Event().wait()
"""
BLOCKING_STARTUP = """
    class Weather:
        @hookimpl
        async def on_startup(self, app):
            opened.wait(20)
"""

PHASES = {
    "import": (IMPORT, "loaded: its import"),
    "settings": (SETTINGS, "loaded: the check of its settings"),
    "constructor": (CONSTRUCTOR, "loaded: its constructor"),
    "attributes": (ATTRIBUTES, "registered: to look at its attributes"),
    "provide_hookspecs": (HOOKSPECS, "asked for its hooks: its provide_hookspecs"),
    "on_startup": (STARTUP, "started: its on_startup"),
    "async on_startup": (ASYNC_STARTUP, "started: its on_startup"),
    "async on_startup that blocks its loop": (BLOCKING_STARTUP, "started: its on_startup"),
}


SOME = ["constructor", "provide_hookspecs", "on_startup"]
"""Enough where the phases have everything in common: each test waits."""


@pytest.fixture
def phase():
    """Where the plugin hangs."""
    return "on_startup"


@pytest.fixture
def hanging(phase, site):
    """A plugin that hangs, installed as ``weather``, until it is opened; gives where it is said to hang."""
    source, words = PHASES[phase]
    head = "import threading\nfrom thea_core import hookimpl\nimport opening\nopened = opening.opened\n"
    site.module("opening", "import threading\nopened = threading.Event()\n")
    body = "\n".join(line.removeprefix("    ") for line in source.splitlines())
    site.module("weather_plugin", head + body)
    value = "weather_plugin" if phase == "import" else "weather_plugin:Weather"
    site.distribution("thea-weather", plugins={"weather": value})
    import opening  # type: ignore[import-not-found]

    yield words
    opening.opened.set()


def options(**more):
    return {
        "enabled": ["weather"],
        "settings": lambda name, model: None if model is None else validated(model, {}, plugin=name),
        "startup_timeout": SHORT,
        **more,
    }


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.DEBUG, logger="thea_core.plugins")

    def of(level):
        return [
            each.getMessage() for each in caplog.records if each.name == "thea_core.plugins" and each.levelno == level
        ]

    return of


class TestWhereTheTimeIsUp:
    @pytest.mark.parametrize("phase", PHASES)
    def test_the_plugin_is_left_out_with_one_message_and_the_others_run(self, hanging, messages):
        other = Recording("other")
        with running(other, **options()) as app:
            app.say()
            assert app.states() == {"weather": "failed", "other": "running"}
            assert [each[0] for each in other.notes] == ["start", "message"]
            (told,) = messages(logging.ERROR)
            assert told == f"a plugin is left out: {app.reason('weather')}"
        assert messages(logging.WARNING) == []
        assert f"plugin 'weather' (thea-weather 1.0) cannot be {hanging} {LIMIT}. " in told
        assert "thea plugins disable weather" in told
        assert "raise that limit" in told
        (trace,) = messages(logging.DEBUG)
        assert "It was hanging at:" in trace
        assert "weather_plugin.py" in trace

    @pytest.mark.parametrize("phase", SOME)
    def test_a_required_one_is_fatal(self, hanging):
        tables = {"weather": PluginOptions(required=True)}
        app = Application(**options(tables=tables))
        with pytest.raises(PluginLoadError, match="The plugin is required") as raised:
            app.start()
        assert LIMIT in str(raised.value)
        app.close()

    @pytest.mark.parametrize("phase", SOME)
    def test_to_enable_it_is_refused_and_the_application_runs_on(self, hanging):
        other = Recording("other")
        with running(other, **options(enabled=[])) as app:
            for _ in range(2):
                with pytest.raises(PluginLoadError) as raised:
                    app.plugins.enable("weather")
                assert f"cannot be {hanging} {LIMIT}" in str(raised.value)
            app.say()
            assert app.states() == {"weather": "failed", "other": "running"}

    @pytest.mark.parametrize("phase", SOME)
    def test_an_event_loop_goes_on_meanwhile(self, hanging):
        async def main():
            app, ticks, done = Application(**options()), 0, asyncio.Event()

            async def tick():
                nonlocal ticks
                while not done.is_set():
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            await adrive(app.plugins.load())
            await adrive(app.plugins.start(app))
            done.set()
            await ticking
            states = app.states()
            await adrive(app.plugins.shutdown(1.0))
            app.callbacks.close(1.0)
            return ticks, states

        ticks, states = asyncio.run(main())
        assert states == {"weather": "failed"}
        assert ticks > 2

    @pytest.mark.parametrize("phase", PHASES)
    def test_what_is_done_late_changes_nothing(self, hanging, site):
        import opening  # type: ignore[import-not-found]

        before = set(threading.enumerate())
        with running(Recording("other"), **options()) as app:
            hung = {each for each in threading.enumerate() if each.name.startswith("thea-weather")} - before
            opening.opened.set()
            for thread in hung:
                thread.join(20)
                assert not thread.is_alive()
            app.say()
            assert app.states() == {"weather": "failed", "other": "running"}
            assert [each.plugin for each in app.callbacks.chain("on_message")] == ["other"]
            (entry,) = [each for each in app.plugins._registry.entries if each.name == "weather"]  # noqa: SLF001
            assert (entry.plugin, entry.binding) == (None, None)


class Hanging(Recording):
    """Hangs in one of its hooks, until it is opened."""

    def __init__(self, name="hanging"):
        super().__init__(name)
        self.opened = threading.Event()

    def hang(self):
        self.opened.wait(20)


class Maker(Hanging):
    @hookimpl
    def create_store(self, url):
        self.hang()


class AsyncMaker(Hanging):
    @hookimpl
    async def create_store(self, url):
        await asyncio.Event().wait()


@pytest.mark.parametrize("kind", [Maker, AsyncMaker])
def test_a_store_that_never_opens_is_none(kind):
    maker = kind()
    app = Application(objects=[maker], startup_timeout=SHORT)
    drive(app.plugins.load())
    with pytest.raises(StoreUnavailableError) as raised:
        drive(app.plugins.make_store("x:", app))
    assert f"the plugin hanging (CallbackTimeoutError: its create_store {LIMIT}) failed at it" in str(raised.value)
    maker.opened.set()
    app.close()


class TestWithoutALimit:
    def test_each_phase_takes_as_long_as_it_takes(self):
        class Slow(Hanging):
            @hookimpl
            def on_startup(self, app):
                self.hang()
                self.notes.append(threading.current_thread())

        slow = Slow()
        threading.Timer(0.0, slow.opened.set).start()
        with running(slow, startup_timeout=None) as app:
            assert app.states() == {"hanging": "running"}
        assert slow.notes[0] is threading.current_thread()

    def test_a_plugin_is_loaded_in_the_thread_of_the_start(self, site):
        source = "import threading\nfrom thea_core import hookimpl\nloader = threading.get_ident()\n"
        site.plugin(source + "@hookimpl\ndef on_message(): ...\n")
        with running(enabled=["weather"], startup_timeout=None) as app:
            assert app.states() == {"weather": "running"}
            assert sys.modules["weather_plugin"].loader == threading.get_ident()


def test_an_error_of_its_own_about_time_keeps_its_words():
    class Failing(Recording):
        @hookimpl
        def on_startup(self, app):
            raise CallbackTimeoutError("my own", 3.0)

    with running(Failing("failing"), startup_timeout=SHORT) as app:
        assert "cannot be started: my own" in app.reason("failing")


@pytest.mark.parametrize("hook", ["import", "on_startup"])
def test_the_command_shows_the_order_without_it(site, tmp_path, hook):
    """It loads the plugins in its own process, and ends although a thread of theirs never does."""
    hang = "threading.Event().wait()"
    source = hang if hook == "import" else f"@hookimpl\ndef on_startup(app): {hang}\n@hookimpl\ndef on_error(): ..."
    (tmp_path / "slow.py").write_text(f"import threading\nfrom thea_core import hookimpl\n{source}\n", encoding="utf-8")
    quick = "from thea_core import hookimpl\n@hookimpl\ndef on_error(): ...\n"
    (tmp_path / "quick.py").write_text(quick, encoding="utf-8")
    (tmp_path / "thea.toml").write_text(
        '[plugins]\nmodules = ["slow", "quick"]\nstartup_timeout = "1s"\n', encoding="utf-8"
    )
    command = [Path(sysconfig.get_path("scripts")) / "thea", "plugins", "order", "on_error"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("THEA")}
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "quick" in ended.stdout
    assert "slow" not in ended.stdout
    assert "did not come back within 1 s ([plugins] startup_timeout)" in ended.stderr
