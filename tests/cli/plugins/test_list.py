"""``thea plugins list`` shows every plugin, whatever it does and however wrong the configuration is."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.cli.records import GONE, NOW, call, opened, process, write
from tests.plugins.conftest import FakeSite
from thea_core.callbacks.record_lines import LossLine
from thea_core.cli import exits
from thea_core.plugins.status import PluginStatus, StatusFile

BOMB = "raise SystemExit('imported')"
HEARS = """
from thea_core import hookimpl

@hookimpl(priority=7)
def on_message(user_id): ...

@hookimpl
def on_error(user_id): ...
"""


def rows(cli: Command, *arguments: str, **environ: str) -> dict[str, dict[str, Any]]:
    """Return what the list says, by name."""
    result = cli("plugins", "list", "--json", *arguments, **environ)
    return {each["name"]: each for each in json.loads(result.stdout)["plugins"]}


def test_an_installed_plugin_is_listed_and_not_imported(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    listed = rows(cli)["weather"]
    assert (listed["distribution"], listed["version"], listed["enabled"]) == ("thea-weather", "1.0", False)
    assert listed["status"] == "not enabled"
    assert "weather_plugin" not in sys.modules


def test_an_enabled_plugin_that_has_not_run_yet_says_so(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["weather"]\n[plugins.weather]\npriority = 3\nrequired = true\n')
    listed = rows(cli)["weather"]
    assert (listed["enabled"], listed["source"], listed["status"]) == (True, "enabled", "not started yet")
    assert (listed["priority"], listed["required"], listed["guard"]) == ("3", True, False)


def test_what_became_of_a_plugin_the_last_time_is_shown(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["weather"]\n')
    when = datetime(2026, 1, 1, tzinfo=UTC)
    StatusFile(cli.directory).record({"weather": PluginStatus("failed", when, "it rained", ("on_message",))})
    listed = rows(cli)["weather"]
    assert (listed["status"], listed["reason"], listed["since"]) == ("failed", "it rained", when.isoformat())
    assert listed["hooks"] == ["on_message"]
    assert "weather: it rained" in cli.ok("plugins", "list")


def test_a_plugin_enabled_by_its_distribution_is_one_row(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["thea-weather", "weather"]\n')
    assert rows(cli)["weather"]["enabled"]
    assert "thea-weather" not in rows(cli)


@pytest.mark.usefixtures("lantern")
def test_what_is_enabled_but_not_installed_is_listed_with_advice(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["lantern"]\n')
    listed = rows(cli)["lantern"]
    assert (listed["status"], listed["distribution"]) == ("not installed", None)
    assert listed["reason"] == "thea-lantern is not installed: pip install thea-lantern"


def test_a_name_offered_twice_is_a_conflict_whether_enabled_or_not(cli: Command, site: FakeSite) -> None:
    site.distribution("thea-weather", plugins={"weather": "a"})
    site.distribution("other-weather", plugins={"weather": "b"})
    both = [each for each in cli.json("plugins", "list")["plugins"] if each["name"] == "weather"]
    assert [each["status"] for each in both] == ["conflict", "conflict"]
    cli.write('[plugins]\nenabled = ["weather"]\n')
    (one,) = (each for each in cli.json("plugins", "list")["plugins"] if each["name"] == "weather")
    assert one["status"] == "conflict"
    assert "thea-weather" in one["reason"]
    assert "other-weather" in one["reason"]


def test_a_plugin_for_another_version_of_thea_does_not_fit(cli: Command, site: FakeSite) -> None:
    site.distribution("thea-weather", plugins={"weather": "a"}, requires=["thea-core>=99"])
    cli.write('[plugins]\nenabled = ["weather"]\n')
    listed = rows(cli)["weather"]
    assert listed["status"] == "does not fit"
    assert ">=99" in listed["reason"]


def test_a_module_of_the_configuration_is_listed(cli: Command) -> None:
    cli.write('[plugins]\nmodules = ["myapp.hooks"]\n')
    assert re.search(r"^hooks +module myapp\.hooks +- +yes ", cli.ok("plugins", "list"), re.MULTILINE)


def test_a_broken_configuration_is_a_warning_and_what_it_enables_is_still_shown(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('nonsense = 1\n[plugins]\nenabled = ["weather"]\nmodules = "myapp"\n')
    result = cli("plugins", "list")
    assert result.exit_code == exits.OK
    assert "warning: the configuration is wrong" in result.stderr
    assert "nonsense" in result.stderr
    assert rows(cli)["weather"]["enabled"]
    assert rows(cli)["myapp"]["source"] == "modules"


def test_a_file_that_is_no_toml_leaves_the_installed_plugins(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write("this is no TOML")
    assert rows(cli)["weather"]["enabled"] is False
    assert "is not TOML" in cli("plugins", "list").stderr


def test_a_broken_variable_without_a_file_leaves_the_installed_plugins(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    assert "weather" in rows(cli, THEA__NONSENSE="1")


def test_a_plugins_key_that_is_no_table_enables_nothing(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write("plugins = 3\n")
    assert rows(cli)["weather"]["enabled"] is False


def test_loading_shows_hooks_and_priorities(cli: Command, site: FakeSite) -> None:
    site.plugin(HEARS)
    cli.write('[plugins]\nenabled = ["weather"]\n')
    listed = rows(cli, "--load")["weather"]
    assert (listed["status"], listed["hooks"], listed["priority"]) == ("loads", ["on_error", "on_message"], "0 to 7")
    assert "weather_plugin" not in sys.modules


def test_loading_leaves_the_operators_priority(cli: Command, site: FakeSite) -> None:
    site.plugin(HEARS)
    cli.write('[plugins]\nenabled = ["weather"]\n[plugins.weather]\npriority = 9\n')
    assert rows(cli, "--load")["weather"]["priority"] == "9"


def test_loading_fails_where_an_enabled_plugin_does_not_load(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["weather", "lantern"]\n')
    result = cli("plugins", "list", "--load")
    assert result.exit_code == exits.PLUGIN
    assert "cannot be imported" in result.stdout


def test_a_plugin_that_does_not_fit_its_hooks_does_not_load(cli: Command, site: FakeSite) -> None:
    site.plugin(HEARS.replace("def on_error(user_id)", "def on_error(nonsense)"))
    cli.write('[plugins]\nenabled = ["weather"]\n')
    listed = rows(cli, "--load")["weather"]
    assert listed["status"] == "fails"
    assert "nonsense" in listed["reason"]


class TestHooksOfOtherPlugins:
    USES = "from thea_core import hookimpl\n@hookimpl\ndef on_rain(): ...\n"
    ADDS = """
