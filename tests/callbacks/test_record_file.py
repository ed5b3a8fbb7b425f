"""The record file: nothing is torn or lost, whoever else writes; and nothing that happens to it reaches the caller."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, NOW, plug, say
from tests.support import FakeClock, run_in_child
from thea_core import CallbackManager, CallbackRecord, CallRecord, hookimpl
from thea_core.callbacks import record_file
from thea_core.callbacks.record_file import RecordFile, RecordWriter
from thea_core.callbacks.record_lines import CallLine, HealthLine, LossLine, ProcessLine, RecordLine, rotated_path
from thea_core.callbacks.record_reader import RecordReader

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


@pytest.fixture
def writer(path: Path, clock: FakeClock) -> Iterator[RecordWriter]:
    made = RecordWriter(path, clock=clock)
    yield made
    assert made.close(10.0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "thea-record":
            thread.join(10)
            assert not thread.is_alive()


def call(name: str = "", error: str | None = None) -> CallRecord:
    outcome = "ok" if error is None else "error"
    return CallRecord("on_message", NOW, 0.5, (CallbackRecord("shop", name, 0.5, outcome, error),))


def lines(path: Path) -> list[RecordLine]:
    """Return all lines of a record; none may be damaged."""
    reader = RecordReader(path)
    found = list(reader)
    assert reader.unreadable == 0
    return found


def names(path: Path) -> list[str]:
    """Return the names of the callbacks of the calls in a record."""
    return [each.callback for line in lines(path) if isinstance(line, CallLine) for each in line.call.callbacks]


def numbered(*numbers: int) -> bytes:
    return b"".join(b'{"number":%d}\n' % number for number in numbers)


class TestAppending:
    def test_lines_stand_behind_each_other(self, path: Path) -> None:
        file = RecordFile(path)
        assert file.append(numbered(1, 2)) == len(numbered(1, 2))
        file.append(numbered(3))
        assert path.read_bytes() == numbered(1, 2, 3)

    def test_a_full_file_takes_the_place_of_the_one_before(self, path: Path) -> None:
        file = RecordFile(path, max_size=len(numbered(1, 2)))
        for number in (1, 2, 3, 4, 5):
            file.append(numbered(number))
        assert path.read_bytes() == numbered(5)
        assert rotated_path(path).read_bytes() == numbered(3, 4)

    def test_lines_that_are_larger_than_a_file_may_be_are_not_lost(self, path: Path) -> None:
        file = RecordFile(path, max_size=5)
        file.append(numbered(1, 2))
        file.append(numbered(3))
        assert path.read_bytes() == numbered(3)
        assert rotated_path(path).read_bytes() == numbered(1, 2)

    def test_a_line_that_somebody_left_unfinished_is_ended_first(self, path: Path) -> None:
        path.write_bytes(b'{"kind":"call","pi')
        RecordFile(path).append(numbered(1))
        assert path.read_bytes() == b'{"kind":"call","pi\n' + numbered(1)

    @pytest.mark.parametrize("moved", ["removed", "renamed"])
    def test_a_file_that_is_moved_between_opening_and_locking_is_opened_anew(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, moved: str
    ) -> None:
        locked = []

        def lock(descriptor: int, how: int) -> None:
            if how == fcntl.LOCK_EX and not locked:
                locked.append(descriptor)
                if moved == "removed":
                    path.unlink()
                else:
                    path.rename(path.with_name("away"))
                    path.write_bytes(numbered(1))
            flock(descriptor, how)

        flock = fcntl.flock
        monkeypatch.setattr(fcntl, "flock", lock)
        RecordFile(path).append(numbered(2))
        assert path.read_bytes() == (numbered(2) if moved == "removed" else numbered(1, 2))

    def test_it_does_not_run_after_a_file_for_ever(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RecordFile, "_has_path", lambda *_: False)
        with pytest.raises(OSError, match="moved away again and again"):
            RecordFile(path).append(numbered(1))

    @pytest.mark.parametrize("content", [b"SQLite format 3\0", b"2026-01-01 INFO hello\n"])
    def test_a_file_that_holds_something_else_is_left_alone(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(OSError, match="it holds something else"):
            RecordFile(path, max_size=5).append(numbered(1))
        assert path.read_bytes() == content
        assert not rotated_path(path).exists()

    def test_what_is_no_regular_file_is_refused(self, path: Path) -> None:
        os.mkfifo(path)
        with pytest.raises(OSError, match="no regular file"):
            RecordFile(path).append(numbered(1))

    def test_of_what_does_not_fit_whole_lines_are_kept(self, path: Path) -> None:
        one = len(numbered(1))

        def check() -> bool:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * one + 5, resource.RLIM_INFINITY))
            file = RecordFile(path)
            written = file.append(numbered(1, 2, 3))
            try:
                file.append(numbered(3))
            except OSError as error:
                return written == 2 * one and error.errno == errno.EFBIG
            return False

        assert run_in_child(check)
        assert path.read_bytes() == numbered(1, 2)

    def test_a_child_closes_what_its_parent_has_open(self, path: Path) -> None:
        file = RecordFile(path)
        descriptor = file._descriptor = os.open(path, os.O_RDWR | os.O_CREAT)  # noqa: SLF001 -- as within append

        def check() -> bool:
            file.after_fork_in_child()
            try:
                os.fstat(descriptor)
            except OSError:
                return True
            return False

        assert run_in_child(check)
        assert os.fstat(descriptor).st_size == 0
        os.close(descriptor)


WRITE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from thea_core import CallbackRecord, CallRecord
from thea_core.callbacks import record_file
from thea_core.types import SystemClock

record_file._BATCH, record_file._PAUSE, record_file._ROOM = 2048, 0.0005, 100_000
path, count, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
writer = record_file.RecordWriter(path, clock=SystemClock(), max_size=size)
for number in range(count):
    name = f"callback {number} " + "x" * (number % 50)
    writer.observe(CallRecord("on_message", datetime.now(UTC), 0.1, (CallbackRecord("p", name, 0.1, "ok", None),)))
assert writer.close(60.0) and writer.lost == 0
"""


