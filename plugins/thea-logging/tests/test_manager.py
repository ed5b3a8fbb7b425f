"""The plugin's callbacks, called by the manager of the core."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from thea_core import CallbackManager, Thea
from thea_logging.settings import DEFAULT_LEVELS

ARGUMENTS = {
    "on_message": {"message": "hola", "timestamp": datetime(2026, 3, 1, tzinfo=UTC)},
    "on_state_change": {"old_state": "idle", "new_state": "processing"},
    "on_error": {"error": ValueError("boom"), "traceback": ""},
    "on_session_timeout": {"session_id": "s-1"},
    "on_intent_detected": {"intent": "agenda", "score": 0.5},
    "on_agent_delegated": {"agent": "fallback", "intent": ""},
}


@pytest.mark.parametrize("hook", DEFAULT_LEVELS)
def test_an_event_that_is_triggered_is_logged_with_an_event_id(listen, events, hook):
    callbacks = CallbackManager()
    callbacks.register(hook, getattr(events().plugin, hook))
    with listen() as heard:
        callbacks.trigger(hook, user_id="ana", **ARGUMENTS[hook])
    fields = heard.fields()[0]
    assert fields["event.name"] == "thea." + hook.removeprefix("on_")
    assert len(fields["thea.event.id"]) == 36
    assert fields.get("session.id") == ARGUMENTS[hook].get("session_id")


@pytest.mark.parametrize("hook", DEFAULT_LEVELS)
def test_a_session_that_the_caller_of_trigger_knows_is_logged(listen, events, hook):
    callbacks = CallbackManager()
    callbacks.register(hook, getattr(events().plugin, hook))
    with listen() as heard:
        callbacks.trigger(hook, **({"user_id": "ana"} | ARGUMENTS[hook] | {"session_id": "s-9", "event_id": "e" * 36}))
    assert heard.fields()[0]["session.id"] == "s-9"
    assert heard.fields()[0]["thea.event.id"] == "e" * 36


@pytest.mark.parametrize("hook", DEFAULT_LEVELS)
def test_an_event_is_logged_where_it_happens(listen, events, hook):
    """To hand it to another thread, as callbacks with a time limit are, would cost more than the record."""
    with Thea(plugins=[events().plugin]) as thea, listen() as heard:
        thea.callbacks.trigger(hook, user_id="ana", **ARGUMENTS[hook])
    assert [each.thread for each in heard.records] == [threading.get_ident()]
