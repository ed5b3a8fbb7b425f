"""The settings: what is accepted, and what is said about the rest."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from pydantic import ValidationError

from thea_core import ConfigError, Thea
from thea_prometheus import PrometheusPlugin, PrometheusSettings


@pytest.fixture
def module(monkeypatch):
    """A module of the host's, with things that a setting may name."""
    made = ModuleType("host_metrics")
    made.REGISTRY = CollectorRegistry()
    made.Registry = CollectorRegistry
    made.number = 7
    made.holder = ModuleType("holder")
    made.holder.inner = CollectorRegistry()
    monkeypatch.setitem(sys.modules, "host_metrics", made)
    return made


class TestValidation:
    def test_the_defaults_open_no_port(self):
        settings = PrometheusSettings()
        assert (settings.port, settings.addr, settings.max_label_values, settings.registry) == (
            None,
            "127.0.0.1",
            100,
            None,
        )

    def test_they_cannot_be_changed(self):
        with pytest.raises(ValidationError, match="frozen"):
            PrometheusSettings().port = 1

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"prot": 1}, "Extra inputs are not permitted"),
            ({"port": -1}, "greater than or equal to 0"),
            ({"port": 65536}, "less than or equal to 65535"),
            ({"port": "http"}, "valid integer"),
            ({"addr": ""}, "at least 1 character"),
            ({"max_label_values": 0}, "greater than or equal to 1"),
            ({"duration_buckets": []}, r"\[\] are no buckets; expected numbers of seconds greater than 0"),
            ({"duration_buckets": [1, 1]}, "are no buckets"),
            ({"duration_buckets": [2, 1]}, "are no buckets"),
            ({"duration_buckets": [0, 1]}, "are no buckets"),
            ({"duration_buckets": [1, "inf"]}, "are no buckets"),
            ({"duration_buckets": ["nan"]}, "are no buckets"),
            ({"registry": "REGISTRY"}, "'REGISTRY' names no registry; expected 'module:name'"),
            ({"registry": "my app:REGISTRY"}, "names no registry"),
            ({"registry": "myapp:"}, "names no registry"),
            ({"registry": 7}, "7 names no registry"),
            ({"registry": CollectorRegistry}, "names no registry"),
        ],
    )
    def test_what_does_not_fit_is_told(self, settings, message):
        with pytest.raises(ValidationError, match=message):
            PrometheusSettings(**settings)

    @pytest.mark.parametrize("buckets", [[1], [0.1, 2], ["0.5", 1]])
    def test_buckets_ascend(self, buckets):
        assert PrometheusSettings(duration_buckets=buckets).duration_buckets == tuple(map(float, buckets))

    def test_every_setting_is_described(self):
        assert all(field.description for field in PrometheusSettings.model_fields.values())


class TestBuckets:
    def test_durations_have_those_of_the_setting(self, run, fire, scraped):
        fire(run(duration_buckets=[0.5, 60]), "on_message")
        found = scraped.labels("thea_plugin_hook_duration_seconds_bucket")
        assert [each["le"] for each in found] == ["0.5", "60.0", "+Inf"]


class TestRegistry:
    def counted(self, registry, plugin):
        with Thea({"store": {"url": "memory:"}}, plugins=[plugin]) as thea:
            thea.handle_request("ana", "hola")
            return registry.get_sample_value("thea_messages_total")

    def test_a_name_is_looked_up(self, module):
        plugin = PrometheusPlugin(PrometheusSettings(registry="host_metrics:REGISTRY"))
        assert self.counted(module.REGISTRY, plugin) == 1
        assert REGISTRY.get_sample_value("thea_messages_total") is None

    def test_a_name_may_lead_further_down(self, module):
        plugin = PrometheusPlugin(PrometheusSettings(registry="host_metrics:holder.inner"))
        assert self.counted(module.holder.inner, plugin) == 1

    def test_from_python_it_may_be_the_registry_itself(self, registry):
        assert self.counted(registry, PrometheusPlugin(PrometheusSettings(registry=registry))) == 1

    def test_the_keyword_has_the_say(self, module, registry):
        plugin = PrometheusPlugin(PrometheusSettings(registry="host_metrics:REGISTRY"), registry=registry)
        assert self.counted(registry, plugin) == 1

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("host_metrics:REGISTYR", "there is no 'REGISTYR' in 'host_metrics'; did you mean 'REGISTRY'"),
            ("host_metrics:xyz", "there is no 'xyz' in 'host_metrics'; name a registry of that module"),
            ("host_metrics:number", "is a int; name a CollectorRegistry of prometheus_client"),
            ("host_metrics:Registry", "is the class CollectorRegistry; name a CollectorRegistry"),
            ("no_such_module:x", "cannot be imported: ModuleNotFoundError"),
        ],
    )
    def test_a_name_that_is_none_is_told_with_the_key_and_what_to_do(self, module, name, message):
        with pytest.raises(ConfigError, match=message) as caught:
            PrometheusPlugin(PrometheusSettings(registry=name))
        assert f"[plugins.prometheus.settings] registry: '{name}'" in str(caught.value)
