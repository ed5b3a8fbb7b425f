"""The last look at an event: whatever shape other processors have left it in."""

from __future__ import annotations

import pytest
import sentry_sdk

from thea_core import RecordedError
from thea_sentry.privacy import Redactor, clean_name, frame_lines, text_of, user_hash
from thea_sentry.scrubbing import Scrubber


def scrubber(**changes):
    usual = {"handled": False, "include_locals": False, "include_message_text": False, "include_error_text": False}
    return Scrubber(**(usual | {"redact": Redactor(None), "event_logger": "thea.events"} | changes))


class TestStrangeEvents:
    @pytest.mark.parametrize(
        "event",
        [
            {"exception": 3},
            {"exception": {"values": None}},
            {"exception": {"values": [{"stacktrace": None}]}},
            {"exception": {"values": [{"stacktrace": {"frames": None}}]}},
            {"exception": {"values": []}, "breadcrumbs": None},
            {"breadcrumbs": {"values": [{}, {"category": 3}, {"category": "thea_cores"}]}},
            {"request": {}},
            {"user": None},
        ],
    )
    def test_are_sent_where_nothing_in_them_is_hidden(self, event):
        assert scrubber().of("ana")(event, {}) is event
        assert event["user"] == {"id": "ana"}

    @pytest.mark.parametrize(
        "event",
        [{"exception": {"values": ["text"]}}, {"exception": {"values": 3}}, {"request": "secret"}, {"user": "secret"}],
    )
    def test_are_dropped_where_they_cannot_be_read(self, event, caplog):
        assert scrubber().of("ana")(event, {}) is None
        (record,) = caplog.records
        assert record.name == "thea.plugins.sentry"
        assert "an event is not sent: it could not be freed from personal data" in record.getMessage()
        assert "secret" not in caplog.text

    def test_a_recorded_error_changes_nothing_where_no_exception_is_left(self):
        event = {"exception": {"values": []}}
        assert scrubber().of("ana", error=RecordedError("a.B", "x"))(event, {}) is event

    def test_the_stack_of_the_event_itself_is_clean_too(self):
        event = {"stacktrace": {"frames": [{"vars": {"a": "secret"}, "module": "thea_core"}]}}
        scrubber()(event, {})
        assert event["stacktrace"] == {"frames": [{"module": "thea_core", "in_app": False}]}

    def test_what_the_host_says_of_its_own_frames_stays(self):
        frames = [{"module": "thea_core.app", "in_app": True}, {"module": "thea_cores"}, {}]
        scrubber()({"stacktrace": {"frames": frames}}, {})
        assert frames == [{"module": "thea_core.app", "in_app": True}, {"module": "thea_cores"}, {}]


def test_an_event_that_cannot_be_freed_does_not_leave_the_process(sentry, assistant, failing, host):
    """The SDK sends an event as it is where a processor raises."""

    def spoil(event, hint):
        event["exception"] = {"values": 3}
        return event

    with host(), assistant(failing()) as thea:
        sentry_sdk.get_isolation_scope().add_event_processor(spoil)
        thea.handle_request("ana", "hola")
    assert sentry.events == []


class TestTexts:
    def test_a_hash_is_that_of_the_logging_plugin(self):
        from thea_logging import user_hash as logged

        assert user_hash("alvaro_123", "0123456789abcdef") == "8b510e6625264de6"
        assert user_hash("\udcffñ", "ñ" * 16) == logged("\udcffñ", "ñ" * 16)

    def test_a_name_is_one_line(self):
        assert clean_name("a\nb\x1b[0m" + "c" * 500) == "a b [0m" + "c" * 193

    @pytest.mark.parametrize(
        ("value", "text"), [("a", "a"), (3, "3"), (type("S", (str,), {})("s"), "s"), (None, "None")]
    )
    def test_anything_is_a_text(self, value, text):
        assert text_of(value) == text
        assert type(text_of(value)) is str

    @pytest.mark.parametrize("error", [ValueError, SystemExit])
    def test_what_has_no_text_gets_a_note(self, error):
        class Mute:
            def __str__(self):
                raise error

        assert text_of(Mute()) == f"<str() of a Mute raised {error.__name__}>"

    def test_ctrl_c_passes(self):
        class Slow:
            def __str__(self):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            text_of(Slow())

    def test_frames_are_told_from_text(self):
        lines = [
            "Traceback (most recent call last):",
            f'  File "{__file__}", line 3, in <module>',
            "    secret()",
            '  File "/no/such/secret.py", line 3, in f',
            f'  File "{__file__}", line 3, in secret words',
            '  File "\0", line 3, in f',
            f'  File "{"x" * 100_000}", line 3, in f',
            "ValueError: secret",
        ]
        assert frame_lines("\n".join(lines)) == lines[1]
