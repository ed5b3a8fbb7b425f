"""From the records of calls, as the core gives them to observers, to metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection

from thea_core import CallRecord
from thea_prometheus.metrics import Metrics

__all__ = ["count_call"]

_WAITING = ("queued", "dropped")  # outcomes of calls that are to be made later


def count_call(metrics: Metrics, durable: Callable[[], Collection[str]], call: CallRecord) -> None:
    """Count one finished call of a chain. The caller of the chain waits for it.

    Args:
        metrics: where it is counted.
        durable: tells the plugins with durable delivery. Their events wait in no queue of this process, but in the
            store, from where any process may take them, and more than once.
        call: the call.
    """
    hook = call.hook
    if hook == "transition":
        for each in call.callbacks:
            metrics.transition_duration.of(each.callback.removeprefix("-> ")).observe(each.duration)
        return
    for plugin, _, duration, outcome, _ in call.callbacks:
        from_queue = call.delivery and plugin not in durable()
        if from_queue:
            metrics.queues.of(plugin).delivered.inc()
        if outcome in _WAITING and plugin in durable():
            metrics.not_stored.of(plugin).inc(outcome == "dropped")
        elif outcome == "queued":
            metrics.queues.of(plugin).queued.inc()
        elif outcome == "dropped":
            queue = metrics.queues.of(plugin)
            (queue.closed if from_queue else queue.full).inc()
        elif outcome == "skipped":
            metrics.hooks.of(plugin, hook).skipped.inc()
        else:
            figures = metrics.hooks.of(plugin, hook)
            figures.duration.observe(duration)
            if outcome in figures.failures:
                figures.failures[outcome].inc()
