"""The options, what is said about wrong ones, and the functions that they name."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from thea_core import ConfigError
from thea_mixpanel import MixpanelPlugin, MixpanelSettings

KEY = "0123456789abcdef"


def _problem(**settings):
    with pytest.raises(ValidationError) as caught:
        MixpanelSettings(**settings)
    return str(caught.value)


def test_the_defaults():
    assert MixpanelSettings().model_dump() == {
        "token": None,
        "region": "us",
        "endpoint": None,
        "flush_at": 50,
        "request_timeout": 10.0,
        "max_retries": 3,
        "user_id_mode": "raw",
        "user_id_key": None,
        "id_mode": "distinct_id",
        "super_properties": {},
        "opt_out": None,
        "on_drop": None,
    }


def test_every_option_is_described():
    assert all(field.description for field in MixpanelSettings.model_fields.values())


def test_they_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        MixpanelSettings().flush_at = 5


class TestToken:
    @pytest.mark.parametrize("token", [None, "", "  "])
    def test_without_one_the_plugin_does_nothing_and_says_so_once(self, caplog, token, app):
        plugin = MixpanelPlugin(MixpanelSettings(token=token))
        plugin.on_startup(app)
        plugin.on_session_timeout(user_id="ana", session_id="s", timestamp="whatever", event_id="1")
        plugin.on_flush(timeout=1.0)
        plugin.on_shutdown(timeout=1.0)
        assert (plugin.sent, plugin.lost) == (0, {})
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("thea.plugins.mixpanel", logging.WARNING)
        assert '[plugins.mixpanel.settings] token = "${MIXPANEL_TOKEN}"' in record.getMessage()

    def test_before_the_start_nothing_is_done_either(self):
        plugin = MixpanelPlugin(MixpanelSettings(token="t"))
        plugin.on_session_timeout(user_id="ana", session_id="s", timestamp="whatever", event_id="1")
        assert (plugin.sent, plugin.lost) == (0, {})

    def test_white_space_around_it_is_left_out(self):
        assert MixpanelSettings(token=" abc\n").token.get_secret_value() == "abc"

    def test_it_is_never_shown(self):
        secret = "a-very-secret-canary"
        settings = MixpanelSettings(token=secret, user_id_key=secret)
        assert secret not in repr(settings) + str(settings) + settings.model_dump_json()
        assert secret not in _problem(token={"wrong": secret}, user_id_key=secret * 9)


class TestAddress:
    @pytest.mark.parametrize(
        "endpoint",
        ["https://proxy.example.com", "https://proxy.example.com/", "https://proxy.example.com/track"],
    )
    def test_an_endpoint_is_used_in_place_of_the_region(self, endpoint):
        assert MixpanelSettings(endpoint=endpoint, region="eu").url == "https://proxy.example.com/track"

    def test_it_may_have_a_path(self):
        assert MixpanelSettings(endpoint="http://127.0.0.1:8000/mp").url == "http://127.0.0.1:8000/mp/track"

    @pytest.mark.parametrize(
        "endpoint",
        [
            "proxy.example.com",
            "ftp://proxy.example.com",
            "https://",
            "https://:80",
            "https://a b",
            "https://host:0",
            "https://host:99999",
            "https://host:x",
            "https://[::1",
            "https://ana:secret@host",
            "https://host?x=1",
            "https://host#x",
            "https://ho\nst",
            "",
        ],
    )
    def test_what_is_no_address_is_refused_with_an_example(self, endpoint):
        problem = _problem(endpoint=endpoint)
        assert "is no address of a server; expected one such as 'https://mixpanel-proxy.example.com'" in problem

    def test_an_unknown_region_is_refused_with_the_valid_ones(self):
        assert "'us', 'eu' or 'in'" in _problem(region="mars")


class TestNumbers:
    @pytest.mark.parametrize(
        "wrong",
        [
            *({"flush_at": each} for each in (0, 2001, "many")),
            *({"request_timeout": each} for each in (0, -1, 121, float("nan"), float("inf"))),
            *({"max_retries": each} for each in (-1, 21, 1.5)),
        ],
        ids=str,
    )
    def test_outside_of_their_bounds_they_are_refused(self, wrong):
        assert next(iter(wrong)) in _problem(**wrong)


class TestHash:
    def test_it_needs_a_key(self):
        problem = _problem(user_id_mode="hash")
        assert "user_id_mode = 'hash' needs user_id_key" in problem
        assert "secrets.token_hex(32)" in problem

    @pytest.mark.parametrize(("key", "size"), [("", 0), ("k" * 15, 15), ("k" * 65, 65), ("ñ" * 33, 66)])
    def test_a_key_of_another_size_is_refused(self, key, size):
        assert f"the key has {size} bytes; expected 16 to 64" in _problem(user_id_key=key)

    def test_an_unknown_mode_is_refused_with_the_valid_ones(self):
        assert "'raw' or 'hash'" in _problem(user_id_mode="plain")


class TestSuperProperties:
    @pytest.mark.parametrize("name", ["token", "distinct_id", "time", "ip", "$insert_id", "$user_id", "mp_lib"])
    def test_those_of_mixpanel_are_refused(self, name):
        problem = _problem(super_properties={name: 1, "mine": 2})
        assert f"{name!r} is one of Mixpanel's own properties; choose another name" in problem
        assert "mine" not in problem

    def test_all_problems_are_told_at_once(self):
        problem = _problem(super_properties={"token": 1, "ip": 2, "x" * 256: 3})
        assert "'token' is one" in problem
        assert "'ip' is one" in problem
        assert "has 256 characters; expected at most 255" in problem

    def test_there_may_be_200(self):
        assert "there are 201 properties; expected at most 200" in _problem(
            super_properties={f"p{number}": number for number in range(201)}
        )


class TestFunctions:
    @pytest.mark.parametrize("setting", ["opt_out", "on_drop"])
    @pytest.mark.parametrize("value", ["hide", "a b:c", ":x", "x:", "x:y:z", "x:1", 3, ""])
    def test_what_names_none_is_refused(self, setting, value):
        assert f"{value!r} names no function; expected 'module:name'" in _problem(**{setting: value})

    def test_one_is_found_by_its_name(self, events, server, monkeypatch, tmp_path):
        (tmp_path / "privacy_of_mine.py").write_text(
            "class Lists:\n    objects = staticmethod(set(['eva']).__contains__)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        told = events(opt_out="privacy_of_mine:Lists.objects")
        told.message(user_id="eva")
        told.flush()
        assert server.requests == []

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("no_such_module:x", "opt_out: 'no_such_module:x' cannot be imported: ModuleNotFoundError: No module"),
            ("os.path:no_such", "opt_out: 'os.path:no_such' does not exist: there is no 'no_such' in 'os.path'"),
            ("os:sep", "opt_out: 'os:sep' is a str; name an ordinary function"),
            ("asyncio:sleep", "opt_out: 'asyncio:sleep' is an async function; name an ordinary function"),
        ],
    )
    def test_what_cannot_be_found_is_told_with_its_key(self, name, problem):
        with pytest.raises(ConfigError) as caught:
            MixpanelPlugin(MixpanelSettings(opt_out=name))
        assert f"[plugins.mixpanel.settings] {problem}" in str(caught.value)
