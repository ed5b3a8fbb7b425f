"""The README's tables say what the code does."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from thea_logging import LoggingSettings
from thea_logging.settings import DEFAULT_LEVELS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _row(first):
    found = re.search(rf"^\| `{first}` \|(.*)\|$", README, re.MULTILINE)
    assert found, f"the README has no row for {first}"
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize("name", LoggingSettings.model_fields)
def test_every_setting_has_a_row_with_its_default(name):
    default = LoggingSettings.model_fields[name].default
    assert _row(name)[0] == ("none" if default is None else f"`{json.dumps(default)}`")


@pytest.mark.parametrize(("hook", "level"), DEFAULT_LEVELS.items())
def test_every_event_has_a_row_with_its_level(hook, level):
    assert _row(hook)[1] == logging.getLevelName(level)
