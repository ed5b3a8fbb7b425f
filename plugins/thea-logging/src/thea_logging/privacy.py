"""What keeps personal data and forged lines out of the log: hashing, redaction, escaping."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

__all__ = ["Cleaner", "Pseudonyms", "clean_name", "escape", "escape_lines", "text_of", "truncate", "user_hash"]

_DIGEST_SIZE = 8
_REMEMBERED = 128
_CUT = "…"
_NAME_LIMIT = 256


def user_hash(user_id: str, key: str) -> str:
    """Return what ``user.hash`` holds for ``user_id`` where the plugin's ``user_id_key`` is ``key``.

    ::

        user_hash("alvaro_123", "0123456789abcdef")  # '8b510e6625264de6'

    Use it to find one user's records. It is BLAKE2b with 8 bytes of output, keyed with the UTF-8 form of ``key``
    (at most 64 bytes), written as 16 hexadecimal digits. Thread-safe.

    Raises:
        ValueError: the key is longer than 64 bytes.
    """
    return Pseudonyms(key.encode()).digest(user_id).hex()


class Pseudonyms:
    """Turns user ids into keyed hashes. Without the key a hash cannot be turned back by trying out ids. Thread-safe.

    Args:
        key: 1 to 64 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(digest_size=_DIGEST_SIZE, key=key)
        self._remembered = lru_cache(_REMEMBERED)(self._hashed)  # a turn has half a dozen records of one user

    def digest(self, user_id: str) -> bytes:
        """Return the 8 bytes that stand for ``user_id``."""
        return self._remembered(text_of(user_id))  # whatever a caller of trigger gives for an id, it gets a hash

    def _hashed(self, user_id: str) -> bytes:
        state = self._keyed.copy()  # half the work of keying it anew
        state.update(user_id.encode("utf-8", "surrogatepass"))
        return state.digest()


class Cleaner:
    """Makes a text fit for the log: redact, then truncate, then escape.

    In this order, since a redactor must see the whole text (half of a card number is no card number to it), and since
    an escape that is cut in two could not be read.

    Args:
        redact: gets the text and returns what may be logged of it; None leaves it as it is.
        limit: the most characters to keep, counted before escaping; None keeps all.
    """

    def __init__(self, redact: Callable[[str], str] | None, limit: int | None) -> None:
        self._redact = redact
        self._limit = limit

    def __call__(self, text: str) -> str | None:
        """Return the text as it may be logged; None where ``redact`` raised or did not return a string."""
        if self._redact is not None:
            try:
                text = self._redact(text)
            except Exception:  # its text may hold what was to be hidden: it is not logged either
                return None
            if not isinstance(text, str):
                return None
        return escape(text if self._limit is None else truncate(text, self._limit))


def truncate(text: str, limit: int) -> str:
    """Return at most ``limit`` characters; the last one is an ellipsis where something was cut off."""
    return text if len(text) <= limit else text[: limit - 1] + _CUT


def escape(text: str) -> str:
    r"""Write each character that is not printable as an escape, so that the text stays on one line.

    ::

        escape("hi\nERROR root: forged")  # 'hi\\nERROR root: forged'

    Control characters (C0 and C1), line and paragraph separators, terminal sequences, characters that change the
    direction of writing, and lone surrogates are written as ``\n``, ``\x1b``, ``\u2028``; all others stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def escape_lines(text: str) -> str:
    r"""Escape each line of ``text``, and keep the ``\n`` between them: for tracebacks."""
    return "\n".join(map(escape, text.split("\n")))


def text_of(value: object) -> str:
    """Return a value as a plain string: a text as it is, anything else as ``str`` tells it, or a note where that fails.

    Raises nothing but KeyboardInterrupt: whoever triggers an event may give anything.
    """
    if type(value) is str:
        return value
    try:
        return str.__str__(str(value))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a SystemExit too
        return f"<str() of a {type(value).__name__} raised {type(broken).__name__}>"


def clean_name(value: object) -> str:
    """Return a name (of a state, an intent, an agent, a session) as it may be logged, at most 256 characters."""
    text = text_of(value)
    if len(text) <= _NAME_LIMIT and text.isprintable():  # as nearly every name is
        return text
    return escape(truncate(text, _NAME_LIMIT))
