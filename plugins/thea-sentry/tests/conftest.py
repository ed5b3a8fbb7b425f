"""What the tests share: a server that takes what Sentry gets, a host with a Sentry of its own, an assistant."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sentry_sdk
from recording_server import RecordingServer, Request

from thea_core import CallbackManager, IntentMatch, Thea, hookimpl
from thea_sentry import SentryPlugin, SentrySettings

Item = tuple[dict[str, Any], bytes]


@dataclass(frozen=True)
class Captured:
    """One event that was sent: its JSON, its attachments by name, and all bytes that came with it."""

    json: dict[str, Any]
    attachments: dict[str, str]
    body: bytes


class SentryServer:
    """Reads what a recording server got as Sentry's envelopes."""

    def __init__(self, server: RecordingServer) -> None:
        self.server = server

    @property
    def dsn(self) -> str:
        return f"http://publickey@{self.server.host}/42"

    @property
    def events(self) -> list[Captured]:
        """The events so far. What was captured is there when the client has been flushed."""
        return [each for request in self.server.requests for each in captured(request)]

    def items(self, kind: str) -> list[Any]:
        """The payloads of one type of item, such as ``"log"``."""
        found = [item for request in self.server.requests for item in items(request)]
        return [json.loads(payload) for header, payload in found if header["type"] == kind]


def items(request: Request) -> Iterator[Item]:
    """Take an envelope apart."""
    _, _, rest = request.body.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.lstrip().partition(b"\n")
        header = json.loads(line)
        yield header, rest[: header["length"]]
        rest = rest[header["length"] :]


def captured(request: Request) -> Iterator[Captured]:
    found = list(items(request))
    attachments = {header["filename"]: payload.decode() for header, payload in found if header["type"] == "attachment"}
    for header, payload in found:
        if header["type"] == "event":
            yield Captured(json.loads(payload), attachments, request.body)


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch) -> Iterator[SentryServer]:
    """A Sentry on loopback."""
    for name in ("SENTRY_DSN", "SENTRY_ENVIRONMENT", "SENTRY_RELEASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with RecordingServer() as server:
        yield SentryServer(server)


@pytest.fixture
def host(sentry: SentryServer) -> Callable[..., AbstractContextManager[Any]]:
    """Initialise the host's own Sentry for a while, with its default integrations; yields its client."""

    @contextmanager
    def initialised(**options: Any) -> Iterator[Any]:
        options = {"dsn": sentry.dsn, "auto_enabling_integrations": False, **options}
        sentry_sdk.init(**options)
        client = sentry_sdk.get_client()
        try:
            with sentry_sdk.isolation_scope() as scope:
                scope.clear()
                yield client
        finally:
            client.close(timeout=5)
            sentry_sdk.get_global_scope().set_client(None)

    return initialised


class Failing:
    """An agent, and a plugin that brings it and sends it every message. It fails, and says with what message."""

    name = "failing"
    intents = ("fail",)

    def __init__(self, error: Callable[[str], BaseException] | None = None) -> None:
        self.error = error or (lambda message: ValueError(f"cannot read {message!r}"))

    def handle(self, message, context, turn):
        private = f"{message} of {turn.user_id}"
        raise self.error(private[: len(message)])

    @hookimpl
    def provide_agents(self):
        return [self]

    @hookimpl
    def detect_intents(self, message, context):
        return [IntentMatch("fail", 1.0)]


@pytest.fixture(scope="session")
def failing() -> type[Failing]:
    """A plugin whose agent fails at every message."""
    return Failing


@pytest.fixture
def assistant(sentry: SentryServer) -> Callable[..., Thea]:
    """Make an assistant with the plugin, which sends to the server unless the settings say otherwise."""

    def make(*plugins: object, clock: Any = None, **settings: Any) -> Thea:
        plugin = SentryPlugin(SentrySettings(**({"dsn": sentry.dsn} | settings)), clock=clock)
        return Thea({"store": {"url": "memory:"}}, plugins=[plugin, *plugins])

    return make


@pytest.fixture(scope="session")
def raise_it() -> Callable[[BaseException], BaseException]:
    """Raise and catch an exception."""

    def raised(error: BaseException) -> BaseException:
        with pytest.raises(type(error)) as caught:
            raise error
        return caught.value

    return raised


@pytest.fixture
def outcomes() -> Callable[[CallbackManager], set[str]]:
    """Return how the plugin's callbacks ended."""
    return lambda callbacks: {each.outcome for each in callbacks.history if each.plugin == "sentry"}
