"""Hostile plugins beside the logging plugin, over real sentences: the conversation goes on, and the log tells why.

Every one of the messages is answered, every event of every turn is in the log, and whoever is to blame is named there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile import loops, lying, nesting, raising
from tests.integration.conftest import DATA
from thea_core import AgentReply, IntentMatch, Reply, Thea, hookimpl

pytestmark = pytest.mark.plugins

SENTENCES = [line.split("\t")[0] for line in (DATA / "home_intents_es.tsv").read_text("utf-8").splitlines()[1:101]]
CONFIG = {"plugins": {"enabled": ["logging"]}, "store": {"url": "memory:"}}


class Answering:
    """A plugin as it should be: an intent for every message, and an agent for it."""

    name = "answering"
    intents = ("any",)

    @hookimpl
    def detect_intents(self, message: str) -> list[IntentMatch]:
        return [IntentMatch("any", 0.9)]

    @hookimpl
    def provide_agents(self) -> list[Any]:
        return [self]

    def handle(self, message: str, context: dict[str, Any], turn: Any) -> AgentReply:
        return AgentReply(f"oído: {message}", context | {"count": context.get("count", 0) + 1})


class Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def events(self) -> Counter[str]:
        return Counter(each.getMessage() for each in self.records if each.name == "thea.events")

    def remarks(self) -> str:
        return "\n".join(each.getMessage() for each in self.records if each.name != "thea.events")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """What Thea and the logging plugin log."""
    handler = Log()
    loggers = [logging.getLogger(name) for name in ("thea.events", "thea_core")]
    for each in loggers:
        each.addHandler(handler)
        monkeypatch.setattr(each, "propagate", False)
        monkeypatch.setattr(each, "level", logging.INFO)
    yield handler
    for each in loggers:
        each.removeHandler(handler)


def say_all(app: Thea, sentences: list[str] = SENTENCES) -> list[Reply]:
    return [app.handle_request("ana", sentence) for sentence in sentences]


def check_answered(replies: list[Reply], app: Thea) -> None:
    """Every message got the answer that it would get without any hostile plugin, and none was counted twice."""
    assert [each.text for each in replies] == [f"oído: {sentence}" for sentence in SENTENCES]
    assert all(each.ok for each in replies)
    assert app.contexts.load("ana")["count"] == len(SENTENCES)


def check_logged(log: Log) -> None:
    events = log.events()
    assert events["thea.message"] == events["thea.intent_detected"] == events["thea.agent_delegated"] == len(SENTENCES)
    assert events["thea.state_change"] == 4 * len(SENTENCES)


def check(log: Log, *plugins: object, named: list[str], **config: Any) -> None:
    """Let all sentences through, with hostile plugins before the good one, and see who is blamed."""
    with Thea(CONFIG | config, plugins=[*plugins, Answering()]) as app:
        replies = say_all(app)
        check_answered(replies, app)
    check_logged(log)
    for name in named:
        assert repr(name) in log.remarks()


def all_kinds(kind: type) -> list[Any]:
    return [kind(f"{name}-{kind.__name__}", act) for name, act in raising.KINDS.items()]


def names(plugins: list[Any]) -> list[str]:
    return [each.name for each in plugins]


def test_plugins_that_raise_in_every_hook(log: Log) -> None:
    plugins = all_kinds(raising.Raising)
    check(log, *plugins, named=names(plugins))


def test_plugins_that_raise_in_async_callbacks(log: Log) -> None:
    plugins = [each for each in all_kinds(raising.AsyncRaising) if "recursion" not in each.name]  # tried above
    check(log, *plugins, named=names(plugins))


def test_each_distinct_failure_is_logged_once(log: Log) -> None:
    """A hundred messages with a plugin that fails eleven times each do not flood the log.

    Of each hook it tells the first failure, and that the plugin is called no more.
    """
    check(log, raising.Raising("loud", raising.KINDS["exception"]), named=["loud"], callbacks={"breaker_seconds": "1h"})
    told = [line for line in log.remarks().splitlines() if "'loud'" in line]
    events = ["on_message", "on_state_change", "on_intent_detected", "on_agent_delegated"]
    hooks = [*events, "pre_transition", "post_transition", "detect_intents"]
    for hook in hooks:
        assert sum(f" failed in {hook}; the others go on" in line for line in told) == 1
        assert sum(f" for {hook} is open: 5 failures in a row" in line for line in told) == 1
    assert sum("cannot be shut down" in line for line in told) == 1
    assert len(told) == 2 * len(hooks) + 1


def test_plugins_that_raise_when_they_are_started_are_left_out(log: Log) -> None:
    plugins = all_kinds(raising.AtStart)
    check(log, *plugins, named=names(plugins))


def test_modules_that_cannot_be_imported_are_left_out(log: Log) -> None:
    modules = ["tests.hostile.import_raises", "tests.hostile.import_exits"]
    config = CONFIG | {"plugins": {"enabled": ["logging"], "modules": modules}}
    with Thea(config, plugins=[Answering()]) as app:
        check_answered(say_all(app), app)
        states = {each.name: each.state for each in app.plugins}
    check_logged(log)
    assert states == {"logging": "running", "import_raises": "failed", "import_exits": "failed", "answering": "running"}
    assert "not today" in log.remarks()
    assert "SystemExit" in log.remarks()


def test_plugins_that_return_nonsense(log: Log) -> None:
    plugins = [lying.Lying(name, make) for name, make in lying.RESULTS.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a coroutine that is never awaited is a warning
        check(log, *plugins, named=names(plugins))


def test_a_plugin_that_changes_its_arguments_at_every_depth(log: Log) -> None:
    """It is not even to blame: what it was given was a copy."""
    check(log, lying.Mutating(), named=[])
    assert log.remarks() == ""


@pytest.mark.parametrize("result", lying.RESULTS)
def test_an_agent_that_answers_nonsense_ends_in_an_apology(log: Log, result: str) -> None:
    good = result == "text"

    class Detecting:
        name = "detecting"

        @hookimpl
        def detect_intents(self):
            return [IntentMatch("bad", 1.0)]

    with Thea(CONFIG, plugins=[Detecting()]) as app:
        app.router.register(lying.BadAgent(lying.RESULTS[result]))
        replies = say_all(app, SENTENCES[:10])
        assert [each.ok for each in replies] == [good] * 10
        assert app.contexts.load("ana")["state"] == "idle"
    assert log.events()["thea.error"] == (0 if good else 10)


@pytest.mark.parametrize("kind", raising.KINDS)
def test_an_agent_that_raises_ends_in_an_apology(log: Log, kind: str) -> None:
    class Raising(Answering):
        def handle(self, message, context, turn):
            raising.KINDS[kind]()

    with Thea(CONFIG, plugins=[Raising()]) as app:
        replies = say_all(app, SENTENCES[:10])
        assert not any(each.ok for each in replies)
        assert all(each.text for each in replies)
        assert app.contexts.load("ana")["state"] == "idle"
    assert log.events()["thea.error"] == 10


def test_plugins_that_trigger_each_other(log: Log) -> None:
    first, second = nesting.Retriggering(), nesting.Retriggering()
    second.name = "retriggering-too"
    with Thea(CONFIG, plugins=[first, second, Answering()]) as app:
        check_answered(say_all(app), app)
    assert "'retriggering'" in log.remarks()
    assert "'retriggering-too'" in log.remarks()
    events = log.events()
    # Each message is told once by the router; what the two make up besides is bounded.
    assert events["thea.agent_delegated"] == len(SENTENCES)
    assert len(SENTENCES) <= events["thea.message"] <= 20 * len(SENTENCES)


def test_a_plugin_that_handles_a_message_within_a_message(log: Log) -> None:
    check(log, nesting.Requesting(), named=["requesting"])


def test_a_plugin_whose_threads_handle_messages(log: Log) -> None:
    plugin = nesting.Threading()
    with Thea(CONFIG, plugins=[plugin, Answering()]) as app:
        check_answered(say_all(app), app)
        for thread in plugin.threads:
            thread.join(30)
        assert [each.text for each in plugin.replies] == ["oído: hola"] * len(SENTENCES)
    assert log.events()["thea.message"] == 2 * len(SENTENCES)
    assert log.remarks() == ""


def test_a_plugin_that_registers_callbacks_and_switches_plugins_within_events(log: Log) -> None:
    plugin, switched = nesting.Registering("switched"), nesting.Switched()
    check(log, plugin, switched, named=[])
    assert plugin.calls > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_plugin_that_forks_within_an_event(log: Log) -> None:
    plugin = nesting.Forking()
    check(log, plugin, named=[])
    assert plugin.children == [0] * 10


def test_plugins_that_cancel_their_own_tasks(log: Log) -> None:
    check(log, loops.Cancelling(), named=["cancelling"])


def test_plugins_that_stop_and_close_their_event_loops(log: Log) -> None:
    check(log, loops.Stopping(), loops.Closing(), named=["closing"])


def test_a_plugin_that_leaves_tasks_behind(log: Log) -> None:
    check(log, loops.Leaving(), named=[])


def test_all_of_them_together(log: Log) -> None:
    """Nor do they help each other."""
    plugins = [
        *all_kinds(raising.Raising),
        raising.AsyncRaising("async", raising.KINDS["exit"]),
        *(lying.Lying(name, make) for name, make in lying.RESULTS.items()),
        lying.Mutating(),
        nesting.Requesting(),
        loops.Cancelling(),
        loops.Stopping(),
        loops.Closing(),
        loops.Leaving(),
    ]
    check(log, *plugins, named=[])


def test_the_same_from_async_code(log: Log) -> None:
    plugins = [*all_kinds(raising.Raising), raising.AsyncRaising("async", raising.KINDS["exit"]), loops.Cancelling()]

    async def main() -> None:
        async with Thea(CONFIG, plugins=[*plugins, Answering()]) as app:
            check_answered([await app.ahandle_request("ana", each) for each in SENTENCES], app)

    asyncio.run(main())
    check_logged(log)
