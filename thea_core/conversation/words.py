"""Comparing what people type: case, accents, spaces and punctuation around it make no difference."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["fold"]

_EDGES: Final = re.compile(r"^[\W_]+|[\W_]+$")
_SPACES: Final = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Return ``text`` in the form in which answers and names are compared; empty where nothing is left of it."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in parts if not unicodedata.combining(each))
    return _SPACES.sub(" ", _EDGES.sub("", text)).casefold()
