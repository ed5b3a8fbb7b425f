"""The assistant's own texts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversation.parts import Driver, World
from thea_core.conversation.texts import LANGUAGES, TEXT_NAMES, Texts


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_text_is_there_in_every_language(language: str) -> None:
    texts = Texts(language)
    assert all(texts[name].strip() for name in TEXT_NAMES)


def test_the_languages_are_english_and_spanish() -> None:
    assert {"en", "es"} == LANGUAGES


def test_the_languages_differ() -> None:
    assert all(Texts("en")[name] != Texts("es")[name] for name in TEXT_NAMES)


def test_a_text_can_be_replaced() -> None:
    texts = Texts("es", {"apology": "¡Uy!"})
    assert (texts["apology"], texts["fallback"]) == ("¡Uy!", Texts("es")["fallback"])


@pytest.mark.parametrize(
    ("language", "overrides", "words"),
    [
        ("fr", {}, "no texts in the language 'fr'.* valid are en, es"),
        ("en", {"apologie": "x"}, r"no text named 'apologie' \(did you mean apology\?\)"),
        ("en", {"apology": 3}, "the text 'apology' must be a str, not 3"),
    ],
)
def test_what_is_wrong_is_told(language: str, overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Texts(language, overrides)


def test_the_router_speaks_its_language(driver: Driver) -> None:
    world = World(language="es", texts={"fallback": "Ni idea."})
    assert driver.handle(world.router, "ana", "hola").text == "Ni idea."
    assert driver.handle(world.router, "ana", "olvídalo").text == Texts("es")["cancelled"]
