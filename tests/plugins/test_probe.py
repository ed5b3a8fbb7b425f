from __future__ import annotations

import json
import math
import sys

import pytest

from thea_core.plugins.conditions import Conditions
from thea_core.plugins.discovery import Candidate
from thea_core.plugins.entries import PluginOptions
from thea_core.plugins.probe import examine, hooks_of

SOURCE = """
import pydantic
from thea_core.markers import hookimpl

class Settings(pydantic.BaseModel):
    town: str

class Weather:
    Settings = Settings
    not_a_hook = 3

    def __init__(self, settings):
        self.settings = settings

    @hookimpl(priority=7)
    def on_message(self, user_id): ...

    @hookimpl(tryfirst=True, states=("executing",))
    def pre_transition(self, context): ...

    @hookimpl(trylast=True, specname="on_error")
    def note(self, error): ...

    @hookimpl(wrapper=True)
    def on_intent_detected(self, intent):
        yield
"""

HEARS = """
from thea_core.markers import hookimpl

@hookimpl
def on_message(user_id): ...
"""


def examined(candidate: Candidate, settings=None, conditions: Conditions | None = None) -> list[dict]:
    parts: list[dict] = []
    examine(candidate, settings, parts.append, conditions or Conditions())
    return parts


def bound(site, source: str, conditions: Conditions | None = None) -> dict[str, dict]:
    """Return what is found of each callback, by hook."""
    last = examined(site.plugin(source), conditions=conditions)[-1]
    assert "error" not in last
    return {each["hook"]: each for each in last["hooks"]}


def test_each_stage_is_told_before_it_begins(site):
    candidate = site.plugin(SOURCE, value="weather_plugin:Weather")
    parts = examined(candidate, {"town": "Lima"})
    assert [each["stage"] for each in parts] == ["imported", "constructed", "examined", "registered", "done"]


def test_file_and_settings_are_known_once_the_plugin_is_imported(site):
    candidate = site.plugin(SOURCE, value="weather_plugin:Weather")
    parts = examined(candidate)
    assert parts[1]["file"] == str(site.root / "weather_plugin.py")
    assert [each["name"] for each in parts[1]["settings"]] == ["town"]
    assert "[plugins.weather.settings] town: Field required" in parts[-1]["error"]


def test_hooks_are_told_with_their_order(site):
    candidate = site.plugin(SOURCE, value="weather_plugin:Weather")
    hooks = {each.pop("hook"): each for each in examined(candidate, {"town": "Lima"})[-1]["hooks"]}
    marks = {"priority": 0, "position": "", "states": [], "wrapper": False, "optional": False}
    plain = {**marks, "kind": "event", "timeout": 2.0, "delivery": "inline", "is_async": False}
    assert hooks == {
        "on_message": {**plain, "callback": "Weather.on_message", "priority": 7},
        "pre_transition": {
            **plain,
            "callback": "Weather.pre_transition",
            "position": "first",
            "states": ["executing"],
            "kind": "transition",
        },
        "on_error": {**plain, "callback": "Weather.note", "position": "last"},
        "on_intent_detected": {**plain, "callback": "Weather.on_intent_detected", "wrapper": True, "timeout": None},
    }


def test_a_module_has_hooks_too(site):
    source = "from thea_core.markers import hookimpl\n@hookimpl\ndef on_message(user_id): ..."
    parts = examined(site.plugin(source))
    assert parts[1]["file"] == str(site.root / "weather_plugin.py")
    assert [each["hook"] for each in parts[-1]["hooks"]] == ["on_message"]


