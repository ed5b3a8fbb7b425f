from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from thea_core.errors import ConfigError, PluginConflictError, PluginError, PluginLoadError, RegistrationError
from thea_core.plugins.discovery import Candidate
from thea_core.plugins.loading import check_unique, construct, guarded, load_object, make_importable, name_of

CANDIDATE = Candidate("weather", "weather_plugin:Weather", distribution="thea-weather", version="1.0")


def no_settings(model):
    assert model is None


class TestLoadObject:
    def test_a_module_is_loaded(self, site):
        found = load_object(site.plugin("x = 1"))
        assert isinstance(found, types.ModuleType)

    def test_a_class_is_loaded(self, site):
        found = load_object(site.plugin("class Outer:\n class Weather: pass", value="weather_plugin:Outer.Weather"))
        assert found.__qualname__ == "Outer.Weather"

    def test_spaces_and_extras_of_an_entry_point_do_not_matter(self, site):
        site.plugin("class Weather: pass", value="weather_plugin:Weather")
        assert load_object(Candidate("weather", "weather_plugin : Weather [extra]")).__name__ == "Weather"

    @pytest.mark.parametrize("value", ["", "a b", "a..b", "a:b-c", ":x"])
    def test_a_malformed_entry_point_is_refused(self, value):
        with pytest.raises(PluginLoadError, match=r"does not have the form package.module"):
            load_object(Candidate("weather", value, distribution="thea-weather"))


class TestFailingImport:
    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ("raise ValueError('bad\\nthing')", "ValueError: bad thing"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("raise GeneratorExit", "GeneratorExit"),
            ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
            ("1/0", "ZeroDivisionError: division by zero"),
        ],
    )
    def test_whatever_an_import_raises_is_one_error_with_plugin_distribution_place_and_remedy(self, site, source, told):
        candidate = site.plugin(source)
        with pytest.raises(PluginLoadError) as caught:
            load_object(candidate)
        text = str(caught.value)
        assert text.startswith(f"plugin 'weather' (thea-weather 1.0) cannot be imported: {told} (")
        assert f"({site.root / 'weather_plugin.py'}, line " in text
        assert "thea plugins disable weather" in text
        assert caught.value.plugin == "weather"

    def test_a_syntax_error_names_its_own_place_only(self, site):
        with pytest.raises(PluginLoadError) as caught:
            load_object(site.plugin("def ("))
        assert "SyntaxError" in str(caught.value)
        assert "importlib" not in str(caught.value)

    def test_an_error_of_thea_itself_is_told_with_the_line_of_the_plugin(self, site):
        source = "from thea_core.markers import hookimpl\n@hookimpl(priority='x')\ndef on_message(): ..."
        with pytest.raises(PluginLoadError, match=r"priority must be a whole number.*weather_plugin.py, line 2"):
            load_object(site.plugin(source))

    def test_an_exception_that_cannot_be_shown_is_contained(self, site):
        source = "class E(Exception):\n def __str__(self): raise RuntimeError\nraise E"
        with pytest.raises(PluginLoadError, match="E: <str"):
            load_object(site.plugin(source))

    def test_a_keyboard_interrupt_passes(self, site):
        candidate = site.plugin("raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            load_object(candidate)

    def test_a_missing_attribute_gets_the_name_that_was_meant(self, site):
        candidate = site.plugin("class Weather: pass", value="weather_plugin:Wether")
        with pytest.raises(PluginLoadError, match=r"no attribute 'Wether'; did you mean 'Weather'\?"):
            load_object(candidate)

    def test_a_missing_attribute_that_resembles_nothing_is_told_plainly(self, site):
        candidate = site.plugin("class Weather: pass", value="weather_plugin:Zzz")
        with pytest.raises(PluginLoadError, match="Correct the entry point"):
            load_object(candidate)

    def test_an_attribute_that_raises_is_contained(self, site):
        candidate = site.plugin("def __getattr__(name): raise SystemExit", value="weather_plugin:X")
        with pytest.raises(PluginLoadError, match="SystemExit"):
            load_object(candidate)


class TestMissingModule:
    """A plugin that is not there is told apart from one that is there and lacks something."""

    def test_the_module_of_a_distribution_is_not_there(self, site):
        site.distribution("thea-weather", plugins={"weather": "nowhere.at.all:X"})
        with pytest.raises(PluginLoadError, match=r"'nowhere' that is not there: pip install --force-reinstall thea-"):
            load_object(site.found()[0])

    def test_a_configured_module_is_not_there(self):
        with pytest.raises(PluginLoadError, match=r"no module 'nowhere'. Correct the name in \[plugins\] modules"):
            load_object(Candidate.of_module("nowhere.hooks"))

    def test_a_submodule_of_a_configured_package_is_not_there(self, site):
        site.module("myapp.hooks", "")
        with pytest.raises(PluginLoadError, match=r"no module 'myapp.hoks'"):
            load_object(Candidate.of_module("myapp.hoks"))

    def test_a_distributions_plugin_lacks_a_dependency(self, site):
        candidate = site.plugin("import no_such_dependency")
        with pytest.raises(PluginLoadError) as caught:
            load_object(candidate)
        assert "weather_plugin exists, but its import failed" in str(caught.value)
        assert "pip install thea-weather" in str(caught.value)
        assert "'no_such_dependency'" in str(caught.value)

    def test_a_configured_module_lacks_a_dependency(self, site):
        site.module("myapp.hooks", "import no_such_dependency")
        with pytest.raises(PluginLoadError, match=r"exists, but its import failed.*Install what provides"):
            load_object(Candidate.of_module("myapp.hooks"))

    def test_an_import_error_without_a_name_is_the_plugins_own(self, site):
        site.module("myapp.hooks", "raise ModuleNotFoundError('sorry')")
        with pytest.raises(PluginLoadError, match=r"exists, but its import failed.*take 'myapp.hooks' out of"):
            load_object(Candidate.of_module("myapp.hooks"))


class TestConstruct:
    def test_a_module_is_the_plugin(self):
        assert construct(CANDIDATE, sys, no_settings) is sys

    def test_a_class_without_settings_is_called_without_arguments(self):
        class Weather: ...

        assert isinstance(construct(CANDIDATE, Weather, no_settings), Weather)

    def test_a_class_with_settings_gets_them(self):
        class Weather:
            Settings = dict

            def __init__(self, settings):
                self.settings = settings

        plugin = construct(CANDIDATE, Weather, lambda model: model(town="Lima"))
        assert plugin.settings == {"town": "Lima"}

    @pytest.mark.parametrize("found", [sys, type("Weather", (), {})])
    def test_settings_for_a_plugin_that_takes_none_are_refused(self, found):
        def refuse(_model):
            raise ConfigError(["it takes no settings"])

        with pytest.raises(PluginLoadError, match=r"cannot be given its settings: it takes no settings$"):
            construct(CANDIDATE, found, refuse)

    @pytest.mark.parametrize("found", [object(), lambda: None])
    def test_an_instance_or_a_function_is_no_entry_point(self, found):
        with pytest.raises(PluginLoadError, match="a plugin is a module or a class"):
            construct(CANDIDATE, found, no_settings)

    def test_settings_that_are_no_class_are_refused(self):
        with pytest.raises(PluginLoadError, match="its Settings must be a pydantic model"):
            construct(CANDIDATE, type("Weather", (), {"Settings": 3}), no_settings)

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), RegistrationError("no")])
    def test_a_constructor_that_raises_is_contained(self, error):
        class Weather:
            def __init__(self):
                raise error

        with pytest.raises(PluginLoadError, match=r"cannot be constructed \(.*Weather\)") as caught:
            construct(CANDIDATE, Weather, no_settings)
        assert caught.value.__cause__ is error

    def test_a_constructor_that_wants_more_is_told(self):
        class Weather:
            def __init__(self, settings): ...

        with pytest.raises(PluginLoadError, match="missing 1 required positional argument: 'settings'"):
            construct(CANDIDATE, Weather, no_settings)


