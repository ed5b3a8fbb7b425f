from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tests.plugins.running import Recording
from thea_core.errors import PluginConflictError, PluginLoadError, PluginNotFoundError
from thea_core.plugins.entries import ENABLED, GIVEN, MODULES, PluginOptions, Sources, plan


def planned(enabled=(), modules=(), objects=(), **tables):
    return plan(Sources(enabled, modules, objects, tables))


def test_every_source_gives_entries_in_its_order_without_an_import(site):
    site.module("weather_plugin", "raise AssertionError('imported')")
    site.distribution("thea-weather", plugins={"weather": "weather_plugin"})
    entries = planned(["weather"], ["myapp.hooks"], [Recording("given"), sys])
    assert [(each.name, each.source, each.position) for each in entries] == [
        ("weather", ENABLED, 0),
        ("hooks", MODULES, 0),
        ("given", GIVEN, 0),
        ("sys", GIVEN, 1),
    ]
    assert "weather_plugin" not in sys.modules


def test_each_source_has_an_origin_and_a_remedy_of_its_own(site):
    site.distribution("thea-weather", plugins={"weather": "weather_plugin"})
    weather, own, given, module = planned(["weather"], ["myapp.hooks"], [Recording("given"), sys])
    assert weather.candidate.origin == "thea-weather 1.0"
    assert "thea plugins disable weather" in weather.remedy
    assert own.candidate.origin == "module myapp.hooks"
    assert "[plugins] modules" in own.remedy
    assert given.candidate.origin == "tests.plugins.running.Recording, given to Thea(plugins=[...])"
    assert module.candidate.origin == "sys, given to Thea(plugins=[...])"
    assert "take it out of Thea(plugins=[...])" in given.remedy


def test_options_go_by_the_plugins_name_however_it_was_enabled(site):
    site.distribution("thea-weather", plugins={"weather": "weather_plugin"})
    options = PluginOptions(priority=1)
    for name in ("weather", "thea-weather"):
        assert [each.options for each in planned([name], weather=options)] == [options]


def test_one_that_is_listed_by_both_of_its_names_is_there_once(site):
    site.distribution("thea-weather", plugins={"weather": "weather_plugin"})
    assert [each.name for each in planned(["thea-weather", "weather"])] == ["weather"]


@pytest.mark.usefixtures("lantern")
def test_what_is_wrong_is_noted_and_the_others_are_there(site):
    missing, nameless, kind, good = planned(["lantern"], (), [SimpleNamespace(name=3), Recording, Recording("good")])
    assert isinstance(missing.problem, PluginNotFoundError)
    assert isinstance(nameless.problem, PluginLoadError)
    assert isinstance(kind.problem, PluginLoadError)
    assert good.problem is None


def test_those_that_share_a_name_become_one_with_a_problem():
    [entry] = planned((), ["myapp.same", "other.same"], [Recording("same")])
    assert isinstance(entry.problem, PluginConflictError)
    assert "module myapp.same" in str(entry.problem)
    assert "module other.same" in str(entry.problem)
    assert entry.is_ambiguous


def test_a_missing_distribution_is_taken_for_the_guard_that_is_nowhere(site):
    [entry] = planned(["acme"], policy=PluginOptions(guard=True))
    assert entry.options.guard
    assert "may be what offers the guard 'policy' of [plugins.policy]" in str(entry.problem)


def test_a_missing_distribution_is_no_guard_where_the_guard_is_there(site):
    missing, _ = planned(["acme"], (), [Recording("policy")], policy=PluginOptions(guard=True))
    assert not missing.options.guard
