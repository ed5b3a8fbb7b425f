"""One request to Mixpanel, and what its answer means.

Imported when the plugin starts: ``requests`` takes a while.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

import requests

from thea_mixpanel.values import as_utc

__all__ = ["Poster", "Verdict"]

_SUCCESS = range(200, 300)
_OVERLOADED = frozenset({408, 429})
_ABOUT_THE_REQUEST = frozenset({401, 402, 403, 404, 405, 407})  # no single event is at fault
_SERVER_ERRORS = range(500, 600)
_MOST_DETAIL = 200
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)


class Verdict(NamedTuple):
    """What became of a request.

    Attributes:
        outcome: ``"accepted"``; ``"poisoned"`` (something in its events is not taken); ``"refused"`` (none would be);
            ``"failed"`` (it may be tried again).
        reason: why not, in a few words; the same for the same cause.
        detail: what the server said.
        retry_after: seconds after which the server wants to be asked again; None where it does not say.
    """

    outcome: Literal["accepted", "poisoned", "refused", "failed"]
    reason: str = ""
    detail: str = ""
    retry_after: float | None = None


class Poster:
    """Posts batches of events. Thread-safe: threads that post at the same time have a session each.

    Args:
        url: where to.
        now: tells the time, for a ``Retry-After`` that is a date.
        secret: is hidden in what the server says.
    """

    def __init__(self, url: str, now: Callable[[], datetime], secret: str) -> None:
        self._url = url
        self._now = now
        self._secret = secret
        self._idle: list[requests.Session] = []
        self._closed = False

    def post(self, events: list[str], seconds: float) -> Verdict:
        """Post events in the form in which the library does. Raises nothing but KeyboardInterrupt and its like.

        Args:
            events: each as JSON.
            seconds: to wait for a connection, and then for each part of the answer.
        """
        try:
            session = self._idle.pop()
        except IndexError:
            session = requests.Session()
            session.auth = _as_it_is  # else a password for all hosts in ~/.netrc would be sent along
        form = {"data": f"[{','.join(events)}]", "verbose": "1", "ip": "0"}
        try:
            response = session.post(self._url, data=form, timeout=seconds, allow_redirects=False)
            verdict = self._judge(response)
        except Exception as error:  # whatever fails on the way, the events must be accounted for
            session.close()
            return Verdict("failed", _reason(error), self._told(_root(error)))
        except BaseException:
            session.close()
            raise
        self._idle.append(session)
        if self._closed:
            self.close()
        return verdict

    def close(self) -> None:
        """Close the connections: those that are in use when they no longer are."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _judge(self, response: requests.Response) -> Verdict:
        status, reason, detail = response.status_code, f"HTTP {response.status_code}", self._told(response.text)
        if status in _SUCCESS:
            return self._read(response, reason, detail)
        if status in _OVERLOADED or status in _SERVER_ERRORS:
            return Verdict("failed", reason, detail, self._retry_after(response.headers.get("Retry-After", "")))
        if status < 400 or status in _ABOUT_THE_REQUEST:  # noqa: PLR2004 -- a redirection: a POST is not sent on
            return Verdict("refused", reason, detail)
        return Verdict("poisoned", reason, detail)

    @staticmethod
    def _read(response: requests.Response, reason: str, detail: str) -> Verdict:
        """Judge a success by its body: ``1``, or an object without a complaint."""
        try:
            body: Any = response.json()
        except (ValueError, RecursionError):
            return Verdict("refused", f"{reason} from something that is not Mixpanel", detail)
        if isinstance(body, dict):
            accepted = body.get("status", 1) in (1, "OK") and not body.get("error")
            return Verdict("accepted") if accepted else Verdict("poisoned", "rejected by Mixpanel", detail)
        if body in (0, 1):
            return Verdict("accepted") if body else Verdict("poisoned", "rejected by Mixpanel", detail)
        return Verdict("refused", f"{reason} from something that is not Mixpanel", detail)

    def _retry_after(self, value: str) -> float | None:
        """Return the seconds that a ``Retry-After`` asks for: a number, or a date."""
        if _SECONDS.fullmatch(value.strip()):
            return float(value)
        try:
            return max(0.0, (as_utc(parsedate_to_datetime(value)) - self._now()).total_seconds())
        except (ValueError, OverflowError):
            return None

    def _told(self, text: str) -> str:
        """Return the start of a text on one line, without the secret."""
        shown = text.replace(self._secret, "***")[:_MOST_DETAIL]
        return json.dumps(" ".join(shown.split()), ensure_ascii=True)[1:-1]


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _root(error: BaseException) -> str:
    """Return what the innermost exception says: "Connection refused" and not what has been wrapped around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
