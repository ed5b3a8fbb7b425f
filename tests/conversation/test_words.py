"""How words are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core.conversation.words import fold


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  ¡Olvídalo!  ", "olvidalo"),
        ("CREAR   Evento...", "crear evento"),
        ("never-mind", "never mind"),
        ("straße", "strasse"),
        ("İzmir", "izmir"),
        ("\uff12.", "2"),
        ("¿?", ""),
        ("", ""),
        ("漢字", "漢字"),
    ],
)
def test_case_accents_spaces_and_punctuation_make_no_difference(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(st.text())
def test_upper_case_and_punctuation_around_it_never_matter_for_plain_words(text: str) -> None:
    plain = "".join(each for each in text if each.isascii())
    assert fold(f" ¡{plain.upper()}! ") == fold(plain.lower())
