"""Finding the function that the setting `redact` names."""

from __future__ import annotations

import os.path
import sys
import types

import pytest

from thea_core import ConfigError
from thea_logging.redaction import load_redact


@pytest.fixture
def module(monkeypatch):
    """A module `app_privacy` that can be imported."""
    made = types.ModuleType("app_privacy")
    monkeypatch.setitem(sys.modules, "app_privacy", made)
    return made


def test_nothing_is_nothing():
    assert load_redact(None) is None


def test_a_function_is_itself():
    assert load_redact(str.upper) is str.upper


def test_a_name_is_imported():
    assert load_redact("os.path:basename") is os.path.basename


def test_a_name_may_be_dotted(module):
    module.Masks = types.SimpleNamespace(cards=str.lower)
    assert load_redact("app_privacy:Masks.cards") is str.lower


def test_a_module_that_is_not_there_is_named_with_the_setting():
    with pytest.raises(ConfigError) as caught:
        load_redact("not_there_at_all:hide")
    assert "[plugins.logging.settings] redact: " in str(caught.value)
    assert "ModuleNotFoundError: No module named 'not_there_at_all'" in str(caught.value)
    assert "check that 'not_there_at_all' can be imported" in str(caught.value)


def test_a_module_that_fails_while_it_is_imported_is_told_in_the_same_way(tmp_path, monkeypatch):
    (tmp_path / "broken_privacy.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="cannot be imported: ZeroDivisionError"):
        load_redact("broken_privacy:hide")


def test_a_name_that_is_not_there_gets_the_nearest(module):
    module.hide_cards = str
    with pytest.raises(ConfigError, match="there is no 'hide_card' in 'app_privacy'; did you mean 'hide_cards'"):
        load_redact("app_privacy:hide_card")


def test_a_name_like_nothing_gets_advice(module):
    with pytest.raises(ConfigError, match="name a function of that module"):
        load_redact("app_privacy:zzzzzz")


def test_what_cannot_be_called_is_refused(module):
    module.pattern = "[0-9]+"
    with pytest.raises(ConfigError, match="is a str; name a function that takes and returns a string"):
        load_redact("app_privacy:pattern")


def test_an_async_function_is_refused(module):
    async def hide(text):
        return text

    module.hide = hide
    with pytest.raises(ConfigError, match="is an async function"):
        load_redact("app_privacy:hide")
