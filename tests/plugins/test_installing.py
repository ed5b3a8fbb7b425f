from __future__ import annotations

import importlib.util
import shutil
import sys

import pytest

from thea_core.errors import PluginConflictError, PluginError, PluginNotFoundError
from thea_core.plugins.discovery import Candidate
from thea_core.plugins.installing import how_to_enable, install, uninstall


class Pip:
    """Stands for running pip: notes the command, and does what the test says."""

    def __init__(self, action=lambda: None, status=0):
        self.commands = []
        self._action = action
        self._status = status

    def __call__(self, command):
        self.commands.append(list(command))
        self._action()
        return self._status

    @property
    def arguments(self):
        [command] = self.commands
        assert command[:4] == [sys.executable, "-P", "-m", "pip"]
        return command[4:]


class TestInstall:
    def test_pip_gets_what_was_named(self, site):
        pip = Pip()
        install(["some-plugin>=1", "./folder"], run=pip)
        assert pip.arguments == ["install", "--", "some-plugin>=1", "./folder"]

    @pytest.mark.parametrize(
        ("named", "installed"),
        [
            ("sentry", "thea-sentry"),
            ("sentry>=1", "thea-sentry>=1"),
            ("thea-sentry", "thea-sentry"),
            ("logging/", "logging/"),
            ("./logging", "./logging"),
        ],
    )
    def test_a_name_of_the_projects_own_never_means_somebody_elses_distribution(self, named, installed):
        pip = Pip()
        install([named], run=pip)
        assert pip.arguments[2:] == [installed]

    def test_the_plugins_that_are_new_are_told(self, site):
        pip = Pip(lambda: site.distribution("thea-weather", plugins={"weather": "w", "sun": "s"}))
        assert [each.name for each in install(["./folder"], run=pip)] == ["sun", "weather"]

    def test_a_plugin_that_was_there_already_is_told_if_it_was_asked_for(self, site):
        site.distribution("thea-weather", plugins={"weather": "w"})
        site.distribution("thea-other", plugins={"other": "o"})
        assert [each.name for each in install(["Thea_Weather==1.0"], run=Pip())] == ["weather"]

    def test_nothing_is_imported(self, site):
        pip = Pip(lambda: site.plugin("raise SystemExit"))
        install(["thea-weather"], run=pip)
        assert "weather_plugin" not in sys.modules

    @pytest.mark.parametrize("name", ["--index-url=http://x", "-r", "", " "])
    def test_an_option_is_no_name(self, name):
        pip = Pip()
        with pytest.raises(PluginError, match="-m pip install"):
            install(["good", name], run=pip)
        assert pip.commands == []

    def test_nothing_named_is_refused(self):
        with pytest.raises(PluginError, match="thea plugins install NAME"):
            install([], run=Pip())

    def test_where_pip_fails_its_status_is_told(self):
        with pytest.raises(PluginError, match="pip install failed with exit status 2"):
            install(["x"], run=Pip(status=2))

    def test_where_pip_is_missing_the_way_to_it_is_told(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
        pip = Pip()
        with pytest.raises(PluginError, match=r"has no pip.*ensurepip"):
            install(["x"], run=pip)
        assert pip.commands == []

    def test_the_output_of_the_command_passes_through(self, tmp_path, monkeypatch, capfd):
        fake = tmp_path / "python"
        fake.write_text(f'#!{shutil.which("sh")}\necho "ran $*"\n')
        fake.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(fake))
        install(["weather"])
        assert capfd.readouterr().out == "ran -P -m pip install -- weather\n"


class TestHowToEnable:
    def test_the_commands_are_told(self):
        text = how_to_enable([Candidate("sun", "s"), Candidate("weather", "w")])
        assert text.splitlines()[1:] == ["  thea plugins enable sun", "  thea plugins enable weather"]

    def test_something_that_offers_no_plugin_is_told_as_such(self):
        assert how_to_enable([]) == "Nothing that was installed offers a plugin for Thea."


class TestUninstall:
    @pytest.mark.parametrize("name", ["weather", "thea-weather", "Thea_Weather"])
    def test_a_plugin_is_named_by_its_own_or_its_distributions_name(self, site, name):
        site.distribution("thea-weather", plugins={"weather": "w"})
        pip = Pip()
        assert [each.name for each in uninstall([name], run=pip)] == ["weather"]
        assert pip.arguments == ["uninstall", "--yes", "--", "thea-weather"]

    def test_all_plugins_of_the_distribution_are_told_and_it_is_named_once(self, site):
        site.distribution("thea-weather", plugins={"weather": "w", "sun": "s"})
        pip = Pip()
        assert [each.name for each in uninstall(["sun", "weather"], run=pip)] == ["sun", "weather"]
        assert pip.arguments[3:] == ["thea-weather"]

    def test_a_plugin_that_hangs_at_import_is_uninstalled_without_being_imported(self, site):
        site.plugin("import threading\nthreading.Event().wait()")
        uninstall(["weather"], run=Pip())
        assert "weather_plugin" not in sys.modules

    def test_what_is_no_plugin_is_left_alone(self, site):
        site.distribution("precious")
        site.distribution("thea-weather", plugins={"weather": "w"})
        pip = Pip()
        with pytest.raises(PluginNotFoundError, match=r"'precious' is no plugin.*nothing was uninstalled.*weather"):
            uninstall(["weather", "precious"], run=pip)
        assert pip.commands == []

    def test_without_any_plugin_the_message_says_so(self, monkeypatch):
        monkeypatch.setattr(sys, "path", [])
        with pytest.raises(PluginNotFoundError, match="No plugins are installed"):
            uninstall(["x"], run=Pip())

    def test_a_name_of_two_distributions_must_be_made_clear(self, site):
        for name in ("thea-weather", "other-weather"):
            site.distribution(name, plugins={"weather": "w"})
        pip = Pip()
        with pytest.raises(PluginConflictError, match="other-weather and by thea-weather"):
            uninstall(["weather"], run=pip)
        uninstall(["other-weather"], run=pip)
        assert pip.arguments[3:] == ["other-weather"]

    def test_where_pip_fails_its_status_is_told(self, site):
        site.distribution("thea-weather", plugins={"weather": "w"})
        with pytest.raises(PluginError, match="pip uninstall failed with exit status 1"):
            uninstall(["weather"], run=Pip(status=1))
