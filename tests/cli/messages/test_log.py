"""``--log`` writes records as JSON lines."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from thea_core.cli.exits import Refusal
from thea_core.cli.messages.log import LOGGERS, log_to

EVENTS = logging.getLogger("thea.events")
CORE = logging.getLogger("thea_core.callbacks")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_of_both_loggers_are_written_with_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with log_to(path):
        EVENTS.info("thea.message", extra={"thea.length": 3, "odd": {1}})
        CORE.info("%s failed", "it")
        CORE.debug("left out")
    first, second = read(path)
    assert (first["message"], first["thea.length"], first["odd"]) == ("thea.message", 3, "{1}")
    assert first["function"] == "test_records_of_both_loggers_are_written_with_their_fields"
    assert (second["message"], second["level"], second["logger"]) == ("it failed", "INFO", "thea_core.callbacks")


def test_a_traceback_is_a_field(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with log_to(path):
        CORE.error("no", exc_info=ValueError("boom"))
    assert "ValueError: boom" in read(path)[0]["traceback"]


def test_what_cannot_be_written_as_text_is_no_hindrance(tmp_path: Path) -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError

    circle: list[object] = []
    circle.append(circle)
    path = tmp_path / "log"
    with log_to(path):
        EVENTS.info("x", extra={"a": Broken(), "b": KeyError("b")})
        EVENTS.info("y", extra={"a": circle})
    first, second = read(path)
    assert "raised ValueError" in first["a"]
    assert (first["b"], second["a"]) == ("'b'", "[[...]]")


def test_a_log_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(2):
        with log_to(path):
            EVENTS.info("x")
    assert len(read(path)) == 2


def test_afterwards_the_loggers_are_as_before(tmp_path: Path) -> None:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(each.level, list(each.handlers)) for each in loggers]
    with log_to(tmp_path / "log"):
        assert [(each.level, list(each.handlers)) for each in loggers] != before
    assert [(each.level, list(each.handlers)) for each in loggers] == before


def test_without_a_file_nothing_is_done() -> None:
    before = list(EVENTS.handlers)
    with log_to(None):
        assert EVENTS.handlers == before


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be written"), log_to(tmp_path / "no" / "log"):
        pass
