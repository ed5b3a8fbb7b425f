"""The settings: defaults that work, and errors that say what to write instead."""

from __future__ import annotations

import pydantic
import pytest

from thea_agenda import AgendaSettings


def test_every_setting_has_a_default():
    settings = AgendaSettings()
    assert (settings.path, settings.timezone, settings.language, settings.upcoming) == ("agenda.db", "UTC", "en", 10)


def test_an_unknown_timezone_is_refused_with_the_nearest_name():
    with pytest.raises(pydantic.ValidationError, match=r"found 'Europe/Madird'.*did you mean 'Europe/Madrid'"):
        AgendaSettings(timezone="Europe/Madird")


@pytest.mark.parametrize("name", ["", "../etc/passwd", "nowhere at all"])
def test_what_is_no_timezone_at_all_is_refused_with_an_example(name):
    with pytest.raises(pydantic.ValidationError, match="expected the IANA name"):
        AgendaSettings(timezone=name)


@pytest.mark.parametrize("path", ["", "  ", ":memory:", "a\0b"])
def test_a_path_that_is_no_file_is_refused(path):
    with pytest.raises(pydantic.ValidationError, match="expected the path of a file"):
        AgendaSettings(path=path)


@pytest.mark.parametrize("wrong", [{"language": "fr"}, {"upcoming": 0}, {"pth": "agenda.db"}])
def test_wrong_values_and_unknown_keys_are_refused(wrong):
    with pytest.raises(pydantic.ValidationError):
        AgendaSettings(**wrong)
