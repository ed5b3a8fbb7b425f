"""``thea outbox retry`` lets events be tried again, and tells which were not."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.cli.outbox.boxes import add, fail, kept, outbox
from thea_core.cli import exits
from thea_core.types import SystemClock


@pytest.fixture
def failed(cli: Command) -> Command:
    """The command, where e1 is parked, e2 is tried again in an hour, e3 waits behind it, and e4 was never tried."""
    with outbox() as box:
        add(box, "ana", "e1")
        fail(box, park=True)
        add(box, "bob", "e2", "e3")
        fail(box)
        add(box, "eva", "e4")
        add(box, "ana", "e5", plugin="lamp")
        fail(box, plugin="lamp", park=True)
    return cli


def waits(event_id: str) -> bool:
    """Whether the event is parked, or not due yet."""
    with outbox() as box:
        event = kept(box)[event_id]
    return event.parked or event.due is None or event.due > SystemClock().now()


def test_a_parked_event_is_due_again_with_no_attempt_counted(failed: Command) -> None:
    assert failed.ok("outbox", "retry", "1") == "1 event to be tried again at once.\n"
    assert not waits("e1")
    with outbox() as box:
        assert kept(box)["e1"].attempts == 0


def test_an_event_that_waits_for_its_next_try_is_due_at_once(failed: Command) -> None:
    assert failed.json("outbox", "retry", "2", "1", "2") == {"retried": 2, "passed_over": []}
    assert not waits("e2")


def test_what_is_not_there_and_what_waits_behind_another_is_told_and_the_rest_is_done(failed: Command) -> None:
    result = failed("outbox", "retry", "1", "3", "99")
    assert result.exit_code == exits.FAILED
    assert result.stdout == "1 event to be tried again at once.\n"
    assert "warning: event 3 was passed over: it is just being delivered, or waits behind" in result.stderr
    assert "warning: event 99 was passed over: there is no such event" in result.stderr
    assert not waits("e1")


def test_json_names_what_was_passed_over(failed: Command) -> None:
    import json

    result = failed("outbox", "retry", "99", "--json")
    assert result.exit_code == exits.FAILED
    assert json.loads(result.stdout) == {
        "retried": 0,
        "passed_over": [{"number": 99, "reason": "there is no such event"}],
    }


def test_all_are_those_that_are_parked_and_those_that_have_failed(failed: Command) -> None:
    assert failed.ok("outbox", "retry", "--all") == "3 events to be tried again at once.\n"
    assert [each for each in ("e1", "e2", "e4", "e5") if waits(each)] == []
    assert failed.ok("outbox", "retry", "--all") == "0 events to be tried again at once.\n"


def test_all_of_one_plugin(failed: Command) -> None:
    assert failed.json("outbox", "retry", "--all", "--plugin", "lamp")["retried"] == 1
    assert waits("e1")
    assert not waits("e5")


@pytest.mark.parametrize("verb", ["retry", "drop"])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "which events? Give their numbers, as thea outbox list shows them, or --all"),
        (["--plugin", "weather"], "which events?"),
        (["1", "--all"], "--all and numbers say two things"),
        (["1", "--plugin", "weather"], "--plugin goes with --all"),
        (["0"], "0"),
        (["one"], "one"),
        ([str(2**63)], "9223372036854775808"),
    ],
)
def test_what_does_not_say_which_events_are_meant_is_wrong_usage(
    cli: Command, verb: str, arguments: list[str], text: str
) -> None:
    result = cli("outbox", verb, *arguments)
    assert result.exit_code == exits.USAGE
    assert text in result.stderr
    assert not (cli.directory / "thea.db").exists()


@pytest.mark.parametrize("arguments", [["retry", "1"], ["drop", "1"], ["drop", "--all", "--yes"]])
def test_in_memory_there_is_nothing_to_be_seen(cli: Command, arguments: list[str]) -> None:
    result = cli("outbox", *arguments, THEA__STORE__URL="memory:")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith("error[memory-store]")
