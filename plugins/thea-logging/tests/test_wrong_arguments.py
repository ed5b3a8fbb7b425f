"""Whoever triggers an event may give anything: the record is made all the same, of what can be read."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, tzinfo

import pytest

from thea_core import CallbackManager
from thea_core.callbacks.runtime import PluginLimits
from thea_logging import JsonLinesFormatter, LoggingPlugin

RIGHT = {
    "on_message": {"message": "hola"},
    "on_state_change": {"old_state": "idle", "new_state": "processing"},
    "on_error": {"error": ValueError("boom"), "traceback": "Traceback"},
    "on_session_timeout": {},
    "on_intent_detected": {"intent": "agenda", "score": 0.9},
    "on_agent_delegated": {"agent": "AgendaAgent", "intent": "agenda"},
}
COMMON = {
    "user_id": "ana",
    "event_id": "e" * 36,
    "session_id": "s-1",
    "timestamp": datetime(2026, 3, 1, tzinfo=UTC),
}
ARGUMENTS = [(hook, name) for hook, own in RIGHT.items() for name in {**COMMON, **own}]


class Exiting:
    """Ends the program when it is put into words."""

    def __str__(self):
        raise SystemExit(3)

    __repr__ = __bool__ = __len__ = __str__


class ExitingError(Exception):
    def __str__(self):
        raise SystemExit(3)

    @property
    def __cause__(self):
        raise SystemExit(3)


class Nowhere(tzinfo):
    def utcoffset(self, when):
        raise SystemExit(3)


WRONG = {
    "none": None,
    "number": 7,
    "huge": 10**400,
    "nan": math.nan,
    "bytes": b"x",
    "list": [1],
    "error": ExitingError(),
    "object": Exiting(),
    "time": datetime(2026, 3, 1, tzinfo=Nowhere()),
}


@pytest.mark.parametrize(
    "settings", [{}, {"exc_info": False}, {"redact": "builtins:str", "include_message_text": True}]
)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("argument", ARGUMENTS, ids=" ".join)
def test_a_wrong_argument_is_no_failure(listen, events, settings, argument, wrong):
    hook, name = argument
    plugin = events(**settings).plugin
    with listen(JsonLinesFormatter()) as heard:
        getattr(plugin, hook)(**{**COMMON, **RIGHT[hook], name: WRONG[wrong]})
    (line,) = heard.lines
    assert json.loads(line)["message"] == "thea." + hook.removeprefix("on_")


def test_what_cannot_be_read_is_left_out_or_said(listen, events):
    with listen() as heard:
        events().message(message=b"hola", timestamp=None)
        events().message(timestamp="now")
        events().error(Exiting())
        events().error(ExitingError())
    first, second, third, fourth = heard.fields()
    assert first["thea.message.length"] == len(str(b"hola"))
    assert not {"thea.message.timestamp"} & {*first, *second}
    assert third["error.message"] == "<str() of the exception raised SystemExit>"
    assert third["error.type"].endswith("Exiting")
    assert fourth["error.type"].endswith("ExitingError")


def test_an_error_that_cannot_be_looked_at_is_logged_by_its_type(listen, events, raise_it):
    with listen() as heard:
        events().error(raise_it(ExitingError()))
    (fields,) = heard.fields()
    assert fields["error.type"].endswith("ExitingError")
    assert fields["error.message"] == "<the error could not be read: SystemExit>"


@pytest.mark.parametrize(
    ("score", "logged"), [(1, 1), (0.5, 0.5), (type("Share", (float,), {})(0.5), 0.5), (True, "True"), ("1", "1")]
)
def test_a_score_is_a_finite_number_or_a_text(listen, events, score, logged):
    with listen() as heard:
        events().intent_detected(score=score)
    (fields,) = heard.fields()
    assert fields["thea.intent.score"] == logged
    assert type(fields["thea.intent.score"]) is type(logged)


def test_ctrl_c_passes(listen, events):
    class Interrupting:
        def __str__(self):
            raise KeyboardInterrupt

    for act in (lambda: events().message(message=Interrupting()), lambda: events().error(Interrupting())):
        with listen(), pytest.raises(KeyboardInterrupt):
            act()


def test_no_breaker_opens_however_often_an_event_is_triggered_wrongly(listen):
    callbacks = CallbackManager(breaker_failures=1)
    callbacks.publish_plugins(
        [callbacks.bind_plugin(LoggingPlugin(), "logging", source=3, position=0, limits=PluginLimits())]
    )
    with listen() as heard:
        callbacks.trigger("on_message", user_id="ana", message="again", timestamp=None)
        callbacks.trigger("on_message", user_id="ana", message="hola", timestamp=datetime(2026, 3, 1, tzinfo=UTC))
    assert len(heard.records) == 2
    assert {each.state for each in callbacks.breakers} == {"closed"}
