"""Several plugins on one registry add to the same metrics; the last one takes them away."""

from __future__ import annotations

import threading

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest

from thea_core import ConfigError, Thea
from thea_prometheus import PrometheusPlugin
from thea_prometheus.metrics import join

LIMITS = {"max_label_values": 3, "duration_buckets": (0.1, 1.0)}


def test_a_second_assistant_adds_to_the_metrics_of_the_first(run, fire, scraped):
    for thea in (run(), run()):
        fire(thea, "on_message")
        fire(thea, "on_intent_detected")
    assert scraped("thea_messages_total") == 2
    assert scraped("thea_intents_total", intent="agenda") == 2
    assert scraped("thea_plugin_hook_duration_seconds_count", plugin="prometheus", hook="on_message") == 2


def test_each_metric_is_exported_once(run, registry):
    run()
    run()
    lines = generate_latest(registry).decode().splitlines()
    types = [line for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


def test_the_metrics_go_with_the_last_assistant_that_uses_them(run, fire, scraped):
    first, second = run(), run()
    fire(first, "on_message")
    first.close()
    assert scraped("thea_messages_total") == 1
    fire(second, "on_message")
    assert scraped("thea_messages_total") == 2
    second.close()
    assert scraped.names() == set()


def test_the_calls_of_one_that_was_switched_off_are_counted_no_more(run, fire, scraped):
    first, _ = run(), run()
    first.callbacks.register("on_message", lambda: None)
    first.plugins.disable("prometheus")
    fire(first, "on_message")
    assert scraped("thea_plugin_hook_duration_seconds_count", plugin="local", hook="on_message") is None
    assert scraped("thea_messages_total") == 0


def test_after_the_last_one_a_new_one_begins_with_zero(run, fire, scraped):
    first = run()
    fire(first, "on_message")
    first.close()
    run()
    assert scraped("thea_messages_total") == 0


def test_a_plugin_that_is_switched_off_and_on_again_counts_on(run, fire, scraped):
    thea = run()
    thea.plugins.disable("prometheus")
    assert scraped.names() == set()
    thea.plugins.enable("prometheus")
    fire(thea, "on_message")
    assert scraped("thea_messages_total") == 1
    assert scraped("thea_plugin_hook_duration_seconds_count", plugin="prometheus", hook="on_message") == 1


def test_started_twice_it_counts_once(make, fire, scraped):
    plugin = make()
    with Thea({"store": {"url": "memory:"}}, plugins=[plugin]) as thea:
        plugin.on_startup(thea)
        fire(thea, "on_message")
        assert scraped("thea_plugin_hook_duration_seconds_count", plugin="prometheus", hook="on_message") == 1
    assert scraped.names() == set()
    plugin.on_shutdown(timeout=1.0)


def test_without_a_registry_of_its_own_it_takes_the_one_that_hosts_show():
    with Thea({"store": {"url": "memory:"}}, plugins=[PrometheusPlugin()]) as thea:
        thea.handle_request("ana", "hola")
        assert REGISTRY.get_sample_value("thea_messages_total") == 1
        assert b"python_info" in generate_latest(REGISTRY)
    assert REGISTRY.get_sample_value("thea_messages_total") is None


def test_two_with_different_limits_are_told_that_the_first_ones_stand(run, fire, scraped, caplog):
    run(max_label_values=1)
    assert caplog.records == []
    second = run()
    (record,) = caplog.records
    assert record.name == "thea.plugins.prometheus"
    assert "give both the same max_label_values" in record.getMessage()
    for intent in "abc":
        fire(second, "on_intent_detected", intent=intent)
    assert scraped("thea_intents_total", intent="other") == 2


def test_a_registry_with_other_metrics_of_these_names_leaves_the_plugin_out(make, registry, caplog):
    Counter("thea_messages", "The host's own.", registry=registry)
    with Thea({"store": {"url": "memory:"}}, plugins=[make()]) as thea:
        assert thea.handle_request("ana", "hola").ok
    (record,) = [each for each in caplog.records if each.name == "thea_core.plugins"]
    assert "it has other metrics of these names" in record.getMessage()
    assert "thea_messages" in record.getMessage()


def test_a_registry_that_says_so_of_a_name_and_then_shows_nothing_is_not_asked_for_ever():
    class Lying(CollectorRegistry):
        def register(self, collector):
            raise ValueError("Duplicated timeseries")

    with pytest.raises(ConfigError, match="it has other metrics of these names: Duplicated timeseries"):
        join(Lying(), **LIMITS)


def test_a_host_that_clears_its_registry_stops_nothing(run, registry, scraped, caplog):
    thea = run()
    metrics = next(each.metrics for each in registry.collect() if hasattr(each, "metrics"))
    registry.unregister(metrics)
    thea.close()
    assert scraped.names() == set()
    assert caplog.records == []


def test_a_registry_whose_metrics_are_just_leaving_is_asked_again():
    class Leaving(CollectorRegistry):
        """The last user leaves while another one looks for the metrics."""

        def collect(self):
            found = list(super().collect())
            first.leave(self)
            return found

    registry = Leaving()
    first = join(registry, **LIMITS)
    second = join(registry, **LIMITS)
    assert second is not first
    assert not first.join()


def test_threads_that_start_and_stop_at_once_leave_nothing_behind():
    registry, start = CollectorRegistry(), threading.Barrier(4)
    problems = []

    def come_and_go():
        start.wait(60)
        for _ in range(100):
            try:
                join(registry, **LIMITS).leave(registry)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert problems == []
    assert list(registry.collect()) == []


@pytest.mark.parametrize("count", [1, 8])
def test_threads_count_exactly(run, fire, scraped, count):
    thea = run()
    threads = [threading.Thread(target=lambda: [fire(thea, "on_message") for _ in range(200)]) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert scraped("thea_messages_total") == 200 * count
    assert scraped("thea_plugin_hook_duration_seconds_count", plugin="prometheus", hook="on_message") == 200 * count
