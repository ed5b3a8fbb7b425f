"""What goes over the wire, and what a service that is ill does to the assistant."""

from __future__ import annotations

import json
import socket
import time

import pytest
from recording_server import Answer


def test_an_error_is_one_envelope(sentry, assistant, failing):
    with assistant(failing()) as thea:
        reply = thea.handle_request("ana", "hola")
    assert not reply.ok
    (request,) = sentry.server.requests
    assert (request.method, request.path) == ("POST", "/api/42/envelope/")
    assert request.headers["content-type"] == "application/x-sentry-envelope"
    assert request.headers["content-encoding"] == "gzip"
    assert request.raw[:2] == b"\x1f\x8b"
    assert "sentry_key=publickey" in request.headers["x-sentry-auth"]
    lines = request.body.split(b"\n")
    header = json.loads(lines[1])
    assert header["type"] == "event"
    assert header["length"] == len(lines[2])
    assert json.loads(lines[2])["exception"]["values"][-1]["type"] == "ValueError"


def test_environment_release_and_options_reach_the_event(sentry, assistant, failing):
    options = {"server_name": "host-7", "max_breadcrumbs": 1}
    with assistant(failing(), environment="staging", release="bot@1.2", sentry_options=options) as thea:
        thea.handle_request("ana", "hola")
    (event,) = sentry.events
    assert (event.json["environment"], event.json["release"], event.json["server_name"]) == (
        "staging",
        "bot@1.2",
        "host-7",
    )
    assert len(event.json["breadcrumbs"]["values"]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=429, headers={"Retry-After": "60"}),
        Answer(status=429, headers={"X-Sentry-Rate-Limits": "60:error:project"}),
        Answer(status=500),
        Answer(reset=True),
        Answer(hang=True),
    ],
    ids=["429", "rate-limits", "500", "reset", "hang"],
)
def test_a_service_that_is_ill_neither_raises_nor_blocks(sentry, assistant, failing, outcomes, answer):
    sentry.server.usual = answer
    with assistant(failing(), flush_timeout=0.1) as thea:
        started = time.monotonic()
        replies = [thea.handle_request("ana", "hola") for _ in range(5)]
        taken = time.monotonic() - started
        assert outcomes(thea.callbacks) == {"ok"}
    assert [each.ok for each in replies] == [False] * 5
    assert taken < 10  # one request to a service that hangs is given up after 30 s


def test_a_closed_port_neither_raises_nor_blocks(sentry, assistant, failing, outcomes):
    with socket.socket() as reserved:  # bound, and listening to nobody
        reserved.bind(("127.0.0.1", 0))
        dsn = f"http://publickey@127.0.0.1:{reserved.getsockname()[1]}/42"
        with assistant(failing(), dsn=dsn, flush_timeout=0.1) as thea:
            thea.handle_request("ana", "hola")
            assert outcomes(thea.callbacks) == {"ok"}
    assert sentry.events == []


def test_after_an_illness_errors_arrive_again(sentry, assistant, failing):
    sentry.server.script(Answer(status=500))
    with assistant(failing()) as thea:
        thea.handle_request("ana", "hola")
        sentry.server.wait_for(1)
        thea.handle_request("ana", "hola")
    assert len(sentry.events) == 2
