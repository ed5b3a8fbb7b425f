"""What the tests share: a registry of their own, plugins on it, and a look at what is exported."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from thea_core import Thea
from thea_prometheus import PrometheusPlugin, PrometheusSettings

MEMORY = {"store": {"url": "memory:"}}
USER = "alvaro_123"
EVENTS = {
    "on_message": {"message": "Agendar reunión", "timestamp": datetime(2026, 3, 1, tzinfo=UTC)},
    "on_state_change": {"old_state": "idle", "new_state": "processing"},
    "on_error": {"error": ValueError("boom"), "traceback": "Traceback"},
    "on_session_timeout": {"session_id": "s-0815"},
    "on_intent_detected": {"intent": "agenda", "score": 0.92},
    "on_agent_delegated": {"agent": "AgendaAgent", "intent": "agenda"},
}


class Scraped:
    """What a registry exports: ``scraped("thea_intents_total", intent="agenda")``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, labels)

    def names(self) -> set[str]:
        return {sample.name for family in self._registry.collect() for sample in family.samples}

    def labels(self, name: str) -> list[dict[str, str]]:
        return [each.labels for family in self._registry.collect() for each in family.samples if each.name == name]


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry that nothing else uses."""
    return CollectorRegistry()


@pytest.fixture
def scraped(registry: CollectorRegistry) -> Scraped:
    """A look at that registry."""
    return Scraped(registry)


@pytest.fixture
def make(registry: CollectorRegistry) -> Callable[..., PrometheusPlugin]:
    """Make a plugin on that registry, with the given settings."""
    return lambda **settings: PrometheusPlugin(PrometheusSettings(**settings), registry=registry)


@pytest.fixture
def run(make: Callable[..., PrometheusPlugin]) -> Iterator[Callable[..., Thea]]:
    """Start an assistant with a plugin on that registry, and others; it is closed at the end of the test."""
    started = []

    def start(*others: object, config: dict[str, Any] | None = None, **settings: Any) -> Thea:
        thea = Thea(MEMORY | (config or {}), plugins=[make(**settings), *others])
        started.append(thea)
        thea.start()
        return thea

    yield start
    for thea in started:
        thea.close()


@pytest.fixture(scope="session")
def fire() -> Callable[..., None]:
    """Trigger an event, with fitting arguments unless the test has others."""

    def trigger(thea: Thea, hook: str, **changes: Any) -> None:
        thea.callbacks.trigger(hook, **({"user_id": USER} | EVENTS[hook] | changes))

    return trigger


@pytest.fixture(scope="session")
def fetch() -> Callable[..., str]:
    """Return the body that a URL answers with."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url: str, timeout: float = 30.0) -> str:
        with opener.open(url, timeout=timeout) as answer:
            assert answer.status == 200
            return answer.read().decode()

    return get


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive(), thread.name
