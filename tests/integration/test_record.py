"""The record of a whole application: every call is in it, no secret and no message is, and nothing stops for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import run_in_child
from thea_core import ConfigError, PluginError, Thea, ValidationError, hookimpl
from thea_core.callbacks.record_lines import CallLine, ProcessLine, RecordLine
from thea_core.callbacks.record_reader import RecordReader, summarize
from thea_core.config import Config


class Shop:
    """Fails with whatever is in the message."""

    name = "shop"

    @hookimpl
    def on_message(self, message: str) -> None:
        if "fail" in message:
            raise ValueError(f"of {self.name}")

    @hookimpl
    async def on_state_change(self) -> None: ...

    @hookimpl
    def pre_transition(self, context: dict[str, Any]) -> None:
        if context.get("message") == "veto":
            raise ValidationError("not that")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configured(**more: Any) -> dict[str, Any]:
    return {"store": {"url": "memory:"}, "callbacks": {"record": "calls.jsonl"}, **more}


def lines() -> list[RecordLine]:
    reader = RecordReader(Path("calls.jsonl"))
    found = list(reader)
    assert reader.unreadable == 0
    return found


def test_it_is_what_the_history_of_the_application_holds() -> None:
    with Thea(configured(), plugins=[Shop()]) as thea:
        for message in ("hola", "fail", "veto"):
            thea.handle_request("ana", message)
    begin, *calls, end = lines()
    assert isinstance(begin, ProcessLine)
    assert isinstance(end, ProcessLine)
    recorded = [
        (line.call.hook, each.plugin, each.callback, each.outcome, each.error)
        for line in calls
        if isinstance(line, CallLine)
        for each in line.call.callbacks
    ]
    history = [(each.hook, each.plugin, each.callback, each.outcome, each.error) for each in thea.callbacks.history]
    assert sorted(recorded, key=repr) == sorted(history, key=repr)
    assert len(recorded) > 10
    shop = summarize(lines()).plugins["shop"]
    assert (shop.failures, shop.outcomes["veto"]) == (1, 1)
    assert shop.last_failure is not None
    assert shop.last_failure.error == "ValueError: of shop"


def test_a_circuit_breaker_that_opens_is_told_until_the_application_ends() -> None:
    with Thea(configured(), plugins=[Shop()]) as thea:
        for _ in range(6):
            thea.handle_request("ana", "fail")
    shop = summarize(lines()[:-1]).plugins["shop"]
    assert {hook: line.state for hook, line in shop.health.items()} == {"on_message": "open"}
    assert (shop.failures, shop.skipped) == (5, 1)
    assert summarize(lines()).plugins["shop"].health == {}
    assert not any(line.call.hook == "on_plugin_health" for line in lines() if isinstance(line, CallLine))


def test_async_use_is_recorded_all_the_same() -> None:
    async def run() -> None:
        async with Thea(configured(), plugins=[Shop()]) as thea:
            await thea.ahandle_request("ana", "fail")

    asyncio.run(run())
    shop = summarize(lines()).plugins["shop"]
    assert shop.failures == 1
    assert shop.outcomes["ok"] > 2


def test_neither_messages_nor_secrets_are_in_it() -> None:
    class Leaking:
        name = "leaking"

        @hookimpl
        def on_message(self) -> None:
            raise ValueError("cannot connect with hunter2")

    settings = {"plugins": {"other": {"settings": {"api_key": "hunter2"}}}}
    thea = Thea(configured(**settings), plugins=[Leaking()])

    @thea.fsm.pre_transition("processing")
    def refuse(context: dict[str, Any]) -> None:
        raise ValidationError("hunter2 is not right")

    with thea:
        thea.handle_request("ana", "my own words")
    text = Path("calls.jsonl").read_text(encoding="ascii")
    assert "cannot connect with ***" in text
    assert "*** is not right" in text
    assert "hunter2" not in text
    assert "my own words" not in text


def test_without_the_key_nothing_is_written(elsewhere: Path) -> None:
    with Thea({"store": {"url": "memory:"}}, plugins=[Shop()]) as thea:
        assert not thea.callbacks.recorder.observed
        thea.handle_request("ana", "hola")
    assert list(elsewhere.iterdir()) == []


def test_an_application_that_cannot_start_leaves_no_record_open() -> None:
    class Broken:
        name = "broken"

        @hookimpl
        def on_startup(self) -> None:
            raise ValueError("no")

    with pytest.raises(PluginError):
        Thea(configured(plugins={"broken": {"required": True}}), plugins=[Broken()]).start()
    assert [type(each) for each in lines()] == [ProcessLine, ProcessLine]


def test_a_record_that_cannot_be_written_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    Path("calls.jsonl").mkdir()
    with Thea(configured(), plugins=[Shop()]) as thea:
        assert thea.handle_request("ana", "hola").ok
    path = Path("calls.jsonl").absolute()
    (told,) = [text for text in (each.getMessage() for each in caplog.records) if "cannot be written" in text]
    assert (
        told == f"the record {path} cannot be written: Is a directory; the application goes on, and it is tried again"
    )


def test_it_is_written_also_where_no_history_is_kept() -> None:
    with Thea(configured() | {"callbacks": {"record": "calls.jsonl", "history_size": 0}}, plugins=[Shop()]) as thea:
        thea.handle_request("ana", "fail")
    assert summarize(lines()).plugins["shop"].failures == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_goes_on_with_a_record_of_its_own_calls() -> None:
    def check() -> bool:
        thea.handle_request("ben", "fail")
        thea.close()
        return True

    with Thea(configured(), plugins=[Shop()]) as thea:
        thea.handle_request("ana", "fail")
        assert run_in_child(check)
        thea.handle_request("ana", "fail")
    processes = {each.pid for each in lines()}
    assert len(processes) == 2
    failures = {
        pid: summarize(each for each in lines() if each.pid == pid).plugins["shop"].failures for pid in processes
    }
    assert failures == {os.getpid(): 2, (processes - {os.getpid()}).pop(): 1}


FORGETFUL = """
import time
from thea_core import Thea, hookimpl

class Sending:
    name = "sending"
    delivery = "background"

    @hookimpl
    def on_message(self):
        time.sleep(0.05)

thea = Thea({"store": {"url": "memory:"}, "callbacks": {"record": "calls.jsonl"}}, plugins=[Sending()])
thea.start()
for number in range(3):
    thea.handle_request("ana", "hola")
"""


def test_an_application_that_forgets_to_close_delivers_and_records_all_the_same() -> None:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", FORGETFUL], env=environ, timeout=60, check=True)
    sending = summarize(lines()).plugins["sending"]
    assert (sending.outcomes["queued"], sending.outcomes["ok"]) == (3, 3)
    end = lines()[-1]
    assert isinstance(end, ProcessLine)
    assert not end.running


def test_a_path_that_can_be_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.record.*\n.*\n.*the path of a file"):
        Config.from_mapping({"callbacks": {"record": "a\0b"}})
