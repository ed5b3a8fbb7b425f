"""These tests start a process each: what they prove cannot be seen inside one."""

from __future__ import annotations

import math
import os
import select
import sys
from textwrap import dedent

import pytest

from thea_core.callbacks.hooks import Kind
from thea_core.errors import PluginNotFoundError
from thea_core.plugins import inspection
from thea_core.plugins.conditions import Conditions
from thea_core.plugins.discovery import Candidate
from thea_core.plugins.entries import PluginOptions
from thea_core.plugins.inspection import HookInfo, SettingInfo, inspect_plugin

GOOD = """
import pydantic
from thea_core.markers import hookimpl

class Weather:
    class Settings(pydantic.BaseModel):
        town: str = pydantic.Field("Lima", description="where")

    def __init__(self, settings):
        print("constructed for", settings.town)

    @hookimpl(priority=7, states=("executing",))
    def pre_transition(self, context): ...
"""
HEARS = """
from thea_core.markers import hookimpl

@hookimpl
def on_message(user_id): ...
"""
NEVER = 60.0
"""Seconds: a limit that is not reached."""


def test_a_plugin_is_loaded_and_described_but_not_in_this_process(site):
    site.plugin(GOOD, value="weather_plugin:Weather")
    found = inspect_plugin("weather", settings={"town": "Cusco"}, timeout=NEVER)
    assert found.error is None
    assert found.hooks == (
        HookInfo(
            "pre_transition",
            "Weather.pre_transition",
            7,
            states=("executing",),
            kind="transition",
            timeout=2.0,
        ),
    )
    assert found.settings == (SettingInfo("town", "str", required=False, default="'Lima'", description="where"),)
    assert found.file == str(site.root / "weather_plugin.py")
    assert found.output == "constructed for Cusco\n"
    assert "weather_plugin" not in sys.modules


def test_what_the_model_declares_secret_does_not_come_back_either(site):
    site.plugin(
        """
        import sys
        import pydantic

        class Settings(pydantic.BaseModel):
            town: pydantic.SecretStr

        class Weather:
            Settings = Settings

            def __init__(self, settings):
                print(settings.town.get_secret_value(), file=sys.stderr)
                raise RuntimeError(f"no {settings.town.get_secret_value()}")
        """,
        value="weather_plugin:Weather",
    )
    found = inspect_plugin("weather", settings={"town": "swordfish"}, timeout=NEVER)
    assert "RuntimeError: no ***" in (found.error or "")
    assert "swordfish" not in repr(found)


def test_secrets_do_not_come_back(site):
    site.plugin(GOOD, value="weather_plugin:Weather")
    found = inspect_plugin("weather", settings={"town": "swordfish"}, secrets=["sword", "swordfish", ""], timeout=NEVER)
    assert found.output == "constructed for ***\n"


def test_what_a_plugin_prints_is_kept_apart_from_the_answer(site):
    source = """
        import os, subprocess, sys
        print('{"stage": "done"}')
        print("to the other", file=sys.stderr)
        os.write(1, b"past Python \\xff\\n")
        subprocess.run(["sh", "-c", "echo from a child"])
    """
    found = inspect_plugin(site.plugin(dedent(source) + HEARS), timeout=NEVER)
    assert found.error is None
    assert found.output == '{"stage": "done"}\nto the other\npast Python \N{REPLACEMENT CHARACTER}\nfrom a child\n'


def test_of_endless_output_the_start_is_kept(site):
    found = inspect_plugin(site.plugin("for _ in range(5000): print('x' * 99)" + HEARS), timeout=NEVER)
    assert found.error is None
    assert len(found.output) == 16_384


