"""The tape keeps every event, in order, and disturbs none."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, plug, say
from tests.support import FakeClock, run_in_child
from thea_core import CallbackManager, hookimpl, hookspec
from thea_core.callbacks.event_json import decode
from thea_core.callbacks.privacy import Redaction, user_hash
from thea_core.callbacks.record_file import RecordFile
from thea_core.callbacks.record_lines import rotated_path
from thea_core.callbacks.tape import Tape

KEY = b"0123456789abcdef"


class Shop:
    """Hooks that a plugin adds."""

    @hookspec
    def on_order(self, user_id: str, hook: str, self_service: bool = False) -> None:
        """Called when something is ordered."""

    @hookspec(collect=True)
    def price(self, thing: str) -> float:
        """Called to learn a price."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def tape(path: Path) -> Iterator[Tape]:
    """A tape that keeps everything."""
    made = Tape(path, Redaction(key=KEY, messages=True, user_ids=True))
    yield made
    made.close()


def kept(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return what is on the tape: of each event its hook and its arguments."""
    events = [decode(json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]
    return [(each.hook, each.arguments) for each in events]


class TestWhatIsKept:
    def test_every_event_with_its_extras(
        self, path: Path, tape: Tape, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        tape.attach(callbacks)
        fire("on_message", **MESSAGE, event_id="e-1", session_id="s-1")
        when = datetime(2026, 2, 2, tzinfo=UTC)
        fire("on_state_change", user_id="ana", old_state="a", new_state="b", event_id="e-2", timestamp=when)
        assert kept(path) == [
            ("on_message", {**MESSAGE, "event_id": "e-1", "session_id": "s-1"}),
            (
                "on_state_change",
                {
                    "user_id": "ana",
                    "old_state": "a",
                    "new_state": "b",
                    "event_id": "e-2",
                    "session_id": None,
                    "timestamp": when,
                },
            ),
        ]

    def test_the_extras_are_those_that_the_other_callbacks_get(
        self, path: Path, tape: Tape, callbacks: CallbackManager
    ) -> None:
        seen: list[dict[str, Any]] = []
        tape.attach(callbacks)
        callbacks.register(
            "on_session_timeout",
            lambda event_id, session_id, timestamp: seen.append(
                {"event_id": event_id, "session_id": session_id, "timestamp": timestamp}
            ),
        )
        callbacks.trigger("on_session_timeout", user_id="ana", session_id="s-9")
        assert kept(path) == [("on_session_timeout", {"user_id": "ana", **seen[0]})]

    def test_when_it_was_written_is_noted(self, path: Path, tape: Tape) -> None:
        clock = FakeClock()
        callbacks = CallbackManager(clock=clock)
        tape.attach(callbacks)
        clock.advance(1.5)
        say(callbacks)
        assert json.loads(path.read_bytes())["at"] == "2026-01-01T00:00:01.500000+00:00"

    @pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
    def test_hooks_that_are_added_have_theirs_kept(
        self, path: Path, tape: Tape, callbacks: CallbackManager, early: bool
    ) -> None:
        if early:
            callbacks.add_hookspecs(Shop)
        tape.attach(callbacks)
        callbacks.add_hookspecs(Shop)
        callbacks.trigger("on_order", user_id="ana", hook="a word", event_id="e", timestamp=MESSAGE["timestamp"])
        ((hook, arguments),) = kept(path)
        assert (hook, arguments["hook"], arguments["self_service"]) == ("on_order", "a word", False)
        assert callbacks.call("price", thing="tea") == []

    def test_it_is_kept_before_any_other_callback_runs(
        self, path: Path, tape: Tape, callbacks: CallbackManager
    ) -> None:
        seen: list[int] = []

        class Early:
            @hookimpl(priority=10**6)
            def on_message(self) -> None:
                seen.append(len(kept(path)))

        plug(callbacks, Early())
        callbacks.register("on_message", lambda: seen.append(len(kept(path))), priority=10**6)
        tape.attach(callbacks)
        say(callbacks)
        assert seen == [1, 1]

    def test_what_is_redacted_is_not_there(self, path: Path, callbacks: CallbackManager) -> None:
        tape = Tape(path, Redaction(key=KEY))
        tape.attach(callbacks)
        say(callbacks)
        tape.close()
        ((_, arguments),) = kept(path)
        assert (arguments["user_id"], arguments["message"]) == (user_hash("ana", KEY), "xxxx")
        assert "hola" not in path.read_text(encoding="ascii")

    def test_a_live_exception_is_written_down(self, path: Path, tape: Tape, callbacks: CallbackManager) -> None:
        tape.attach(callbacks)
        callbacks.trigger("on_error", user_id="ana", error=ValueError("boom"), traceback="trace")
        ((_, arguments),) = kept(path)
        assert (arguments["error"].message, arguments["traceback"]) == ("boom", "trace")


class TestFile:
    def test_only_its_owner_may_read_it_and_it_is_there_at_once(
        self, path: Path, tape: Tape, callbacks: CallbackManager
    ) -> None:
        tape.attach(callbacks)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_bytes() == b""

    def test_the_newest_half_of_the_limit_is_always_there(self, path: Path, callbacks: CallbackManager) -> None:
        tape = Tape(path, Redaction(key=KEY, messages=True), 4000)
        tape.attach(callbacks)
        for number in range(60):
            callbacks.trigger("on_message", **MESSAGE | {"message": str(number)})
        tape.close()
        old = rotated_path(path)
        numbers = [int(arguments["message"]) for _, arguments in [*kept(old), *kept(path)]]
        assert numbers == list(range(60))[-len(numbers) :]
        assert 2000 < old.stat().st_size + path.stat().st_size <= 4000

    def test_a_change_of_the_working_directory_does_not_move_it(
        self, tmp_path: Path, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path)
        tape = Tape(Path("events.jsonl"), Redaction(key=KEY))
        tape.attach(callbacks)
        monkeypatch.chdir(tmp_path / "other")
        say(callbacks)
        assert len(kept(tmp_path / "events.jsonl")) == 1

    def test_a_file_that_holds_something_else_is_left_alone(
        self, path: Path, tape: Tape, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.write_text("precious", encoding="ascii")
        tape.attach(callbacks)
        say(callbacks)
        assert path.read_text(encoding="ascii") == "precious"
        assert "it holds something else" in caplog.text

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_a_forked_child_writes_into_it_too(self, path: Path, tape: Tape, callbacks: CallbackManager) -> None:
        tape.attach(callbacks)

        def child() -> bool:
            callbacks.trigger("on_message", **MESSAGE | {"message": "child"})
            return True

        say(callbacks)
        assert run_in_child(child)
        say(callbacks)
        assert [arguments["message"] for _, arguments in kept(path)] == ["hola", "child", "hola"]

    def test_an_event_within_the_writing_of_another_follows_it(
        self, path: Path, tape: Tape, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where a finalizer fires one: the lock on the file is held just then."""
        append = RecordFile.append

        def firing(self: RecordFile, lines: bytes) -> int:
            written = append(self, lines)
            if b"hola" in lines:
                callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")
                assert len(kept(path)) == 1
            return written

        tape.attach(callbacks)
        monkeypatch.setattr(RecordFile, "append", firing)
        say(callbacks)
        assert [hook for hook, _ in kept(path)] == ["on_message", "on_state_change"]


class TestWhatIsNotDisturbed:
    def test_events_of_tasks_and_threads_are_each_kept_once(
        self, path: Path, tape: Tape, callbacks: CallbackManager
    ) -> None:
        tape.attach(callbacks)

        async def ask(number: int) -> None:
            message = {**MESSAGE, "message": str(number)}
            await callbacks.atrigger("on_message", **message)
            await asyncio.to_thread(callbacks.trigger, "on_message", **message)

        async def everybody() -> None:
            await asyncio.gather(*map(ask, range(50)))

        asyncio.run(everybody())
        assert sorted(int(arguments["message"]) for _, arguments in kept(path)) == sorted([*range(50)] * 2)

    def test_a_file_that_cannot_be_written_is_logged_once(
        self, tmp_path: Path, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        tape = Tape(tmp_path / "missing" / "events.jsonl", Redaction(key=KEY))
        seen: list[str] = []
        tape.attach(callbacks)
        callbacks.register("on_message", lambda message: seen.append(message.upper()))
        for _ in range(3):
            say(callbacks)
        assert seen == ["HOLA"] * 3
        assert [each.getMessage().partition(" (")[0] for each in caplog.records] == [
            f"events cannot be kept in {tmp_path / 'missing' / 'events.jsonl'}"
        ]
        tape.close()
        tape.close()
        assert [each.getMessage().partition(":")[2] for each in caplog.records[1:]] == [" 3 could not be written"]
        assert [each.outcomes for each in callbacks.history.totals().values()] == [{"ok": 3}, {"ok": 3}]

    def test_it_goes_on_when_the_disk_can_be_written_again(
        self, tmp_path: Path, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tmp_path / "later"
        tape = Tape(folder / "events.jsonl", Redaction(key=KEY))
        tape.attach(callbacks)
        say(callbacks)
        folder.mkdir()
        say(callbacks)
        tape.close()
        assert len(kept(folder / "events.jsonl")) == 1
        assert ": 1 could not be written" in caplog.text

    def test_an_event_that_is_too_large_is_missing_alone(
        self, path: Path, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        tape = Tape(path, Redaction(key=KEY, messages=True), 2000)
        tape.attach(callbacks)
        callbacks.trigger("on_message", **MESSAGE | {"message": "x" * 1000})
        say(callbacks)
        tape.close()
        assert [arguments["message"] for _, arguments in kept(path)] == ["hola"]
        assert "more than half of the limit" in caplog.text

    def test_a_full_disk_is_told(
        self, tape: Tape, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        tape.attach(callbacks)
        monkeypatch.setattr(RecordFile, "append", lambda self, lines: 0)
        say(callbacks)
        assert "there is no more room" in caplog.text

    def test_a_log_that_raises_stops_nothing(self, tmp_path: Path, callbacks: CallbackManager) -> None:
        def refuse(_: logging.LogRecord) -> bool:
            raise RuntimeError("no log today")

        logger = logging.getLogger("thea_core.callbacks")
        logger.addFilter(refuse)
        try:
            tape = Tape(tmp_path / "missing" / "events.jsonl", Redaction(key=KEY))
            tape.attach(callbacks)
            tape.close()
        finally:
            logger.removeFilter(refuse)

    def test_an_interrupt_passes(self, tape: Tape, callbacks: CallbackManager) -> None:
        class InterruptingError(Exception):
            def __str__(self) -> str:
                raise KeyboardInterrupt

        tape.attach(callbacks)
        with pytest.raises(KeyboardInterrupt):
            callbacks.trigger("on_error", user_id="ana", error=InterruptingError(), traceback="")


class TestEnd:
    def test_once_closed_it_stands_in_no_chain(self, path: Path, tape: Tape, callbacks: CallbackManager) -> None:
        callbacks.add_hookspecs(Shop)
        tape.attach(callbacks)
        assert [each.callback for each in callbacks.chain("on_order")] == ["Tape._keep"]
        say(callbacks)
        tape.close()
        say(callbacks)
        assert callbacks.chain("on_message") == callbacks.chain("on_order") == []
        assert len(kept(path)) == 1

    def test_hooks_that_are_added_afterwards_are_let_alone(self, tape: Tape, callbacks: CallbackManager) -> None:
        tape.attach(callbacks)
        tape.close()
        callbacks.add_hookspecs(Shop)
        assert callbacks.chain("on_order") == []
