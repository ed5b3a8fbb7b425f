"""``thea sessions purge`` forgets whom nothing was heard of, and nobody else."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from tests.support import FakeClock
from thea_core.cli import exits
from thea_core.storage import open_store
from thea_core.types import Commit, SystemClock

TELLER = """
from thea_core import hookimpl

@hookimpl
def on_session_timeout(user_id):
    print("ended:", user_id)
"""


def visit(user_id: str, *, days_ago: float, session_timeout: float | None = None) -> None:
    """Store a conversation, as a message did so many days ago; with a timeout, and a session."""
    clock = FakeClock(SystemClock().now() - timedelta(days=days_ago))
    with closing(open_store("sqlite:///thea.db", clock=clock)) as store:
        read = store.begin(user_id, owner="test", duration=60.0)
        assert read is not None
        assert read.lease is not None
        context = f'{{"user_id": "{user_id}", "state": "idle"}}'
        session_id = None if session_timeout is None else "s"
        store.commit(Commit(read.lease, read.version, context, session_id, session_timeout))


def known(*user_ids: str) -> list[str]:
    """Return those of whom there is a conversation."""
    with closing(open_store("sqlite:///thea.db", clock=SystemClock())) as store:
        return [each for each in user_ids if store.load(each) is not None]


def test_who_was_not_heard_of_for_so_long_is_forgotten(cli: Command) -> None:
    visit("ana", days_ago=100)
    visit("bob", days_ago=91)
    visit("eva", days_ago=89)
    assert cli.ok("sessions", "purge", "--older-than", "90d") == "2 conversations forgotten.\n"
    assert known("ana", "bob", "eva") == ["eva"]
    assert cli.ok("sessions", "purge", "--older-than", "90d") == "0 conversations forgotten.\n"


def test_json_has_the_number_and_the_seconds(cli: Command) -> None:
    visit("ana", days_ago=2)
    visit("bob", days_ago=1)
    assert cli.json("sessions", "purge", "--older-than", "36h") == {"older_than": 129600.0, "conversations": 1}


def test_a_session_whose_time_is_up_is_ended_and_told_first_and_one_under_way_is_left_alone(
    cli: Command, site: FakeSite
) -> None:
    site.plugin(TELLER)
    cli.write('[plugins]\nenabled = ["weather"]\n')
    visit("ana", days_ago=100, session_timeout=60.0)
    visit("bob", days_ago=100, session_timeout=101 * 86400.0)
    visit("eva", days_ago=100)
    assert cli.ok("sessions", "purge", "--older-than", "90d") == "ended: ana\n2 conversations forgotten.\n"
    assert known("ana", "bob", "eva") == ["bob"]


@pytest.mark.parametrize("text", ["-5d", "0", "soon", "90 days", "", "99999999d"])
def test_what_is_no_duration_is_wrong_usage(cli: Command, text: str) -> None:
    result = cli("sessions", "purge", "--older-than", text)
    assert result.exit_code == exits.USAGE
    assert f"{text!r} is not a duration" in result.stderr
    assert not (cli.directory / "thea.db").exists()


def test_how_old_must_be_said(cli: Command) -> None:
    result = cli("sessions", "purge")
    assert result.exit_code == exits.USAGE
    assert "--older-than" in result.stderr


def test_in_memory_there_is_nothing_to_forget(cli: Command) -> None:
    result = cli("sessions", "purge", "--older-than", "90d", THEA__STORE__URL="memory:")
    assert result.exit_code == exits.STORE
    assert result.stderr.startswith("error[memory-store]")


def test_what_a_plugin_does_wrong_is_a_warning(cli: Command, site: FakeSite) -> None:
    site.plugin(TELLER.replace("print", "raise ValueError"))
    cli.write('[plugins]\nenabled = ["weather"]\n')
    visit("ana", days_ago=1, session_timeout=60.0)
    result = cli("sessions", "purge", "--older-than", "90d")
    assert result.exit_code == exits.OK
    assert result.stderr.startswith("warning: plugin 'weather', callback on_session_timeout failed")
