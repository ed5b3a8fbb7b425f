"""The dashboard and the alert rules name only what the plugin exports."""

from __future__ import annotations

import json
import re

import pytest

from thea_core import TransitionVeto, hookimpl
from thea_prometheus import alert_rules, dashboard

# What Prometheus and Grafana bring themselves.
THEIRS = {"job", "instance", "le"}
VARIABLES = re.compile(r"\$__\w+|\$\{?\w+\}?")


def dashboard_queries():
    found = json.loads(dashboard())
    queries = [target["expr"] for panel in found["panels"] for target in panel.get("targets", ())]
    return queries + [each["definition"] for each in found["templating"]["list"] if each["type"] == "query"]


def alert_queries():
    return re.findall(r"^ +expr: (.+)$", alert_rules(), re.MULTILINE)


QUERIES = [*dashboard_queries(), *alert_queries()]


@pytest.fixture
def exported(run, fire, scraped):
    """What is exported when everything has happened once: the labels of each name."""

    class Queued:
        name = "queued"
        delivery = "background"

        @hookimpl
        def on_message(self):
            raise LookupError("no")

    thea = run(Queued())
    for hook in ("on_message", "on_error", "on_session_timeout", "on_intent_detected", "on_agent_delegated"):
        fire(thea, hook)
    thea.handle_request("ana", "hola")
    thea.callbacks.flush(60)
    return {name: set(scraped.labels(name)[0]) for name in scraped.names()}


def metrics(query):
    return re.findall(r"\bthea_\w+", query)


def labels(query):
    """Return the labels that a query matches, sums by, or takes from what it found."""
    query = VARIABLES.sub("0", query)
    matched = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', query)
    summed = [each for group in re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", query) for each in group.split(",")]
    values = re.findall(r"label_values\(.*,\s*(\w+)\)", query)
    return {each.strip() for each in (*matched, *summed, *values)} - {""}


@pytest.mark.parametrize("query", QUERIES)
def test_each_metric_and_each_label_exists(exported, query):
    named = metrics(query)
    assert named
    for metric in named:
        assert metric in exported
        assert labels(query) <= exported[metric] | THEIRS


@pytest.mark.parametrize("panel", [each for each in json.loads(dashboard())["panels"] if each["type"] != "row"])
def test_the_legend_of_a_panel_shows_labels_that_its_query_keeps(panel):
    for target in panel["targets"]:
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels(target["expr"])


def test_values_of_labels_that_an_alert_waits_for_are_ones_that_come(run, fire, scraped):
    class Queued:
        name = "queued"
        delivery = "background"

        @hookimpl
        def on_message(self):
            """Do nothing."""

    thea = run(Queued())
    fire(thea, "on_message")
    for label, values in re.findall(r'(state|reason)=~?"([^"]+)"', alert_rules()):
        name = {"state": "thea_plugin_breaker_changes_total", "reason": "thea_plugin_events_dropped_total"}[label]
        assert set(values.split("|")) <= {each[label] for each in scraped.labels(name)}


def test_every_metric_is_on_the_dashboard(exported):
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for query in dashboard_queries() for name in metrics(query)}
    assert shown == {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if not name.endswith("_created")}


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    panels = json.loads(dashboard())["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    covered = [
        (x, y)
        for each in panels
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len(covered) == len(set(covered))
    assert max(x for x, _ in covered) < 24


def test_each_alert_has_a_query_a_severity_and_says_what_it_is():
    rules = alert_rules().split("- alert: ")[1:]
    assert len(rules) == len(alert_queries()) >= 5
    for rule in rules:
        for key in ("expr: ", "severity: ", "summary: ", "description: "):
            assert rule.count(key) == 1
        named = set(re.findall(r"\$labels\.(\w+)", rule))
        assert named <= labels(re.search(r"expr: (.+)", rule)[1])


def test_a_veto_is_on_no_alert(run, scraped):
    """What a validation refuses must wake nobody at night."""
    thea = run()

    @thea.fsm.pre_transition("processing")
    def refuse(context):
        raise TransitionVeto("not now")

    thea.handle_request("ana", "hola")
    assert scraped.labels("thea_errors_total") == []
