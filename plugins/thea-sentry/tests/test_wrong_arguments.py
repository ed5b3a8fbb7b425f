"""Whoever triggers an event may give anything: that is reported as well as it goes, and is no failure."""

from __future__ import annotations

import pytest


class Hostile:
    """Has no text, and no truth."""

    def __str__(self):
        raise SystemExit(3)

    def __bool__(self):
        raise RuntimeError


@pytest.mark.parametrize("value", [None, 3, b"x", Hostile(), ["list"], "\udcff", "a\0b"])
class TestAnythingForAnArgument:
    def test_is_no_failure(self, sentry, assistant, outcomes, value):
        with assistant() as thea:
            fire = thea.callbacks.trigger
            fire("on_message", user_id=value, message=value, timestamp=value)
            fire("on_state_change", user_id=value, old_state=value, new_state=value)
            fire("on_error", user_id=value, error=value, traceback=value, session_id=value, event_id=value)
            fire("on_error", user_id=value, error=ValueError(), traceback=value, session_id=value, event_id=value)
            fire("on_session_timeout", user_id=value, session_id=value, event_id=value)
            assert outcomes(thea.callbacks) == {"ok"}
        assert len(sentry.events) == 3


class UnreadableError(Exception):
    """An exception that raises when it is looked at."""

    def __str__(self):
        raise ValueError


class HostileError(Exception):
    """An exception that ends the program when it is looked at."""

    def __str__(self):
        raise SystemExit(3)


def test_an_exception_that_cannot_be_read_is_told_at_least(sentry, assistant, outcomes, raise_it):
    with assistant() as thea:
        thea.callbacks.trigger("on_error", user_id="ana", error=raise_it(HostileError()), traceback="")
        assert outcomes(thea.callbacks) == {"ok"}
    assert sentry.events[0].json["message"] == "on_error was given an exception that cannot be read"


@pytest.mark.parametrize("wanted", [True, False])
def test_an_exception_without_a_text_is_reported(sentry, assistant, outcomes, raise_it, wanted):
    with assistant(include_error_text=wanted) as thea:
        thea.callbacks.trigger("on_error", user_id="ana", error=raise_it(UnreadableError()), traceback="")
        assert outcomes(thea.callbacks) == {"ok"}
    assert sentry.events[0].json["exception"]["values"][0]["type"] == "UnreadableError"
