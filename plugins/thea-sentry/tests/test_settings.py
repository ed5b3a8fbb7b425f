"""The settings: what they refuse, and what they say."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from thea_core import ConfigError
from thea_sentry import SentryPlugin, SentrySettings


def problem(**settings):
    with pytest.raises(ValidationError) as caught:
        SentrySettings(**settings)
    (error,) = caught.value.errors()
    return error["msg"]


def refusal(**settings):
    with pytest.raises(ConfigError) as caught:
        SentryPlugin(SentrySettings(**settings))
    return str(caught.value)


class TestDsn:
    @pytest.mark.parametrize(
        ("dsn", "missing"),
        [
            ("hunter2", "it does not begin with https:// or http://"),
            ("ftp://hunter2@h/1", "it does not begin with https:// or http://"),
            ("https://hunter2/1", "it has no key before the @"),
            ("https://hunter2@/1", "it has no host"),
            ("https://hunter2@h:0/1", "it has no host"),
            ("https://hunter2@h", "it does not end with the number of a project"),
            ("https://hunter2@h/project", "it does not end with the number of a project"),
            ("https://hunter2@h/²", "it does not end with the number of a project"),
            ("https://hunter2@h:x/1", "its host or port cannot be read"),
            ("https://hunter2@[h/1", "its host or port cannot be read"),
        ],
    )
    def test_what_is_none_is_refused_and_not_repeated(self, dsn, missing):
        text = refusal(dsn=dsn)
        assert f"this is no DSN: {missing}; expected 'https://KEY@HOST/PROJECT'" in text
        assert "hunter2" not in text

    @pytest.mark.parametrize("dsn", ["https://k@h/1", "http://k:s@127.0.0.1:9000/prefix/42", " https://k@h/1 "])
    def test_what_is_one_is_kept_secret(self, dsn):
        settings = SentrySettings(dsn=dsn)
        SentryPlugin(settings)
        assert dsn.strip() not in repr(settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"user_id_key": "short"}, "the key has 5 bytes; expected 16 to 64. Make one with: python -c"),
        ({"user_id_key": "ñ" * 33}, "the key has 66 bytes"),
        ({"redact": "myapp"}, "'myapp' names no function; expected 'module:name'"),
        ({"redact": 3}, "3 names no function"),
        ({"ignore_errors": ["KeyError"]}, "'KeyError' names no type; expected 'module:name', such as"),
        ({"sentry_options": {"dsn": "x"}}, "'dsn' is a setting of its own: write it beside sentry_options"),
        ({"event_logger": ""}, "'' is no logger's name"),
        ({"trail_users": 0}, "greater than or equal to 1"),
        ({"trail_ttl": float("inf")}, "finite number"),
        ({"flush_timeout": -1}, "greater than or equal to 0"),
        ({"mode": "hosted"}, "'auto', 'host', 'isolated' or 'init'"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_told(settings, told):
    assert told in problem(**settings)


@pytest.mark.parametrize("errors", [3, "builtins:KeyError"])
def test_errors_to_ignore_are_a_list(errors):
    with pytest.raises(ValidationError):
        SentrySettings(ignore_errors=errors)


class TestNames:
    """Functions and types, as ``module:name``."""

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"redact": "no_such_module:f"}, "redact: 'no_such_module:f' cannot be imported: ModuleNotFoundError"),
            ({"redact": "json:dump_"}, "there is no 'dump_' in 'json'; did you mean 'dump'?"),
            ({"redact": "json:xyzzy"}, "there is no 'xyzzy' in 'json'; write 'module:name', with a name of"),
            ({"redact": "math:pi"}, "redact: 'math:pi' is a float; name a function"),
            ({"redact": "asyncio:sleep"}, "redact: 'asyncio:sleep' is an async function; name an ordinary function"),
            ({"ignore_errors": ["json:dumps"]}, "ignore_errors: 'json:dumps' is no type of exceptions; name one"),
            ({"ignore_errors": ["builtins:int"]}, "ignore_errors: 'builtins:int' is no type of exceptions"),
            (
                {"sentry_options": {"before_send": "json:xyzzy"}},
                "sentry_options.before_send: 'json:xyzzy' does not exist",
            ),
            ({"sentry_options": {"traces_sampler": "abc"}}, "sentry_options.traces_sampler: 'abc' does not exist"),
        ],
    )
    def test_what_is_not_there_is_told(self, settings, told):
        text = refusal(**settings)
        assert told in text
        assert "[plugins.sentry.settings]" in text

    def test_a_module_that_exits_is_not_contained(self, monkeypatch, tmp_path):
        """The core contains it, and says whose it was."""
        (tmp_path / "exits_at_import.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(SystemExit):
            SentryPlugin(SentrySettings(redact="exits_at_import:f"))
        assert "exits_at_import" not in sys.modules

    def test_functions_and_types_themselves_are_taken_from_python(self):
        SentryPlugin(SentrySettings(redact=str.lower, ignore_errors=(KeyError,), sentry_options={"before_send": print}))

    def test_what_is_within_a_class_is_found(self):
        SentryPlugin(SentrySettings(redact="builtins:str.lower"))


def test_an_option_that_is_no_function_stays_a_text(sentry, assistant, failing):
    with assistant(failing(), sentry_options={"server_name": "json:dumps"}) as thea:
        thea.handle_request("ana", "hola")
    assert sentry.events[0].json["server_name"] == "json:dumps"


def test_a_configuration_that_is_wrong_leaves_the_plugin_out_and_the_assistant_runs(caplog):
    from thea_core import Thea

    config = {
        "store": {"url": "memory:"},
        "plugins": {"enabled": ["sentry"], "sentry": {"settings": {"dsn": "hunter2"}}},
    }
    with Thea(config) as thea:
        assert thea.handle_request("ana", "hola").ok
    assert "this is no DSN" in caplog.text
    assert "hunter2" not in caplog.text
