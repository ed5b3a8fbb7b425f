"""``thea outbox list`` shows which events wait, and never what is in them."""

from __future__ import annotations

import re
import sys

from tests.cli.conftest import Command
from tests.cli.outbox.boxes import SECRET, SHELF, add, fail, outbox
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits


def fill() -> None:
    """Leave one event parked, one that is tried again later with one behind it, and one that belongs to no user."""
    with outbox() as box:
        add(box, "ana", "e1")
        fail(box, park=True)
        add(box, "bob", "e2", "e3")
        fail(box)
        add(box, "", "e4", plugin="lamp")


def test_a_file_that_does_not_exist_is_told_and_not_made(cli: Command) -> None:
    result = cli("outbox", "list")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith(f"error[no-store]: there is no {cli.directory / 'thea.db'}")
    assert not (cli.directory / "thea.db").exists()


def test_an_empty_outbox_is_told(cli: Command) -> None:
    with outbox():
        pass
    assert cli.ok("outbox", "list") == "No event is waiting.\n"
    assert cli.ok("outbox", "list", "--parked", "--plugin", "lamp") == "No event for lamp is parked.\n"
    assert cli.json("outbox", "list") == {"events": [], "more": False}


def test_each_event_is_shown_with_its_state_and_without_what_is_in_it(cli: Command) -> None:
    fill()
    text = cli.ok("outbox", "list")
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
    rows = [re.split("  +", re.sub(time, "TIME", line)) for line in text.splitlines()]
    assert rows == [
        ["NUMBER", "PLUGIN", "USER", "HOOK", "EVENT_ID", "STORED", "ATTEMPTS", "STATE", "ERROR"],
        ["1", "weather", "ana", "on_message", "e1", "TIME", "1", "parked", "OSError: away"],
        ["2", "weather", "bob", "on_message", "e2", "TIME", "1", "due TIME", "OSError: away"],
        ["3", "weather", "bob", "on_message", "e3", "TIME", "0", "waiting", "-"],
        ["4", "lamp", "-", "on_message", "e4", "TIME", "0", "due TIME", "-"],
    ]
    assert SECRET not in text


def test_json_has_the_same_and_null_for_what_is_not_there(cli: Command) -> None:
    fill()
    said = cli.json("outbox", "list")
    assert [each["state"] for each in said["events"]] == ["parked", "due", "waiting", "due"]
    assert [each["due"] is None for each in said["events"]] == [True, False, True, False]
    last = said["events"][-1]
    assert (last["user_id"], last["error"], last["attempts"], last["plugin"]) == (None, None, 0, "lamp")
    assert SECRET not in str(said)


def test_a_plugin_and_parked_ones_can_be_asked_for(cli: Command) -> None:
    fill()
    ids = [each["event_id"] for each in cli.json("outbox", "list", "--plugin", "weather")["events"]]
    assert ids == ["e1", "e2", "e3"]
    assert [each["event_id"] for each in cli.json("outbox", "list", "--parked")["events"]] == ["e1"]


def test_where_there_are_more_it_says_so(cli: Command) -> None:
    fill()
    assert "There are more" in cli.ok("outbox", "list", "-n", "3")
    assert cli.json("outbox", "list", "-n", "3")["more"] is True
    assert "There are more" not in cli.ok("outbox", "list", "-n", "4")
    assert cli("outbox", "list", "-n", "0").exit_code == exits.USAGE


def test_no_plugin_is_loaded(cli: Command, site: FakeSite) -> None:
    site.plugin("raise SystemExit('imported')")
    cli.write('[plugins]\nenabled = ["weather"]\n\n[plugins.weather]\nrequired = true\n')
    with outbox():
        pass
    cli.ok("outbox", "list")
    assert "weather_plugin" not in sys.modules


def test_the_memory_of_another_process_cannot_be_seen(cli: Command) -> None:
    result = cli("outbox", "list", THEA__STORE__URL="memory:")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith("error[memory-store]: [store] url is memory:, so")
    assert "sqlite:///thea.db" in result.stderr


def test_the_store_of_a_plugin_is_asked_for_its_outbox(cli: Command, site: FakeSite) -> None:
    site.plugin(SHELF, name="shelf", value="shelf_plugin")
    cli.write('[plugins]\nenabled = ["shelf"]\n\n[store]\nurl = "shelf:"\n')
    assert [each["event_id"] for each in cli.json("outbox", "list")["events"]] == ["e1"]


def test_a_store_without_an_outbox_is_told(cli: Command, site: FakeSite) -> None:
    site.plugin(SHELF, name="shelf", value="shelf_plugin")
    cli.write('[plugins]\nenabled = ["shelf"]\n\n[store]\nurl = "shelf:bare"\n')
    result = cli("outbox", "list")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith("error[no-outbox]: the configured store keeps no outbox")


def test_a_store_that_nobody_knows_is_an_error_of_the_store(cli: Command) -> None:
    result = cli("outbox", "list", THEA__STORE__URL="nonsense:")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith("error[store-unavailable]")
