"""What comes with the package for other programs: a dashboard for Grafana, and alert rules for Prometheus."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["alert_rules", "dashboard"]


def dashboard() -> str:
    """Return the dashboard for Grafana, as JSON: import it there, and choose the Prometheus data source."""
    return _read("dashboard.json")


def alert_rules() -> str:
    """Return the alert rules for Prometheus, as YAML: write them to a file that its ``rule_files`` name."""
    return _read("alerts.yaml")


def _read(name: str) -> str:
    return files("thea_prometheus").joinpath("data", name).read_text(encoding="utf-8")