from thea_core import hookimpl, hookspec

class Specs:
    @hookspec
    def on_rain(self): ...

@hookimpl
def provide_hookspecs():
    return Specs
"""

    def test_a_callback_of_a_hook_that_nobody_adds_is_an_error(self, cli: Command, site: FakeSite) -> None:
        site.plugin(self.USES)
        cli.write('[plugins]\nenabled = ["weather"]\n')
        assert "implements 'on_rain', and there is no such hook" in rows(cli, "--load")["weather"]["reason"]
        assert cli("plugins", "info", "weather", "--load").exit_code == exits.PLUGIN

    def test_an_enabled_plugin_may_add_it(self, cli: Command, site: FakeSite) -> None:
        site.plugin(self.USES)
        site.plugin(self.ADDS, name="clouds", value="clouds_plugin")
        cli.write('[plugins]\nenabled = ["weather", "clouds"]\n')
        assert {each["status"] for each in rows(cli, "--load").values() if each["enabled"]} == {"loads"}
        assert "loads" in cli.ok("plugins", "info", "weather", "--load")

    def test_a_plugin_that_is_not_enabled_adds_nothing(self, cli: Command, site: FakeSite) -> None:
        site.plugin(self.USES)
        site.plugin(self.ADDS, name="clouds", value="clouds_plugin")
        cli.write('[plugins]\nenabled = ["weather"]\n')
        assert rows(cli, "--load")["weather"]["status"] == "fails"


class TestStatus:
    WHEN = datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("state", "reason", "told"),
        [
            ("running", "", "running (since 2026-01-01 00:00:00Z)"),
            ("stopped", "", "ok (ran until 2026-01-01 00:00:00Z)"),
            ("stopped", "it would not end", "stopped (2026-01-01 00:00:00Z)"),
            ("failed", "it rained", "failed (2026-01-01 00:00:00Z)"),
        ],
    )
    def test_it_is_told_to_people_with_its_time_and_to_programs_in_one_word(
        self, cli: Command, site: FakeSite, state: str, reason: str, told: str
    ) -> None:
        site.plugin(BOMB)
        cli.write('[plugins]\nenabled = ["weather"]\n')
        StatusFile(cli.directory).record({"weather": PluginStatus(state, self.WHEN, reason)})
        assert f"yes      {told}  " in cli.ok("plugins", "list")
        assert rows(cli)["weather"]["status"] == state


class TestRecord:
    """What the record of calls tells."""

    NUMBERS = ("calls", "failures", "timeouts", "drops", "skipped", "mean", "worst", "breaker", "breakers")

    @pytest.fixture
    def record(self, cli: Command, site: FakeSite) -> Path:
        """The path of the record of an application with a plugin; there is none yet."""
        site.plugin(BOMB)
        cli.write('[plugins]\nenabled = ["weather"]\n[callbacks]\nrecord = "calls.jsonl"\n')
        return cli.directory / "calls.jsonl"

    def test_breaker_failures_and_times_are_shown(self, cli: Command, record: Path) -> None:
        outcomes = ("error", "timeout", "dropped", "skipped", "queued")
        write(record, call(duration=0.007), *map(call, outcomes), opened(hook="on_error", state="half-open"), opened())
        text = cli.ok("plugins", "list")
        assert "STATUS BREAKER FAILURES TIMEOUTS DROPS MEAN WORST PRIORITY HOOKS" in " ".join(text.split())
        cells = r"not started yet +open: on_message; half-open: on_error +1 +1 +1 +3 ms +7 ms +- +-$"
        assert re.search(cells, text, re.MULTILINE)
        assert text.endswith("\n\nBreakers, failures and times: calls.jsonl, as of 2026-01-01 12:00:00Z\n")

    def test_in_json_they_are_numbers(self, cli: Command, record: Path) -> None:
        write(record, call(duration=0.5), call("error", duration=1.5), call("dropped"), opened())
        shown = cli.json("plugins", "list")
        assert shown["record"] == {
            "file": "calls.jsonl",
            "as_of": "2026-01-01T12:00:01.500000+00:00",
            "lost": 0,
            "unreadable": 0,
        }
        listed = rows(cli)["weather"]
        assert [listed[each] for each in self.NUMBERS[:-1]] == [2, 1, 0, 1, 0, 1.0, 1.5, "open"]
        assert [(each["hook"], each["state"]) for each in listed["breakers"]] == [("on_message", "open")]

    def test_what_is_not_known_is_null(self, cli: Command, record: Path) -> None:
        assert [rows(cli)["weather"][each] for each in self.NUMBERS] == [None] * 9
        assert cli.json("plugins", "list")["record"] is None
        write(record, call(plugin="other"))
        assert [rows(cli)["weather"][each] for each in self.NUMBERS] == [None] * 9
        write(record, call("skipped"))
        assert [rows(cli)["weather"][each] for each in ("calls", "mean", "worst", "breaker")] == [
            0,
            None,
            None,
            "closed",
        ]
        assert re.search(r"^weather .* closed +0 +0 +0 +- +- +- +-$", cli.ok("plugins", "list"), re.MULTILINE)

    def test_where_none_is_configured_one_line_says_how_to_get_it(self, cli: Command, site: FakeSite) -> None:
        site.plugin(BOMB)
        assert "record" not in cli.ok("plugins", "list")  # nothing is enabled, and nothing would be in it
        cli.write('[plugins]\nenabled = ["weather"]\n')
        text = cli.ok("plugins", "list")
        assert "BREAKER" not in text
        assert text.endswith('To see breakers, failures and times here: [callbacks] record = "calls.jsonl"\n')

    def test_where_none_is_written_yet_it_says_so(self, cli: Command, record: Path) -> None:
        text = cli.ok("plugins", "list")
        assert "BREAKER" not in text
        assert text.endswith("the application has not written calls.jsonl yet\n")

    def test_an_empty_one_is_told(self, cli: Command, record: Path) -> None:
        record.touch()
        assert "calls.jsonl, in which there is nothing" in cli.ok("plugins", "list")

    def test_where_the_configuration_is_wrong_nothing_is_said_of_it(self, cli: Command, site: FakeSite) -> None:
        site.plugin(BOMB)
        cli.write("nonsense = 1\n")
        assert "breakers" not in cli.ok("plugins", "list")

    def test_one_that_cannot_be_read_is_a_warning(self, cli: Command, record: Path) -> None:
        record.mkdir()
        result = cli("plugins", "list")
        assert result.exit_code == exits.OK
        assert "warning: the record calls.jsonl cannot be read: Is a directory" in result.stderr

    def test_damaged_lines_are_a_warning_and_lost_calls_are_told(self, cli: Command, record: Path) -> None:
        write(record, call(), LossLine(7, NOW, 12))
        with record.open("a", encoding="ascii") as file:
            file.write("{}\n")
        result = cli("plugins", "list")
        assert "12 calls are missing in it" in result.stdout
        assert "warning: 1 lines of calls.jsonl are none of a record" in result.stderr

    def test_a_breaker_of_a_killed_process_counts_until_the_application_is_started_again(
        self, cli: Command, record: Path
    ) -> None:
        write(record, process(running=True, after=-1), opened())
        assert rows(cli)["weather"]["breaker"] == "open"
        write(record, process(running=True, pid=GONE - 1, after=1))
        assert rows(cli)["weather"]["breaker"] == "closed"

    @pytest.mark.parametrize("pid", [os.getpid(), 1])
    def test_a_breaker_of_a_process_that_runs_counts_whoever_begins_later(
        self, cli: Command, record: Path, pid: int
    ) -> None:
        write(record, opened(pid=pid), process(running=True, after=1))
        assert rows(cli)["weather"]["breaker"] == "open"

    def test_plugins_that_only_the_record_knows_are_listed(self, cli: Command, record: Path) -> None:
        write(record, call(plugin="given"), call(plugin="local"), call(plugin="core", hook="transition"))
        shown = rows(cli)
        assert {"local", "core"}.isdisjoint(shown)
        assert (shown["given"]["status"], shown["given"]["enabled"], shown["given"]["calls"]) == (
            "not configured",
            False,
            1,
        )


def test_loading_shows_which_callbacks_run_unlimited(cli: Command, site: FakeSite) -> None:
    site.plugin(
        HEARS.replace("@hookimpl(priority=7)", "@hookimpl(timeout=None)")
        + "@hookimpl(wrapper=True)\ndef on_state_change():\n    yield\n@hookimpl\ndef on_startup(app): ...\n"
    )
    cli.write('[plugins]\nenabled = ["weather"]\n')
    assert "TIME LIMIT" not in cli.ok("plugins", "list")
    table = cli.ok("plugins", "list", "--load").split("\n\n")[1].splitlines()
    assert [re.split("  +", each) for each in table] == [
        ["NAME", "HOOK", "CALLBACK", "TIME LIMIT", "DELIVERY"],
        ["weather", "on_error", "on_error", "2 s", "inline"],
        ["weather", "on_message", "on_message", "unlimited", "inline"],
        ["weather", "on_startup", "on_startup", "-", "-"],
        ["weather", "on_state_change", "on_state_change", "unlimited (wrapper)", "inline"],
    ]
    assert [each["limited"] for each in rows(cli, "--load")["weather"]["callbacks"]] == [True, False, None, False]


def test_where_there_is_no_plugin_it_says_how_to_get_one(cli: Command, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "path", [str(cli.directory)])
    assert "thea plugins install" in cli.ok("plugins", "list")


def test_a_distribution_that_cannot_be_read_is_a_warning(cli: Command, site: FakeSite) -> None:
    info = site.distribution("thea-weather", plugins={"weather": "a"})
    (info / "entry_points.txt").write_bytes(b"[thea.plugins]\n\xff = a\n")
    assert "warning: the metadata of" in cli("plugins", "list").stderr
