"""The state machine: its definition, the engine, diagrams."""

from __future__ import annotations

from thea_core.fsm.context import copy_context
from thea_core.fsm.definition import Definition
from thea_core.fsm.engine import FSMEngine

__all__ = ["Definition", "FSMEngine", "copy_context"]
