"""What is kept of an event that must tell nothing about a person.

User ids become keyed hashes, of texts only the length is kept, and of an exception its class and its frames. The texts
of exceptions count as texts: they often repeat what a user wrote. The plugin ``logging``, which the core cannot import,
makes the same hashes, and the same tracebacks where texts are redacted.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

from thea_core.callbacks.event_json import NotKept, TextLength
from thea_core.callbacks.hooks import EXTRAS
from thea_core.errors import RecordedError, error_text

__all__ = ["Redaction", "render", "user_hash"]

_DIGEST_SIZE = 8
_HARMLESS: Mapping[str, frozenset[str]] = {
    "on_state_change": frozenset({"old_state", "new_state"}),
    "on_intent_detected": frozenset({"intent", "score"}),
    "on_agent_delegated": frozenset({"agent", "intent"}),
    "on_plugin_health": frozenset({"plugin", "hook", "state"}),
}
"""The arguments of Thea's own events that are names of the application, no texts of a user's."""

_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"
_MOST_LINKS = 20
_MOST_MEMBERS = 10


def user_hash(user_id: str, key: bytes) -> str:
    """Return what stands for a user id: BLAKE2b with 8 bytes of output, keyed, as 16 hexadecimal digits.

    With one key it is the ``user.hash`` that the plugin ``logging`` writes.

    Args:
        user_id: the id.
        key: 1 to 64 bytes; without it a hash cannot be turned back by trying ids.
    """
    return blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE, key=key).hexdigest()


class Redaction:
    """Takes out of the arguments of events what is not to be kept. Thread-safe.

    Args:
        key: the key of the hashes of user ids.
        messages: whether texts are kept: those of messages and errors, and all arguments of hooks that are not Thea's.
        user_ids: whether user ids are kept as they are.
        secrets: takes the secrets of the configuration out of the text of an error; None where there are none. It must
            not raise.
    """

    def __init__(
        self,
        *,
        key: bytes,
        messages: bool = False,
        user_ids: bool = False,
        secrets: Callable[[str], str] | None = None,
    ) -> None:
        self._key = key
        self._messages = messages
        self._user_ids = user_ids
        self._secrets = secrets or str

    def __call__(self, hook: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as they may be kept; exceptions as :class:`RecordedError`."""
        kept = {name: self._kept(hook, name, value) for name, value in arguments.items()}
        trace = kept.get("traceback")
        if hook == "on_error" and type(kept.get("error")) is RecordedError:
            kept["traceback"] = self._secrets(trace) if type(trace) is str else kept["error"].traceback
        return kept

    def _kept(self, hook: str, name: str, value: Any) -> Any:
        if name == "user_id":
            return value if self._user_ids else self._hashed(value)
        kind = type(value)
        if issubclass(kind, BaseException):
            return self._error(value)
        if self._messages or name in EXTRAS or name in _HARMLESS.get(hook, ()):
            return value
        if issubclass(kind, str):
            return TextLength(str.__len__(value))
        return value if value is None or issubclass(kind, int | float | datetime) else NotKept(_class_name(kind))

    def _hashed(self, user_id: Any) -> Any:
        # The text of another object is not asked for: its __str__ may do anything.
        kind = type(user_id)
        return user_hash(str(user_id), self._key) if kind in (str, int) else NotKept(_class_name(kind))

    def _error(self, error: BaseException) -> RecordedError:
        try:
            kept = _written_down(error) if self._messages else _without_texts(error)
            return RecordedError(kept.type_name, self._secrets(kept.message), self._secrets(kept.traceback))
        except KeyboardInterrupt:
            raise
        except BaseException as broken:  # a class of somebody's, whose attributes may do anything
            return RecordedError("?", f"<writing the exception down raised {_class_name(type(broken))}>")


def _written_down(error: Any) -> RecordedError:
    return error if issubclass(type(error), RecordedError) else RecordedError.of(error)


def _without_texts(error: Any) -> RecordedError:
    kind = type(error)
    if issubclass(kind, RecordedError):  # in a traceback that is only text, nobody knows which lines are the message's
        return RecordedError(error.type_name, _left_out(error.message))
    name = f"{kind.__module__}.{kind.__qualname__}"
    return RecordedError(name, _left_out(error_text(error)), render(error, _left_out) + "\n")


def _class_name(kind: type) -> str:
    return str(vars(type)["__name__"].__get__(kind))  # kind.__name__ would ask its metaclass, which may be anybody's


def _left_out(text: str) -> str:
    return f"<{len(text)} characters left out>" if text else ""


def render(error: BaseException, clean: Callable[[str], str]) -> str:
    """Return a traceback of ``error`` in which every text of an exception has passed through ``clean``.

    It has the lines of Python's own: frames, causes, what was being handled, members of groups, notes. At most 20
    exceptions of a chain and 10 members of a group are shown.

    Raises:
        BaseException: what the attributes of a foreign class raise.
    """
    return "\n".join(_lines(error, clean, depth=3))


def _lines(error: BaseException, clean: Callable[[str], str], *, depth: int) -> Iterator[str]:
    for each, words in reversed(_chain(error)):
        if each.__traceback__ is not None:
            yield "Traceback (most recent call last):"
            yield from (entry.rstrip("\n") for entry in traceback.format_tb(each.__traceback__))
        name, text = _told(each)
        yield f"{name}: {clean(text)}"
        yield from (clean(note) for note in getattr(each, "__notes__", ()) if type(note) is str)
        if isinstance(each, BaseExceptionGroup):
            yield from _members(each, clean, depth=depth)
        if words:
            yield from ("", words, "")


def _members(group: BaseExceptionGroup[Any], clean: Callable[[str], str], *, depth: int) -> Iterator[str]:
    shown = group.exceptions[:_MOST_MEMBERS] if depth else ()
    for number, member in enumerate(shown, 1):
        yield f"  -- exception {number} of {len(group.exceptions)} in the group:"
        for line in _lines(member, clean, depth=depth - 1):
            yield from ("  " + part for part in line.split("\n"))
    if len(shown) < len(group.exceptions):
        yield f"  -- and {len(group.exceptions) - len(shown)} more"


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """List the exception and what led to it, newest first, each with the words that Python prints below it."""
    links = [(error, "")]
    while len(links) < _MOST_LINKS:
        newest = links[-1][0]
        older, words = newest.__cause__, _CAUSE
        if older is None and not newest.__suppress_context__:
            older, words = newest.__context__, _CONTEXT
        if older is None or any(older is each for each, _ in links):
            break
        links.append((older, words))
    return links


def _told(error: BaseException) -> tuple[str, str]:
    """Return the name of the class and the text of an exception, as a traceback shows them."""
    if isinstance(error, RecordedError):
        return error.type_name.removeprefix("builtins."), error.message
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name, error_text(error)
