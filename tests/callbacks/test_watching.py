"""The watch: it looks when something is due, ends when nothing is, and nothing that it looks at can stop it."""

from __future__ import annotations

import gc
import logging
import os
import threading
import weakref
from collections.abc import Iterator

import pytest

from tests.support import run_in_child
from thea_core.callbacks import watching
from thea_core.callbacks.watching import Watch

FAR = 3600.0  # seconds


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "thea-watch"]


@pytest.fixture
def watch() -> Iterator[Watch]:
    for each in threads():  # of managers of other tests
        each.join(10)
    watch = Watch()
    yield watch
    watch.close()
    assert threads() == []


class Looks:
    """Notes who looked, and can be waited for."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.seen: list[str] = []
        self.done = threading.Event()

    def after(self, seconds: float, name: str) -> None:
        self.watch.after(seconds, lambda: self.seen.append(name))

    def wait(self) -> list[str]:
        """Wait for what is due by now; return what was seen."""
        self.watch.after(0.0, self.done.set)
        assert self.done.wait(10)
        self.done.clear()
        return self.seen


@pytest.fixture
def looks(watch: Watch) -> Looks:
    return Looks(watch)


class TestLooking:
    def test_it_looks_in_the_order_in_which_things_are_due(self, looks: Looks) -> None:
        looks.after(0.03, "third")
        looks.after(0.0, "first")
        looks.after(0.02, "second")
        last = threading.Event()
        looks.watch.after(0.04, last.set)
        assert last.wait(10)
        assert looks.seen == ["first", "second", "third"]

    def test_what_is_due_at_the_same_time_is_looked_at_in_the_order_of_asking(self, looks: Looks) -> None:
        for number in range(50):
            looks.after(0.0, str(number))
        assert looks.wait() == [str(number) for number in range(50)]

    def test_what_is_due_earlier_does_not_wait_for_what_is_due_later(self, looks: Looks) -> None:
        looks.after(FAR, "far")
        looks.after(0.0, "near")
        assert looks.wait() == ["near"]

    def test_a_look_may_ask_for_another(self, watch: Watch) -> None:
        again = threading.Event()
        watch.after(0.0, lambda: watch.after(0.0, again.set))
        assert again.wait(10)

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    def test_one_that_fails_is_logged_and_the_next_one_is_looked_at(
        self, looks: Looks, error: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise error

        looks.watch.after(0.0, fail)
        looks.after(0.0, "next")
        assert looks.wait() == ["next"]
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.getMessage() == "a look at something that has a time limit failed"

    def test_a_time_that_never_comes_is_no_trouble(self, looks: Looks) -> None:
        looks.after(1e300, "never")
        looks.after(0.0, "now")
        assert looks.wait() == ["now"]

    def test_many_threads_may_ask_at_once(self, looks: Looks) -> None:
        def ask(name: str) -> None:
            for number in range(100):
                looks.after(0.0, f"{name} {number}")

        asking = [threading.Thread(target=ask, args=(str(number),)) for number in range(8)]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        assert len(set(looks.wait())) == 800


class TestItsThread:
    def test_it_is_one_daemon_that_starts_at_first_use(self, looks: Looks) -> None:
        assert threads() == []
        looks.wait()
        looks.wait()
        (thread,) = threads()
        assert thread.daemon

    def test_it_knows_its_own(self, watch: Watch) -> None:
        seen, done = [], threading.Event()
        watch.after(0.0, lambda: (seen.append(watch.on_own_thread), done.set()))
        assert done.wait(10)
        assert seen == [True]
        assert not watch.on_own_thread

    def test_it_ends_when_there_has_been_nothing_for_a_while(
        self, looks: Looks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watching, "_IDLE_SECONDS", 0.01)
        looks.wait()
        for thread in threads():
            thread.join(10)
        assert threads() == []
        looks.after(0.0, "anew")
        assert looks.wait() == ["anew"]

    def test_while_it_is_idle_it_keeps_nothing_alive(self, looks: Looks) -> None:
        class Look:
            def __call__(self) -> None: ...

        look = Look()
        reference = weakref.ref(look)
        looks.watch.after(0.0, look)
        looks.wait()
        looks.wait()
        del look
        gc.collect()
        assert reference() is None

    def test_where_none_can_be_started_the_next_who_asks_brings_it_up(
        self, looks: Looks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            looks.after(0.0, "late")
        assert looks.wait() == ["late"]


class TestClosing:
    def test_the_thread_ends_at_once_where_nothing_is_due(self, looks: Looks) -> None:
        looks.wait()
        looks.watch.close()
        assert threads() == []

    def test_what_is_due_soon_is_looked_at_still(self, watch: Watch) -> None:
        done = threading.Event()
        watch.after(0.02, done.set)
        watch.close()
        assert done.wait(10)
        for thread in threads():
            thread.join(10)

    def test_what_is_due_later_is_looked_at_early_so_that_the_thread_can_end(self, looks: Looks) -> None:
        looks.after(FAR, "far")
        looks.watch.close()
        assert looks.seen == ["far"]
        assert threads() == []

    def test_it_may_ask_for_another_look(self, looks: Looks) -> None:
        looks.watch.after(FAR, lambda: looks.after(0.0, "again"))
        looks.watch.close()
        assert looks.wait() == ["again"]

    def test_one_that_fails_then_is_logged(self, looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
        looks.watch.after(FAR, lambda: 1 / 0)
        looks.after(FAR, "next")
        looks.watch.close()
        assert looks.seen == ["next"]
        assert len(caplog.records) == 1

    def test_it_can_be_used_afterwards(self, looks: Looks) -> None:
        looks.watch.close()
        looks.after(0.0, "afterwards")
        assert looks.wait() == ["afterwards"]

    def test_a_look_may_close_the_watch(self, watch: Watch) -> None:
        closed = threading.Event()
        watch.after(0.0, lambda: (watch.close(), closed.set()))
        assert closed.wait(10)
        for thread in threads():
            thread.join(10)

    def test_it_may_be_closed_before_it_was_used(self, watch: Watch) -> None:
        watch.close()
        assert threads() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forgets_what_the_parent_watches_and_has_a_thread_of_its_own(looks: Looks) -> None:
    looks.after(FAR, "parents")

    def check() -> bool:
        looks.watch.after_fork_in_child()
        looks.after(0.0, "childs")
        return looks.wait() == ["childs"]

    assert run_in_child(check)
    looks.watch.close()
    assert looks.seen == ["parents"]
