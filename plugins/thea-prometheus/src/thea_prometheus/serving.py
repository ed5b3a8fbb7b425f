"""Handing the metrics out over HTTP: as an application for the host's own server, and on a port of their own."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from thea_prometheus.registries import load_registry
from thea_prometheus.settings import Registry

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["MetricsServer", "asgi_app", "wsgi_app"]

logger = logging.getLogger("thea.plugins.prometheus")

_POLL = 0.1  # seconds until the server notices that it is to stop
_PATIENCE = 10.0  # seconds for which a client may keep silent


def asgi_app(registry: Registry | None = None) -> Callable[..., Any]:
    """Return an ASGI application that shows the metrics of ``registry``; of the default one, if not given.

    Starlette and FastAPI take it with ``app.mount("/metrics", asgi_app())``.

    In multiprocess mode it shows the sums of all processes. It asks for no password: that is the host's.

    Raises:
        ValueError: in multiprocess mode, ``PROMETHEUS_MULTIPROC_DIR`` names no directory.
    """
    from prometheus_client import make_asgi_app

    return make_asgi_app(_source(registry))


def wsgi_app(registry: Registry | None = None) -> Callable[..., Any]:
    """Return a WSGI application that shows the metrics of ``registry``; the same as :func:`asgi_app` in all else."""
    from prometheus_client import make_wsgi_app

    return make_wsgi_app(_source(registry))


def _source(registry: Registry | None) -> CollectorRegistry:
    """Return where to read: in multiprocess mode from the files of all processes, and from nothing else."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    from thea_prometheus.metrics import multiprocess

    if not multiprocess():
        return load_registry(registry)
    source = CollectorRegistry()
    MultiProcessCollector(source)  # type: ignore[no-untyped-call]
    return source


class MetricsServer:
    """Serves the metrics on a port, from a daemon thread ``thea-prometheus-http``, until it is closed. Thread-safe.

    Args:
        addr: the address to listen on.
        port: the port; 0 takes a free one.
        registry: what is shown.

    Attributes:
        port: the port that it listens on.
        url: where the metrics are.

    Raises:
        OSError: the address cannot be listened on.
        UnicodeError: it could not be an address.
    """

    def __init__(self, addr: str, port: int, registry: Registry) -> None:
        app = wsgi_app(registry)
        family = socket.getaddrinfo(addr, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        server_class = type("_Server", (_Server,), {"address_family": family})
        self._server: _Server = server_class((addr, port), _Handler)
        self._server.set_app(app)
        host, self.port = self._server.server_address[:2]
        self.url = f"http://{f'[{host}]' if family == socket.AF_INET6 else host}:{self.port}/metrics"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="thea-prometheus-http", daemon=True
        )
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Close the port, and wait for at most ``timeout`` seconds until its thread has ended."""
        # `shutdown` waits for the thread without a limit; that may be waiting for a client that has gone.
        threading.Thread(target=self._server.shutdown, name="thea-prometheus-end", daemon=True).start()
        self._thread.join(timeout)
        self._server.server_close()

    def forget(self) -> None:
        """Close this process's part of the port, in a forked child: nobody serves it here."""
        self._server.socket.close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Listen, without asking a name server what this address is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- the base class gives it
        """Keep it out of standard error: mostly it is a client that has gone. Called within ``except``."""
        logger.debug("a request of %s for the metrics failed", client_address, exc_info=True)  # noqa: LOG014


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name in the base class
        """Log nothing: a scrape every few seconds is no news."""
