"""What keeps personal data out of Sentry: hashes in place of user ids, redaction of texts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

__all__ = ["FILTERED", "Redactor", "clean_name", "frame_lines", "moment_of", "text_of", "user_hash"]

FILTERED = "[Filtered]"
"""What stands where something was left out; Sentry's own word for it."""

_DIGEST_SIZE = 8
_NAME_LIMIT = 200  # of a tag's value
_FRAME = re.compile(r'\s*File "(?P<path>[^"\n]+)", line \d+, in [\w.<>]+')


def user_hash(user_id: str, key: str | bytes) -> str:
    """Return the user that Sentry is told for ``user_id`` where the plugin's ``user_id_key`` is ``key``.

    ::

        user_hash("alvaro_123", "0123456789abcdef")  # '8b510e6625264de6'

    It is BLAKE2b with 8 bytes of output, keyed with the UTF-8 form of ``key`` (at most 64 bytes), written as 16
    hexadecimal digits: what ``thea-logging`` logs as ``user.hash`` if it has the same key. Thread-safe.

    Raises:
        ValueError: the key is longer than 64 bytes.
    """
    key = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    return blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE, key=key).hexdigest()


class Redactor:
    """Makes of a text what may be sent of it.

    Args:
        redact: gets the text and returns what may be sent; None leaves it as it is.
    """

    def __init__(self, redact: Callable[[str], object] | None) -> None:
        self._redact = redact

    def __call__(self, text: str) -> str:
        """Return the text as it may be sent: ``"[Filtered]"`` where ``redact`` raised or did not return a string."""
        if self._redact is None:
            return text
        try:
            redacted = self._redact(text)
        except Exception:  # its text may hold what was to be hidden: it is told nowhere
            return FILTERED
        return redacted if isinstance(redacted, str) else FILTERED


def moment_of(value: object) -> datetime | None:
    """Return a time in UTC; None where it is none, or of no time zone."""
    try:
        return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else None
    except KeyboardInterrupt:
        raise
    except BaseException:  # its time zone is somebody's own
        return None


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
    """Return a name (of a state, a session) as it may stand in a tag: one printable line, at most 200 characters."""
    return "".join(c if c.isprintable() else " " for c in text_of(value)[:_NAME_LIMIT])


def frame_lines(traceback: str) -> str:
    """Return the frames of a traceback that is only text, without anything that an exception says.

    A line counts if it has the form of a frame and names a file that is there: a message that was pasted into an
    exception's text does not pass for one. Lines of source are left out, since they cannot be told from text.
    """
    return "\n".join(
        line for line in traceback.splitlines() if (found := _FRAME.fullmatch(line)) and _is_file(found["path"])
    )


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False
