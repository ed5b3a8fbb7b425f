from __future__ import annotations

import pytest

from thea_core.config.model import RESERVED_NAMES
from thea_core.errors import PluginError, PluginLoadError
from thea_core.plugins.compatibility import (
    RESERVED,
    check,
    check_name,
    name_problem,
    requirement_problem,
    running_version,
)
from thea_core.plugins.discovery import Candidate


def requiring(*requirements: str) -> Candidate:
    return Candidate("weather", "w", distribution="thea-weather", version="1.0", requires=requirements)


class TestRequirements:
    @pytest.mark.parametrize(
        ("requirement", "running"),
        [
            ("thea-core", "0.1"),
            ("thea-core>=0.1,<1", "0.9"),
            ("thea-core[postgres]>=0.1", "0.1"),
            ("thea-core @ file:///somewhere", "0.1"),
            ("thea-core>=9; python_version < '3'", "0.1"),
            ("thea-core>=9; extra == 'test'", "0.1"),
            ("thea-core>=0.1", "0.2.dev1"),
        ],
    )
    def test_what_fits_is_accepted(self, requirement, running):
        assert requirement_problem(requiring(requirement), lambda: running) is None

    def test_what_does_not_fit_is_told_with_what_runs_and_what_to_do(self):
        problem = requirement_problem(requiring("thea-core", "thea-core>=2"), lambda: "0.1")
        assert problem == (
            "it requires thea-core >=2, and thea-core 0.1 runs: pip install --upgrade thea-core thea-weather"
        )

    @pytest.mark.parametrize("requirement", ["thea-core >>> 1", "thea-core; nonsense == 'x'"])
    def test_a_requirement_that_cannot_be_read_is_refused(self, requirement):
        problem = requirement_problem(requiring(requirement), lambda: "0.1")
        assert problem is not None
        assert "cannot be read" in problem

    def test_where_the_running_version_is_unknown_nothing_is_required(self):
        assert requirement_problem(requiring("thea-core>=99"), lambda: None) is None

    def test_without_a_requirement_the_running_version_is_not_looked_up(self):
        def fail() -> str:
            raise AssertionError

        assert requirement_problem(requiring(), fail) is None

    def test_the_running_version_is_that_of_the_installed_distribution(self, site):
        site.distribution("thea-core", version="7.7")
        assert running_version() == "7.7"

    def test_the_running_version_is_unknown_without_metadata(self, monkeypatch):
        monkeypatch.setattr("sys.path", [])
        assert running_version() is None


class TestNames:
    @pytest.mark.parametrize("name", ["sentry", "my-plugin", "my.plugin_2", "Añadir", "2fa"])
    def test_letters_digits_and_a_few_signs_make_a_name(self, name):
        assert name_problem(name) is None

    @pytest.mark.parametrize("name", ["", "my plugin", "-x", ".x", "a/b", "a\x1b[31m", "a\n"])
    def test_other_names_are_refused(self, name):
        assert name_problem(name) is not None

    @pytest.mark.parametrize("name", ["enabled", "modules", "startup_timeout", "local"])
    def test_words_of_theas_own_are_refused(self, name):
        with pytest.raises(PluginError, match="word of Thea's own"):
            check_name(name, "thea-x 1.0")

    def test_a_good_name_passes(self):
        check_name("weather", "thea-weather 1.0")

    def test_the_keys_of_the_plugins_table_are_reserved(self):
        assert RESERVED_NAMES | {"local"} == RESERVED


class TestCheck:
    def test_what_fits_passes(self):
        check(requiring("thea-core>=0.1"), lambda: "0.1")

    def test_the_error_names_plugin_and_distribution(self):
        with pytest.raises(PluginLoadError, match=r"plugin 'weather' \(thea-weather 1.0\): it requires") as caught:
            check(requiring("thea-core>=2"), lambda: "0.1")
        assert caught.value.plugin == "weather"

    def test_a_reserved_name_is_refused_before_import(self):
        with pytest.raises(PluginLoadError, match="'enabled'"):
            check(Candidate("enabled", "w", distribution="thea-x"))
