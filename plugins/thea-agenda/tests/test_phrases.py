"""The guard before the date library: what names a day at all."""

from __future__ import annotations

import pytest

from thea_agenda.language import fold
from thea_agenda.phrases import names_day


@pytest.mark.parametrize(
    "text",
    [
        "i may have had fraud committed on my account",
        "i think we should whisper",
        "could you please tell me the apr for the credit card",
        "change the pin on my bank account first republic to 1234",
        "what number do you get when you roll one six sided die",
        "take $40 from account a and transfer it to account b",
        "i am ready now to cash in on the many credit card points i have saved up",
    ],
)
def test_utterances_in_which_the_librarys_search_sees_a_date_name_no_day(text):
    assert not names_day(fold(text), "en")


@pytest.mark.parametrize(
    "text",
    [
        "bajar el volumen al 90 por ciento",
        "ajuste la temperatura a 30",
        "abre las cortinas al 50 porciento en el dormitorio",
        "¿cuántos grados hace por la mañana?",
    ],
)
def test_numbers_and_mornings_in_spanish_are_no_days(text):
    assert not names_day(fold(text), "es")


@pytest.mark.parametrize(("text", "language"), [("cena mañana", "es"), ("dinner on the 15th", "en")])
def test_a_day_is_seen(text, language):
    assert names_day(fold(text), language)
