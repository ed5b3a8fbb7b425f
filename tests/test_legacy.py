"""The examples by which the replaced system was described: each runs with nothing changed but the import line.

Those of the state machine stand in ``test_legacy_fsm.py``; what needs a context manager, in ``tests/conversation``.
"""

# ruff: noqa: T201 -- the examples print

from __future__ import annotations

import sys
import types
from datetime import UTC, datetime
from typing import Any

import pytest

from thea_core import CallbackManager

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Service:
    """Stands for a client library: notes what is called on it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def track(self, user_id: str, event: str, properties: dict[str, Any] | None = None) -> None:
        self.calls.append((user_id, event, properties))

    def capture_exception(self, error: BaseException) -> None:
        self.calls.append((error,))


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()
    module = types.ModuleType("sentry_sdk")
    module.capture_exception = service.capture_exception
    monkeypatch.setitem(sys.modules, "sentry_sdk", module)
    return service


@pytest.fixture
def mp() -> Service:
    return Service()


@pytest.fixture
def callback_manager() -> CallbackManager:
    return CallbackManager()


def test_1_logging_triggered_from_a_request_handler(
    callback_manager: CallbackManager, capsys: pytest.CaptureFixture[str]
) -> None:
    def log_message(user_id, message, timestamp):
        print(f"[{timestamp}] Usuario {user_id}: {message}")

    def log_state_change(user_id, old_state, new_state):
        print(f"Estado de {user_id}: {old_state} -> {new_state}")

    callback_manager.register("on_message", log_message)
    callback_manager.register("on_state_change", log_state_change)

    def handle_request(user_id, message):
        callback_manager.trigger("on_message", user_id=user_id, message=message, timestamp=NOW)
        callback_manager.trigger("on_state_change", user_id=user_id, old_state="initial", new_state="processing")

    handle_request("alvaro_123", "Agendar reunión")
    assert capsys.readouterr().out.splitlines() == [
        f"[{NOW}] Usuario alvaro_123: Agendar reunión",
        "Estado de alvaro_123: initial -> processing",
    ]


def test_2_monitoring_of_errors_and_timeouts(
    callback_manager: CallbackManager, sentry: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    def monitor_error(user_id, error, traceback):
        import sentry_sdk

        sentry_sdk.capture_exception(error)

    def alert_timeout(user_id, session_id):
        print(f"ALERTA: la sesión {session_id} de {user_id} ha caducado")

    callback_manager.register("on_error", monitor_error)
    callback_manager.register("on_session_timeout", alert_timeout)

    error = ValueError("algo falló")
    callback_manager.trigger("on_error", user_id="alvaro_123", error=error, traceback="Traceback ...")
    callback_manager.trigger("on_session_timeout", user_id="alvaro_123", session_id="s1")
    assert sentry.calls == [(error,)]
    assert capsys.readouterr().out == "ALERTA: la sesión s1 de alvaro_123 ha caducado\n"


def test_3_analytics(callback_manager: CallbackManager, mp: Service) -> None:
    def track_message(user_id, message, timestamp):
        mp.track(user_id, "message", {"length": len(message), "timestamp": timestamp})

    def track_state(user_id, old_state, new_state):
        mp.track(user_id, "state_change", {"from": old_state, "to": new_state})

    def track_intent(user_id, intent, score):
        mp.track(user_id, "intent", {"intent": intent, "score": score})

    callback_manager.register("on_message", track_message)
    callback_manager.register("on_state_change", track_state)
    callback_manager.register("on_intent_detected", track_intent)

    callback_manager.trigger("on_message", user_id="alvaro_123", message="hola", timestamp=NOW)
    callback_manager.trigger("on_state_change", user_id="alvaro_123", old_state="idle", new_state="processing")
    callback_manager.trigger("on_intent_detected", user_id="alvaro_123", intent="agenda", score=0.9)
    assert mp.calls == [
        ("alvaro_123", "message", {"length": 4, "timestamp": NOW}),
        ("alvaro_123", "state_change", {"from": "idle", "to": "processing"}),
        ("alvaro_123", "intent", {"intent": "agenda", "score": 0.9}),
    ]


def test_4_callbacks_that_take_whatever_the_event_has(
    callback_manager: CallbackManager, mp: Service, sentry: Service
) -> None:
    logged = []

    def log_all(user_id, **kwargs):
        logged.append((user_id, kwargs))

    def monitor_errors(user_id, error, **kwargs):
        import sentry_sdk

        sentry_sdk.capture_exception(error)
        logged.append(("error", kwargs))

    def track_all(user_id, **kwargs):
        mp.track(user_id, "event", kwargs)

    for event in ("on_message", "on_state_change", "on_intent_detected"):
        callback_manager.register(event, log_all)
        callback_manager.register(event, track_all)
    callback_manager.register("on_error", monitor_errors)

    error = RuntimeError("fallo")
    callback_manager.trigger("on_message", user_id="ana", message="hola", timestamp=NOW)
    callback_manager.trigger("on_state_change", user_id="ana", old_state="idle", new_state="processing")
    callback_manager.trigger("on_intent_detected", user_id="ana", intent="agenda", score=0.9)
    callback_manager.trigger("on_error", user_id="ana", error=error, traceback="Traceback ...")

    events = [
        {"message": "hola", "timestamp": NOW},
        {"old_state": "idle", "new_state": "processing"},
        {"intent": "agenda", "score": 0.9},
    ]
    assert logged == [*(("ana", event) for event in events), ("error", {"traceback": "Traceback ..."})]
    assert mp.calls == [("ana", "event", event) for event in events]
    assert sentry.calls == [(error,)]


def test_a_service_that_is_down_stops_nobody(callback_manager: CallbackManager) -> None:
    """What the replaced system could not do: one callback that raises, and the request goes on."""
    ran = []

    def track_message(user_id, message, timestamp):
        raise ConnectionError("mixpanel is down")

    def log_message(user_id, message, timestamp):
        ran.append(message)

    callback_manager.register("on_message", track_message)
    callback_manager.register("on_message", log_message)
    callback_manager.trigger("on_message", user_id="ana", message="hola", timestamp=NOW)
    assert ran == ["hola"]
