"""What is exported: the metrics of one registry, which all plugins of that registry share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric

from thea_core import ConfigError
from thea_prometheus.labels import Children, Values

__all__ = ["HookFigures", "Metrics", "QueueFigures", "join", "multiprocess"]

_FAILURES: Final = ("error", "timeout")
_BREAKER_STATES: Final = ("closed", "half-open", "open")

_LENGTHS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_ATTEMPTS = 100  # at a registry whose metrics leave whenever one looks for them


class HookFigures(NamedTuple):
    """What is known of the calls of one plugin and hook: failures by outcome, changes of the breaker by new state."""

    duration: Histogram
    failures: dict[str, Counter]
    breaker: dict[str, Counter]
    skipped: Counter


class QueueFigures(NamedTuple):
    """What is known of the calls on the queue of one plugin."""

    queued: Counter
    delivered: Counter
    full: Counter
    closed: Counter


class Metrics:
    """The metrics: a collector, to be registered as one. Thread-safe.

    What can be known beforehand is there from the start on, with zero: Prometheus sees no increase where a counter
    appears with one.

    Args:
        max_label_values: how many values each label takes.
        duration_buckets: upper bounds in seconds.
    """

    def __init__(self, max_label_values: int, duration_buckets: Sequence[float]) -> None:
        self.limits = (max_label_values, tuple(duration_buckets))
        self._multiprocess = multiprocess()
        self._users = 1
        self._lock = threading.Lock()
        self._make()

    def _make(self) -> None:
        limit, durations = self.limits
        self._all: list[Counter | Histogram] = []
        states, intents, plugins, hooks = (Values(limit) for _ in range(4))

        self.messages = self._counter("thea_messages_total", "Messages that users have sent.")
        self.message_length = self._histogram("thea_message_length_characters", "How long messages are.", _LENGTHS)
        self.session_timeouts = self._counter("thea_session_timeouts_total", "Sessions that ended by inactivity.")

        transitions = self._counter(
            "thea_state_transitions_total", "Changes of a conversation's state.", "from_state", "to_state"
        )
        self.transitions = Children(transitions.labels, states, states)
        errors = self._counter("thea_errors_total", "Errors while a message was handled.", "error_type")
        self.errors = Children(errors.labels, Values(limit))
        detected = self._counter("thea_intents_total", "Intents that were detected.", "intent")
        self.intents = Children(detected.labels, intents)
        confidence = self._histogram(
            "thea_intent_confidence_ratio", "How sure the detector of an intent was, 0 to 1.", _RATIOS, "intent"
        )
        self.intent_confidence = Children(confidence.labels, intents)
        delegations = self._counter("thea_agent_delegations_total", "Messages that were handed to an agent.", "agent")
        self.agent_delegations = Children(delegations.labels, Values(limit))

        transition_duration = self._histogram(
            "thea_transition_duration_seconds",
            "How long transitions took, with all their callbacks; also those that were refused or failed.",
            durations,
            "to_state",
        )
        self.transition_duration = Children(transition_duration.labels, states)

        self._duration = self._histogram(
            "thea_plugin_hook_duration_seconds", "How long calls of plugins took.", durations, "plugin", "hook"
        )
        self._failures = self._counter(
            "thea_plugin_hook_failures_total",
            "Calls of plugins that raised an exception (error) or did not come back in time (timeout).",
            "plugin",
            "hook",
            "outcome",
        )
        self._breaker_changes = self._counter(
            "thea_plugin_breaker_changes_total",
            "Changes of circuit breakers, by the new state.",
            "plugin",
            "hook",
            "state",
        )
        self.hooks = Children(self._hook_figures, plugins, hooks)

        self._queued = self._counter("thea_plugin_calls_queued_total", "Calls put on a plugin's queue.", "plugin")
        self._delivered = self._counter(
            "thea_plugin_calls_delivered_total",
            "Calls that have left a plugin's queue: made, or dropped when it was closed. Queued less these is its "
            "length.",
            "plugin",
        )
        self._dropped = self._counter(
            "thea_plugin_events_dropped_total",
            "Calls of a plugin that were never made: its queue was full (queue_full) or closed before their turn "
            "(queue_closed), its circuit breaker was open or it had no thread left (skipped), or the event was to be "
            "stored, and the store did not take it (not_stored).",
            "plugin",
            "reason",
        )
        self.queues = Children(self._queue_figures, plugins)
        self.not_stored = Children(lambda plugin: self._dropped.labels(plugin, "not_stored"), plugins)

    def renew(self) -> None:
        """Begin anew in a forked child: with zeros, and with locks that no thread of the parent holds.

        In multiprocess mode ``prometheus_client`` sees to the figures by itself.
        """
        self._lock = threading.Lock()
        if not self._multiprocess:
            self._make()

    # As a collector

    def describe(self) -> Iterator[Metric]:
        """Return the metrics without their samples: the registry learns their names."""
        for each in self._all:
            yield from each.describe()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics with their samples."""
        for each in self._all:
            for family in each.collect():
                yield _Family(self, family)

    # Sharing

    def join(self) -> bool:
        """Count one more user; False where the last one has left, and the metrics with it."""
        with self._lock:
            if self._users:
                self._users += 1
            return self._users > 0

    def leave(self, registry: CollectorRegistry) -> None:
        """Count one user less; after the last one the registry has the metrics no more."""
        with self._lock:
            self._users -= 1
            if not self._users:
                with suppress(KeyError):  # the host has removed them itself
                    registry.unregister(self)

    # Within

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        metric = Counter(name, meaning, labels, registry=None)
        self._all.append(metric)
        return metric

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        metric = Histogram(name, meaning, labels, registry=None, buckets=buckets)
        self._all.append(metric)
        return metric

    def _hook_figures(self, plugin: str, hook: str) -> HookFigures:
        return HookFigures(
            duration=self._duration.labels(plugin, hook),
            failures={outcome: self._failures.labels(plugin, hook, outcome) for outcome in _FAILURES},
            breaker={state: self._breaker_changes.labels(plugin, hook, state) for state in _BREAKER_STATES},
            skipped=self._dropped.labels(plugin, "skipped"),
        )

    def _queue_figures(self, plugin: str) -> QueueFigures:
        return QueueFigures(
            queued=self._queued.labels(plugin),
            delivered=self._delivered.labels(plugin),
            full=self._dropped.labels(plugin, "queue_full"),
            closed=self._dropped.labels(plugin, "queue_closed"),
        )


