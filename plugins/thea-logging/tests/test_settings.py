"""The options and what is said about wrong ones."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from thea_logging import LoggingSettings


def _problem(**settings):
    with pytest.raises(ValidationError) as caught:
        LoggingSettings(**settings)
    return str(caught.value)


def test_the_defaults_keep_personal_data_out_and_install_nothing():
    settings = LoggingSettings()
    assert settings.model_dump() == {
        "logger_name": "thea.events",
        "level": None,
        "levels": {},
        "include_message_text": False,
        "max_text": 200,
        "user_id_mode": "hash",
        "user_id_key": None,
        "sample": {},
        "handler": None,
        "exc_info": True,
        "redact": None,
    }


def test_every_option_is_described():
    assert all(field.description for field in LoggingSettings.model_fields.values())


class TestLevels:
    @pytest.mark.parametrize("level", ["DEBUG", "debug", 10, "10"])
    def test_are_names_in_any_case_or_numbers(self, level):
        assert LoggingSettings(levels={"on_message": level}).levels == {"on_message": 10}

    def test_may_be_names_that_the_host_has_added(self):
        logging.addLevelName(7, "TRACE7")
        assert LoggingSettings(level="trace7").level == 7

    @pytest.mark.parametrize("level", ["LOUD", 0, -1, True, None, 1.5, "NOTSET", "٣"])
    def test_others_are_refused_with_the_valid_ones(self, level):
        problem = _problem(levels={"on_message": level})
        assert f"{level!r} is no logging level; expected a number from 1, or one of DEBUG, INFO" in problem.replace(
            "TRACE7, ", ""
        )

    def test_a_misspelt_level_gets_the_nearest(self):
        assert "did you mean 'WARNING'?" in _problem(levels={"on_message": "warnin"})

    def test_an_unknown_event_is_refused_with_the_nearest(self):
        problem = _problem(levels={"on_mesage": "INFO"})
        assert "'on_mesage' is no event; expected one of on_message, on_state_change" in problem
        assert "did you mean 'on_message'?" in problem

    def test_all_wrong_ones_are_told_at_once(self):
        problem = _problem(levels={"on_mesage": "INFO", "on_error": "LOUD"})
        assert "'on_mesage' is no event" in problem
        assert "on_error: 'LOUD' is no logging level" in problem

    def test_must_be_a_table(self):
        assert "levels" in _problem(levels="DEBUG")


class TestSample:
    def test_is_a_share_for_each_event(self):
        assert LoggingSettings(sample={"on_message": 0, "on_state_change": 0.25}).sample == {
            "on_message": 0.0,
            "on_state_change": 0.25,
        }

    @pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "many"])
    def test_a_share_outside_0_to_1_is_refused(self, rate):
        problem = _problem(sample={"on_message": rate})
        assert "sample" in problem
        assert "on_message" in problem

    def test_all_wrong_ones_are_told_at_once(self):
        problem = _problem(sample={"on_message": 2, "on_state_change": 3, "on_session_timeout": 0.5})
        assert "on_message: 2.0 is no share; expected a number from 0 to 1; on_state_change: 3.0 is no" in problem

    def test_an_unknown_event_is_refused(self):
        assert "'message' is no event; expected one of on_message" in _problem(sample={"message": 0.5})

    def test_errors_are_never_sampled(self):
        assert "on_error cannot be sampled: every error is logged" in _problem(sample={"on_error": 0.5})


class TestKey:
    @pytest.mark.parametrize("size", [16, 64])
    def test_has_16_to_64_bytes(self, size):
        assert LoggingSettings(user_id_key="k" * size).user_id_key.get_secret_value() == "k" * size

    @pytest.mark.parametrize(("key", "size"), [("", 0), ("k" * 15, 15), ("k" * 65, 65), ("ñ" * 33, 66)])
    def test_any_other_size_is_refused_with_a_way_to_make_one(self, key, size):
        problem = _problem(user_id_key=key)
        assert f"the key has {size} bytes; expected 16 to 64" in problem
        assert "secrets.token_hex(32)" in problem

    def test_is_never_shown(self):
        key = "a-very-secret-canary"
        settings = LoggingSettings(user_id_key=key)
        assert key not in repr(settings) + str(settings) + settings.model_dump_json()
        assert key not in _problem(user_id_key=key * 9)
        assert key not in _problem(user_id_key={"wrong": key})


class TestOthers:
    @pytest.mark.parametrize("name", ["", "root", " thea", "thea\n"])
    def test_the_root_logger_and_broken_names_are_refused(self, name):
        assert "the plugin never touches the root logger" in _problem(logger_name=name)

    def test_an_unknown_option_is_refused(self):
        assert "include_text" in _problem(include_text=True)

    def test_an_unknown_mode_is_refused_with_the_valid_ones(self):
        assert "'hash' or 'raw'" in _problem(user_id_mode="plain")

    @pytest.mark.parametrize("size", [0, -5, "long"])
    def test_max_text_is_at_least_one_character(self, size):
        assert "max_text" in _problem(max_text=size)

    @pytest.mark.parametrize("handler", ["json", 3, "stderr"])
    def test_an_unknown_handler_is_refused_with_the_valid_ones(self, handler):
        assert f"{handler!r} is no handler; expected 'json-stderr'" in _problem(handler=handler)

    def test_a_handler_may_be_one_of_the_hosts(self):
        handler = logging.NullHandler()
        assert LoggingSettings(handler=handler).handler is handler

    @pytest.mark.parametrize("redact", ["hide", "a b:c", ":x", "x:", "x:y:z", "x:1", 3, ""])
    def test_a_redact_that_names_no_function_is_refused(self, redact):
        assert f"{redact!r} names no function; expected 'module:name'" in _problem(redact=redact)

    def test_a_redact_may_be_a_dotted_name_in_a_dotted_module(self):
        assert LoggingSettings(redact="myapp.privacy:Masks.cards").redact == "myapp.privacy:Masks.cards"

    def test_a_redact_may_be_the_function_itself(self):
        assert LoggingSettings(redact=str.upper).redact == str.upper

    def test_they_cannot_be_changed(self):
        with pytest.raises(ValidationError, match="frozen"):
            LoggingSettings().max_text = 5
