"""Daemon threads for what must not block an event loop."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar

import pytest

from tests.conversation.parts import Gate
from thea_core.conversation import workers as module
from thea_core.conversation.workers import Workers, begin

place: ContextVar[str] = ContextVar("place", default="nowhere")


def test_a_call_runs_on_a_daemon_thread_of_that_name() -> None:
    thread, error = Workers("test", 1).submit(threading.current_thread).result(20)
    assert error is None
    assert (thread.name, thread.daemon) == ("thea-test", True)


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_what_a_call_raises_comes_back_as_a_value(raised: BaseException) -> None:
    def fail() -> None:
        raise raised

    workers = Workers("test", 1)
    assert workers.submit(fail).result(20) == (None, raised)
    assert workers.submit(lambda: 1).result(20) == (1, None)


def test_context_variables_travel_with_the_call() -> None:
    place.set("here")
    assert Workers("test", 1).submit(place.get).result(20) == ("here", None)


def test_an_idle_thread_is_used_again() -> None:
    workers = Workers("test", 5)
    seen = {workers.submit(threading.get_ident).result(20)[0] for _ in range(5)}
    assert len(seen) <= 2  # the second call may come before the first thread is idle


def test_calls_run_side_by_side() -> None:
    workers = Workers("test", 2)
    barrier = threading.Barrier(2)
    futures = [workers.submit(lambda: barrier.wait(20)) for _ in range(2)]
    assert sorted(future.result(20)[0] for future in futures) == [0, 1]


def test_beyond_the_limit_calls_wait_their_turn() -> None:
    workers = Workers("test", 1)
    gate = Gate()
    first = workers.submit(gate.pass_through)
    second = workers.submit(lambda: "second")
    assert gate.reached.wait(20)
    assert not second.done()
    gate.open()
    assert second.result(20) == ("second", None)
    assert first.done()


def test_an_idle_thread_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.001)
    workers = Workers("test", 1)
    thread, _ = workers.submit(threading.current_thread).result(20)
    thread.join(20)
    assert not thread.is_alive()
    assert workers.submit(lambda: "again").result(20) == ("again", None)


def test_a_thread_that_cannot_be_started_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert not begin(threading.Thread(name="thea-test"))
    assert "thea-test cannot be started" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_threads_of_its_own() -> None:
    workers = Workers("test", 1)
    workers.submit(lambda: None).result(20)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if workers.submit(lambda: 1).result(20) == (1, None) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
