"""``thea replay`` runs one plugin on recorded events, so that a failure from elsewhere happens on a desk."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.assistant import assistant
from tests.cli.conftest import Command, Process
from tests.plugins.conftest import FakeSite
from thea_core.callbacks.event_json import encode
from thea_core.cli import exits

posix = pytest.mark.skipif(os.name != "posix", reason="signals, and programs that take the place of others")

UTTERANCES = Path(__file__).resolve().parents[1] / "data" / "home_intents_es.tsv"
THEA = "import sys; from thea_core.cli import main; sys.exit(main())"

LENGTHS = """
import sys
from thea_core import hookimpl

class Lengths:
    @hookimpl
    def on_message(self, user_id, message, event_id):
        if "batería baja" in message:
            raise KeyError(f"no word for {message!r}")

    @hookimpl
    def on_state_change(self, new_state):
        if new_state == "nowhere":
            raise ValueError("never")
"""


@pytest.fixture
def shop(cli: Command, site: FakeSite) -> Command:
    """The command, with an assistant and a plugin that fails on some messages, both enabled."""
    assistant(cli, site)
    site.plugin(LENGTHS, name="lengths", value="lengths_plugin:Lengths")
    cli.write('[plugins]\nenabled = ["echo", "lengths"]\n')
    return cli


def record(cli: Command, *messages: str, file: str = "events.jsonl", **environ: str) -> None:
    """Record the events of a run with these messages."""
    cli.write("".join(f"{each}\n" for each in messages), "m.txt")
    environ = {"THEA_RECORD": file, "THEA_RECORD_MESSAGES": "1", **environ}
    cli.ok("run", "m.txt", "--again", **environ)


def rows(table: str) -> dict[str, list[str]]:
    """Return the numbers of each hook: events, ok, failed and not run."""
    lines = [line.split() for line in table.splitlines()]
    assert lines[0][:4] == ["HOOK", "EVENTS", "OK", "FAILED"]
    return {line[0]: line[1:5] for line in lines[1:] if line[0].startswith("on_")}


class TestReproduction:
    @posix
    def test_a_failure_of_a_recorded_run_happens_again(self, shop: Command, process: Process) -> None:
        lines = UTTERANCES.read_text(encoding="utf-8").splitlines(keepends=True)[:6]
        shop.write("".join(lines), "m.tsv")
        run = [sys.executable, "-c", THEA, "run", "m.tsv"]
        with process.start("record", "events.jsonl", "--messages", "--", *run) as started:
            _, errors = started.communicate(timeout=60)
        assert b"KeyError" in errors
        result = shop("replay", "events.jsonl", "--plugin", "lengths")
        assert result.exit_code == exits.FAILED
        assert rows(result.stdout)["on_message"] == ["5", "4", "1", "0"]
        place, _, rest = result.stderr.partition(": warning: plugin 'lengths', callback Lengths.on_message failed")
        assert "Traceback (most recent call last)" in rest
        assert "KeyError: \"no word for '¿hay alguna batería baja?'\"" in rest
        assert f"Failed: {place}\n" in result.stdout
        number = int(place.removeprefix("events.jsonl:"))
        failed = json.loads((shop.directory / "events.jsonl").read_text(encoding="ascii").splitlines()[number - 1])
        assert failed["arguments"]["message"] == "¿hay alguna batería baja?"

    def test_where_nothing_fails_the_status_says_so(self, shop: Command) -> None:
        record(shop, "hello", "there")
        result = shop("replay", "events.jsonl", "--plugin", "lengths")
        assert result.exit_code == exits.OK
        assert rows(result.stdout)["on_message"] == ["2", "2", "0", "0"]
        assert rows(result.stdout)["on_agent_delegated"] == ["2", "-", "-", "-"]
        assert "Failed" not in result.stdout
        assert result.stderr == ""

    def test_with_json_all_of_it_is_there(self, shop: Command) -> None:
        record(shop, "hello", "batería baja")
        result = shop("replay", "events.jsonl", "--plugin", "lengths", "--json")
        assert result.exit_code == exits.FAILED
        told = json.loads(result.stdout)
        hooks = {each.pop("hook"): each for each in told.pop("hooks")}
        assert hooks["on_message"].pop("seconds") >= hooks["on_message"].pop("slowest") > 0
        assert hooks["on_message"] == {"events": 2, "ok": 1, "failed": 1, "not_run": 0}
        (failure,) = told.pop("failures")
        assert failure.pop("place").startswith("events.jsonl:")
        assert len(failure.pop("event_id")) == 36
        assert failure == {"hook": "on_message", "error": "KeyError: \"no word for 'batería baja'\""}
        assert told == {
            "plugin": "lengths",
            "file": "events.jsonl",
            "failed": True,
            "unknown_hooks": {},
            "refused": 0,
            "left_out": 0,
        }

    def test_the_plugin_gets_the_recorded_ids_again(self, cli: Command) -> None:
        cli.write(
            "from thea_core import hookimpl\n@hookimpl\ndef on_message(event_id, session_id, timestamp):\n"
            "    print(event_id, session_id, timestamp.isoformat())\n",
            "ids.py",
        )
        cli.write('[plugins]\nmodules = ["ids"]\n')
        cli.write("hello\n", "m.txt")
        first = cli("run", "m.txt", THEA_RECORD="events.jsonl").stdout.splitlines()[0]
        assert cli.ok("replay", "events.jsonl", "--plugin", "ids").splitlines()[0] == first

    def test_more_failures_than_fit_are_counted(self, shop: Command) -> None:
        record(shop, *["batería baja"] * 12)
        result = shop("replay", "events.jsonl", "--plugin", "lengths")
        assert result.stdout.splitlines()[-1].endswith(" and 2 more")
        assert result.stderr.count("Traceback") == 1

    def test_a_plugin_with_a_queue_is_waited_for(self, shop: Command) -> None:
        record(shop, "hello", "batería baja")
        result = shop("replay", "events.jsonl", "--plugin", "lengths", THEA__PLUGINS__LENGTHS__DELIVERY="background")
        assert result.exit_code == exits.FAILED
        assert rows(result.stdout)["on_message"] == ["2", "1", "1", "0"]
        assert "Failed: events.jsonl:" in result.stdout

    def test_with_a_speed_the_pauses_are_shorter(self, shop: Command) -> None:
        """An hour at a speed that makes it a thousandth of a second."""
        arguments = {"user_id": "ana", "old_state": "idle", "new_state": "processing"}
        lines = [{"at": f"2026-03-01T1{n}:00:00+00:00", **encode("on_state_change", arguments)} for n in range(3)]
        shop.write("".join(f"{json.dumps(each)}\n" for each in lines), "events.jsonl")
        result = shop("replay", "events.jsonl", "--plugin", "lengths", "--speed", "3600000")
        assert rows(result.stdout)["on_state_change"] == ["3", "3", "0", "0"]


class TestWhatIsTold:
    def test_that_texts_were_left_out(self, shop: Command) -> None:
        record(shop, "hello", THEA_RECORD_MESSAGES="0")
        result = shop("replay", "events.jsonl", "--plugin", "lengths")
        assert result.exit_code == exits.OK
        assert "warning: in 1 event texts or values were left out" in result.stderr
        assert "record with --messages" in result.stderr

    def test_that_the_plugin_has_no_callback(self, shop: Command) -> None:
        record(shop, "hello")
        shop.write("from thea_core import hookimpl\n@hookimpl\ndef on_error(error):\n    pass\n", "quiet.py")
        result = shop("replay", "events.jsonl", "--plugin", "quiet")
        assert "the plugin quiet has no callback of any of these events" in result.stderr

    def test_that_there_is_no_event(self, shop: Command) -> None:
        shop.write("", "events.jsonl")
        result = shop("replay", "events.jsonl", "--plugin", "lengths")
        assert (result.exit_code, result.stdout) == (exits.OK, "There was no event to replay.\n")

    def test_lines_that_cannot_be_read_and_hooks_that_are_not_known(self, shop: Command) -> None:
        record(shop, "hello")
        with (shop.directory / "events.jsonl").open("a", encoding="ascii") as file:
            for each in ("not json", *[json.dumps(encode("on_order", {"thing": 1}))] * 2):
                file.write(f"{each}\n")
        count = len((shop.directory / "events.jsonl").read_text(encoding="ascii").splitlines())
        result = shop("replay", "events.jsonl", "--plugin", "lengths")
        assert result.exit_code == exits.FAILED
        assert f"warning: events.jsonl:{count - 2}: the line is not JSON" in result.stderr
        assert result.stderr.count("there is no hook 'on_order' here") == 1
        assert "2 events of the hook on_order, which is not known here, left out" in result.stderr
        assert "1 line refused" in result.stderr
        assert rows(result.stdout)["on_message"] == ["1", "1", "0", "0"]

    def test_a_hook_that_is_not_known_is_no_failure(self, shop: Command) -> None:
        shop.write(f"{json.dumps(encode('on_order', {'thing': 1}))}\n", "events.jsonl")
        assert shop("replay", "events.jsonl", "--plugin", "lengths").exit_code == exits.OK


class TestOneAlone:
    def test_no_other_plugin_is_imported_and_nothing_is_written(self, shop: Command, site: FakeSite) -> None:
        record(shop, "hello")
        site.plugin("raise SystemExit('never imported')", name="rude", value="rude_plugin")
        shop.write('[plugins]\nenabled = ["rude", "lengths"]\n[callbacks]\nrecord = "calls.jsonl"\n')
        before = {each: each.stat().st_mtime_ns for each in shop.directory.rglob("*")}
        result = shop("replay", "events.jsonl", "--plugin", "lengths", THEA_RECORD="again.jsonl", THEA_NO_PLUGINS="1")
        assert result.exit_code == exits.OK
        assert {each: each.stat().st_mtime_ns for each in shop.directory.rglob("*")} == before

    def test_its_settings_are_those_of_the_configuration(self, cli: Command) -> None:
        source = (
            "import pydantic\nfrom thea_core import hookimpl\n"
            "class Shop:\n"
            "    class Settings(pydantic.BaseModel):\n        word: str\n"
            "    def __init__(self, settings):\n        self.word = settings.word\n"
            "    @hookimpl\n    def on_state_change(self, new_state):\n        print(self.word, new_state)\n"
        )
        cli.write(source, "shop_module.py")
        (cli.directory / "thea_shop-1.0.dist-info").mkdir()
        cli.write("Metadata-Version: 2.1\nName: thea-shop\nVersion: 1.0\n", "thea_shop-1.0.dist-info/METADATA")
        cli.write("[thea.plugins]\nshop = shop_module:Shop\n", "thea_shop-1.0.dist-info/entry_points.txt")
        sys.path.insert(0, str(cli.directory))
        arguments = {"user_id": "ana", "old_state": "idle", "new_state": "processing"}
        cli.write(f"{json.dumps(encode('on_state_change', arguments))}\n", "events.jsonl")
        cli.write('[plugins.shop.settings]\nword = "hey"\n')
        assert cli.ok("replay", "events.jsonl", "--plugin", "shop").startswith("hey processing\n")
        cli.write("[plugins.shop.settings]\nwrd = 1\n")
        result = cli("replay", "events.jsonl", "--plugin", "shop")
        assert result.exit_code == exits.PLUGIN
        assert "plugins.shop.settings.wrd" in result.stderr

    @pytest.mark.parametrize(("plugin", "code"), [("lenghts", "plugin-not-found"), ("my.shop", "plugin-load")])
    def test_one_that_is_not_there_is_told(self, shop: Command, plugin: str, code: str) -> None:
        record(shop, "hello")
        result = shop("replay", "events.jsonl", "--plugin", plugin)
        assert result.exit_code == exits.PLUGIN
        assert result.stderr.startswith(f"error[{code}]: ")
        assert result.stdout == ""

    def test_a_wrong_configuration_is_told(self, shop: Command) -> None:
        record(shop, "hello")
        shop.write("nonsense = 1\n")
        assert shop("replay", "events.jsonl", "--plugin", "lengths").exit_code == exits.CONFIG

    @pytest.mark.parametrize(
        "arguments",
        [
            ["events.jsonl"],
            ["nowhere.jsonl", "--plugin", "lengths"],
            ["events.jsonl", "--plugin", "lengths", "--speed", "0"],
            ["events.jsonl", "--plugin", "lengths", "--speed", "fast"],
            ["events.jsonl", "--plugin", "lengths", "--no-plugins"],
        ],
    )
    def test_misuse_is_refused(self, shop: Command, arguments: list[str]) -> None:
        record(shop, "hello")
        assert shop("replay", *arguments).exit_code == exits.USAGE


PATIENT = """
import sys
from thea_core import hookimpl

