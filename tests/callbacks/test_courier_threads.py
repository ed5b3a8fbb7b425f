"""The life of couriers: when they look for events, how they end, and what a fork and the process's end do to them."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.background import PATIENCE, SHORT, closed_afterwards
from tests.callbacks.outboxes import TestOutbox, hooks, plug, tell
from tests.support import FakeClock, run_in_child
from thea_core import CallbackManager, hookimpl
from thea_core.callbacks import couriers
from thea_core.callbacks.runners import Runner
from thea_core.errors import StoreUnavailableError

ROOT = Path(__file__).resolve().parents[2]
NEVER = 3600.0  # seconds between two looks: as good as never


class Hearing:
    """A plugin that lets others wait for what it hears, and hangs where it is told to."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.heard: list[str] = []
        self.threads: set[str] = set()
        self.said = threading.Semaphore(0)
        self.go = threading.Event()
        if not hangs:
            self.go.set()

    @hookimpl
    def on_message(self, message: str) -> None:
        self.heard.append(message)
        self.threads.add(threading.current_thread().name)
        self.said.release()
        assert self.go.wait(PATIENCE)

    def wait(self, count: int = 1) -> bool:
        """Wait until so many messages have come since the last time."""
        return all(self.said.acquire(timeout=PATIENCE) for _ in range(count))


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let couriers look as often as they are woken."""
    monkeypatch.setattr(couriers, "PACE_SECONDS", 0.0)


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock) as manager:
        yield manager


@pytest.fixture
def outbox(clock: FakeClock, callbacks: CallbackManager) -> TestOutbox:
    outbox = TestOutbox(clock)
    callbacks.attach_outbox(outbox)
    return outbox


class TestStarting:
    def test_what_waits_is_delivered_at_the_start_and_the_rest_when_it_is_woken(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Hearing()
        plug(callbacks, shop)
        tell(callbacks, "one", "two")
        callbacks.start_couriers(NEVER)
        assert shop.wait(2)
        tell(callbacks, "three")
        callbacks.wake_couriers()
        assert shop.wait()
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == ["one", "two", "three"]
        assert shop.threads == {"thea-shop"}
        assert outbox.list() == ()

    def test_nobody_needs_to_wake_it(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        """As with events that another process has stored."""
        shop = Hearing()
        plug(callbacks, shop)
        looked = threading.Event()
        outbox.before["claim"] = looked.set
        callbacks.start_couriers(0.01)
        assert looked.wait(PATIENCE)
        tell(callbacks, "one")
        assert shop.wait()

    def test_a_plugin_that_is_published_later_has_one_too(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        callbacks.start_couriers(NEVER)
        shop, looked = Hearing(), threading.Event()
        outbox.before["claim"] = looked.set
        plug(callbacks, shop)
        assert looked.wait(PATIENCE)
        tell(callbacks, "one")
        callbacks.wake_couriers()
        assert shop.wait()

    @pytest.mark.usefixtures("outbox")
    def test_to_start_them_again_changes_nothing(self, callbacks: CallbackManager) -> None:
        plug(callbacks, Hearing())
        callbacks.start_couriers(NEVER)
        before = threading.active_count()
        callbacks.start_couriers(NEVER)
        assert threading.active_count() == before

    def test_before_the_start_nothing_is_claimed(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Hearing())
        tell(callbacks, "one")
        callbacks.wake_couriers()
        assert callbacks.flush(PATIENCE) == 0
        assert outbox.claims == 0

    def test_where_no_thread_is_to_be_had_the_next_wake_tries_again(
        self, callbacks: CallbackManager, outbox: TestOutbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop = Hearing()
        plug(callbacks, shop)
        tell(callbacks, "one")

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            callbacks.start_couriers(NEVER)
            callbacks.wake_couriers()
        assert outbox.claims == 0
        callbacks.wake_couriers()
        assert shop.wait()

    def test_an_event_that_is_stored_while_it_falls_asleep_wakes_it(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        """Again and again it finds nothing at about the time of the next event."""
        shop = Hearing()
        plug(callbacks, shop)
        callbacks.start_couriers(NEVER)
        for number in range(300):
            tell(callbacks, str(number))
            callbacks.wake_couriers()
            assert shop.wait()
        callbacks.flush(PATIENCE)
        assert outbox.list() == ()


class TestPace:
    """How long a courier sleeps between two looks; the test does the work of its thread."""

    @pytest.fixture(autouse=True)
    def _hurried(self, _unhurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(couriers, "PACE_SECONDS", 1000.0)

    def test_soon_after_a_look_the_next_one_waits_so_that_more_is_claimed_together(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        courier = plug(callbacks, Hearing())
        runner = _stand_in(courier)
        tell(callbacks, "one")
        assert 900 < courier.work(runner, in_vain=False) <= 1000
        assert (outbox.waiting, outbox.claims) == ([], 1)
        tell(callbacks, "two")
        courier.wake()
        assert 900 < courier.work(runner, in_vain=False) <= 1000
        assert (outbox.waiting, outbox.claims) == ([("two", 0)], 1)
        courier.end()
        assert courier.work(runner, in_vain=False) == 0

    def test_nobody_rings_meanwhile(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        courier, bells = plug(callbacks, Hearing()), []
        runner = _stand_in(courier, bells)
        courier.wake()
        assert not bells[0].empty()
        tell(callbacks, "one")
        courier.work(runner, in_vain=False)
        assert outbox.claims == 1
        while not bells[0].empty():
            bells[0].get()
        courier.wake()
        assert bells[0].empty()
        courier.end()
        assert courier.work(runner, in_vain=False) == 0

    def test_where_there_is_much_to_do_it_does_not_wait(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        shop = Hearing()
        courier = plug(callbacks, shop)
        runner = _stand_in(courier)
        for number in range(40):
            tell(callbacks, str(number), user=f"user {number}")
        tell(callbacks, *(f"more {number}" for number in range(40)), user="eva")
        courier.work(runner, in_vain=False)
        assert len(shop.heard) == 80
        assert outbox.waiting == []
        courier.end()
        assert courier.work(runner, in_vain=False) == 0

    def test_who_flushes_does_not_wait_either(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Hearing())
        callbacks.start_couriers(NEVER)
        for message in ("one", "two"):
            tell(callbacks, message)
            assert callbacks.flush(PATIENCE) == 0
            assert outbox.waiting == []

    def test_nor_does_who_ends_it(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        plug(callbacks, Hearing())
        callbacks.start_couriers(NEVER)
        callbacks.flush(PATIENCE)
        assert callbacks.stop_couriers(PATIENCE)
        assert outbox.waiting == []


class TestFlush:
    def test_it_waits_until_nothing_is_due(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        shop = Hearing()
        plug(callbacks, shop)
        callbacks.start_couriers(NEVER)
        for round_ in range(20):
            tell(callbacks, *(f"{round_} {number}" for number in range(5)))
            assert callbacks.flush(PATIENCE) == 0
            assert outbox.list() == ()

    def test_it_does_not_wait_for_what_cannot_be_delivered_now(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        plug(callbacks, Hearing())
        outbox.errors["claim"] = StoreUnavailableError("away")
        callbacks.start_couriers(NEVER)
        assert callbacks.flush(PATIENCE) == 1

    def test_it_gives_up_when_the_time_is_up(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        shop = Hearing(hangs=True)
        plug(callbacks, shop)
        tell(callbacks, "one")
        callbacks.start_couriers(NEVER)
        assert shop.wait()
        assert callbacks.flush(0.0) == 1
        shop.go.set()
        assert callbacks.flush(PATIENCE) == 0
        assert outbox.list() == ()

    def test_called_within_a_delivery_it_does_not_wait_for_that(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        told: list[Any] = []
        done = threading.Event()

        def on_message() -> None:
            told.append((callbacks.flush(PATIENCE), callbacks.stop_couriers(PATIENCE)))
            done.set()

        plug(callbacks, hooks(on_message=on_message))
        tell(callbacks, "one")
        callbacks.start_couriers(NEVER)
        assert done.wait(PATIENCE)
        assert told == [(0, False)]
        assert callbacks.stop_couriers(PATIENCE)
        assert outbox.list() == ()


class TestStopping:
    def test_the_delivery_under_way_is_settled_and_the_rest_given_back(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Hearing(hangs=True)
        plug(callbacks, shop)
        tell(callbacks, "one", "two")
        tell(callbacks, "three", user="eva")
        callbacks.start_couriers(NEVER)
        assert shop.wait()
        assert not callbacks.stop_couriers(0.0)
        shop.go.set()
        assert callbacks.stop_couriers(PATIENCE)
        assert shop.heard == ["one"]
        assert outbox.waiting == [("two", 0), ("three", 0)]

    def test_a_call_that_hangs_until_its_time_is_up_is_settled_by_another_thread(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Hearing(hangs=True)
        courier = plug(callbacks, shop, timeout=SHORT)
        tell(callbacks, "one", "two")
        callbacks.start_couriers(NEVER)
        assert shop.wait()
        courier.end()
        assert courier.join(PATIENCE)
        assert shop.heard == ["one"]
        assert outbox.waiting == [("one", 1), ("two", 0)]
        shop.go.set()

    @pytest.mark.usefixtures("outbox")
    def test_nothing_is_delivered_afterwards_until_they_are_started_again(self, callbacks: CallbackManager) -> None:
        shop = Hearing()
        plug(callbacks, shop)
        callbacks.start_couriers(NEVER)
        assert callbacks.stop_couriers(PATIENCE)
        tell(callbacks, "one")
        callbacks.wake_couriers()
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == []
        callbacks.start_couriers(NEVER)
        assert shop.wait()

    def test_where_none_was_started_there_is_nothing_to_wait_for(self, callbacks: CallbackManager) -> None:
        plug(callbacks, Hearing())
        assert callbacks.stop_couriers(0.0)

    def test_a_plugin_that_is_withdrawn_gets_nothing_more(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        shop = Hearing()
        courier = plug(callbacks, shop)
        callbacks.start_couriers(NEVER)
        tell(callbacks, "one")
        binding = callbacks.withdraw_plugin("shop")
        assert binding is not None
        assert courier.join(PATIENCE)
        assert callbacks.durable_plugins == ["shop"]  # what it still has to do, it does for durable events
        callbacks.close_runtime(binding.runtime)
        heard = list(shop.heard)
        tell(callbacks, "two")
        callbacks.wake_couriers()
        assert callbacks.durable_plugins == []
        assert shop.heard == heard
        assert [each.event_id for each in outbox.list()] == (["one"] if not heard else [])  # "two" has no taker

    @pytest.mark.usefixtures("outbox")
    def test_who_waits_for_a_flush_is_let_go(self, callbacks: CallbackManager) -> None:
        shop = Hearing(hangs=True)
        courier = plug(callbacks, shop)
        tell(callbacks, "one")
        callbacks.start_couriers(NEVER)
        assert shop.wait()
        wait = courier.begin_flush()
        courier.end()
        shop.go.set()
        assert not wait(PATIENCE)

    def test_closing_the_manager_ends_them(self, callbacks: CallbackManager, outbox: TestOutbox) -> None:
        shop = Hearing()
        plug(callbacks, shop)
        callbacks.start_couriers(NEVER)
        callbacks.flush(PATIENCE)
        assert callbacks.close(PATIENCE) == 0
        claims = outbox.claims
        callbacks.wake_couriers()
        assert outbox.claims == claims
        assert "thea-shop" not in {thread.name for thread in threading.enumerate()}


def test_a_thread_that_somebody_elses_code_breaks_goes_on(
    callbacks: CallbackManager, outbox: TestOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Hearing()
    plug(callbacks, shop)
    outbox.errors["settle"] = SystemExit(3)
    tell(callbacks, "one")
    callbacks.start_couriers(NEVER)
    assert shop.wait()
    assert callbacks.flush(PATIENCE) in (0, 1)
    del outbox.errors["settle"]
    tell(callbacks, "two", user="eva")
    callbacks.wake_couriers()
    assert shop.wait()
    assert "something around the deliveries to 'shop' failed; they go on" in caplog.text


def test_while_the_store_fails_it_is_asked_less_and_less(callbacks: CallbackManager, outbox: TestOutbox) -> None:
    courier = plug(callbacks, Hearing())
    outbox.errors["claim"] = StoreUnavailableError("away")
    runner = _stand_in(courier)
    assert [courier.work(runner, in_vain=True) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    del outbox.errors["claim"]
    assert courier.work(runner, in_vain=True) == NEVER
    courier.end()
    assert courier.work(runner, in_vain=False) == 0


def test_a_thread_that_is_not_its_own_any_more_ends(callbacks: CallbackManager, outbox: TestOutbox) -> None:
    courier = plug(callbacks, Hearing())
    runner = _stand_in(courier)
    assert courier.work(Runner("shop", courier, _bell()), in_vain=True) == 0
    assert outbox.claims == 0
    courier.end()
    assert courier.work(runner, in_vain=False) == 0


def _stand_in(courier: Any, bells: list[Any] | None = None) -> Runner:
    """Start a courier whose thread does nothing, and return what stands for that: the test does its work."""
    started: list[Runner] = []

    class Idle(Runner):
        def __init__(self, name: str, work: Any, bell: Any) -> None:
            super().__init__(name, work, bell)
            self.thread = threading.Thread(target=lambda: None, daemon=True)
            started.append(self)
            if bells is not None:
                bells.append(bell)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thea_core.callbacks.couriers.Runner", Idle)
        courier.start(NEVER)
    return started[0]


def _bell() -> Any:
    from queue import SimpleQueue

    return SimpleQueue()


class TestFork:
    def test_the_child_delivers_what_it_stores_with_a_courier_of_its_own(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Hearing()
        plug(callbacks, shop)
        callbacks.start_couriers(NEVER)
        callbacks.flush(PATIENCE)

        def check() -> bool:
            tell(callbacks, "in the child")
            callbacks.wake_couriers()
            return shop.wait() and shop.heard == ["in the child"]

        assert run_in_child(check)
        assert shop.heard == []
        tell(callbacks, "in the parent")
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == ["in the parent"]
        assert outbox.list() == ()

    def test_what_the_parent_delivers_just_then_is_the_parents(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        shop = Hearing(hangs=True)
        plug(callbacks, shop)
        tell(callbacks, "one")
        callbacks.start_couriers(NEVER)
        assert shop.wait()

        def check() -> bool:
            callbacks.start_couriers(NEVER)
            return callbacks.flush(PATIENCE) == 0 and shop.heard == ["one"]  # it is claimed, in this copy too

        assert run_in_child(check)
        shop.go.set()
        assert callbacks.flush(PATIENCE) == 0
        assert outbox.list() == ()

    def test_a_body_that_forks_settles_nothing_in_the_child(
        self, callbacks: CallbackManager, outbox: TestOutbox
    ) -> None:
        settled = []
        children = []

        class Forking:
            @hookimpl(timeout=None)
            def on_message(self, message: str) -> None:
                children.append(run_in_child(lambda: self._end(message)))

            @staticmethod
            def _end(message: str) -> bool:
                """Do in the child what the courier would do there next."""
                return courier.run_once() is False and message == "one"

        courier = plug(callbacks, Forking())
        outbox.before["settle"] = lambda: settled.append(1)
        tell(callbacks, "one")
        assert courier.run_once()
        assert children == [True]
        assert settled == [1]
        assert outbox.list() == ()


def test_a_manager_that_is_forgotten_takes_its_couriers_along(clock: FakeClock) -> None:
    callbacks = CallbackManager(clock=clock)
    callbacks.attach_outbox(TestOutbox(clock))
    plug(callbacks, Hearing(), "forgotten")
    callbacks.start_couriers(NEVER)
    callbacks.flush(PATIENCE)
    (thread,) = [each for each in threading.enumerate() if each.name == "thea-forgotten"]
    del callbacks
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_process_ends_promptly_whatever_hangs_and_loses_nothing() -> None:
    script = """
        import threading, time
        from datetime import UTC, datetime
        from thea_core import CallbackManager, hookimpl
        from thea_core.storage.memory import MemoryStore
        from thea_core.types import SystemClock

        class Shop:
            delivery = "durable"

            @hookimpl(timeout=None)
            def on_message(self):
                inside.set()
                threading.Event().wait()

        inside = threading.Event()
        callbacks = CallbackManager()
        callbacks.attach_outbox(MemoryStore(clock=SystemClock()).outbox)
        callbacks.publish_plugins([callbacks.bind_plugin(Shop(), "shop", source=3, position=0)])
        callbacks.trigger("on_message", user_id="ana", message="hola", timestamp=datetime.now(UTC))
        callbacks.start_couriers()
        assert inside.wait(60)
    """
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
