"""The README's tables say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from thea_mixpanel import MixpanelSettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _row(first):
    found = re.search(rf"^\| `{first}` \|(.*)\|$", README, re.MULTILINE)
    assert found, f"the README has no row for {first}"
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize("name", MixpanelSettings.model_fields)
def test_every_setting_has_a_row_with_its_default(name):
    default = MixpanelSettings.model_fields[name].default
    assert _row(name)[0] == ("none" if default is None else f"`{json.dumps(default)}`")


def test_every_event_has_a_row_with_its_name_and_properties(events, server, read):
    told = events()
    told.all()
    told.flush()
    hooks = ("on_message", "on_state_change", "on_session_timeout", "on_intent_detected", "on_agent_delegated")
    for hook, sent in zip(hooks, read(*server.requests), strict=True):
        name, properties = _row(hook)
        own = sent["properties"].keys() - {"token", "distinct_id", "time", "$insert_id", "mp_lib", "$lib_version"}
        assert name == f"`{sent['event']}`"
        assert set(re.findall(r"`(\w+)`", properties)) == own