def test_an_error_that_already_explains_itself_passes_the_guard():
    error = PluginLoadError("clear", plugin="weather")
    with pytest.raises(PluginLoadError) as caught, guarded(CANDIDATE, "started"):
        raise error
    assert caught.value is error


class TestNameOf:
    def test_a_module_is_named_by_its_last_part(self):
        assert name_of(types.ModuleType("myapp.hooks")) == "hooks"

    def test_an_object_is_named_by_its_name(self):
        assert name_of(types.SimpleNamespace(name="sun")) == "sun"

    def test_an_object_without_a_name_is_named_by_its_class(self):
        class Weather: ...

        assert name_of(Weather()) == "Weather"

    def test_a_class_is_refused_with_what_to_write(self):
        class Weather: ...

        with pytest.raises(PluginLoadError, match=r"Thea\(plugins=\[Weather\(\)\]\)"):
            name_of(Weather)

    def test_a_name_that_is_no_text_is_refused(self):
        with pytest.raises(PluginLoadError, match="its name is a int, not a str"):
            name_of(types.SimpleNamespace(name=3))

    def test_a_name_that_raises_is_contained(self):
        class Weather:
            @property
            def name(self):
                raise SystemExit

        with pytest.raises(PluginLoadError, match="SystemExit"):
            name_of(Weather())

    def test_a_reserved_name_is_refused(self):
        with pytest.raises(PluginError, match="'local'"):
            name_of(types.SimpleNamespace(name="local"))


class TestCheckUnique:
    def test_different_names_pass(self):
        check_unique([("a", "x"), ("b", "x")])

    def test_two_of_one_name_are_refused_and_both_are_named(self):
        with pytest.raises(PluginConflictError, match=r"'hooks': one from module a.hooks, one from module b.hooks"):
            check_unique([("hooks", "module a.hooks"), ("x", "y"), ("hooks", "module b.hooks")])


class TestMakeImportable:
    def test_the_working_directory_is_put_last(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", ["/elsewhere"])
        monkeypatch.chdir(tmp_path)
        make_importable()
        make_importable(".")
        assert sys.path == ["/elsewhere", str(tmp_path)]

    def test_a_directory_that_is_there_already_stays_where_it_is(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", [str(tmp_path), "/elsewhere"])
        make_importable(tmp_path)
        assert sys.path == [str(tmp_path), "/elsewhere"]

    def test_the_empty_entry_stands_for_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
        monkeypatch.chdir(tmp_path)
        make_importable()
        assert sys.path == ["", "/elsewhere"]

    def test_a_working_directory_that_is_gone_is_left_alone(self, tmp_path, monkeypatch):
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        Path(gone).rmdir()
        before = list(sys.path)
        make_importable()
        assert sys.path == before
