from __future__ import annotations

import os
import pathlib
import sys

import pytest

from thea_core.errors import PluginConflictError, PluginError, PluginNotFoundError
from thea_core.plugins.discovery import Candidate, Discovery, discover, normalised


def installed(*names: str) -> Discovery:
    return Discovery(Candidate(name, f"thea_{name}", distribution=f"thea-{name}", version="1.0") for name in names)


class TestDiscover:
    def test_a_plugin_is_described_by_its_metadata(self, site):
        site.distribution(
            "thea-weather",
            version="1.2",
            plugins={"weather": "thea_weather:Weather"},
            requires=["requests>=2", "thea-core>=0.1", "thea-core-extras", "Thea_Core<2"],
            summary="Rain or sun",
        )
        assert site.found() == [
            Candidate(
                name="weather",
                value="thea_weather:Weather",
                distribution="thea-weather",
                version="1.2",
                requires=("thea-core>=0.1", "Thea_Core<2"),
                summary="Rain or sun",
                location=str(site.root),
            )
        ]

    def test_nothing_is_imported(self, site):
        site.plugin("raise RuntimeError('imported')")
        discover()
        assert "weather_plugin" not in sys.modules

    def test_a_distribution_with_entry_points_of_other_groups_only_is_no_plugin(self, site):
        info = site.distribution("tool")
        (info / "entry_points.txt").write_text("[other]\nthea.plugins = tool:main\n", encoding="utf-8")
        assert site.found() == []

    def test_a_distribution_without_requirements_and_summary_is_found(self, site):
        site.distribution("thea-weather", plugins={"weather": "w"})
        [candidate] = site.found()
        assert (candidate.requires, candidate.summary) == ((), "")

    def test_of_a_distribution_that_is_there_twice_the_first_on_the_path_counts(self, site, tmp_path):
        site.distribution("thea-weather", version="2.0", plugins={"new": "w"})
        behind = type(site)(tmp_path / "behind")
        behind.distribution("Thea.Weather", version="1.0", plugins={"old": "w"})
        sys.path.append(str(behind.root))
        assert [each.name for each in discover().candidates if each.name in {"new", "old"}] == ["new"]

    def test_a_hidden_distribution_does_not_come_back_because_the_first_offers_no_plugin(self, site, tmp_path):
        site.distribution("thea-weather", version="2.0")
        behind = type(site)(tmp_path / "behind")
        behind.distribution("thea-weather", version="1.0", plugins={"weather": "w"})
        sys.path.append(str(behind.root))
        assert "weather" not in discover().names

    def test_metadata_under_another_directory_name_is_read(self, site):
        info = site.distribution("thea-weather", plugins={"weather": "w"})
        info.rename(site.root / "something_else-1.0.dist-info")
        assert [each.distribution for each in site.found()] == ["thea-weather"]

    def test_a_distribution_of_the_older_egg_info_form_is_read(self, site):
        info = site.root / "thea_weather.egg-info"
        info.mkdir()
        (info / "PKG-INFO").write_text("Metadata-Version: 1.2\nName: thea-weather\nVersion: 0.3\n", encoding="utf-8")
        (info / "requires.txt").write_text("thea-core>=0.1\n", encoding="utf-8")
        (info / "entry_points.txt").write_text("[thea.plugins]\nweather = w\n", encoding="utf-8")
        [candidate] = site.found()
        assert (candidate.version, candidate.requires) == ("0.3", ("thea-core>=0.1",))

    def test_what_stands_below_the_headers_or_is_folded_into_one_is_no_header(self, site):
        info = site.distribution("thea-weather", plugins={"weather": "w"})
        (info / "METADATA").write_text(
            "Name: thea-weather\nLicense: some\n  Summary: folded\nSUMMARY: real\nnonsense\n\nVersion: below\n",
            encoding="utf-8",
        )
        [candidate] = site.found()
        assert (candidate.summary, candidate.version) == ("real", "")

    @pytest.mark.parametrize("text", ["", "Metadata-Version: 2.1\n\n"])
    def test_a_distribution_without_a_name_is_a_problem_and_the_others_are_found(self, site, text):
        site.distribution("thea-weather", plugins={"weather": "w"})
        broken = site.distribution("thea-broken", plugins={"broken": "b"})
        (broken / "METADATA").write_text(text, encoding="utf-8")
        discovery = discover()
        assert "weather" in discovery.names
        assert "broken" not in discovery.names
        [problem] = discovery.problems
        assert "thea_broken" in problem
        assert "reinstall" in problem

    def test_entry_points_that_are_no_text_are_a_problem(self, site):
        info = site.distribution("thea-broken", plugins={"broken": "b"})
        (info / "entry_points.txt").write_bytes(b"[thea.plugins]\nb\xff = x\n")
        [problem] = discover().problems
        assert "UnicodeDecodeError" in problem

    def test_of_a_distribution_without_plugins_only_the_entry_points_are_read(self, site, monkeypatch):
        """Reading the metadata of everything that is installed would cost more than all else."""
        site.distribution("tool")
        read: list[str] = []
        whole = pathlib.Path.read_text
        monkeypatch.setattr(pathlib.Path, "read_text", lambda path, **how: read.append(str(path)) or whole(path, **how))
        discover()
        assert [each.rpartition(os.sep)[2] for each in read if each.startswith(str(site.root))] == ["entry_points.txt"]


