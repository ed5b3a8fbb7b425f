"""The README's tables say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from thea_core import hookimpl
from thea_prometheus import PrometheusSettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PrometheusSettings.model_fields)
def test_every_setting_has_a_row_with_its_default(name):
    default = PrometheusSettings.model_fields[name].default
    found = re.search(rf"^\| `{name}` \| ([^|]+) \|", README, re.MULTILINE)
    assert found, f"the README has no row for {name}"
    assert found[1] == ("none" if default is None else f"`{json.dumps(default)}`")


def test_every_metric_has_a_row_with_its_labels_and_its_type(run, fire, registry):
    class Queued:
        name = "queued"
        delivery = "background"

        @hookimpl
        def on_message(self):
            """Do nothing."""

    thea = run(Queued())
    for hook in ("on_message", "on_error", "on_intent_detected"):
        fire(thea, hook)
    thea.handle_request("ana", "hola")
    thea.callbacks.flush(60)
    exported = {}
    for family in registry.collect():
        labels = next(each.labels for each in family.samples if each.name != f"{family.name}_created")
        name = f"{family.name}_total" if family.type == "counter" else family.name
        exported[name] = ([each for each in labels if each != "le"], family.type)
    rows = re.findall(r"^\|[^|]*\| `(thea_\w+)` \|([^|]*)\| (\w+) \|$", README, re.MULTILINE)
    assert {name: (re.findall(r"`(\w+)`", labels), kind) for name, labels, kind in rows} == exported
