"""What the assistant itself says: shipped in English and Spanish, each text replaceable by the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["LANGUAGES", "TEXT_NAMES", "Texts"]

_ENGLISH: Final[Mapping[str, str]] = {
    "apology": "Sorry, something went wrong. Please try again.",
    "cancel_label": "Cancel",
    "cancelled": "All right, never mind. What can I do for you?",
    "fallback": "Sorry, I cannot help with that yet.",
    "none_of_these": "None of these",
    "not_understood": "Sorry, I did not understand that. Please answer with one of the numbers:",
    "question": "Which one do you mean?",
    "refusal": "Sorry, I cannot do that now.",
}
_SPANISH: Final[Mapping[str, str]] = {
    "apology": "Lo siento, algo ha salido mal. Inténtalo de nuevo, por favor.",
    "cancel_label": "Cancelar",
    "cancelled": "De acuerdo, lo dejamos. ¿En qué puedo ayudarte?",
    "fallback": "Lo siento, todavía no puedo ayudarte con eso.",
    "none_of_these": "Ninguna de estas",
    "not_understood": "Perdona, no te he entendido. Responde con uno de los números, por favor:",
    "question": "¿A cuál te refieres?",
    "refusal": "Lo siento, ahora no puedo hacer eso.",
}
_SHIPPED: Final[Mapping[str, Mapping[str, str]]] = {"en": _ENGLISH, "es": _SPANISH}

LANGUAGES: Final[frozenset[str]] = frozenset(_SHIPPED)
"""The languages in which the texts are shipped."""

TEXT_NAMES: Final[frozenset[str]] = frozenset(_ENGLISH)
"""The names of the texts, as ``[conversation.texts]`` takes them."""


class Texts:
    """The texts in one language: ``Texts("es")["apology"]``. Immutable, so thread-safe.

    Args:
        language: one of :data:`LANGUAGES`.
        overrides: texts by name, in place of the shipped ones.

    Raises:
        ValueError: the language or a name is unknown, or a text is no ``str``.
    """

    __slots__ = ("_texts", "language")

    def __init__(self, language: str = "en", overrides: Mapping[str, str] | None = None) -> None:
        if language not in LANGUAGES:
            raise ValueError(
                f"there are no texts in the language {language!r}{_suggestion(language, LANGUAGES)}; "
                f"valid are {', '.join(sorted(LANGUAGES))}"
            )
        own = dict(overrides or {})
        for name, text in own.items():
            _check(name, text)
        self.language = language
        self._texts = {**_SHIPPED[language], **own}

    def __getitem__(self, name: str) -> str:
        return self._texts[name]


def shipped(name: str) -> list[str]:
    """Return a text in every language in which it is shipped."""
    return [texts[name] for texts in _SHIPPED.values()]


def _suggestion(name: object, known: frozenset[str]) -> str:
    from thea_core.callbacks.hooks import suggestion  # here, since the configuration needs only the names

    return suggestion(name, known)


def _check(name: object, text: object) -> None:
    if name not in TEXT_NAMES:
        raise ValueError(
            f"there is no text named {name!r}{_suggestion(name, TEXT_NAMES)}; "
            f"the names are {', '.join(sorted(TEXT_NAMES))}"
        )
    if not isinstance(text, str):
        raise ValueError(f"the text {name!r} must be a str, not {text!r}")  # noqa: TRY004 -- one error for bad values
