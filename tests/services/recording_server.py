"""An HTTP server on loopback that keeps every request, and can answer slowly, badly or not at all.

The tests of the plugins that talk to a service share it::

    with RecordingServer() as server:
        server.script(Answer(status=503), Answer(status=429, headers={"Retry-After": "1"}))
        ...  # the third request and those after it get server.usual
        server.wait_for(3)
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

__all__ = ["Answer", "RecordingServer", "Request"]


@dataclass(frozen=True)
class Answer:
    """What a request gets.

    Attributes:
        status: the HTTP status.
        body: the body.
        headers: headers besides the length.
        delay: seconds before it.
        hang: whether it comes only when the server is closed or told to :meth:`~RecordingServer.release`.
        reset: whether the connection is closed in place of an answer.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang: bool = False
    reset: bool = False


@dataclass(frozen=True)
class Request:
    """A request as it came, with the time of its arrival in seconds of ``time.monotonic``.

    Header names are in lower case. ``body`` is unpacked where it was gzip; ``raw`` is as it came.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    at: float

    @property
    def body(self) -> bytes:
        """The body, unpacked."""
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def form(self) -> dict[str, list[str]]:
        """The body, read as a form."""
        return parse_qs(self.body.decode(), keep_blank_values=True)

    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)


class RecordingServer:
    """Listens on a free port of loopback from ``__enter__`` to ``__exit__``. Thread-safe.

    Args:
        usual: the answer where nothing else is said.

    Attributes:
        usual: the same; may be replaced at any time.
        decide: where set, called with each request; it returns the answer, or None for the script's or the usual one.
    """

    def __init__(self, usual: Answer | None = None) -> None:
        self.usual = usual or Answer()
        self.decide: Callable[[Request], Answer | None] | None = None
        self._requests: list[Request] = []
        self._script: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="recording-server", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(20)

    @property
    def host(self) -> str:
        """Host and port, as in ``127.0.0.1:40001``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://{self.host}"

    @property
    def requests(self) -> list[Request]:
        """The requests so far, in the order in which they were complete."""
        with self._changed:
            return list(self._requests)

    def script(self, *answers: Answer) -> None:
        """Answer the next requests so, one each."""
        with self._changed:
            self._script.extend(answers)

    def release(self) -> None:
        """Let every request go on that hangs, and hang no more."""
        self._released.set()

    def refuse(self) -> None:
        """Close the port, so that connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count: int, timeout: float = 20.0) -> list[Request]:
        """Return the requests as soon as there are ``count``.

        Raises:
            AssertionError: there are fewer after ``timeout`` seconds.
        """
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._requests) >= count, timeout)
            assert enough, f"{len(self._requests)} requests came in {timeout:g} s, not {count}"
            return list(self._requests)

    def take(self, request: Request) -> Answer:
        """Keep a request, and return what it gets."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            answer = self.decide(request) if self.decide is not None else None
            if answer is None:
                answer = self._script.popleft() if self._script else self.usual
        if answer.hang:
            self._released.wait()
        elif answer.delay:
            self._released.wait(answer.delay)
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: RecordingServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # One segment an answer: else the client's delayed acknowledgement adds 40 ms to each.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Keep the request and answer it."""
        self._handle()

    def do_GET(self) -> None:
        """Keep the request and answer it."""
        self._handle()

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.owner.take(Request(self.command, self.path, headers, raw, time.monotonic()))
        if answer.reset:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing."""
