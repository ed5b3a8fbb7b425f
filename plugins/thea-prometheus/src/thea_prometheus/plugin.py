"""The plugin: it counts the events, and what the core says of plugins."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from thea_core import Application, RecordedError, hookimpl
from thea_prometheus.labels import text_of
from thea_prometheus.registries import load_registry
from thea_prometheus.serving import MetricsServer, asgi_app, wsgi_app
from thea_prometheus.settings import PrometheusSettings, Registry

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from thea_core import Registration
    from thea_prometheus.metrics import Metrics

__all__ = ["PrometheusPlugin"]

logger = logging.getLogger("thea.plugins.prometheus")


class PrometheusPlugin:
    """Counts what happens, in metrics of ``prometheus_client``. In ``thea.toml`` it is called ``prometheus``.

    ::

        Thea(plugins=[PrometheusPlugin(PrometheusSettings(port=9464))])

    Args:
        settings: the options; None takes the defaults.
        registry: the registry that gets the metrics, in place of the one of the settings.

    Raises:
        ConfigError: ``registry`` names no registry that can be imported.

    One instance serves every thread and task. Its callbacks ask for no time limit, and so are called where the event
    happens: to hand a number to another thread would cost more than to count it. The metrics are in the registry from
    ``on_startup`` to ``on_shutdown``; several plugins on one registry add to the same ones. A forked child begins with
    zeros (in multiprocess mode, with a file of its own), and does not serve the port.
    """

    name = "prometheus"
    Settings = PrometheusSettings

    def __init__(self, settings: PrometheusSettings | None = None, *, registry: Registry | None = None) -> None:
        self._settings = settings or PrometheusSettings()
        given = registry if registry is not None else self._settings.registry
        self._given: Registry | None = load_registry(given) if given is not None else None
        self._metrics: Metrics | None = None
        self._registration: Registration | None = None
        self._server: MetricsServer | None = None
        _after_fork_in_child(self._begin_anew)

    @property
    def url(self) -> str | None:
        """Where the metrics are served; None where no port was asked for, or it could not be had."""
        return None if self._server is None else self._server.url

    def asgi_app(self) -> Callable[..., Any]:
        """Return an ASGI application that shows the plugin's registry; see :func:`thea_prometheus.asgi_app`."""
        return asgi_app(self._given)

    def wsgi_app(self) -> Callable[..., Any]:
        """Return a WSGI application that shows the plugin's registry; see :func:`thea_prometheus.wsgi_app`."""
        return wsgi_app(self._given)

    # Its life

    @hookimpl
    def on_startup(self, app: Application) -> None:
        """Register the metrics, listen to what the core says, and open the port, if there is to be one."""
        from thea_prometheus.counting import count_call
        from thea_prometheus.metrics import join

        if self._metrics is not None:
            return
        settings = self._settings
        registry = self._registry()
        metrics = join(registry, settings.max_label_values, settings.duration_buckets)
        if metrics.limits != (settings.max_label_values, settings.duration_buckets):
            logger.warning(
                "another plugin has made the metrics of this registry, with other limits, and these stand: "
                "give both the same max_label_values and duration_buckets, or a registry of its own to each"
            )
        self._metrics = metrics
        try:
            callbacks = app.callbacks
            count = partial(count_call, metrics, lambda: callbacks.durable_plugins)
            self._registration = callbacks.add_observer(count)
            if settings.port is not None:
                self._server = self._listen(settings.addr, settings.port, registry)
        except BaseException:  # the plugin is left out: it leaves nothing behind
            self.on_shutdown(timeout=0.0)
            raise

    @hookimpl
    def on_shutdown(self, timeout: float) -> None:
        """Close the port, and take the metrics out of the registry, unless another plugin goes on with them."""
        metrics, self._metrics = self._metrics, None
        if self._registration is not None:
            self._registration.remove()
            self._registration = None
        try:
            if self._server is not None:
                server, self._server = self._server, None
                server.close(timeout)
        finally:
            if metrics is not None:
                metrics.leave(self._registry())

    # Events

    @hookimpl(timeout=None)
    def on_message(self, message: str) -> None:
        """Count the message, and how long it is."""
        if (metrics := self._metrics) is not None:
            metrics.messages.inc()
            metrics.message_length.observe(len(text_of(message)))

    @hookimpl(timeout=None)
    def on_state_change(self, old_state: str, new_state: str) -> None:
        """Count the change, by both states."""
        if (metrics := self._metrics) is not None:
            metrics.transitions.of(old_state, new_state).inc()

    @hookimpl(timeout=None)
    def on_error(self, error: BaseException) -> None:
        """Count the error, by its type."""
        if (metrics := self._metrics) is not None:
            metrics.errors.of(_error_type(error)).inc()

    @hookimpl(timeout=None)
    def on_session_timeout(self) -> None:
        """Count the session."""
        if (metrics := self._metrics) is not None:
            metrics.session_timeouts.inc()

    @hookimpl(timeout=None)
    def on_intent_detected(self, intent: str, score: object) -> None:
        """Count the intent, and how sure its detector was; a score that is none is left out."""
        if (metrics := self._metrics) is not None:
            metrics.intents.of(intent).inc()
            if isinstance(score, (int, float)) and 0 <= score <= 1:
                metrics.intent_confidence.of(intent).observe(score)

    @hookimpl(timeout=None)
    def on_agent_delegated(self, agent: str) -> None:
        """Count the delegation, by its agent."""
        if (metrics := self._metrics) is not None:
            metrics.agent_delegations.of(agent).inc()

    @hookimpl(timeout=None)
    def on_plugin_health(self, plugin: str, hook: str, state: str) -> None:
        """Count the change of the breaker, by its new state; a state that is none is left out."""
        if (metrics := self._metrics) is not None:
            changes = metrics.hooks.of(plugin, hook).breaker
            if text_of(state) in changes:
                changes[state].inc()

    # Within

    def _registry(self) -> CollectorRegistry:
        return load_registry(self._given)

    @staticmethod
    def _listen(addr: str, port: int, registry: Registry) -> MetricsServer | None:
        try:
            server = MetricsServer(addr, port, registry)
        except (OSError, UnicodeError) as error:  # the latter of an address that could be no name, either
            logger.warning(
                "the metrics are not served: %s port %d cannot be listened on: %s; choose another port or addr in "
                "[plugins.prometheus.settings], or end what listens there. They are counted all the same",
                addr,
                port,
                error,
            )
            return None
        logger.info("the metrics are served at %s", server.url)
        return server

    def _begin_anew(self) -> None:
        if self._metrics is not None:
            self._metrics.renew()
        if self._server is not None:
            server, self._server = self._server, None
            server.forget()


def _error_type(error: object) -> str:
    """Return the name of the exception's class, with its module unless that is ``builtins``."""
    if isinstance(error, RecordedError):
        return error.type_name.removeprefix("builtins.")
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _after_fork_in_child(method: Callable[[], None]) -> None:
    """Call a method in each forked child, for as long as its object lives."""
    if sys.platform == "win32":
        return
    reference = WeakMethod(method)

    def call() -> None:
        if (found := reference()) is not None:
            found()

    os.register_at_fork(after_in_child=call)
