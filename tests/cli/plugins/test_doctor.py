"""``thea plugins doctor`` names each plugin that misbehaves, says what to do, and tells it by its exit status."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.cli.records import GONE, NOW, call, opened, process, write
from tests.plugins.conftest import FakeSite
from thea_core.callbacks.record_lines import LossLine
from thea_core.cli import exits
from thea_core.cli.plugins import loads
from thea_core.plugins.status import PluginStatus, StatusFile

GOOD = """
from thea_core import hookimpl

class Weather:
    @hookimpl
    def on_message(self, user_id): ...

    @hookimpl
    def detect_intents(self, message): ...
"""
MODULE = """
from thea_core import hookimpl

@hookimpl
def on_message(user_id): ...
"""
RECORD = '[callbacks]\nrecord = "calls.jsonl"\n'
ENABLED = '[plugins]\nenabled = ["weather"]\n'


@pytest.fixture
def weather(cli: Command, site: FakeSite) -> Command:
    """An application with one good plugin, which has not been started yet."""
    site.plugin(GOOD, value="weather_plugin:Weather")
    cli.write(RECORD + ENABLED)
    return cli


@pytest.fixture
def record(weather: Command) -> Path:
    """The path of its record; there is none yet."""
    return weather.directory / "calls.jsonl"


def examined(cli: Command, *arguments: str) -> dict[str, Any]:
    """Return what the doctor says; the exit status must fit it."""
    result = cli("plugins", "doctor", "--json", *arguments)
    said: dict[str, Any] = json.loads(result.stdout)
    assert said["ok"] is (result.exit_code == exits.OK) is not bool(said["problems"])
    assert result.exit_code in {exits.OK, exits.FAILED}
    return said


def problems(cli: Command, *arguments: str) -> list[dict[str, Any]]:
    return examined(cli, *arguments)["problems"]  # type: ignore[no-any-return]


def the_problem(cli: Command, *arguments: str) -> dict[str, Any]:
    """Return the only problem."""
    (found,) = problems(cli, *arguments)
    assert isinstance(found, dict)
    return found


def notes(cli: Command, code: str) -> list[dict[str, Any]]:
    """Return the notes of one kind, where there is no problem."""
    said = examined(cli)
    assert said["problems"] == []
    return [each for each in said["notes"] if each["code"] == code]


class TestAllIsWell:
    def test_nothing_wrong_is_one_line_with_what_was_looked_at(self, weather: Command, record: Path) -> None:
        write(record, call(), call("veto"))
        assert weather.ok("plugins", "doctor") == (
            "Nothing is wrong; looked at: weather; calls.jsonl, as of 2026-01-01 12:00:00Z\n"
        )
        assert examined(weather)["plugins"] == ["weather"]

    def test_without_a_record_it_says_how_to_get_one(self, weather: Command) -> None:
        weather.write(ENABLED)
        assert weather.ok("plugins", "doctor") == (
            "note: no record is configured, so nothing is known of any call\n"
            '  [callbacks] record = "calls.jsonl"\n'
            "Nothing is wrong; looked at: weather\n"
        )

    def test_a_record_that_is_not_written_yet_is_no_problem(self, weather: Command) -> None:
        (note,) = notes(weather, "record")
        assert note["text"] == "the application has not written calls.jsonl yet"

    def test_where_no_plugin_is_enabled_it_says_so(self, cli: Command) -> None:
        assert cli.ok("plugins", "doctor").endswith("looked at: no plugin, for none is enabled\n")

    def test_what_is_not_enabled_is_neither_imported_nor_judged(self, cli: Command, site: FakeSite) -> None:
        site.plugin("raise SystemExit('imported')")
        cli.write(RECORD)
        write(cli.directory / "calls.jsonl", call("error"))
        assert problems(cli) == []

    def test_plugins_are_not_imported_into_this_process(self, weather: Command) -> None:
        assert examined(weather)["ok"]
        assert "weather_plugin" not in sys.modules


class TestNames:
    def test_only_these_are_looked_at(self, weather: Command, site: FakeSite) -> None:
        site.plugin("1 / 0", name="broken", value="broken_plugin")
        weather.write('[plugins]\nenabled = ["weather", "broken"]\n')
        assert examined(weather, "thea-weather", "weather")["plugins"] == ["weather"]
        assert [each["plugin"] for each in problems(weather, "broken")] == ["broken"]
        assert [each["plugin"] for each in problems(weather)] == ["broken"]

    def test_one_that_is_not_enabled_is_loaded_all_the_same(self, cli: Command, site: FakeSite) -> None:
        site.plugin("1 / 0")
        said = examined(cli, "weather")
        assert [each["code"] for each in said["problems"]] == ["does-not-load"]
        assert ("not-enabled", "thea plugins enable weather") in [
            (each["code"], each["todo"]) for each in said["notes"]
        ]

    def test_one_that_is_not_there_is_refused(self, weather: Command) -> None:
        result = weather("plugins", "doctor", "wether")
        assert result.exit_code == exits.PLUGIN
        assert "error[plugin-not-found]: no plugin 'wether' is installed; did you mean 'weather'?" in result.stderr

    @pytest.mark.usefixtures("lantern")
    def test_one_that_is_enabled_and_not_there_is_a_problem(self, cli: Command) -> None:
        cli.write('[plugins]\nenabled = ["lantern"]\n')
        found = the_problem(cli, "lantern")
        assert (found["code"], found["text"]) == (
            "not-installed",
            "thea-lantern is not installed: pip install thea-lantern",
        )
        assert found["todo"] == "or switch it off: thea plugins disable lantern"

    @pytest.mark.usefixtures("lantern")
    def test_what_one_did_that_is_not_there_any_more_is_told_too(self, cli: Command) -> None:
        cli.write(RECORD + '[plugins]\nenabled = ["lantern"]\n')
        write(cli.directory / "calls.jsonl", call("error", plugin="lantern"))
        found = problems(cli)
        assert [each["code"] for each in found] == ["not-installed", "failures"]
        assert found[1]["todo"].endswith("then tell its author, or switch it off: thea plugins disable lantern")


class TestLoading:
    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
            (GOOD + "\n    def __init__(self): raise SystemExit", "cannot be constructed (Weather): SystemExit"),
            (GOOD.replace("user_id", "user"), "name only arguments of the hook: user_id, message"),
            (GOOD.replace("on_message", "on_mesage"), "there is no such hook (did you mean on_message?)"),
            ("import os; os._exit(3)", "ended the process in which it was being imported (exit status 3)"),
        ],
    )
    def test_what_an_application_would_leave_out_is_a_problem(
        self, cli: Command, site: FakeSite, source: str, said: str
    ) -> None:
        site.plugin(source, value="weather_plugin:Weather")
        cli.write(ENABLED)
        result = cli("plugins", "doctor")
        assert result.exit_code == exits.FAILED
        assert result.stdout.startswith("problem: weather: plugin 'weather' (thea-weather 1.0) ")
        assert said in result.stdout
        assert result.stdout.endswith("\n1 problem; looked at: weather\n")

    def test_one_that_hangs_is_stopped(self, cli: Command, site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loads, "_TIME", 2.0)
        site.plugin("import threading; threading.Event().wait()")
        cli.write(ENABLED)
        found = the_problem(cli)
        assert found["code"] == "does-not-load"
        assert "hangs: it was still being " in found["text"]
        assert "thea plugins disable weather" in found["text"]

    def test_settings_that_are_wrong_are_a_problem(self, cli: Command, site: FakeSite) -> None:
        source = """
            import pydantic
            from thea_core import hookimpl

            class Weather:
                class Settings(pydantic.BaseModel):
                    days: int

                def __init__(self, settings): ...

                @hookimpl
                def on_message(self, user_id): ...
        """
        site.plugin(source, value="weather_plugin:Weather")
        cli.write(ENABLED + '[plugins.weather.settings]\ndays = "many"\n')
        assert "[plugins.weather.settings] days: " in the_problem(cli)["text"]

    def test_a_name_that_two_distributions_offer_is_a_problem(self, cli: Command, site: FakeSite) -> None:
        site.distribution("thea-weather", plugins={"weather": "a"})
        site.distribution("other-weather", plugins={"weather": "b"})
        cli.write(ENABLED)
        found = the_problem(cli)
        assert found["code"] == "conflict"
        assert "other-weather" in found["text"]
        assert "uninstall all of them but one" in found["text"]

    def test_a_plugin_for_another_version_is_a_problem(self, cli: Command, site: FakeSite) -> None:
        site.distribution("thea-weather", plugins={"weather": "a"}, requires=["thea-core>=99"])
        cli.write(ENABLED)
        found = the_problem(cli)
        assert found["code"] == "does-not-fit"
        assert "pip install --upgrade thea-core thea-weather" in found["text"]


class TestConfiguration:
    def test_a_wrong_one_is_a_problem_and_then_no_plugin_is_blamed(self, weather: Command) -> None:
        weather.write("nonsense = 1\n" + ENABLED)
        found = the_problem(weather)
        assert (found["plugin"], found["code"]) == (None, "configuration")
        assert "nonsense is not a known key" in found["text"]
        assert "no plugin was loaded" in found["todo"]

    def test_a_plugin_that_is_enabled_under_two_names_is_a_problem(self, weather: Command) -> None:
        weather.write(RECORD + '[plugins]\nenabled = ["weather", "thea-weather"]\n')
        found = the_problem(weather)
        assert (found["code"], found["todo"]) == ("listed-twice", "take 'thea-weather' out")
        assert "weather and thea-weather" in found["text"]

    def test_two_plugins_of_one_name_are_one_problem(self, weather: Command) -> None:
        (weather.directory / "weather.py").write_text(MODULE, encoding="utf-8")
        weather.write(RECORD + ENABLED + 'modules = ["weather"]\n')
        found = the_problem(weather)
        assert found["code"] == "conflict"
        assert "module weather and thea-weather 1.0" in found["text"]

    def test_a_guard_needs_a_record(self, weather: Command) -> None:
        guard = ENABLED + '[plugins.weather]\non_failure = "veto"\n'
        weather.write(guard)
        found = the_problem(weather)
        assert (found["code"], found["todo"]) == ("guard-without-record", '[callbacks] record = "calls.jsonl"')
        weather.write(guard + RECORD)
        assert problems(weather) == []

    def test_metadata_that_cannot_be_read_is_worth_a_note(self, weather: Command, site: FakeSite) -> None:
        info = site.distribution("thea-clouds", plugins={"clouds": "a"})
        (info / "entry_points.txt").write_bytes(b"[thea.plugins]\n\xff = a\n")
        (note,) = notes(weather, "metadata")
        assert "reinstall that distribution" in note["text"]

    def test_callbacks_without_a_limit_are_worth_a_note(self, cli: Command, site: FakeSite) -> None:
        more = "\n    @hookimpl(wrapper=True)\n    def on_error(self):\n        yield\n"
        source = GOOD.replace("@hookimpl\n    def on_message", "@hookimpl(timeout=None)\n    def on_message") + more
        site.plugin(source, value="weather_plugin:Weather")
        cli.write(RECORD + ENABLED)
        limitless, wrapper = notes(cli, "unlimited")
        assert limitless["text"] == "these run without a time limit: Weather.on_message"
        assert limitless["todo"] == 'to give all of its callbacks one: [plugins.weather] timeout = "2s"'
        assert wrapper["text"] == "these run without a time limit, for they are wrappers: Weather.on_error"
        assert wrapper["todo"] is None


class TestLastRun:
    WHEN = datetime(2026, 1, 1, tzinfo=UTC)

    def note(self, weather: Command, state: str, reason: str) -> None:
        StatusFile(weather.directory).record({"weather": PluginStatus(state, self.WHEN, reason)})

    def test_a_plugin_that_was_left_out_and_can_be_loaded_now_is_a_problem(self, weather: Command) -> None:
        self.note(weather, "failed", "its on_startup raised")
        found = the_problem(weather)
        assert found["code"] == "left-out"
        assert found["text"] == "the application has left it out at 2026-01-01 00:00:00Z: its on_startup raised"
        assert found["todo"].startswith("it can be loaded now: start the application again to see whether it runs; ")

    def test_one_that_still_cannot_be_loaded_is_told_once(self, cli: Command, site: FakeSite) -> None:
        site.plugin("1 / 0")
        cli.write(ENABLED)
        self.note(cli, "failed", "it could not be imported")
        assert [each["code"] for each in problems(cli)] == ["does-not-load"]

    def test_a_bad_end_is_a_problem(self, weather: Command) -> None:
        self.note(weather, "stopped", "its on_shutdown raised")
        found = the_problem(weather)
        assert found["text"] == "it was shut down badly at 2026-01-01 00:00:00Z: its on_shutdown raised"
        assert found["todo"] == "tell its author, or switch it off: thea plugins disable weather"

    def test_advice_is_not_given_twice(self, weather: Command) -> None:
        self.note(weather, "stopped", "it raised. Tell its author, or switch it off: thea plugins disable weather")
        assert the_problem(weather)["todo"] is None

    @pytest.mark.parametrize("state", ["stopped", "running"])
    def test_a_good_run_is_none(self, weather: Command, state: str) -> None:
        self.note(weather, state, "")
        assert problems(weather) == []

    @pytest.mark.parametrize(("reason", "told"), [("", "00Z"), ("no plugins", "00Z: no plugins")])
    def test_one_that_was_switched_off_is_worth_a_note(self, weather: Command, reason: str, told: str) -> None:
        self.note(weather, "disabled", reason)
        (note,) = notes(weather, "disabled")
        assert note["text"] == f"the application runs without it, since 2026-01-01 00:00:{told}"


class TestCalls:
    def test_failures_are_a_problem(self, weather: Command, record: Path) -> None:
        late = NOW + timedelta(seconds=5)
        write(record, call("error", error="KeyError: 1"), call("error", error="ValueError: no", start=late), call())
        found = the_problem(weather)
        assert found["code"] == "failures"
        assert found["text"] == (
            "2 of its 3 calls failed; the last, Weather.on_message at 2026-01-01 12:00:05Z: ValueError: no"
        )
        assert found["todo"] == (
            "see what happens: thea history --failures --plugin weather; then tell its author, or switch it off: "
            "thea plugins disable weather"
        )

    def test_what_a_plugin_of_an_old_record_does_is_left_out_with_since(self, weather: Command, record: Path) -> None:
        write(record, call("error"), LossLine(7, NOW, 3))
        assert problems(weather, "--since", "36500d")
        assert problems(weather, "--since", "1h") == []
        write(record, call("error", start=datetime.now(UTC)))
        assert [each["code"] for each in problems(weather, "--since", "1h")] == ["failures"]

    def test_a_since_that_is_no_duration_is_misuse(self, weather: Command) -> None:
        result = weather("plugins", "doctor", "--since", "yesterday")
        assert result.exit_code == exits.USAGE
        assert "'yesterday' is not a duration such as" in result.stderr

    def test_timeouts_of_an_event_may_go_to_the_background(self, weather: Command, record: Path) -> None:
        write(record, call("timeout", duration=2.0), call())
        found = the_problem(weather)
        assert found["text"] == "1 of its 2 calls took too long; the last, Weather.on_message at 2026-01-01 12:00:00Z"
        assert found["todo"] == (
            "where it needs longer, raise [plugins.weather] timeout (now 2 s); where nobody needs to wait for its "
            'events, [plugins.weather] delivery = "background"; else tell its author, or switch it off: '
            "thea plugins disable weather"
        )

    @pytest.mark.parametrize(
        ("hook", "more"), [("detect_intents", ""), ("on_message", '[plugins.weather]\ndelivery = "background"\n')]
    )
    def test_other_timeouts_may_not(self, weather: Command, record: Path, hook: str, more: str) -> None:
        weather.write(RECORD + ENABLED + more)
        write(record, call("timeout", hook=hook, callback=f"Weather.{hook}", duration=2.0))
        assert "background" not in the_problem(weather)["todo"]

    def test_drops_are_a_problem(self, weather: Command, record: Path) -> None:
        weather.write(RECORD + ENABLED + "[plugins.weather]\nqueue_size = 9\n")
        write(record, call("dropped"), call("dropped", error="its queue is full"))
        found = the_problem(weather)
        assert found["text"] == (
            "2 events dropped; the last, Weather.on_message at 2026-01-01 12:00:00Z: its queue is full"
        )
        assert found["todo"].startswith("raise [plugins.weather] queue_size (now 9), or ")

    def test_calls_that_were_left_out_are_a_problem(self, weather: Command, record: Path) -> None:
        write(record, call("skipped", callback="Weather.note", error="its circuit breaker is open"))
        found = the_problem(weather)
        assert found["text"] == (
            "1 call left out; the last, Weather.note (on_message) at 2026-01-01 12:00:00Z: its circuit breaker is open"
        )
        assert "thea plugins disable weather" in found["todo"]
        write(record, call("error"))
        assert [(each["code"], each["todo"] is None) for each in problems(weather)] == [
            ("failures", False),
            ("skipped", True),
        ]

    @pytest.mark.parametrize("pid", [os.getpid(), GONE])
    def test_a_breaker_that_is_open_is_a_problem(self, weather: Command, record: Path, pid: int) -> None:
        write(record, opened(pid=pid))
        found = the_problem(weather)
        assert found["code"] == "breaker"
        assert found["text"].startswith("its circuit breaker for on_message is open since 2026-01-01 12:00:00Z")
        assert found["text"].endswith("5 failures in a row, the last: ValueError: no")
        assert (f"in process {GONE}, which does not run on this machine now" in found["text"]) is (pid == GONE)

    @pytest.mark.parametrize("after", [opened(state="closed"), process(running=False)])
    def test_a_breaker_that_is_closed_or_gone_is_none(self, weather: Command, record: Path, after: Any) -> None:
        write(record, opened(), after)
        assert problems(weather) == []

    def test_a_plugin_that_only_the_record_knows_is_judged_too(self, weather: Command, record: Path) -> None:
        write(record, call("error", plugin="given"))
        found = the_problem(weather)
        assert found["plugin"] == "given"
        assert "take it out of Thea(plugins=[...])" in found["todo"]

    def test_of_a_module_nobody_else_is_the_author(self, weather: Command, record: Path) -> None:
        (weather.directory / "own.py").write_text(MODULE, encoding="utf-8")
        weather.write(RECORD + '[plugins]\nmodules = ["own"]\n')
        write(record, call("error", plugin="own"))
        assert the_problem(weather)["todo"].endswith("then mend it, or take 'own' out of [plugins] modules")


class TestTimes:
    def test_an_event_that_is_slow_again_and_again_is_a_problem(self, weather: Command, record: Path) -> None:
        write(record, call(duration=0.2), call(duration=0.3), call(duration=0.05))
        found = the_problem(weather)
        assert found["code"] == "slow"
        assert found["text"] == (
            "Weather.on_message makes its caller wait for 183 ms on average, and for 300 ms at worst; "
            "2 of 3 calls took longer than 100 ms"
        )
        assert found["todo"] == 'let nobody wait for its events: [plugins.weather] delivery = "background"'

    @pytest.mark.parametrize("durations", [(0.3,), (0.3, 0.3, 0.001, 0.001, 0.001, 0.001, 0.001)])
    def test_one_that_is_slow_at_first_or_seldom_is_worth_a_note(
        self, weather: Command, record: Path, durations: tuple[float, ...]
    ) -> None:
        write(record, *(call(duration=each) for each in durations))
        (note,) = notes(weather, "slow")
        assert note["todo"] is None

    def test_nobody_waits_for_what_goes_to_a_queue(self, weather: Command, record: Path) -> None:
        weather.write(RECORD + ENABLED + '[plugins.weather]\ndelivery = "background"\n')
        write(record, *(call(duration=each) for each in (0.2, 0.3)))
        assert notes(weather, "slow") == []

    def test_a_hook_with_a_result_cannot_go_there(self, weather: Command, record: Path) -> None:
        slow = call(hook="detect_intents", callback="Weather.detect_intents", duration=0.5)
        write(record, slow, slow)
        assert the_problem(weather)["todo"].startswith("bound the wait: [plugins.weather] timeout; or tell its author")

    def test_nor_can_the_events_of_a_plugin_that_wraps_some(self, cli: Command, site: FakeSite) -> None:
        more = "\n    @hookimpl(wrapper=True)\n    def on_error(self):\n        yield\n"
        site.plugin(GOOD + more, value="weather_plugin:Weather")
        cli.write(RECORD + ENABLED)
        slow = [call(duration=0.5), call(hook="on_error", callback="Weather.on_error", duration=0.4)]
        write(cli.directory / "calls.jsonl", *slow, *slow)
        blame = "tell its author, or switch it off: thea plugins disable weather"
        assert [each["todo"] for each in problems(cli)] == [
            f"bound the wait: [plugins.weather] timeout; or {blame}",
            blame,
        ]

    def test_of_a_plugin_that_does_not_load_its_configured_delivery_counts(self, cli: Command, site: FakeSite) -> None:
        site.plugin("1 / 0")
        cli.write(RECORD + ENABLED + '[plugins.weather]\ndelivery = "background"\n')
        write(cli.directory / "calls.jsonl", *(call(duration=0.5) for _ in range(3)))
        assert [each["code"] for each in problems(cli)] == ["does-not-load"]
        cli.write(RECORD + ENABLED)
        assert [each["code"] for each in problems(cli)] == ["does-not-load", "slow"]


class TestRecord:
    def test_one_that_cannot_be_read_is_a_problem(self, weather: Command, record: Path) -> None:
        record.mkdir()
        found = the_problem(weather)
        assert (found["plugin"], found["text"]) == (None, "the record calls.jsonl cannot be read: Is a directory")

    def test_calls_that_are_missing_are_a_problem(self, weather: Command, record: Path) -> None:
        write(record, call(), LossLine(7, NOW, 1200))
        assert the_problem(weather)["text"].startswith("1,200 calls missing in calls.jsonl: ")

    def test_lines_of_something_else_are_a_problem(self, weather: Command, record: Path) -> None:
        write(record, call())
        with record.open("a", encoding="ascii") as file:
            file.write("hello\n")
        assert the_problem(weather)["text"].startswith("1 line of calls.jsonl not of a record: ")


def test_many_plugins_are_counted(cli: Command) -> None:
    names = [f"plugin{number}" for number in range(9)]
    cli.write(f"[plugins]\nenabled = {json.dumps(names)}\n")
    assert cli("plugins", "doctor").stdout.endswith("\n9 problems; looked at: 9 plugins\n")


def test_problems_come_first_and_an_escape_of_a_plugins_does_not_reach_the_terminal(
    weather: Command, record: Path
) -> None:
    write(record, call("error", error="ValueError: \x1b[2J"), call(duration=0.5))
    result = weather("plugins", "doctor")
    first, *_, last = result.stdout.splitlines()
    assert first.endswith("ValueError: \\x1b[2J")
    assert "note: weather: Weather.on_message makes its caller wait" in result.stdout
    assert last == "1 problem; looked at: weather; calls.jsonl, as of 2026-01-01 12:00:00Z"
