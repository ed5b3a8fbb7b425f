"""A line for each plugin that was in trouble."""

from __future__ import annotations

import threading
from typing import Any

from tests.callbacks.helpers import MESSAGE
from thea_core import PluginError, Thea, hookimpl
from thea_core.cli.messages.troubles import troubles

CONFIG: dict[str, Any] = {"store": {"url": "memory:"}}


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


class Raising(Named):
    @hookimpl
    def on_message(self):
        raise ValueError("not today")


class Hanging(Named):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.go_on = threading.Event()

    @hookimpl(timeout=0.01)
    def on_message(self):
        self.go_on.wait(60)


class Crowded(Hanging):
    """Is busy with the first event, so that its queue is full from the second on."""

    delivery = "background"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.begun = threading.Event()

    @hookimpl(timeout=None)
    def on_message(self):
        self.begun.set()
        self.go_on.wait(60)


class Lying(Named):
    @hookimpl
    def detect_intents(self):
        return "agenda"


class FailingToStart(Named):
    @hookimpl
    def on_startup(self):
        raise ValueError("no\nstart")


class FailingToEnd(Named):
    @hookimpl
    def on_shutdown(self):
        raise ValueError("no end")


class Losing(Named):
    @hookimpl
    def on_shutdown(self):
        raise PluginError("12 events lost: HTTP 500", plugin=self.name)


class Good(Named):
    @hookimpl
    def on_message(self):
        pass


def told_of(*plugins: object, config: dict[str, Any] = CONFIG, messages: int = 1) -> list[str]:
    with Thea(config, plugins=plugins) as thea:
        for _ in range(messages):
            thea.callbacks.trigger("on_message", **MESSAGE)
    return list(troubles(thea))


def test_nothing_is_told_where_all_went_well() -> None:
    assert told_of(Good("good")) == []


def test_failures_and_skipped_calls_are_counted_in_the_order_of_the_plugins() -> None:
    told = told_of(Raising("zebra"), Good("good"), Raising("ant"), messages=7)
    assert told == ["zebra: 5 failures, 2 calls skipped", "ant: 5 failures, 2 calls skipped"]


def test_what_hangs_is_told_apart_from_what_fails() -> None:
    plugin = Hanging("slow")
    assert told_of(plugin) == ["slow: 1 timeout"]
    plugin.go_on.set()


def test_calls_that_a_full_queue_has_dropped_are_counted() -> None:
    plugin = Crowded("crowded")
    config = CONFIG | {"plugins": {"crowded": {"queue_size": 1}}}
    with Thea(config, plugins=[plugin]) as thea:
        thea.callbacks.trigger("on_message", **MESSAGE)
        assert plugin.begun.wait(60)
        for _ in range(3):
            thea.callbacks.trigger("on_message", **MESSAGE)
        plugin.go_on.set()
    assert list(troubles(thea)) == ["crowded: 2 calls dropped"]


def test_results_that_cannot_be_used_are_failures() -> None:
    with Thea(CONFIG, plugins=[Lying("liar")]) as thea:
        thea.handle_request("ana", "hola")
    assert list(troubles(thea)) == ["liar: 1 failure"]


def test_a_plugin_that_is_left_out_is_told_with_the_reason_on_one_line() -> None:
    (line,) = told_of(FailingToStart("late"))
    assert line.startswith("late: left out: plugin 'late' (")
    assert "cannot be started: ValueError: no start" in line


def test_what_went_wrong_at_the_end_is_told() -> None:
    (line,) = told_of(FailingToEnd("stubborn"))
    assert line.startswith("stubborn: plugin 'stubborn' (")
    assert "cannot be shut down: ValueError: no end" in line


def test_what_a_plugin_has_to_say_at_its_end_stands_there_in_its_own_words() -> None:
    assert told_of(Losing("losing")) == ["losing: 12 events lost: HTTP 500"]


def test_without_a_history_only_failures_are_counted() -> None:
    told = told_of(Raising("zebra"), config=CONFIG | {"callbacks": {"history_size": 0}}, messages=7)
    assert told == ["zebra: 5 failures"]


def test_what_the_application_switched_off_itself_is_in_no_trouble() -> None:
    with Thea(CONFIG, plugins=[Good("good")]) as thea:
        thea.plugins.disable("good")
    assert list(troubles(thea)) == []