def test_a_module_of_the_working_directory_is_found(site, tmp_path, monkeypatch):
    (tmp_path / "myhooks.py").write_text(HEARS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert [each["hook"] for each in examined(Candidate.of_module("myhooks"))[-1]["hooks"]] == ["on_message"]


def test_a_plugin_that_cannot_be_looked_at_is_an_error(site):
    candidate = site.plugin("class Weather:\n def __dir__(self): raise SystemExit", value="weather_plugin:Weather")
    assert "cannot be examined: SystemExit" in examined(candidate)[-1]["error"]


def test_what_carries_no_marker_is_no_hook():
    assert list(hooks_of(object())) == []


class TestBinding:
    def test_limits_are_the_authors_or_the_default(self, site):
        source = """
            from thea_core import hookimpl

            @hookimpl
            async def on_message(user_id): ...

            @hookimpl(timeout=None)
            def on_error(user_id): ...

            @hookimpl(timeout=0.25)
            def on_state_change(user_id): ...

            @hookimpl
            def detect_intents(message): ...
        """
        found = bound(site, source, Conditions(timeout=0.5, timeouts={"detect_intents": None}))
        assert {hook: each["timeout"] for hook, each in found.items()} == {
            "on_message": 0.5,
            "on_error": None,
            "on_state_change": 0.25,
            "detect_intents": None,
        }
        assert found["on_message"]["is_async"]
        assert {each["kind"] for each in found.values()} == {"event", "collect"}

    @pytest.mark.parametrize(("limit", "counts"), [(9.0, 9.0), (math.inf, None)])
    def test_the_operators_limit_replaces_them(self, site, limit, counts):
        source = HEARS.replace("@hookimpl", "@hookimpl(timeout=0.25)")
        assert bound(site, source, Conditions(PluginOptions(timeout=limit)))["on_message"]["timeout"] == counts

    def test_only_events_go_to_a_queue(self, site):
        source = HEARS + "\n@hookimpl\ndef detect_intents(message): ...\n\ndelivery = 'background'\n"
        found = bound(site, source)
        assert (found["on_message"]["delivery"], found["detect_intents"]["delivery"]) == ("background", "inline")

    def test_the_operators_delivery_replaces_the_authors(self, site):
        conditions = Conditions(PluginOptions(delivery="inline"))
        assert bound(site, HEARS + "\ndelivery = 'background'\n", conditions)["on_message"]["delivery"] == "inline"

    def test_what_an_application_would_refuse_is_an_error(self, site):
        last = examined(site.plugin(HEARS.replace("user_id", "nonsense")))[-1]
        assert "name only arguments of the hook" in last["error"]
        assert "nonsense" in last["error"]

    def test_a_plugin_without_callbacks_is_an_error(self, site):
        assert "implements no hook" in examined(site.plugin(""))[-1]["error"]

    def test_a_state_that_there_is_not_is_an_error_where_the_states_are_known(self, site):
        candidate = site.plugin(SOURCE, value="weather_plugin:Weather")
        last = examined(candidate, {"town": "Lima"}, Conditions(states=("idle", "executed")))[-1]
        assert "no such state (did you mean executed?)" in last["error"]
        assert "error" not in examined(candidate, {"town": "Lima"}, Conditions(states=("executing",)))[-1]

    def test_hooks_of_other_plugins_are_left_out_with_what_would_be_said_of_them(self, site):
        source = HEARS + "\n@hookimpl\ndef on_mesage(): ...\n\ndelivery = 'background'\n"
        last = examined(site.plugin(source))[-1]
        ((hook, text),) = last["unknown"]
        assert hook == "on_mesage"
        assert "there is no such hook (did you mean on_message?)" in text
        assert [each.get("delivery") for each in last["hooks"]] == [None, "background"]

    def test_a_plugin_may_have_none_but_hooks_of_others(self, site):
        last = examined(site.plugin(HEARS.replace("on_message", "on_rain")))[-1]
        assert "error" not in last
        assert [hook for hook, _ in last["unknown"]] == ["on_rain"]

    def test_nobody_complains_about_an_optional_hook(self, site):
        source = HEARS + "\n@hookimpl(optionalhook=True)\ndef on_rain(): ...\n"
        last = examined(site.plugin(source))[-1]
        assert (last["unknown"], [each["optional"] for each in last["hooks"]]) == ([], [False, True])

    def test_its_own_hooks_are_told(self, site):
        source = (
            HEARS
            + """
from thea_core.markers import hookspec

class Specs:
    @hookspec
    def on_rain(self): ...

@hookimpl
def provide_hookspecs():
    return Specs
"""
        )
        assert examined(site.plugin(source))[-1]["adds"] == ["on_rain"]

    def test_a_plugin_that_is_in_the_way_of_its_binding_is_an_error(self, site):
        source = HEARS + "\n@hookimpl\ndef provide_hookspecs():\n    raise SystemExit\n"
        assert "cannot be asked for its hooks: SystemExit" in examined(site.plugin(source))[-1]["error"]

    def test_conditions_are_the_same_in_another_process(self):
        conditions = Conditions(
            PluginOptions(priority=3, timeout=math.inf, guard=True), None, {"detect_intents": None}, ("idle",)
        )
        assert Conditions.from_json(json.loads(json.dumps(conditions.to_json()))) == conditions
        assert Conditions.from_json(json.loads(json.dumps(Conditions().to_json()))) == Conditions()
