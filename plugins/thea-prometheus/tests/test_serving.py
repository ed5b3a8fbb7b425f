"""Handing the metrics out: on a port, and as an application for the host's own server."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import struct
import threading
import time
import urllib.error
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from prometheus_client import CollectorRegistry, Counter

from thea_core import Thea
from thea_prometheus import PrometheusPlugin, PrometheusSettings, asgi_app, wsgi_app
from thea_prometheus.serving import MetricsServer

MEMORY = {"store": {"url": "memory:"}}


def address(plugin):
    parts = urlsplit(plugin.url)
    return parts.hostname, parts.port


def refused(host, port):
    with socket.socket() as client:
        return client.connect_ex((host, port)) != 0


class TestPort:
    def test_without_being_asked_for_none_is_opened(self, make):
        plugin = make()
        with Thea(MEMORY, plugins=[plugin]):
            assert plugin.url is None
            assert not [each for each in threading.enumerate() if each.name == "thea-prometheus-http"]

    def test_it_is_served_on_loopback_by_a_daemon_thread_with_a_name(self, make, fetch, caplog):
        caplog.set_level(logging.INFO, "thea.plugins.prometheus")
        plugin = make(port=0)
        with Thea(MEMORY, plugins=[plugin]) as thea:
            thea.handle_request("ana", "hola")
            (thread,) = [each for each in threading.enumerate() if each.name == "thea-prometheus-http"]
            assert thread.daemon
            assert address(plugin)[0] == "127.0.0.1"
            assert "thea_messages_total 1.0" in fetch(plugin.url).splitlines()
        assert any("are served at http://127.0.0.1:" in each.getMessage() for each in caplog.records)

    def test_with_the_assistant_it_is_closed(self, make):
        plugin = make(port=0)
        with Thea(MEMORY, plugins=[plugin]):
            host, port = address(plugin)
            assert not refused(host, port)
        assert refused(host, port)
        assert plugin.url is None

    def test_the_same_port_can_be_had_again_at_once(self, make, fetch):
        plugin = make(port=0)
        with Thea(MEMORY, plugins=[plugin]):
            fetch(plugin.url)
            port = address(plugin)[1]
        plugin = make(port=port)
        with Thea(MEMORY, plugins=[plugin]):
            assert address(plugin)[1] == port
            fetch(plugin.url)

    def test_one_that_cannot_be_had_is_told_once_and_the_assistant_runs(self, make, scraped, caplog):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            plugin = make(port=port)
            with Thea(MEMORY, plugins=[plugin]) as thea:
                assert thea.handle_request("ana", "hola").ok
                assert scraped("thea_messages_total") == 1
                assert plugin.url is None
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("thea.plugins.prometheus", "WARNING")
        assert f"127.0.0.1 port {port} cannot be listened on" in record.getMessage()
        assert "choose another port or addr in [plugins.prometheus.settings]" in record.getMessage()

    @pytest.mark.parametrize("addr", ["256.256.256.256.", "no..name", "x" * 300])
    def test_an_address_that_is_none_is_told_likewise(self, make, caplog, addr):
        with Thea(MEMORY, plugins=[make(port=0, addr=addr)]) as thea:
            assert thea.handle_request("ana", "hola").ok
        (record,) = caplog.records
        assert f"{addr} port 0 cannot be listened on" in record.getMessage()

    def test_where_the_start_fails_otherwise_nothing_is_left_behind(self, make, scraped, monkeypatch):
        def fail(*_):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("thea_prometheus.plugin.MetricsServer", fail)
        with Thea(MEMORY, plugins=[make(port=0)]) as thea:
            assert thea.handle_request("ana", "hola").ok
            assert [each.state for each in thea.plugins.status()] == ["failed"]
        assert scraped.names() == set()

    def test_it_may_be_an_address_of_ip_version_6(self, make, fetch):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        plugin = make(port=0, addr="::1")
        with Thea(MEMORY, plugins=[plugin]):
            assert plugin.url.startswith("http://[::1]:")
            fetch(plugin.url)

    def test_clients_that_keep_silent_or_go_away_hold_up_neither_others_nor_the_end(
        self, make, fetch, caplog, capfd, monkeypatch
    ):
        monkeypatch.setattr("thea_prometheus.serving._Handler.timeout", 300.0)
        plugin = make(port=0)
        begun = time.monotonic()
        with Thea(MEMORY, plugins=[plugin]):
            silent = socket.create_connection(address(plugin))
            silent.sendall(b"GET /metrics HTTP/1.1\r\n")
            fetch(plugin.url)
        assert time.monotonic() - begun < 60  # far less than a client may keep silent here
        silent.close()
        assert caplog.records == []  # nothing had to be left behind
        assert capfd.readouterr().err == ""

    def test_a_client_that_breaks_off_is_no_output_of_the_host(self, make, capfd, caplog):
        told = threading.Event()

        class Listener(logging.Handler):
            def emit(self, record):
                told.set()

        logger, listener = logging.getLogger("thea.plugins.prometheus"), Listener()
        caplog.set_level(logging.DEBUG, logger.name)
        logger.addHandler(listener)
        plugin = make(port=0)
        try:
            with Thea(MEMORY, plugins=[plugin]):
                told.clear()
                client = socket.create_connection(address(plugin))
                client.sendall(b"GET /metrics HTTP/1.1\r\n")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()  # by a reset
                assert told.wait(60)
        finally:
            logger.removeHandler(listener)
        assert "a request of ('127.0.0.1'" in caplog.text
        assert capfd.readouterr().err == ""

    def test_a_collector_of_the_host_that_raises_spoils_one_answer(self, make, registry, fetch, capfd):
        class Broken:
            def collect(self):
                raise LookupError("the host's own collector")

        broken = Broken()
        plugin = make(port=0)
        with Thea(MEMORY, plugins=[plugin]):
            registry.register(broken)
            with pytest.raises(urllib.error.HTTPError, match="500") as caught:
                fetch(plugin.url)
            caught.value.close()
            registry.unregister(broken)
            assert "thea_messages_total" in fetch(plugin.url)
        assert "the host's own collector" in capfd.readouterr().err

    def test_its_end_is_bounded_though_its_thread_hangs(self, registry, monkeypatch):
        server = MetricsServer("127.0.0.1", 0, registry)
        waited = []
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "join", lambda _, timeout=None: waited.append(timeout))
            server.close(0.25)
        assert waited == [0.25]


def get(app):
    request = {"QUERY_STRING": ""}
    setup_testing_defaults(request)
    started = []
    pages = validator(app)(request, lambda status, headers: started.append((status, dict(headers))))
    try:
        return started[0], b"".join(pages)
    finally:
        pages.close()


async def aget(app, headers=()):
    sent = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": list(headers)}
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


class TestApplications:
    def test_wsgi(self, make):
        plugin = make()
        app = plugin.wsgi_app()
        with Thea(MEMORY, plugins=[plugin]) as thea:
            thea.handle_request("ana", "hola")
            (status, headers), page = get(app)
        assert status == "200 OK"
        assert headers["Content-Type"].startswith("text/plain; version=")
        assert b"thea_messages_total 1.0" in page.splitlines()

    def test_asgi(self, make):
        plugin = make()
        app = plugin.asgi_app()
        with Thea(MEMORY, plugins=[plugin]) as thea:
            thea.handle_request("ana", "hola")
            status, headers, page = asyncio.run(aget(app, [(b"accept-encoding", b"gzip")]))
        assert status == 200
        assert headers[b"Content-Encoding"] == b"gzip"
        assert b"thea_messages_total 1.0" in gzip.decompress(page).splitlines()

    def test_they_may_be_made_before_the_assistant_starts_and_outlive_it(self, make):
        plugin = make()
        app = plugin.wsgi_app()
        assert b"thea_" not in get(app)[1]
        with Thea(MEMORY, plugins=[plugin]):
            assert b"thea_messages_total 0.0" in get(app)[1]
        assert b"thea_" not in get(app)[1]

    def test_without_a_plugin_they_show_the_default_registry(self):
        with Thea(MEMORY, plugins=[PrometheusPlugin()]) as thea:
            thea.handle_request("ana", "hola")
            assert b"thea_messages_total 1.0" in get(wsgi_app())[1]
            assert b"thea_messages_total 1.0" in asyncio.run(aget(asgi_app()))[2]

    def test_they_show_the_registry_that_they_are_given(self):
        registry = CollectorRegistry()
        Counter("own", "The host's own.", registry=registry)
        assert b"own_total 0.0" in get(wsgi_app(registry))[1]
        assert b"own_total 0.0" in asyncio.run(aget(asgi_app(registry)))[2]
        plugin = PrometheusPlugin(PrometheusSettings(registry=registry))
        assert b"own_total 0.0" in get(plugin.wsgi_app())[1]