class _Family(Metric):
    """A metric with its samples, which knows whose it is: so a second plugin finds the metrics of the first."""

    def __init__(self, metrics: Metrics, family: Metric) -> None:
        super().__init__(family.name, family.documentation, family.type, family.unit)
        self.samples = family.samples
        self.metrics = metrics


def join(registry: CollectorRegistry, max_label_values: int, duration_buckets: Sequence[float]) -> Metrics:
    """Return the metrics of the registry: those that are there already, else new ones.

    Raises:
        ConfigError: the registry has metrics of these names that are not ours, or the directory of the multiprocess
            mode is not there.
    """
    try:
        metrics = Metrics(max_label_values, duration_buckets)
    except OSError as error:
        raise ConfigError(
            [f"PROMETHEUS_MULTIPROC_DIR: {error}; let it name a directory that this process may write to, or unset it"]
        ) from error
    problem = ""
    for _ in range(_ATTEMPTS):
        try:
            registry.register(metrics)
        except ValueError as error:
            problem = str(error)
        else:
            return metrics
        families = list(registry.collect())
        there = next((each.metrics for each in families if isinstance(each, _Family)), None)
        if there is not None and there.join():
            return there
        if there is None and not {each.name for each in families}.isdisjoint(each.name for each in metrics.describe()):
            break
    raise ConfigError(
        [f"[plugins.prometheus.settings] registry: it has other metrics of these names: {problem}; give another one"]
    )


def multiprocess() -> bool:
    """Whether ``prometheus_client`` keeps the figures of several processes in files."""
    return bool({"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"} & os.environ.keys())
