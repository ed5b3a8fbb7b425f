"""Days and times: what people write becomes dates, and what is none stays text."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_agenda import DateReader

WEDNESDAY = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)


def read(text, language="es", now=WEDNESDAY, timezone="UTC"):
    return DateReader(timezone).read(text, now, language)


class TestDays:
    @pytest.mark.parametrize(
        ("text", "day"),
        [
            ("hoy", (2026, 3, 4)),
            ("esta noche", (2026, 3, 4)),
            ("mañana", (2026, 3, 5)),
            ("mañana por la mañana", (2026, 3, 5)),
            ("pasado mañana", (2026, 3, 6)),
            ("ayer", (2026, 3, 3)),
            ("anteayer", (2026, 3, 2)),
            ("el viernes", (2026, 3, 6)),
            ("el próximo lunes", (2026, 3, 9)),
            ("el miércoles que viene", (2026, 3, 11)),
            ("dentro de tres días", (2026, 3, 7)),
            ("en 2 semanas", (2026, 3, 18)),
            ("dentro de un mes", (2026, 4, 4)),
            ("el 3 de mayo", (2026, 5, 3)),
            ("el domingo 3 de mayo", (2026, 5, 3)),
            ("1º de enero", (2027, 1, 1)),
            ("el primero de mayo de 2027", (2027, 5, 1)),
            ("3 de marzo", (2027, 3, 3)),
            ("4 de marzo", (2026, 3, 4)),
            ("29 de febrero", (2028, 2, 29)),
            ("15/3", (2026, 3, 15)),
            ("3/15", (2026, 3, 15)),  # there is no fifteenth month
            ("3/5/27", (2027, 5, 3)),
            ("2026-05-03", (2026, 5, 3)),
            ("el día 15", (2026, 3, 15)),
            ("el 2", (2026, 4, 2)),
            ("viernes 6", (2026, 3, 6)),
        ],
    )
    def test_spanish(self, text, day):
        assert read(text).day == date(*day)

    @pytest.mark.parametrize(
        ("text", "day"),
        [
            ("today", (2026, 3, 4)),
            ("tonight", (2026, 3, 4)),
            ("tomorrow", (2026, 3, 5)),
            ("tommorow", (2026, 3, 5)),
            ("the day after tomorrow", (2026, 3, 6)),
            ("yesterday", (2026, 3, 3)),
            ("next friday", (2026, 3, 6)),
            ("in a week", (2026, 3, 11)),
            ("two weeks from now", (2026, 3, 18)),
            ("march 2nd", (2027, 3, 2)),
            ("the 17th of march", (2026, 3, 17)),
            ("may 3rd, 2027", (2027, 5, 3)),
            ("3/15", (2026, 3, 15)),
            ("the 21st", (2026, 3, 21)),
            ("friday the 1st", (2026, 4, 1)),
        ],
    )
    def test_english(self, text, day):
        assert read(text, "en").day == date(*day)

    @pytest.mark.parametrize("text", ["cena", "no sé", "", " ", "mayo", "1234", "al 50%", "el 0", "el 32", "a" * 9999])
    def test_what_names_no_day_gives_none(self, text):
        assert read(text).first is None

    @pytest.mark.parametrize("text", ["30 de febrero", "32 de mayo", "el 99/99"])
    def test_a_day_that_does_not_exist_gives_none_and_is_no_part_of_the_rest(self, text):
        reading = read(f"cena {text}")
        assert (reading.first, reading.rest) == (None, "cena")

    def test_an_impossible_day_does_not_hide_a_possible_one(self):
        assert read("el 30 de febrero o el viernes").day == date(2026, 3, 6)

    def test_a_day_in_the_other_language_is_understood(self):
        assert read("tomorrow at 5pm", "es").day == date(2026, 3, 5)
        assert read("mañana", "en").day == date(2026, 3, 5)

    def test_the_day_of_a_short_month_is_looked_for_in_a_longer_one(self):
        assert read("el 31", now=datetime(2026, 4, 5, tzinfo=UTC)).day == date(2026, 5, 31)

    def test_a_day_of_the_month_in_december_may_be_in_the_next_year(self):
        assert read("el 15", now=datetime(2026, 12, 30, tzinfo=UTC)).day == date(2027, 1, 15)

    def test_tomorrow_is_a_day_of_the_time_zone(self):
        late = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)  # half past midnight in Madrid
        assert read("mañana", now=late, timezone="Europe/Madrid").day == date(2026, 3, 6)

    @given(st.text(max_size=60), st.sampled_from(["es", "en"]))
    def test_no_text_makes_it_fail(self, text, language):
        assert isinstance(read(text, language).rest, str)


class TestPeriods:
    @pytest.mark.parametrize(
        ("text", "language", "first", "last"),
        [
            ("esta semana", "es", (2026, 3, 4), (2026, 3, 8)),
            ("la semana que viene", "es", (2026, 3, 9), (2026, 3, 15)),
            ("la próxima semana", "es", (2026, 3, 9), (2026, 3, 15)),
            ("este fin de semana", "es", (2026, 3, 7), (2026, 3, 8)),
            ("el próximo fin de semana", "es", (2026, 3, 14), (2026, 3, 15)),
            ("el fin de semana que viene", "es", (2026, 3, 14), (2026, 3, 15)),
            ("este mes", "es", (2026, 3, 4), (2026, 3, 31)),
            ("el mes que viene", "es", (2026, 4, 1), (2026, 4, 30)),
            ("en mayo", "es", (2026, 5, 1), (2026, 5, 31)),
            ("next week", "en", (2026, 3, 9), (2026, 3, 15)),
            ("this weekend", "en", (2026, 3, 7), (2026, 3, 8)),
            ("in december", "en", (2026, 12, 1), (2026, 12, 31)),
        ],
    )
    def test_a_stretch_of_days_has_its_first_and_last(self, text, language, first, last):
        reading = read(text, language)
        assert (reading.first, reading.last) == (date(*first), date(*last))

    def test_a_stretch_of_days_is_no_single_day(self):
        assert read("la semana que viene").day is None


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "at"),
        [
            ("a las 21:00", (21, 0)),
            ("a las 5 de la tarde", (17, 0)),
            ("a las 10 de la mañana", (10, 0)),
            ("a las 9 de la noche", (21, 0)),
            ("a las 12 de la noche", (0, 0)),
            ("a las cinco y media", (17, 30)),
            ("a las 8 y cuarto", (8, 15)),
            ("a las 5 menos cuarto", (16, 45)),
            ("a las 10h", (10, 0)),
            ("a la una", (13, 0)),
            ("al mediodía", (12, 0)),
            ("a medianoche", (0, 0)),
            ("18:30", (18, 30)),
            ("10 am", (10, 0)),
        ],
    )
    def test_spanish(self, text, at):
        assert read(f"el 3 de mayo {text}").at == time(*at)

    @pytest.mark.parametrize(
        ("text", "at"),
        [
            ("at 5pm", (17, 0)),
            ("5:30 p.m.", (17, 30)),
            ("at 12 am", (0, 0)),
            ("at 12 pm", (12, 0)),
            ("at noon", (12, 0)),
            ("at midnight", (0, 0)),
            ("at five", (17, 0)),
            ("at 5 o'clock", (17, 0)),
            ("9 o'clock", (9, 0)),
            ("at 05:00", (5, 0)),
            ("at 8 in the evening", (20, 0)),
            ("at 6 in the morning", (6, 0)),
        ],
    )
    def test_english(self, text, at):
        assert read(f"may 3 {text}", "en").at == time(*at)

    def test_the_part_of_the_day_may_stand_apart_from_the_hour(self):
        assert read("tonight at 9", "en").at == time(21)
        assert read("friday morning at 6", "en").at == time(6)

    def test_an_hour_from_one_to_seven_without_more_is_in_the_afternoon(self):
        assert [read(f"mañana a las {hour}").at for hour in (1, 7, 8)] == [time(13), time(19), time(8)]

    @pytest.mark.parametrize("text", ["a las 25", "a las 10:75", "en 2 horas"])
    def test_what_no_clock_shows_is_no_time(self, text):
        assert read(text).at is None

    def test_a_time_without_a_day_is_kept(self):
        reading = read("cena a las 21:00")
        assert (reading.first, reading.at, reading.rest) == (None, time(21), "cena")


@pytest.mark.parametrize(
    ("text", "language", "rest"),
    [
        ("cena mañana a las 21:00", "es", "cena"),
        ("Reunión con Ana el próximo lunes a las 10h", "es", "Reunión con Ana"),
        ("el viernes, cena con Íñigo", "es", "cena con Íñigo"),
        ("dinner with Ana on march 2nd at 9", "en", "dinner with Ana"),
    ],
)
def test_the_rest_is_the_text_without_days_and_times(text, language, rest):
    assert read(text, language).rest == rest


def test_the_date_library_is_imported_only_where_a_day_is_named():
    program = (
        "import sys; from datetime import datetime, UTC;"
        "from thea_agenda import AgendaPlugin, AgendaSettings, DateReader;"
        "AgendaPlugin(AgendaSettings()).detect_intents('hola');"
        "DateReader().read('hola', datetime.now(UTC), 'es'); print('dateparser' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