def write_at_once(path: Path, processes: int, count: int, size: int) -> dict[int, list[int]]:
    """Let several processes write calls into one record; return the numbers of those in it, by process."""
    command = [sys.executable, "-c", WRITE, str(path), str(count), str(size)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = [subprocess.Popen(command, env=environ) for _ in range(processes)]
    assert [each.wait(120) for each in started] == [0] * processes
    found: dict[int, list[int]] = {each.pid: [] for each in started}
    for line in lines(path):
        if isinstance(line, CallLine):
            found[line.pid].append(int(line.call.callbacks[0].callback.split()[1]))
    return found


class TestSeveralProcesses:
    def test_nothing_is_lost_or_torn_and_each_keeps_its_order_where_they_rotate_once(self, path: Path) -> None:
        found = write_at_once(path, processes=2, count=2000, size=500_000)
        assert rotated_path(path).exists(), "the test is about rotation"
        assert list(found.values()) == [list(range(2000))] * 2

    def test_however_often_they_rotate_the_end_is_whole(self, path: Path) -> None:
        found = write_at_once(path, processes=3, count=1000, size=20_000)
        assert max(path.stat().st_size, rotated_path(path).stat().st_size) <= 20_000
        assert all(each == list(range(1000 - len(each), 1000)) for each in found.values())
        assert any(found.values())


class TestWriting:
    def test_calls_stand_between_begin_and_end_of_the_process(
        self, writer: RecordWriter, path: Path, clock: FakeClock
    ) -> None:
        clock.advance(1)
        writer.observe(call("first"))
        writer.observe(call("second", "ValueError: no"))
        assert writer.close(10.0)
        begin, first, second, end = lines(path)
        pid = os.getpid()
        assert begin == ProcessLine(pid, NOW + timedelta(seconds=1), running=True)
        assert first == CallLine(pid, call("first"))
        assert second == CallLine(pid, call("second", "ValueError: no"))
        assert end == begin._replace(running=False)

    def test_a_call_is_written_while_the_application_runs(
        self, writer: RecordWriter, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = threading.Semaphore(0)
        append = RecordFile.append

        def note(file: RecordFile, data: bytes) -> int:
            done = append(file, data)
            if b'"call"' in data:
                written.release()
            return done

        monkeypatch.setattr(RecordFile, "append", note)
        for name in ("first", "second"):
            writer.observe(call(name))
            assert written.acquire(timeout=10)
            assert names(path)[-1] == name

    def test_nothing_is_begun_before_something_is_to_be_written(self, writer: RecordWriter, path: Path) -> None:
        assert writer.close()
        writer.observe(call("late"))
        assert not path.exists()
        assert writer.lost == 1

    def test_after_the_end_nothing_is_written_and_to_close_again_does_nothing(
        self, writer: RecordWriter, path: Path
    ) -> None:
        writer.observe(call("one"))
        assert writer.close(10.0)
        writer.observe(call("late"))
        writer.health("shop", "on_message", "open", "late")
        assert writer.close(10.0)
        assert writer.lost == 2
        assert names(path) == ["one"]
        assert len(lines(path)) == 3

    def test_a_relative_path_stands_still_when_the_working_directory_changes(
        self, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(path.parent)
        writer = RecordWriter(Path(path.name), clock=clock)
        monkeypatch.chdir("/")
        writer.observe(call("one"))
        assert writer.close(10.0)
        assert names(path) == ["one"]

    def test_secrets_are_taken_out_of_errors_and_reasons(self, path: Path, clock: FakeClock) -> None:
        writer = RecordWriter(path, clock=clock, redact=lambda text: text.replace("hunter2", "***"))
        writer.observe(call("one", "ValueError: hunter2"))
        writer.observe(call("two"))
        writer.health("shop", "on_message", "open", "ValueError: hunter2")
        assert writer.close(10.0)
        _, one, two, health, _ = lines(path)
        assert isinstance(one, CallLine)
        assert isinstance(health, HealthLine)
        assert one.call.callbacks[0].error == health.reason == "ValueError: ***"
        assert two == CallLine(os.getpid(), call("two"))

    def test_what_cannot_be_written_down_costs_its_own_line_only(self, writer: RecordWriter, path: Path) -> None:
        bad: Any = CallRecord("on_message", NOW, 0.5, (CallbackRecord("p", 5, 0.5, "ok", None),))  # type: ignore[arg-type]
        writer.observe(call("one"))
        writer.observe(bad)
        writer.observe(call("two"))
        assert writer.close(10.0)
        assert names(path) == ["one", "two"]
        assert writer.lost == 1
        assert LossLine(os.getpid(), NOW, 1) in lines(path)

    def test_a_long_queue_is_written_in_several_batches(
        self, writer: RecordWriter, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(record_file, "_BATCH", 1000)
        for number in range(50):
            writer.observe(call(str(number)))
        assert writer.close(10.0)
        assert names(path) == [str(number) for number in range(50)]

    def test_a_writer_that_is_forgotten_writes_what_waits_and_its_thread_ends(
        self, path: Path, clock: FakeClock
    ) -> None:
        writer = RecordWriter(path, clock=clock)
        writer.observe(call("one"))
        thread = next(each for each in threading.enumerate() if each.name == "thea-record")
        gone = weakref.ref(writer)
        del writer
        assert gone() is None
        thread.join(10)
        assert not thread.is_alive()
        assert names(path) == ["one"]

    def test_where_no_thread_can_be_started_calls_wait_until_one_can(
        self, writer: RecordWriter, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            writer.observe(call("one"))
            writer.observe(call("two"))
        writer.observe(call("three"))
        assert writer.close(10.0)
        assert names(path) == ["one", "two", "three"]
        assert [each.levelname for each in caplog.records] == ["WARNING"]


class Disk:
    """Stands between a writer and its file: counts, fails and hangs as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.appended = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()
        append = RecordFile.append

        def stand_between(file: RecordFile, data: bytes) -> int:
            self.appended.release()
            self.go.wait(10)
            if self.error is not None:
                raise self.error
            return append(file, data)

        monkeypatch.setattr(RecordFile, "append", stand_between)
        monkeypatch.setattr(record_file, "_RETRY", 0.001)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


class TestTrouble:
    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("no path")])
    def test_it_is_logged_once_and_tried_until_it_works_and_nothing_is_lost(
        self, writer: RecordWriter, path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        caplog.set_level(logging.INFO)
        disk.error = error
        writer.observe(call("one"))
        for _ in range(5):
            assert disk.appended.acquire(timeout=10)
        disk.error = None
        assert disk.appended.acquire(timeout=10)
        writer.observe(call("two"))
        assert writer.close(10.0)
        assert names(path) == ["one", "two"]
        assert writer.lost == 0
        told = [(each.name, each.levelname, each.getMessage()) for each in caplog.records]
        assert [each[:2] for each in told] == [("thea_core.callbacks", "WARNING"), ("thea_core.callbacks", "INFO")]
        assert f"{path} cannot be written: {getattr(error, 'strerror', error)}" in told[0][2]

    def test_a_file_that_never_works_ends_with_the_application_and_what_is_lost_is_counted(
        self, writer: RecordWriter, path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk.error = OSError(errno.EACCES, "Permission denied")
        for _ in range(10):
            writer.observe(call())
        assert writer.close(10.0)
        assert writer.lost == 10
        assert not path.exists()
        assert len(caplog.records) == 1

    def test_a_directory_that_is_not_there_does_not_disturb(
        self, path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        writer = RecordWriter(path / "there", clock=clock)
        writer.observe(call())
        assert writer.close(10.0)
        assert "No such file or directory" in caplog.text

    def test_a_disk_that_fills_up_loses_no_line_in_the_middle(self, path: Path, clock: FakeClock) -> None:
        def check() -> bool:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
            logging.disable()
            writer = RecordWriter(path, clock=clock)
            for number in range(50):
                writer.observe(call(str(number)))
            return writer.close(10.0) and 0 < writer.lost < 50

        assert run_in_child(check)
        found = names(path)
        assert found == [str(number) for number in range(len(found))]
        assert 2700 < path.stat().st_size <= 3000

    def test_calls_beyond_the_room_are_counted_and_the_caller_does_not_wait(
        self, writer: RecordWriter, path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(record_file, "_ROOM", 5)
        writer = RecordWriter(path, clock=FakeClock())
        disk.go.clear()
        writer.observe(call("0"))
        assert disk.appended.acquire(timeout=10)  # hangs with the line of the process
        for number in range(1, 20):
            writer.observe(call(str(number)))
        assert writer.lost == 15
        assert writer.close(0.001) is False
        disk.go.set()
        assert writer.close(10.0)
        assert names(path) == ["0", "1", "2", "3", "4"]
        assert LossLine(os.getpid(), NOW, 15) in lines(path)

    def test_a_log_handler_that_raises_does_not_end_the_thread(
        self, writer: RecordWriter, path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(record_file.logger, "log", refuse)
        disk.error = OSError(errno.ENOSPC, "No space left on device")
        writer.observe(call("one"))
        for _ in range(3):
            assert disk.appended.acquire(timeout=10)
        disk.error = None
        assert disk.appended.acquire(timeout=10)
        assert writer.close(10.0)
        assert names(path) == ["one"]


@forks
class TestFork:
    def test_parent_and_child_write_their_own_calls_into_one_file(self, writer: RecordWriter, path: Path) -> None:
        def check() -> bool:
            writer.observe(call("of the child"))
            return writer.close(10.0) and writer.lost == 0

        writer.observe(call("before"))
        assert run_in_child(check)
        writer.observe(call("after"))
        assert writer.close(10.0)
        mine = [each for each in lines(path) if each.pid == os.getpid()]
        others = [each for each in lines(path) if each.pid != os.getpid()]
        assert [type(each) for each in mine] == [ProcessLine, CallLine, CallLine, ProcessLine]
        assert [type(each) for each in others] == [ProcessLine, CallLine, ProcessLine]
        assert sorted(names(path)) == ["after", "before", "of the child"]

    def test_a_child_waits_for_nothing_that_hangs_in_its_parent(
        self, writer: RecordWriter, path: Path, disk: Disk
    ) -> None:
        def check() -> bool:
            disk.go = threading.Event()
            disk.go.set()
            writer.observe(call("of the child"))
            return writer.close(10.0)

        disk.go.clear()
        writer.observe(call("of the parent"))
        assert disk.appended.acquire(timeout=10)
        with writer._lock, writer._scribe._count:  # noqa: SLF001 -- as if other threads held them
            fork = threading.Thread(target=lambda: passed.append(run_in_child(check)))
            passed: list[bool] = []
            fork.start()
            fork.join(30)
        assert passed == [True]
        assert names(path) == ["of the child"]
        disk.go.set()
        assert writer.close(10.0)
        assert names(path) == ["of the child", "of the parent"]

    def test_a_child_of_a_writer_that_was_closed_writes_nothing(self, writer: RecordWriter, path: Path) -> None:
        def check() -> bool:
            writer.observe(call("late"))
            return writer.close(10.0) and writer.lost == 1

        writer.close()
        assert run_in_child(check)
        assert not path.exists()


EXIT = """
import fcntl, sys
from datetime import UTC, datetime
from pathlib import Path
from thea_core import CallbackRecord, CallRecord
from thea_core.callbacks.record_file import RecordWriter
from thea_core.types import SystemClock

writer = RecordWriter(Path(sys.argv[1]), clock=SystemClock())
writer.observe(CallRecord("on_message", datetime.now(UTC), 0.1, (CallbackRecord("p", "last", 0.1, "ok", None),)))
"""


class TestExit:
    @staticmethod
    def run(path: Path) -> None:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", EXIT, str(path)], env=environ, timeout=60, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def test_an_application_that_forgets_to_close_loses_nothing(self, path: Path) -> None:
        self.run(path)
        assert names(path) == ["last"]

    def test_a_process_ends_also_where_another_one_never_gives_the_file_free(self, path: Path) -> None:
        with path.open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.run(path)
        assert path.read_bytes() == b""


class TestAttached:
    """To a manager, as an application does it."""

    @pytest.fixture
    def attached(self, callbacks: CallbackManager, writer: RecordWriter) -> CallbackManager:
        writer.attach(callbacks)
        return callbacks

    def test_every_call_is_written_whoever_calls(
        self, attached: CallbackManager, writer: RecordWriter, path: Path, fire: Callable[..., None]
    ) -> None:
        class Shop:
            @hookimpl
            def on_message(self, message: str) -> None:
                raise ValueError("the reason")

            @hookimpl
            async def on_error(self) -> None: ...

        plug(attached, Shop())
        fire("on_message", **MESSAGE)
        fire("on_error", user_id="ana", error=ValueError(), traceback="")
        assert writer.close(10.0)
        _, first, second, _ = lines(path)
        assert isinstance(first, CallLine)
        assert isinstance(second, CallLine)
        assert first.call.callbacks[0]._replace(duration=0.0) == (
            "shop",
            f"{Shop.__qualname__}.on_message",
            0.0,
            "error",
            "ValueError: the reason",
        )
        assert (second.call.hook, second.call.callbacks[0].outcome) == ("on_error", "ok")

    def test_no_message_is_in_the_file(self, attached: CallbackManager, writer: RecordWriter, path: Path) -> None:
        attached.register("on_message", lambda message: None)
        say(attached)
        assert writer.close(10.0)
        assert "hola" not in path.read_text(encoding="ascii")
        assert all(json.loads(line) for line in path.read_text(encoding="ascii").splitlines())

    def test_after_the_close_the_manager_knows_nothing_of_it(
        self, attached: CallbackManager, writer: RecordWriter
    ) -> None:
        attached.register("on_message", lambda: None)
        say(attached)
        assert writer.close(10.0)
        say(attached)
        assert writer.lost == 0
        assert not attached.recorder.observed

    def test_changes_of_circuit_breakers_are_written_once(
        self, attached: CallbackManager, writer: RecordWriter, path: Path
    ) -> None:
        change = {"plugin": "shop", "hook": "on_message", "state": "open", "reason": "5 failures in a row"}
        heard: list[str] = []
        attached.trigger("on_plugin_health", **change)
        attached.register("on_plugin_health", lambda state: heard.append(str(state)))
        attached.trigger("on_plugin_health", **change | {"state": "half-open"})
        assert writer.close(10.0)
        assert heard == ["half-open"]
        _, first, second, others, _ = lines(path)
        assert first == HealthLine(os.getpid(), NOW, **change)
        assert second == HealthLine(os.getpid(), NOW, **change | {"state": "half-open"})
        assert isinstance(others, CallLine)
        assert [each.callback.rpartition(".")[2] for each in others.call.callbacks] == ["<lambda>"]

    def test_a_manager_that_knows_no_health_is_recorded_without(
        self, callbacks: CallbackManager, writer: RecordWriter, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(record_file, "_HEALTH", "on_nothing")
        writer.attach(callbacks)
        callbacks.register("on_message", lambda: None)
        say(callbacks)
        assert writer.close(10.0)
        assert len(names(path)) == 1
