"""A SQLite file on a disk that is full, that may not be written, and whose pages are damaged.

The user gets an answer or a StoreError, and the same application goes on by itself when the file is as it was.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.durability.assistant import Counting
from tests.durability.faults import FastClock, Scene, scene
from thea_core import Reply, StoreError, StoreUnavailableError, Thea
from thea_core.storage.sqlite import SQLiteStore

PAGE = 4096
NOBODY = 65534


@contextmanager
def stage_in(directory: Path) -> Iterator[Scene]:
    """Run an application over ``thea.db`` in that directory; it does not wait long for others."""
    clock = FastClock()
    with (
        closing(SQLiteStore(directory / "thea.db", clock=clock, busy_timeout=0.05)) as store,
        scene(store, clock) as stage,
    ):
        yield stage


def send_until_refused(stage: Scene) -> None:
    """Send messages until one is refused; what is in the file already may be written again before that."""
    for number in range(100):
        if not stage.send("ana", f"full {number}"):
            return
    raise AssertionError("no message was refused")


# Full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_refuses_messages_and_they_are_handled_when_there_is_room(small_disk: Path) -> None:
    with stage_in(small_disk) as stage:
        assert stage.send("ana", "before")
        ballast = small_disk / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        send_until_refused(stage)
        assert not stage.send("eva", "full too")
        ballast.unlink()
        assert stage.send("ana", "after")
        stage.check()


def test_a_quota_that_is_used_up_refuses_messages_and_they_are_handled_when_it_is_raised(tmp_path: Path) -> None:
    with stage_in(tmp_path) as stage:
        assert stage.send("ana", "before")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "thea.db-wal").stat().st_size, limits[1]))
        try:
            send_until_refused(stage)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert stage.send("ana", "after")
        stage.check()


# Read-only


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that users other than the administrator can come to."""
    with tempfile.TemporaryDirectory(prefix="thea-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Let nobody write into a directory, nor into its files, not even the administrator."""
    paths = [*directory.iterdir(), directory]
    modes = [path.stat().st_mode for path in paths]
    administrator = os.geteuid() == 0
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if administrator:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if administrator:
            os.seteuid(0)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


@contextmanager
def lock(directory: Path) -> Iterator[sqlite3.Connection]:
    """Keep the file locked for writing: an application fails, and has to make another connection then."""
    with closing(sqlite3.connect(directory / "thea.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_a_file_that_becomes_read_only_refuses_messages_and_they_are_handled_when_it_is_not(
    open_directory: Path,
) -> None:
    with stage_in(open_directory) as stage:
        assert stage.send("ana", "before")
        with lock(open_directory) as other, read_only(open_directory):
            assert not stage.send("ana", "locked")
            other.rollback()
            outcome = stage.begin("ana", "read-only").outcome()
            assert isinstance(outcome, StoreUnavailableError)
            assert "read-only" in str(outcome)
        assert stage.send("ana", "after")
        stage.check()


def test_an_application_over_a_read_only_file_says_so_at_its_start(open_directory: Path) -> None:
    config = {"store": {"url": f"sqlite:///{open_directory / 'thea.db'}"}}
    with Thea(config, plugins=[Counting()]) as app:
        first = app.handle_request("ana", "before", "before")
    with read_only(open_directory), pytest.raises(StoreUnavailableError, match=r"read-only|cannot be opened"):
        Thea(config, plugins=[Counting()]).start()
    with Thea(config, plugins=[Counting()]) as app:
        assert app.handle_request("ana", "before", "before").text == first.text
        assert app.contexts.load("ana")["count"] == 1


# Damaged


USERS = [f"user{number}" for number in range(12)]
LONG = "x" * 6000  # as an answer it fills pages of its own


def answered(app: Thea, user: str, text: str, message_id: str) -> Reply | StoreError:
    try:
        return app.handle_request(user, text, message_id)
    except StoreError as error:
        return error


def make(path: Path) -> dict[str, str]:
    """Make a file, and return what was answered to whom."""
    with Thea({"store": {"url": f"sqlite:///{path}"}}, plugins=[Counting()]) as app:
        return {user: app.handle_request(user, LONG, "first").text for user in USERS}


def ask_all(path: Path, replies: dict[str, str]) -> int:
    """Ask for everything that is there; return how often that was refused. What is answered must be true."""
    refused = 0
    try:
        with Thea({"store": {"url": f"sqlite:///{path}"}}, plugins=[Counting()]) as app:
            for user in USERS:
                outcome = answered(app, user, LONG, "first")
                refused += isinstance(outcome, StoreError)
                assert isinstance(outcome, StoreError) or outcome.text == replies[user]
                outcome = answered(app, user, "second", "second")
                refused += isinstance(outcome, StoreError)
                assert isinstance(outcome, StoreError) or (outcome.ok and outcome.context["seen"] == [LONG, "second"])
    except StoreError:
        return refused + 1
    return refused


@pytest.mark.parametrize("damage", ["noise", "zeros", "letters"])
def test_a_file_with_a_damaged_page_gives_true_answers_or_errors(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "thea.db"
    replies = make(path)
    whole, chance = path.read_bytes(), random.Random(1)
    refused = 0
    pages = {"noise": chance.randbytes(PAGE), "zeros": bytes(PAGE), "letters": b"x" * PAGE}
    numbers = range(len(whole) // PAGE)
    for number in sorted(chance.sample(numbers, min(12, len(numbers)))):
        start = number * PAGE
        path.write_bytes(whole[:start] + pages[damage] + whole[start + PAGE :])
        refused += ask_all(path, replies)
        for rest in ("-wal", "-shm"):
            Path(f"{path}{rest}").unlink(missing_ok=True)
    assert refused > 0
    path.write_bytes(whole)
    assert ask_all(path, replies) == 0


def copy(source: Path, target: Path) -> None:
    """Overwrite a file, in a process of its own: to close a file takes away the locks of whoever closes it."""
    subprocess.run(["cp", str(source), str(target)], check=True)


def test_a_file_that_is_damaged_while_it_is_open_refuses_messages_until_it_is_restored(tmp_path: Path) -> None:
    path, backup, damaged = tmp_path / "thea.db", tmp_path / "backup", tmp_path / "damaged"
    with stage_in(tmp_path) as stage:
        for user in USERS:
            assert stage.send(user, "before")
        stage.settle()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            copy(path, backup)
            size = backup.stat().st_size - PAGE
            damaged.write_bytes(backup.read_bytes()[:PAGE] + random.Random(1).randbytes(size))
            copy(damaged, path)
            with lock(tmp_path):
                assert not stage.send("ana", "locked")
            for user in USERS:
                assert not stage.send(user, "damaged")
            copy(backup, path)
        assert stage.send("ana", "after")
        stage.check()