class TestFind:
    def test_a_plugin_is_found_by_its_name(self):
        assert installed("rain", "sun").find("sun").name == "sun"

    @pytest.mark.parametrize("name", ["thea-sun", "Thea_Sun", "THEA.sun"])
    def test_a_distribution_with_one_plugin_is_found_by_its_name_however_written(self, name):
        assert installed("rain", "sun").find(name).name == "sun"

    def test_a_distribution_with_several_plugins_asks_for_one_of_them(self):
        discovery = Discovery(Candidate(name, "w", distribution="thea-weather") for name in ("sun", "rain"))
        with pytest.raises(PluginError, match=r"thea-weather offers 2 plugins \(rain, sun\)"):
            discovery.find("thea-weather")

    def test_a_plugins_own_name_goes_before_a_distributions(self):
        discovery = Discovery(
            [Candidate("sun", "one", distribution="moon"), Candidate("moon", "two", distribution="thea-moon")]
        )
        assert discovery.find("moon").value == "two"

    def test_one_name_in_two_distributions_is_an_error_that_names_both(self, site):
        site.distribution("thea-weather", plugins={"weather": "a"})
        site.distribution("other-weather", version="3.1", plugins={"weather": "b"})
        with pytest.raises(PluginConflictError) as caught:
            discover().find("weather")
        assert "thea-weather 1.0" in str(caught.value)
        assert "other-weather 3.1" in str(caught.value)
        assert caught.value.plugin == "weather"

    def test_a_conflict_is_not_got_round_by_the_distributions_name(self):
        discovery = Discovery([Candidate("sun", "a", distribution="thea-sun"), Candidate("sun", "b", distribution="x")])
        with pytest.raises(PluginConflictError):
            discovery.find("thea-sun")

    def test_the_listing_has_both_of_a_conflict_and_the_reason(self):
        discovery = Discovery([Candidate("sun", "a", distribution="y"), Candidate("sun", "b", distribution="x")])
        reasons = [discovery.conflict(each) for each in discovery.candidates]
        assert [each.distribution for each in discovery.candidates] == ["x", "y"]
        assert all(reason and "uninstall all of them but one" in reason for reason in reasons)

    def test_one_name_twice_in_a_distribution_blames_its_author(self):
        discovery = Discovery(Candidate("sun", value, distribution="thea-sun") for value in "ab")
        with pytest.raises(PluginConflictError, match="offered twice by thea-sun"):
            discovery.find("sun")

    def test_a_name_of_its_own_is_no_conflict(self):
        discovery = installed("sun")
        assert discovery.conflict(discovery.candidates[0]) is None


class TestNotFound:
    @pytest.mark.parametrize("name", ["sentry", "thea-sentry", "Thea_Sentry"])
    def test_of_the_projects_own_the_command_is_told(self, name):
        with pytest.raises(PluginNotFoundError) as caught:
            installed().find(name)
        assert str(caught.value) == "thea-sentry is not installed: pip install thea-sentry"
        assert caught.value.plugin == name

    def test_a_misspelt_name_gets_the_installed_one(self):
        with pytest.raises(PluginNotFoundError, match="did you mean 'weather'"):
            installed("weather").find("wether")

    def test_a_misspelt_name_of_the_projects_own_gets_the_name_and_the_command(self):
        with pytest.raises(PluginNotFoundError, match=r"did you mean 'sentry'\? \(pip install thea-sentry\)"):
            installed("weather").find("sentri")

    def test_any_other_name_gets_what_is_installed_and_the_convention(self):
        with pytest.raises(PluginNotFoundError, match=r"installed are: sun, weather.*pip install thea-zzz"):
            installed("weather", "sun").find("zzz")

    def test_without_any_plugin_the_message_says_so(self):
        with pytest.raises(PluginNotFoundError, match="no plugins are installed"):
            installed().find("zzz")

    def test_what_could_not_be_read_is_told_too(self):
        with pytest.raises(PluginNotFoundError, match="thea_broken cannot be read"):
            Discovery([], ["thea_broken cannot be read"]).find("broken")


def test_a_module_of_the_configuration_is_named_by_its_last_part():
    candidate = Candidate.of_module("myapp.sub.hooks")
    assert (candidate.name, candidate.origin) == ("hooks", "module myapp.sub.hooks")


def test_names_of_distributions_are_compared_as_package_indexes_do():
    assert normalised("Thea__Sentry.Extra-X") == "thea-sentry-extra-x"
