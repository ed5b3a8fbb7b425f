"""The README's tables say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from thea_sentry import SentryPlugin, SentrySettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _row(first):
    found = re.search(rf"^\| `{first}` \|(.*)\|$", README, re.MULTILINE)
    assert found, f"the README has no row for {first}"
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize("name", SentrySettings.model_fields)
def test_every_setting_has_a_row_with_its_default(name):
    default = SentrySettings.model_fields[name].default
    assert _row(name)[0] == ("none" if default is None else f"`{json.dumps(default)}`")


@pytest.mark.parametrize("name", SentrySettings.model_fields)
def test_every_setting_says_what_it_is_for(name):
    assert SentrySettings.model_fields[name].description


@pytest.mark.parametrize("hook", ["on_message", "on_state_change", "on_error", "on_session_timeout"])
def test_every_event_has_a_row(hook):
    assert _row(hook)
    assert hasattr(SentryPlugin, hook)


@pytest.mark.parametrize("hook", ["on_intent_detected", "on_agent_delegated"])
def test_the_other_events_are_not_listened_to(hook):
    assert not hasattr(SentryPlugin, hook)
