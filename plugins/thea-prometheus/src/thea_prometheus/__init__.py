"""Prometheus metrics of a Thea assistant and of its plugins.

::

    from thea_prometheus import PrometheusPlugin, PrometheusSettings

    plugin = PrometheusPlugin(PrometheusSettings(port=9464))

Counters and histograms only, in the registry of the host. No label holds a user's or a session's id, and every label
takes a bounded number of values.
"""

from __future__ import annotations

from thea_prometheus.files import alert_rules, dashboard
from thea_prometheus.plugin import PrometheusPlugin
from thea_prometheus.serving import asgi_app, wsgi_app
from thea_prometheus.settings import PrometheusSettings

__all__ = ["PrometheusPlugin", "PrometheusSettings", "alert_rules", "asgi_app", "dashboard", "wsgi_app"]
