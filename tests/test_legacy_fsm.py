"""The examples by which the replaced system's state machine was described: nothing is changed but the import line.

What needs a context manager stands in ``tests/conversation``.
"""

# ruff: noqa: T201 -- the examples print

from __future__ import annotations

from typing import Any

import pytest

from thea_core import AgentNotAvailableError, FSMEngine, ReentrancyError, ValidationError


@pytest.fixture
def fsm() -> FSMEngine:
    return FSMEngine()


@pytest.fixture
def told(fsm: FSMEngine) -> list[tuple[str, ...]]:
    """What the events tell."""
    found: list[tuple[str, ...]] = []
    fsm.callbacks.register("on_state_change", lambda old_state, new_state: found.append((old_state, new_state)))
    fsm.callbacks.register("on_error", lambda error: found.append((str(error),)))
    return found


def context(state: str, **more: Any) -> dict[str, Any]:
    return {"user_id": "alvaro_123", "state": state, **more}


class TestPreCallbacks:
    @pytest.fixture(autouse=True)
    def callbacks(self, fsm: FSMEngine) -> None:
        agents = {"agenda": True, "correo": False}

        @fsm.pre_transition("processing")
        def validate_message(context):
            if not context.get("message"):
                raise ValueError("Mensaje vacío")
            return context

        @fsm.pre_transition("executing")
        def check_agent_availability(context):
            if not agents.get(context["agent"]):
                raise AgentNotAvailableError(f"Agente {context['agent']} no disponible")
            return context

    def test_a_message_is_let_through(self, fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
        result = fsm.handle("processing", context("initial", message="Agendar reunión"))
        assert result == context("processing", message="Agendar reunión")
        assert told == [("initial", "processing")]

    def test_an_empty_message_is_an_error(self, fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
        empty = context("initial", message="")
        with pytest.raises(ValueError, match="Mensaje vacío"):
            fsm.handle("processing", empty)
        assert empty == context("initial", message="")
        assert told == [("initial", "error_handler"), ("Mensaje vacío",)]

    def test_an_agent_that_is_there_executes(self, fsm: FSMEngine) -> None:
        assert fsm.handle("executing", context("processing", agent="agenda"))["state"] == "executing"

    def test_an_agent_that_is_not_there_is_a_veto(self, fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
        with pytest.raises(AgentNotAvailableError, match="correo no disponible"):
            fsm.handle("executing", context("processing", agent="correo"))
        assert told == []


def test_post_callbacks(fsm: FSMEngine, capsys: pytest.CaptureFixture[str]) -> None:
    @fsm.post_transition("executing")
    def log_execution(context):
        print(f"Ejecutado: {context['user_id']}")
        return context

    result = fsm.handle("executing", context("processing"))
    assert result == context("executing")
    assert capsys.readouterr().out == "Ejecutado: alvaro_123\n"


@pytest.mark.parametrize("critical", [None, True], ids=["without critical", "critical"])
def test_error_callbacks_read_critical(fsm: FSMEngine, critical: bool | None) -> None:
    seen: list[tuple[str, bool]] = []

    @fsm.on_error()
    def handle_error(error, context):
        seen.append((context["state"], error.critical))
        if error.critical:
            context["message"] = None
        return context

    error = RuntimeError("sin conexión")
    if critical is not None:
        error.critical = critical  # type: ignore[attr-defined]
    result = fsm.on_error()(error, context("executing", message="hola"))
    assert seen == [("error_handler", bool(critical))]
    assert result == context("error_handler", message=None if critical else "hola")


def test_the_parameter_may_have_any_name(fsm: FSMEngine, capsys: pytest.CaptureFixture[str]) -> None:
    @fsm.pre_transition("processing")
    def validate(ctx):
        assert ctx["message"], "Mensaje vacío"
        return ctx

    @fsm.post_transition("processing")
    def log_process(ctx):
        print(f"Procesando: {ctx['message']}")
        return ctx

    assert fsm.handle("processing", context("initial", message="hola"))["state"] == "processing"
    assert capsys.readouterr().out == "Procesando: hola\n"
    with pytest.raises(AssertionError, match="Mensaje vacío"):
        fsm.handle("processing", context("initial", message=""))


def test_a_sequence_of_transitions(fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
    given = context("initial", message="Agendar reunión")
    result = fsm.handle("processing", given)
    result = fsm.handle("disambiguation", result)
    assert result == context("disambiguation", message="Agendar reunión")
    assert given["state"] == "initial"
    assert told == [("initial", "processing"), ("processing", "disambiguation")]


class TestExceptionStrategy:
    """Mend and retry, fall back to another agent, or report."""

    @staticmethod
    def run(fsm: FSMEngine, target: str, context: dict[str, Any]) -> dict[str, Any]:
        try:
            return fsm.handle(target, context)
        except ValidationError:
            context["message"] = "mensaje por defecto"
            return fsm.handle(target, context)
        except AgentNotAvailableError:
            context["agent"] = "fallback"
            return fsm.handle("executing", context)
        except Exception as e:
            return fsm.on_error()(e, context)

    def test_a_message_that_is_mended(self, fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
        @fsm.pre_transition("processing")
        def validate_message(context):
            if not context["message"]:
                raise ValidationError("Mensaje vacío")

        result = self.run(fsm, "processing", context("initial", message=""))
        assert result == context("processing", message="mensaje por defecto")
        assert told == [("initial", "processing")]

    def test_an_agent_that_is_replaced(self, fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
        @fsm.pre_transition("executing")
        def check_agent_availability(context):
            if context["agent"] != "fallback":
                raise AgentNotAvailableError("no disponible")

        result = self.run(fsm, "executing", context("processing", agent="agenda"))
        assert result == context("executing", agent="fallback")
        assert told == [("processing", "executing")]

    def test_any_other_exception_is_reported_once(self, fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
        @fsm.pre_transition("processing")
        def validate_message(context):
            raise ValueError("Mensaje vacío")

        result = self.run(fsm, "processing", context("initial", message=""))
        assert result == context("error_handler", message="")
        assert told == [("initial", "error_handler"), ("Mensaje vacío",)]

    def test_within_a_callback_it_is_refused(self, fsm: FSMEngine, told: list[tuple[str, ...]]) -> None:
        @fsm.pre_transition("processing")
        def strategy(context):
            return self.run(fsm, "executing", context)

        with pytest.raises(ReentrancyError):
            fsm.handle("processing", context("initial"))
        assert told[0] == ("initial", "error_handler")