@pytest.mark.parametrize("source", ["raise ValueError('bad')", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_a_plugin_that_raises_at_import_is_an_error_that_names_it(site, source):
    found = inspect_plugin(site.plugin(source), timeout=NEVER)
    assert found.error is not None
    assert found.error.startswith("plugin 'weather' (thea-weather 1.0)")
    assert found.hooks == ()


@pytest.mark.parametrize(
    ("source", "ending"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 1)", "killed by signal "),
    ],
)
def test_a_plugin_that_ends_its_process_is_told_with_the_stage_and_the_end(site, source, ending):
    found = inspect_plugin(site.plugin(source), timeout=NEVER)
    assert found.error is not None
    assert f"ended the process in which it was being imported ({ending}" in found.error
    assert "Tell its author" in found.error


@pytest.mark.skipif(sys.platform != "linux", reason="watches a process by its descriptor")
def test_a_plugin_that_hangs_is_stopped_with_what_it_has_started(site, tmp_path):
    child = tmp_path / "child"
    source = f"""
        import pathlib, subprocess, threading
        process = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(child)!r}).write_text(str(process.pid))
        threading.Event().wait()
    """
    found = inspect_plugin(site.plugin(source), timeout=3.0)
    assert found.error is not None
    assert "plugin 'weather' (thea-weather 1.0) hangs: it was still being imported after 3 s, and was stopped" in (
        found.error
    )
    assert _ends(int(child.read_text()))


def test_a_plugin_that_leaves_threads_and_processes_behind_does_not_hold_up_the_answer(site):
    source = """
        import subprocess, threading
        threading.Thread(target=threading.Event().wait).start()
        subprocess.Popen(["sleep", "600"])
    """
    found = inspect_plugin(site.plugin(dedent(source) + HEARS), timeout=NEVER)
    assert found.error is None
    assert found.duration < NEVER


def test_a_plugin_that_reads_its_input_gets_an_end_of_file(site):
    found = inspect_plugin(site.plugin("input('password: ')"), timeout=NEVER)
    assert found.error is not None
    assert "EOFError" in found.error


def test_a_plugin_that_does_not_fit_is_refused_without_a_process(site, monkeypatch):
    site.distribution("thea-core", version="0.1")
    candidate = Candidate("weather", "w", distribution="thea-weather", requires=("thea-core>=99",))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = inspect_plugin(candidate)
    assert found.error is not None
    assert "requires thea-core >=99" in found.error


def test_a_module_of_the_configuration_is_inspected_like_a_plugin(site):
    site.module("myapp.hooks", "from thea_core.markers import hookimpl\n@hookimpl\ndef on_message(user_id): ...")
    found = inspect_plugin(Candidate.of_module("myapp.hooks"), timeout=NEVER)
    assert [each.hook for each in found.hooks] == ["on_message"]


def test_it_is_bound_on_the_conditions_of_the_application(site):
    conditions = Conditions(PluginOptions(timeout=math.inf, delivery="durable"), timeout=0.5, states=("idle",))
    (hook,) = inspect_plugin(site.plugin(HEARS), conditions=conditions, timeout=NEVER).hooks
    assert (hook.kind, hook.timeout, hook.limited, hook.delivery) == ("event", None, False, "durable")


def test_a_plugin_that_does_not_fit_its_hooks_is_an_error_that_says_what_it_has(site):
    found = inspect_plugin(site.plugin(HEARS.replace("user_id", "user")), timeout=NEVER)
    assert "cannot be registered" in (found.error or "")
    assert [(each.hook, each.kind, each.limited) for each in found.hooks] == [("on_message", "", None)]


def test_hooks_that_it_adds_and_hooks_that_nobody_knows_are_told_apart(site):
    source = """
        from thea_core import hookimpl, hookspec

        class Specs:
            @hookspec
            def on_rain(self): ...

        @hookimpl
        def provide_hookspecs(): return Specs()

        @hookimpl
        def on_rain(): ...

        @hookimpl
        def on_snow(): ...
    """
    found = inspect_plugin(site.plugin(source), timeout=NEVER)
    assert (found.error, found.adds) == (None, ("on_rain",))
    assert {each.hook: (each.kind, each.limited) for each in found.hooks} == {
        "provide_hookspecs": ("lifecycle", None),
        "on_rain": ("event", True),
        "on_snow": ("", None),
    }
    ((hook, text),) = found.unknown
    assert hook == "on_snow"
    assert "implements 'on_snow', and there is no such hook" in text


def test_kinds_of_hooks_have_the_names_that_they_have_elsewhere():
    names = {each.name.lower() for each in Kind}
    assert {inspection.EVENT, inspection.LIFE_CYCLE} == {Kind.EVENT.name.lower(), Kind.LIFECYCLE.name.lower()} < names


def test_a_name_that_no_plugin_has_is_refused():
    with pytest.raises(PluginNotFoundError):
        inspect_plugin("no-such-plugin")


def _ends(process: int) -> bool:
    """Tell whether a process has ended, or ends within a minute."""
    try:
        watched = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], NEVER)[0])
    finally:
        os.close(watched)