@hookimpl(timeout=None)
def on_state_change(new_state):
    print("got", new_state, file=sys.stderr, flush=True)
    if new_state == "gate":
        open("gate").close()
"""


def moments(*states: str) -> str:
    """Return a recording of changes of state, an hour between them."""
    lines: list[dict[str, Any]] = [
        {
            "at": f"2026-03-01T{number:02}:00:00+00:00",
            **encode("on_state_change", {"user_id": "ana", "old_state": "idle", "new_state": state}),
        }
        for number, state in enumerate(states)
    ]
    return "".join(f"{json.dumps(each)}\n" for each in lines)


@posix
class TestStopping:
    @pytest.mark.parametrize(
        ("number", "status"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.TERMINATED)]
    )
    def test_a_signal_in_a_pause_ends_it_with_the_report(
        self, cli: Command, process: Process, number: int, status: int
    ) -> None:
        cli.write(PATIENT, "patient.py")
        cli.write(moments("one", "two"), "events.jsonl")
        with process.start("replay", "events.jsonl", "--plugin", "patient", "--speed", "1") as started:
            assert started.stderr is not None
            assert started.stderr.readline() == b"got one\n"
            started.send_signal(number)
            output, errors = started.communicate(timeout=60)
        assert started.returncode == status
        assert rows(output.decode())["on_state_change"] == ["1", "1", "0", "0"]
        assert b"Traceback" not in errors

    def test_a_signal_lets_the_event_under_way_end(self, cli: Command, process: Process) -> None:
        cli.write(PATIENT, "patient.py")
        cli.write(moments("gate", "two"), "events.jsonl")
        os.mkfifo(cli.directory / "gate")
        with process.start("replay", "events.jsonl", "--plugin", "patient") as started:
            assert started.stderr is not None
            assert started.stderr.readline() == b"got gate\n"
            started.send_signal(signal.SIGINT)
            (cli.directory / "gate").open("w").close()
            output, errors = started.communicate(timeout=60)
        assert started.returncode == exits.INTERRUPTED
        assert rows(output.decode())["on_state_change"] == ["1", "1", "0", "0"]
        assert errors == b""
