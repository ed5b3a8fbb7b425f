"""Labels: a bounded number of values, whatever comes."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest

from thea_prometheus.labels import OTHER, Children, Values, clean


class TestValues:
    def test_the_first_ones_are_kept_and_the_rest_is_other(self):
        values = Values(2)
        assert [values.admit(each) for each in "abcab"] == ["a", "b", OTHER, "a", "b"]

    def test_threads_cannot_exceed_the_limit_together(self):
        values, start = Values(10), threading.Barrier(8)
        admitted = set()

        def admit(number):
            start.wait(60)
            for each in range(200):
                admitted.add(values.admit(f"{number}-{each}"))

        threads = [threading.Thread(target=admit, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(admitted - {OTHER}) == 10

    @given(st.text(st.characters(exclude_categories=())) | st.binary() | st.integers() | st.lists(st.text()))
    def test_whatever_comes_can_be_exported(self, value):
        registry = CollectorRegistry()
        Counter("c", "A counter", ["l"], registry=registry).labels(Values(1).admit(value)).inc()
        assert b"c_total{" in generate_latest(registry)
        assert len(clean(value)) <= 128


class TestChildren:
    def test_what_is_made_for_values_is_remembered(self):
        children = Children(lambda *values: list(values), Values(2), Values(2))
        assert children.of("a", "b") == ["a", "b"]
        assert children.of("a", "b") is children.of("a", "b")

    def test_overflow_is_one_child_for_all(self):
        children = Children(lambda value: [value], Values(1))
        children.of("a")
        assert children.of("b") == [OTHER]
        assert children.of("b") is children.of("c") is children.of(["no key"])

    def test_it_does_not_grow_with_what_it_is_given(self):
        made = []
        children = Children(lambda *values: made.append(values), Values(3), Values(3))
        for number in range(1000):
            children.of(f"{number}", f"{number % 7}")
        assert len(made) <= 4 * 4


@pytest.mark.parametrize("limit", [1, 100])
def test_a_thousand_intents_make_at_most_one_series_more_than_the_limit(run, fire, scraped, limit):
    thea = run(max_label_values=limit)
    for number in range(1000):
        fire(thea, "on_intent_detected", intent=f"intent {number}")
    found = scraped.labels("thea_intents_total")
    assert len(found) == limit + 1
    assert scraped("thea_intents_total", intent=OTHER) == 1000 - limit
    assert sum(scraped("thea_intents_total", **each) for each in found) == 1000
    assert len(scraped.labels("thea_intent_confidence_ratio_count")) == limit + 1


def test_fixed_labels_are_whole_even_where_one_value_is_allowed(run, fire, scraped):
    thea = run(max_label_values=1)
    fire(thea, "on_message")
    fire(thea, "on_session_timeout")
    assert {each["state"] for each in scraped.labels("thea_plugin_breaker_changes_total")} == {
        "open",
        "half-open",
        "closed",
    }
    hooks = {each["hook"] for each in scraped.labels("thea_plugin_hook_duration_seconds_count")}
    assert len(hooks) == 2
    assert OTHER in hooks
