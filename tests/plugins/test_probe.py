from __future__ import annotations

import sys

from thea_core.plugins.discovery import Candidate
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


def examined(candidate: Candidate, settings=None) -> list[dict]:
    parts: list[dict] = []
    examine(candidate, settings, parts.append)
    return parts


def test_each_stage_is_told_before_it_begins(site):
    candidate = site.plugin(SOURCE, value="weather_plugin:Weather")
    parts = examined(candidate, {"town": "Lima"})
    assert [each["stage"] for each in parts] == ["imported", "constructed", "examined", "done"]


def test_file_and_settings_are_known_once_the_plugin_is_imported(site):
    candidate = site.plugin(SOURCE, value="weather_plugin:Weather")
    parts = examined(candidate)
    assert parts[1]["file"] == str(site.root / "weather_plugin.py")
    assert [each["name"] for each in parts[1]["settings"]] == ["town"]
    assert "[plugins.weather.settings] town: Field required" in parts[-1]["error"]


def test_hooks_are_told_with_their_order(site):
    candidate = site.plugin(SOURCE, value="weather_plugin:Weather")
    hooks = {each.pop("hook"): each for each in examined(candidate, {"town": "Lima"})[-1]["hooks"]}
    plain = {"priority": 0, "position": "", "states": [], "wrapper": False}
    assert hooks == {
        "on_message": {**plain, "callback": "Weather.on_message", "priority": 7},
        "pre_transition": {
            **plain,
            "callback": "Weather.pre_transition",
            "position": "first",
            "states": ["executing"],
        },
        "on_error": {**plain, "callback": "Weather.note", "position": "last"},
        "on_intent_detected": {**plain, "callback": "Weather.on_intent_detected", "wrapper": True},
    }


def test_a_module_has_hooks_too(site):
    source = "from thea_core.markers import hookimpl\n@hookimpl\ndef on_message(user_id): ..."
    parts = examined(site.plugin(source))
    assert parts[1]["file"] == str(site.root / "weather_plugin.py")
    assert [each["hook"] for each in parts[-1]["hooks"]] == ["on_message"]


def test_a_module_of_the_working_directory_is_found(site, tmp_path, monkeypatch):
    (tmp_path / "myhooks.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert examined(Candidate.of_module("myhooks"))[-1] == {"stage": "done", "hooks": []}


def test_a_plugin_that_cannot_be_looked_at_is_an_error(site):
    candidate = site.plugin("class Weather:\n def __dir__(self): raise SystemExit", value="weather_plugin:Weather")
    assert "cannot be examined: SystemExit" in examined(candidate)[-1]["error"]


def test_what_carries_no_marker_is_no_hook():
    assert list(hooks_of(object())) == []
