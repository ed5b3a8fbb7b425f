"""Values as Mixpanel takes them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from uuid import UUID

import pytest

from thea_mixpanel.values import clean, clean_all


class Colour(Enum):
    RED = "red"


class Size(StrEnum):
    BIG = "big"


NOON_IN_MADRID = datetime(2026, 1, 2, 13, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        (float("-inf"), None),
        ("ñandú", "ñandú"),
        ("x" * 300, "x" * 255),
        ("a\ud800b", "a?b"),
        (Colour.RED, "red"),
        (Size.BIG, "big"),
        (NOON_IN_MADRID, "2026-01-02T12:00:00+00:00"),
        (datetime(2026, 1, 2, 12), "2026-01-02T12:00:00+00:00"),  # noqa: DTZ001
        (date(2026, 1, 2), "2026-01-02"),
        (time(12, 30), "12:30:00"),
        (timedelta(seconds=90), "0:01:30"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ValueError("no"), "no"),
        (b"\x00", "b'\\x00'"),
        ({"a": {Colour.RED: NOON_IN_MADRID}}, {"a": {"Colour.RED": "2026-01-02T12:00:00+00:00"}}),
        ([1, (2, {3})], [1, [2, [3]]]),
        ([[[[1]]]], [[["[1]"]]]),
        ({"a": {"b": {"c": {"d": 1}}}}, {"a": {"b": {"c": "{'d': 1}"}}}),
        ([1] * 300, [1] * 255),
    ],
)
def test_a_value_becomes_one_of_json(value, cleaned):
    assert clean(value) == cleaned
    assert type(clean(value)) is type(cleaned)
    json.dumps(clean(value), allow_nan=False)


def test_a_property_that_is_no_number_is_left_out():
    assert clean_all({"a": float("nan"), "b": {"c": float("inf"), "d": 1}}) == {"b": {"d": 1}}


def test_there_are_at_most_255_properties():
    assert len(clean_all({str(number): number for number in range(300)})) == 255


def test_names_are_texts_of_at_most_255_characters():
    assert clean_all({1: 1, "x" * 300: 2}) == {"1": 1, "x" * 255: 2}


def test_a_time_in_utc_stays_as_it_is():
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert clean(moment) == "2026-01-02T03:04:05.678901+00:00"
