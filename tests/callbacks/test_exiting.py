"""The end of a process: what an application forgot to close delivers what it can in a second, and holds nobody up."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.callbacks.background import PATIENCE, Shop, closed_afterwards, hanging, plug, tell
from tests.support import run_in_child
from thea_core import CallbackManager
from thea_core.callbacks.exiting import SECONDS, Exit

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = """
import os, sys, threading
from datetime import UTC, datetime
from thea_core import CallbackManager, hookimpl

class Plugin:
    delivery = "background"

    def __init__(self, name, *stuck):
        self.name, self.stuck = name, stuck

    @hookimpl
    def on_message(self, message):
        if message in self.stuck:
            threading.Event().wait()
        os.write(1, f"{self.name} {message}\\n".encode())

def plug(callbacks, *plugins):
    for number, plugin in enumerate(plugins):
        binding = callbacks.bind_plugin(plugin, plugin.name, source=3, position=number)
        callbacks.publish_plugins([binding])
    return callbacks

def tell(callbacks, messages):
    for message in messages:
        callbacks.trigger("on_message", user_id="ana", message=message, timestamp=datetime.now(UTC))
"""


def run(script: str) -> tuple[list[str], str]:
    """Run a script in a process of its own, to its end; return the lines that it wrote, in order, and its errors."""
    code = PRELUDE + textwrap.dedent(script)
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return sorted(ended.stdout.splitlines()), ended.stderr


class TestProcess:
    def test_what_is_queued_is_delivered(self) -> None:
        lines, errors = run("tell(plug(CallbackManager(), Plugin('shop')), 'abc')")
        assert lines == ["shop a", "shop b", "shop c"]
        assert errors == ""

    def test_a_plugin_that_is_stuck_holds_up_neither_the_process_nor_the_others(self) -> None:
        """Of its own application, and of another one."""
        lines, errors = run(
            """
            first = plug(CallbackManager(timeout=None), Plugin("stuck", "a"), Plugin("shop"))
            second = plug(CallbackManager(), Plugin("other"))
            tell(first, "abc")
            tell(second, "abc")
            """
        )
        assert lines == [f"{name} {message}" for name in ("other", "shop") for message in "abc"]
        assert errors == "the process ends, and 3 calls that were queued are not delivered\n"

    def test_batches_are_sent(self) -> None:
        lines, _ = run(
            """
            class Batches(Plugin):
                @hookimpl
                def on_flush(self):
                    os.write(1, f"{self.name} sends\\n".encode())

            tell(plug(CallbackManager(), Batches("shop")), "a")
            """
        )
        assert lines[0] == "shop a"
        assert set(lines[1:]) == {"shop sends"}

    def test_asynchronous_plugins_are_called_too(self) -> None:
        lines, errors = run(
            """
            class Later(Plugin):
                @hookimpl
                async def on_message(self, message):
                    os.write(1, f"{self.name} {message}\\n".encode())

            callbacks = plug(CallbackManager(), Later("shop"))
            tell(callbacks, "a")
            callbacks.flush(60)  # its loop runs
            tell(callbacks, "bc")
            """
        )
        assert lines == ["shop a", "shop b", "shop c"]
        assert errors == ""

    def test_what_was_closed_is_not_called_again(self) -> None:
        lines, _ = run(
            """
            class Batches(Plugin):
                @hookimpl
                def on_flush(self):
                    os.write(1, f"{self.name} sends\\n".encode())

            plug(callbacks := CallbackManager(), Batches("shop")).close(60)
            os.write(1, b"closed once\\n")
            """
        )
        assert lines == ["closed once", "shop sends"]

    def test_a_manager_that_is_gone_is_forgotten(self) -> None:
        lines, errors = run("tell(plug(CallbackManager(), Plugin('shop')), ''); import gc; gc.collect()")
        assert (lines, errors) == ([], "")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
    def test_a_child_that_ends_delivers_what_is_its_own(self) -> None:
        lines, _ = run(
            """
            import warnings
            warnings.simplefilter("ignore")
            callbacks = plug(CallbackManager(timeout=None), Plugin("shop", "stuck"))
            tell(callbacks, ["stuck", "parent"])
            child = os.fork()
            if not child:
                tell(callbacks, ["child"])
                sys.exit()
            assert os.waitpid(child, 0)[1] == 0
            """
        )
        assert lines == ["shop child"]


class Forgotten:
    """Something that notes what it was asked, and leaves so much."""

    def __init__(self, left: int = 0) -> None:
        self.left = left
        self.notes: list[str] = []
        self.seconds: list[float] = []

    def begin_flush(self, timeout: float) -> Callable[[], int]:
        self.notes.append("begun")
        self.seconds.append(timeout)

        def wait() -> int:
            self.notes.append("waited")
            return self.left

        return wait


class TestExit:
    def test_all_begin_before_any_is_waited_for(self) -> None:
        notes: list[str] = []
        things = [Forgotten(), Forgotten()]
        end = Exit()
        for thing in things:
            thing.notes = notes
            end.add(thing)
        assert end.flush() == 0
        assert notes == ["begun", "begun", "waited", "waited"]

    def test_there_is_one_second_however_often_it_is_asked(self) -> None:
        thing = Forgotten(left=2)
        end = Exit()
        end.add(thing)
        assert end.flush() == end.flush() == 2
        first, second = thing.seconds
        assert 0 <= second < first == SECONDS

    def test_what_is_lost_is_logged_at_the_last(self, caplog: pytest.LogCaptureFixture) -> None:
        things = [Forgotten(left=2), Forgotten(left=1), Forgotten()]
        end = Exit()
        for thing in things:
            end.add(thing)
        end.flush()
        assert caplog.records == []
        end.end()
        assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
            (logging.WARNING, "the process ends, and 3 calls that were queued are not delivered")
        ]

    def test_where_all_was_delivered_nothing_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        thing = Forgotten()
        end = Exit()
        end.add(thing)
        end.end()
        assert thing.notes == ["begun", "waited"]
        assert caplog.records == []

    def test_it_keeps_nothing_alive(self) -> None:
        thing = Forgotten()
        notes = thing.notes
        end = Exit()
        end.add(thing)
        del thing
        gc.collect()
        end.flush()
        assert notes == []

    def test_managers_are_flushed(self) -> None:
        end = Exit()
        with closed_afterwards() as callbacks:
            shop = Shop()
            plug(callbacks, shop)
            end.add(callbacks)
            tell(callbacks, *"abc")
            assert end.flush() == 0
            assert shop.heard == [*"abc"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_a_child_has_a_second_and_a_lock_of_its_own(self) -> None:
        holding, go = threading.Event(), threading.Event()
        end = Exit()
        thing = Forgotten()
        end.add(thing)
        end.flush()

        def hold() -> None:
            with end._lock:  # noqa: SLF001 -- the only one
                holding.set()
                go.wait(PATIENCE)

        def check() -> bool:
            end.after_fork_in_child()
            end.flush()
            return thing.seconds[-1] == SECONDS

        thread = threading.Thread(target=hold)
        thread.start()
        assert holding.wait(PATIENCE)
        assert run_in_child(check)
        go.set()
        thread.join(PATIENCE)

    def test_a_stuck_plugin_is_told_of_as_left(self) -> None:
        end = Exit()
        with closed_afterwards() as callbacks:
            shop = Shop(hangs=True)
            plug(callbacks, shop)
            end.add(callbacks)
            end._end = 0.0  # noqa: SLF001 -- its second is over
            with hanging(callbacks, shop):
                tell(callbacks, "a")
                assert end.flush() == 2
            callbacks.flush(PATIENCE)


def test_every_manager_is_among_them() -> None:
    """The processes above prove it; this says so where they cannot run."""
    from thea_core.callbacks import exiting

    manager = CallbackManager()
    assert manager in exiting._exit._objects  # noqa: SLF001 -- it is not to be seen otherwise
    manager.close()
