"""``thea outbox drop`` removes what it is told to, and no healthy event by accident."""

from __future__ import annotations

import os

import pytest

from tests.cli.conftest import Command, Process, Pty
from tests.cli.outbox.boxes import add, fail, kept, outbox
from thea_core.cli import exits

posix = pytest.mark.skipif(os.name != "posix", reason="a terminal")


@pytest.fixture
def parked(cli: Command) -> Command:
    """The command, where e1 and e4 are parked, e2 is tried again in an hour, and e3 waits behind it."""
    with outbox() as box:
        add(box, "ana", "e1")
        fail(box, park=True)
        add(box, "bob", "e2", "e3")
        fail(box)
        add(box, "ana", "e4", plugin="lamp")
        fail(box, plugin="lamp", park=True)
    return cli


def left() -> list[str]:
    """Return the event ids that are there."""
    with outbox() as box:
        return list(kept(box))


def test_events_that_are_named_are_dropped_whatever_their_state(parked: Command) -> None:
    assert parked.ok("outbox", "drop", "1", "3") == "2 events dropped.\n"
    assert left() == ["e2", "e4"]


def test_an_event_that_is_just_being_delivered_is_left_alone(cli: Command) -> None:
    with outbox() as box:
        add(box, "ana", "e1")
        assert box.claim("weather", duration=60.0, limit=1)
        result = cli("outbox", "drop", "1", "2")
    assert result.exit_code == exits.FAILED
    assert result.stdout == "0 events dropped.\n"
    assert "warning: event 1 was passed over: it is just being delivered" in result.stderr
    assert "warning: event 2 was passed over: there is no such event" in result.stderr
    assert left() == ["e1"]


def test_all_are_the_parked_ones_only(parked: Command) -> None:
    assert parked.json("outbox", "drop", "--all", "--yes") == {"dropped": 2, "passed_over": []}
    assert left() == ["e2", "e3"]
    assert parked.ok("outbox", "drop", "--all", "--yes") == "0 events dropped.\n"


def test_all_of_one_plugin(parked: Command) -> None:
    assert parked.ok("outbox", "drop", "--all", "--plugin", "lamp", "--yes") == "1 event dropped.\n"
    assert left() == ["e1", "e2", "e3"]


def test_without_a_terminal_nobody_can_be_asked(parked: Command) -> None:
    result = parked("outbox", "drop", "--all", typed="y\n")
    assert result.exit_code == exits.USAGE
    assert "--yes drops all parked events without asking" in result.stderr
    assert left() == ["e1", "e2", "e3", "e4"]


@posix
@pytest.mark.parametrize(
    ("typed", "status", "ids"), [("n\n", exits.FAILED, ["e1", "e2", "e3", "e4"]), ("y\n", exits.OK, ["e2", "e3"])]
)
@pytest.mark.usefixtures("parked")
def test_on_a_terminal_it_asks(process: Process, terminal: Pty, typed: str, status: int, ids: list[str]) -> None:
    side = terminal.theirs
    with process.start("outbox", "drop", "--all", stdin=side, stdout=side, stderr=side) as started:
        terminal.until("Drop 2 parked events, for good? [y/N]: ")
        terminal.type(typed)
        assert started.wait(timeout=60) == status
    assert left() == ids
