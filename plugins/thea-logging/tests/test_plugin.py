"""The plugin, told events directly."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core import RecordedError
from thea_logging import JsonLinesFormatter, LoggingPlugin, LoggingSettings, user_hash

USER = "alvaro_123"
TEXT = "Agendar reunión"
KEY = "0123456789abcdef"
CANARY = "4111-1111-1111-1111"
ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from("\n\r\x00\x1b\x85\x9b\u2028\u2029"))


def hide(text):
    """A redactor as an operator would write one."""
    return text.replace(CANARY, "<card>")


def only_whole(text):
    """A redactor that knows the secret only where nothing stands around it."""
    return "<card>" if text == CANARY else text


def broken(text):
    raise ValueError(f"cannot hide {text}")


class TestRecords:
    def test_each_event_is_one_record_with_its_constant_name_and_level(self, listen, events):
        with listen() as heard:
            events().all()
        assert [(each.getMessage(), each.levelname) for each in heard.records] == [
            ("thea.message", "INFO"),
            ("thea.state_change", "INFO"),
            ("thea.error", "ERROR"),
            ("thea.session_timeout", "WARNING"),
            ("thea.intent_detected", "INFO"),
            ("thea.agent_delegated", "INFO"),
        ]

    def test_each_event_has_its_fields(self, listen, events):
        common = {
            "user.hash": user_hash(USER, KEY),
            "session.id": "s-1",
            "thea.event.id": "00000000-0000-4000-8000-000000000001",
        }
        noon = "2026-03-01T12:00:00+00:00"
        later = {"thea.event.timestamp": noon}
        own = [
            {"thea.message.length": 15, "thea.message.timestamp": noon},
            later | {"thea.state.from": "idle", "thea.state.to": "processing"},
            later | {"error.type": "ValueError", "error.message": "boom"},
            later,
            later | {"thea.intent.name": "agenda", "thea.intent.score": 0.9},
            later | {"thea.agent.name": "AgendaAgent", "thea.intent.name": "agenda"},
        ]
        with listen() as heard:
            events(user_id_key=KEY).all()
        names = [each.msg for each in heard.records]
        assert heard.fields() == [common | {"event.name": n} | fields for n, fields in zip(names, own, strict=True)]

    def test_a_record_says_which_callback_made_it(self, listen, events):
        with listen() as heard:
            events().message()
        record = heard.records[0]
        assert (record.name, record.filename, record.funcName) == ("thea.events", "plugin.py", "on_message")
        assert record.lineno == LoggingPlugin.on_message.__code__.co_firstlineno

    def test_there_is_no_session_field_where_no_session_is_known(self, listen, events):
        with listen() as heard:
            events().message(session_id=None)
        assert "session.id" not in heard.fields()[0]

    def test_a_record_factory_of_the_host_with_our_names_does_no_harm(self, listen, events):
        before = logging.getLogRecordFactory()

        def factory(*args, **kwargs):
            record = before(*args, **kwargs)
            vars(record)["event.name"] = "the host's"
            return record

        logging.setLogRecordFactory(factory)
        try:
            with listen() as heard:
                events().all()
        finally:
            logging.setLogRecordFactory(before)
        assert [fields["event.name"] for fields in heard.fields()] == [each.msg for each in heard.records]

    @pytest.mark.parametrize("score", [float("nan"), float("inf")])
    def test_a_score_that_is_no_number_is_written_as_text(self, listen, events, score):
        with listen() as heard:
            events().intent_detected(score=score)
        assert heard.fields()[0]["thea.intent.score"] == str(score)

    def test_the_level_of_an_event_can_be_chosen(self, listen, events):
        with listen() as heard:
            events(levels={"on_message": "DEBUG", "on_error": 50}).all()
        assert [each.levelno for each in heard.records] == [10, 20, 50, 30, 20, 20]

    def test_the_name_of_the_logger_can_be_chosen(self, listen, events):
        with listen(name="myapp.chat") as heard:
            events(logger_name="myapp.chat").all()
        assert {each.name for each in heard.records} == {"myapp.chat"}

    def test_a_level_that_nobody_listens_to_costs_no_hash(self, listen, events, monkeypatch):
        told = events()
        with listen() as heard:
            logging.getLogger("thea.events").setLevel(logging.ERROR)
            monkeypatch.setattr(told.plugin, "_pseudonyms", None)
            told.message()
            told.state_change()
            told.session_timeout()
            told.intent_detected()
            told.agent_delegated()
            logging.getLogger("thea.events").setLevel(logging.CRITICAL)
            told.error(ValueError())
        assert heard.records == []


class TestPersonalData:
    def test_neither_text_nor_raw_user_id_is_logged_by_default(self, listen, events):
        with listen(JsonLinesFormatter()) as heard:
            events().all()
        log = "\n".join(heard.lines) + repr([vars(each) for each in heard.records])
        assert len(heard.lines) == 6
        assert USER not in log
        assert TEXT not in log
        assert "reuni" not in log

    def test_raw_ids_are_logged_on_request_and_then_no_hash(self, listen, events):
        with listen() as heard:
            events(user_id_mode="raw").all()
        assert {fields["user.id"] for fields in heard.fields()} == {USER}
        assert not any("user.hash" in fields for fields in heard.fields())

    def test_one_key_gives_one_hash_in_every_process(self, listen, events):
        with listen() as heard:
            events(user_id_key=KEY).message()
            events(user_id_key=KEY).message()
        assert {fields["user.hash"] for fields in heard.fields()} == {user_hash(USER, KEY)}

    def test_without_a_key_each_instance_makes_a_random_one(self, listen, events):
        with listen() as heard:
            events().message()
            events().message()
        first, second = (fields["user.hash"] for fields in heard.fields())
        assert first != second

    def test_text_is_logged_on_request_truncated_and_escaped(self, listen, events):
        with listen() as heard:
            events(include_message_text=True, max_text=8).message(message="hi\nERROR forged")
        fields = heard.fields()[0]
        assert fields["thea.message.text"] == "hi\\nERRO…"
        assert fields["thea.message.length"] == 15

    def test_text_is_redacted_before_it_is_truncated(self, listen, events):
        with listen() as heard:
            events(include_message_text=True, max_text=10, redact=hide).message(message=f"pay {CANARY}")
        assert heard.fields()[0]["thea.message.text"] == "pay <card>"

    def test_text_is_left_out_where_redact_raises(self, listen, events):
        with listen(JsonLinesFormatter()) as heard:
            events(include_message_text=True, redact=broken).message(message=CANARY)
        assert heard.fields()[0]["thea.redact.failed"] is True
        assert "thea.message.text" not in heard.fields()[0]
        assert CANARY not in heard.lines[0]

    @pytest.mark.parametrize("field", ["user_id", "session_id"])
    def test_ids_cannot_forge_a_line(self, listen, events, field):
        with listen() as heard:
            events(user_id_mode="raw").message(**{field: "x\nERROR forged"})
        assert "x\\nERROR forged" in heard.fields()[0].values()


class TestErrors:
    def test_an_error_with_a_traceback_is_given_to_the_host_as_it_is(self, listen, events, raise_it):
        error = raise_it(ValueError("boom"))
        with listen() as heard:
            events().error(error, traceback="Traceback ... boom")
        assert heard.records[0].exc_info == (ValueError, error, error.__traceback__)
        assert "error.stack_trace" not in heard.fields()[0]
        assert heard.lines[0].splitlines()[-1] == "ValueError: boom"

    def test_the_exception_can_be_kept_out_of_the_record_for_formatters_with_error_fields_of_their_own(
        self, listen, events, raise_it
    ):
        with listen() as heard:
            events(exc_info=False).error(raise_it(ValueError("bo\nom")), traceback="not taken")
        assert heard.records[0].exc_info is None
        assert heard.fields()[0]["error.type"] == "ValueError"
        trace = heard.fields()[0]["error.stack_trace"].splitlines()
        assert trace[0] == "Traceback (most recent call last):"
        assert trace[-1] == "ValueError: bo\\nom"

    def test_a_traceback_that_is_only_text_becomes_a_field(self, listen, events):
        error = RecordedError("builtins.KeyError", "'name'", "Traceback\n  File\x1b[2J\nKeyError: 'name'\n")
        with listen() as heard:
            events().error(error, traceback=error.traceback)
        assert heard.records[0].exc_info is None
        assert heard.fields()[0]["error.type"] == "KeyError"
        assert heard.fields()[0]["error.message"] == "'name'"
        assert heard.fields()[0]["error.stack_trace"] == "Traceback\n  File\\x1b[2J\nKeyError: 'name'\n"

    def test_an_error_without_any_traceback_has_its_type_and_text(self, listen, events):
        with listen() as heard:
            events().error(ValueError("boom"))
        assert "error.stack_trace" not in heard.fields()[0]
        assert heard.fields()[0]["error.message"] == "boom"

    def test_the_text_of_an_error_cannot_forge_a_line(self, listen, events, raise_it):
        forged = "ERROR root: forged"
        with listen() as heard:
            events().error(raise_it(ValueError(f"hi\n{forged}\x1b[2J")))
        assert heard.fields()[0]["error.message"] == f"hi\\n{forged}\\x1b[2J"
        assert not any(line.startswith(forged) for line in heard.lines[0].splitlines())
        assert heard.lines[0].splitlines()[-1] == f"ValueError: hi\\n{forged}\\x1b[2J"
        assert heard.records[0].exc_info is not None

    def test_an_error_whose_str_raises_is_logged(self, listen, events, raise_it):
        class BadError(Exception):
            def __str__(self):
                raise RuntimeError

        with listen(JsonLinesFormatter()) as heard:
            events().error(raise_it(BadError()))
        assert "str() of the exception raised RuntimeError" in json.loads(heard.lines[0])["error.message"]

    @pytest.mark.parametrize(
        "redact", [hide, only_whole, broken, lambda _: None], ids=["part", "whole", "raises", "none"]
    )
    @pytest.mark.parametrize("place", ["itself", "cause", "context", "note", "group", "recorded", "text"])
    def test_a_configured_redact_lets_no_text_of_an_error_through(self, listen, events, raise_it, redact, place):
        error, traceback = _error_with_canary(place, raise_it)
        with listen() as plain, listen(JsonLinesFormatter()) as lines:
            events(redact=redact).error(error, traceback=traceback)
        assert len(plain.lines) == len(lines.lines) == 1
        assert CANARY not in plain.lines[0] + lines.lines[0] + repr(vars(plain.records[0]))
        assert "1111" not in lines.lines[0]

    def test_a_redacted_error_keeps_its_frames(self, listen, events, raise_it):
        with listen() as heard:
            events(redact=hide).error(raise_it(ValueError(f"no card {CANARY}")))
        trace = heard.fields()[0]["error.stack_trace"].splitlines()
        assert trace[0] == "Traceback (most recent call last):"
        assert "in raised" in trace[1]
        assert trace[-1] == "ValueError: no card <card>"
        assert heard.fields()[0]["error.message"] == "no card <card>"

    def test_an_error_is_logged_where_redact_raises_with_type_and_frames(self, listen, events, raise_it):
        with listen() as heard:
            events(redact=broken).error(raise_it(ValueError(CANARY)))
        fields = heard.fields()[0]
        assert fields["thea.redact.failed"] is True
        assert fields["error.type"] == "ValueError"
        assert "error.message" not in fields
        assert fields["error.stack_trace"].splitlines()[-1] == "ValueError: <text left out: redact failed>"


def _error_with_canary(place, raise_it):
    canary, outer = ValueError(CANARY), ValueError("outer")
    text = f"Traceback (most recent call last):\nValueError: {CANARY}\n"
    match place:
        case "itself":
            outer = canary
        case "cause":
            outer.__cause__ = raise_it(canary)
        case "context":
            outer.__context__ = raise_it(canary)
        case "note":
            outer.add_note(CANARY)
        case "group":
            outer = ExceptionGroup("outer", [raise_it(canary)])
        case "recorded":
            return RecordedError("builtins.ValueError", CANARY, text), text
        case "text":
            return outer, text
    return raise_it(outer), text


class TestSampling:
    def test_a_share_of_the_users_is_kept_and_each_of_them_whole(self, listen, events):
        told = events(sample={"on_message": 0.3, "on_state_change": 0.3}, user_id_key=KEY)
        with listen() as heard:
            for number in range(1000):
                told.message(user_id=f"user-{number}")
                told.state_change(user_id=f"user-{number}")
                told.message(user_id=f"user-{number}")
        kept = [fields["user.hash"] for fields in heard.fields()]
        assert 250 < len(set(kept)) < 350
        assert len(kept) == 3 * len(set(kept))

    def test_who_is_kept_at_a_small_share_is_kept_at_a_larger_one(self, listen, events):
        kept = {}
        for rate in (0.2, 0.6):
            told = events(sample={"on_message": rate}, user_id_key=KEY, user_id_mode="raw")
            with listen() as heard:
                for number in range(200):
                    told.message(user_id=f"user-{number}")
            kept[rate] = {fields["user.id"] for fields in heard.fields()}
        assert kept[0.2] < kept[0.6]

    def test_none_and_all_are_what_they_say(self, listen, events):
        with listen() as heard:
            for number in range(100):
                events(sample={"on_message": 0, "on_agent_delegated": 1}).message(user_id=str(number))
                events(sample={"on_message": 0, "on_agent_delegated": 1}).agent_delegated(user_id=str(number))
        assert [each.msg for each in heard.records] == ["thea.agent_delegated"] * 100

    def test_errors_are_never_sampled(self, listen, events):
        everything = dict.fromkeys(
            ["on_message", "on_state_change", "on_session_timeout", "on_intent_detected", "on_agent_delegated"], 0.0
        )
        with listen() as heard:
            events(sample=everything).all()
        assert [each.msg for each in heard.records] == ["thea.error"]


class TestForgery:
    @given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
    def test_whatever_the_values_hold_each_record_is_one_line_of_json(self, listen, events, text, user, name):
        told = events(include_message_text=True, user_id_mode="raw")
        with listen(JsonLinesFormatter()) as heard:
            told.message(message=text, user_id=user, session_id=name)
            told.state_change(old_state=name, new_state=text, user_id=user)
            told.error(ValueError(text), traceback=text, user_id=user)
            told.session_timeout(session_id=text, user_id=user)
            told.intent_detected(intent=text, user_id=user)
            told.agent_delegated(agent=text, intent=name, user_id=user)
        assert len("\n".join(heard.lines).splitlines()) == len(heard.records) == 6
        assert [json.loads(line)["event.name"] for line in heard.lines] == [each.msg for each in heard.records]

    @given(ANY_TEXT)
    def test_nor_can_they_forge_one_with_a_formatter_that_escapes_nothing(self, listen, events, text):
        told = events(include_message_text=True, user_id_mode="raw", max_text=10_000)
        formatter = logging.Formatter("%(message)s %(user.id)s %(session.id)s %(thea.message.text)s")
        with listen(formatter) as heard:
            told.message(message=text, user_id=text, session_id=text or "x")
        assert len(heard.lines[0].splitlines()) == 1
        assert heard.lines[0].isprintable()

    @given(ANY_TEXT)
    def test_the_traceback_of_an_error_has_as_many_lines_whatever_its_text(self, listen, events, raise_it, text):
        told = events()
        with listen() as heard:
            told.error(raise_it(ValueError("plain")))
            told.error(raise_it(ValueError(text)))
        plain, other = (each.splitlines() for each in heard.lines)
        assert other[:-1] == plain[:-1]


class TestLifeCycle:
    @pytest.fixture
    def logger(self):
        """A logger of its own for one test, as it was before it."""
        made = logging.getLogger("thea.events.life")
        yield made
        made.handlers.clear()
        made.setLevel(logging.NOTSET)

    @pytest.fixture
    def plugin(self, logger):
        """Make a plugin on that logger."""
        return lambda **settings: LoggingPlugin(LoggingSettings(logger_name=logger.name, **settings))

    def test_by_default_only_a_null_handler_is_added_and_once(self, logger, plugin):
        for _ in range(2):
            made = plugin()
            made.on_startup()
            made.on_shutdown()
        assert [type(each) for each in logger.handlers] == [logging.NullHandler]
        assert logger.level == logging.NOTSET

    def test_the_root_logger_is_never_touched(self, plugin):
        root = logging.getLogger()
        before = (list(root.handlers), root.level, list(root.filters))
        made = plugin(handler="json-stderr", level="DEBUG")
        made.on_startup()
        assert (list(root.handlers), root.level, list(root.filters)) == before
        made.on_shutdown()

    def test_json_lines_go_to_standard_error_between_startup_and_shutdown(self, plugin, monkeypatch):
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        made = plugin(handler="json-stderr")
        for act in (made.on_startup, lambda: None, made.on_shutdown):
            act()
            made.on_session_timeout(user_id=USER, session_id="s-1", timestamp=None, event_id="e")
        lines = sys.stderr.getvalue().splitlines()
        assert [json.loads(line)["event.name"] for line in lines] == ["thea.session_timeout"] * 2

    def test_with_a_handler_all_events_are_seen_though_the_host_lets_only_warnings_pass(self, logger, plugin):
        made = plugin(handler=logging.NullHandler(), levels={"on_message": "DEBUG"})
        made.on_startup()
        assert logger.level == logging.DEBUG
        made.on_shutdown()
        assert logger.level == logging.NOTSET

    def test_a_level_that_the_operator_asks_for_is_set_and_put_back(self, logger, plugin):
        logger.setLevel(logging.WARNING)
        made = plugin(level="ERROR")
        made.on_startup()
        assert logger.level == logging.ERROR
        made.on_shutdown()
        assert logger.level == logging.WARNING

    def test_a_level_that_somebody_else_has_set_meanwhile_stays(self, logger, plugin):
        made = plugin(level="ERROR")
        made.on_startup()
        logger.setLevel(logging.DEBUG)
        made.on_shutdown()
        assert logger.level == logging.DEBUG

    def test_a_second_startup_adds_nothing(self, logger, plugin):
        made = plugin(handler="json-stderr")
        made.on_startup()
        before = list(logger.handlers)
        made.on_startup()
        assert logger.handlers == before
        made.on_shutdown()

    def test_shutdown_flushes_and_removes_our_handler_and_leaves_the_hosts(self, logger, plugin):
        class Flushed(logging.NullHandler):
            count = 0

            def flush(self):
                self.count += 1

        ours, theirs = Flushed(), Flushed()
        logger.addHandler(theirs)
        made = plugin(handler=ours)
        made.on_startup()
        assert ours in logger.handlers
        made.on_shutdown()
        made.on_shutdown()
        assert ours not in logger.handlers
        assert theirs in logger.handlers
        assert (ours.count, theirs.count) == (1, 0)

    def test_a_handler_that_cannot_be_flushed_is_removed_all_the_same(self, logger, plugin):
        class Full(logging.NullHandler):
            def flush(self):
                raise OSError("no space left")

        handler = Full()
        made = plugin(handler=handler)
        made.on_startup()
        with pytest.raises(OSError, match="no space left"):
            made.on_shutdown()
        assert handler not in logger.handlers
