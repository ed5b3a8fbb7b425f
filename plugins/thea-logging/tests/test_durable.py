"""With durable delivery each committed event is logged, and says when it happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from thea_core import IntentMatch, SystemClock, Thea, hookimpl
from thea_logging import JsonLinesFormatter


class Earlier(SystemClock):
    """The machine's clock, put back."""

    @staticmethod
    def now():
        return datetime.now(UTC) - timedelta(hours=3)


class Failing:
    name = "failing"
    intents = ("fail",)

    def handle(self, message, context, turn):
        raise KeyError(message)

    @hookimpl
    def provide_agents(self):
        return [self]

    @hookimpl
    def detect_intents(self, message):
        return [IntentMatch("fail", 1.0)]


@pytest.fixture
def assistant(events, tmp_path):
    """Make an assistant whose events wait in a file until there is somebody to log them."""
    config = {
        "store": {"url": f"sqlite:///{tmp_path / 'thea.db'}"},
        "plugins": {"logging": {"delivery": "durable"}},
    }
    return lambda **options: Thea(config, plugins=[events().plugin, Failing()], **options)


def test_what_waits_is_logged_by_another_process_with_the_time_at_which_it_happened(listen, assistant):
    before = Earlier.now()
    with listen() as unheard, assistant(worker=False, clock=Earlier()) as thea:
        assert not thea.handle_request("ana", "hola").ok
    after = Earlier.now()
    assert unheard.records == []
    with listen(JsonLinesFormatter()) as heard, assistant() as thea:
        thea.callbacks.flush(30)
        assert thea.store.outbox.list() == ()
    names = [each.getMessage() for each in heard.records]
    assert names[0] == "thea.message"
    assert names.count("thea.error") == 1
    times = [each.get("thea.event.timestamp") or each["thea.message.timestamp"] for each in heard.fields()]
    assert all(before <= datetime.fromisoformat(each) <= after for each in times)
    assert times == sorted(times)
    assert len({each["thea.event.id"] for each in heard.fields()}) == len(names)


def test_an_error_has_its_type_its_text_and_the_text_of_its_traceback(listen, assistant):
    with listen() as heard, assistant() as thea:
        thea.handle_request("ana", "hola")
        thea.callbacks.flush(30)
    (record,) = [each for each in heard.records if each.getMessage() == "thea.error"]
    assert record.exc_info is None
    fields = vars(record)
    assert (fields["error.type"], fields["error.message"]) == ("KeyError", "'hola'")
    assert "raise KeyError(message)" in fields["error.stack_trace"]
