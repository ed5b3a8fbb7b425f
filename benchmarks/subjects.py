"""The subjects, each a module of its own, measured in a process of its own."""

from __future__ import annotations

import importlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from benchmarks.measure import Effort
from benchmarks.rows import Row

__all__ = ["SUBJECTS", "measure_alone"]

SUBJECTS = {
    "dispatch": "calling 1, 3 and 10 callbacks",
    "limits": "time limits, the background, breakers",
    "transitions": "one transition of the state machine",
    "startup": "imports, the command, discovery",
    "turns": "a whole turn, part by part, and on SQLite",
    "durability": "stored events, sweeps, waiting messages; turns on PostgreSQL",
    "services": "a run with all plugins while their services fail",
    "memory": "idle conversations, the history of calls",
}


def measure_alone(subject: str, effort: Effort) -> list[Row]:
    """Measure a subject in a new process, where nothing that another one loaded is in the way."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, subject, effort).result()


def _measure(subject: str, effort: Effort) -> list[Row]:
    return list(importlib.import_module(f"benchmarks.{subject}").measure(effort))
