"""The JSON form of an event: what is written of it into a file or a store, and how it is made again.

::

    encode("on_state_change", {"user_id": "ana", "old_state": "idle", "new_state": "processing", "timestamp": now})

gives ``{"version": 1, "hook": "on_state_change", "arguments": {...}}``. Among the arguments stand ``event_id``,
``session_id`` and ``timestamp`` where they were given. What JSON holds stays as it is; all else is an object with one
key:

- ``$datetime``: ISO 8601 with microseconds, in UTC; without an offset where the datetime had none
- ``$error``: an exception, as :meth:`RecordedError.to_json` writes it down
- ``$float``: ``"nan"``, ``"inf"`` or ``"-inf"``; ``$int``: a number of more than 64 bits, in hexadecimal digits
- ``$tuple``: its items
- ``$object``: the keys and values of a dict whose keys would not come back, such as one that is written like these
- ``$text``: the parts of a text that holds two surrogates which JSON would take for one character
- ``$text_length``: a text was left out, and had so many characters
- ``$not_kept``: something was left out, for no JSON stands for it; the name of its type

Written with :func:`json.dumps` in ASCII (its default), every ``str`` comes back, lone surrogates too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from thea_core.errors import RecordedError

__all__ = ["Event", "NotKept", "TextLength", "decode", "encode", "text_writer"]

VERSION: Final = 1

_MAX_DEPTH = 100
_MAX_VALUES = 100_000
_MAX_TEXT_LENGTH = 2**24
_MAX_NAME = 200
_INTEGERS = range(-(2**63), 2**64)
_text_of = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_JOINED = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")


class Event(NamedTuple):
    """An event that was read.

    Attributes:
        hook: the hook's name.
        arguments: its arguments, ready for ``trigger(hook, **arguments)``.
        left_out: how many values among them only stand for what was left out.
    """

    hook: str
    arguments: dict[str, Any]
    left_out: int


@dataclass(frozen=True, slots=True)
class NotKept:
    """Stands for a value of which no JSON was to be had.

    Attributes:
        what: the name of its type.
    """

    what: str


@dataclass(frozen=True, slots=True)
class TextLength:
    """Stands, in what is written, for a text of which only the length is kept; it is read as so many ``x``.

    Attributes:
        length: how many characters.
    """

    length: int


def encode(hook: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return the JSON form of an event.

    Whatever the arguments hold, no code of a foreign object runs outside a guard, and the result is at most 100 deep
    and of 100,000 values; what is beyond that is not kept. A subclass of a plain type is written as that type.
    """
    form = _Writer().value(dict(arguments), 0)
    return {"version": VERSION, "hook": hook, "arguments": form}


def text_writer(hook: str, names: Sequence[str]) -> Callable[[Sequence[Any]], str]:
    """Return a function that writes events of one hook as ASCII text: its JSON form, in a third of the time.

    It takes the values of the arguments, in the order of ``names``. Thread-safe; raises nothing that comes from them.
    """
    form = ",".join(f"{_text_of(name)}:%s" for name in names)
    template = f'{{"version":{VERSION},"hook":{_text_of(hook)},"arguments":{{{form}}}}}'

    def write(values: Sequence[Any]) -> str:
        texts: list[str] = []
        writer: _Writer | None = None
        for value in values:
            kind = type(value)
            if kind is str and (value.isascii() or not _JOINED.search(value)):
                texts.append(_text_of(value))
            elif kind is datetime and value.tzinfo is UTC:
                texts.append(f'{{"$datetime":"{value.isoformat(timespec="microseconds")}"}}')
            else:
                writer = writer or _Writer()
                texts.append(_text_of(writer.value(value, 1)))
        return template % tuple(texts)

    return write


def decode(form: object) -> Event:
    """Make an event of its JSON form; an exception comes back as :class:`RecordedError`.

    Raises:
        ValueError: it is not the form of an event; the text says what is wrong.
    """
    if not isinstance(form, dict):
        raise ValueError(f"an event is a JSON object, not {type(form).__name__}")  # noqa: TRY004 -- wrong data, no bug
    if form.get("version") != VERSION:
        raise ValueError(
            f"the event has the version {form.get('version')!r}, and this version of Thea reads {VERSION}: "
            "it is no event, or another version of Thea has written it"
        )
    hook = form.get("hook")
    if not isinstance(hook, str):
        raise ValueError(f"the event names no hook: {hook!r}")  # noqa: TRY004 -- the same
    reader = _Reader()
    try:
        arguments = reader.value(form.get("arguments"))
    except RecursionError:
        raise ValueError("the arguments are nested too deep") from None
    if not isinstance(arguments, dict):
        raise ValueError("the event has no arguments")  # noqa: TRY004 -- the same
    return Event(hook, arguments, reader.left_out)


class _Writer:
    """Writes the values of one event, until there are too many."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def value(self, value: object, depth: int) -> Any:
        """Return the JSON form of a value that stands ``depth`` deep."""
        self._left -= 1
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        write = next((write for base, write in _WRITERS if issubclass(kind, base)), None)
        if write is None or depth > _MAX_DEPTH:
            return _not_kept(value)
        return write(self, value, depth)

    def values(self, values: Sequence[Any], depth: int) -> list[Any] | None:
        """Return the JSON forms of what a container holds; None where that is too much."""
        if len(values) > self._left:
            return None
        return [self.value(each, depth + 1) for each in values]


def _write_text(_: _Writer, value: str, __: int = 0) -> Any:
    text = str.__str__(value)
    return {"$text": _JOINED.split(text)} if _changes(text) else text


def _write_integer(_: _Writer, value: int, __: int) -> Any:
    number = int.__int__(value)
    return number if number in _INTEGERS else {"$int": f"{number:x}"}


def _write_float(_: _Writer, value: float, __: int) -> Any:
    number = float.__float__(value)
    return number if math.isfinite(number) else {"$float": str(number)}


def _write_datetime(_: _Writer, value: datetime, __: int) -> Any:
    try:
        aware = datetime.utcoffset(value) is not None
        moment = datetime.astimezone(value, UTC) if aware else datetime.replace(value, tzinfo=None)
        return {"$datetime": datetime.isoformat(moment, timespec="microseconds")}
    except KeyboardInterrupt:
        raise
    except BaseException:  # its time zone may be anybody's
        return _not_kept(value)


def _write_error(writer: _Writer, value: BaseException, _: int) -> Any:
    try:
        recorded: Any = value if issubclass(type(value), RecordedError) else RecordedError.of(value)
        return {"$error": {name: _write_text(writer, text) for name, text in recorded.to_json().items()}}
    except KeyboardInterrupt:
        raise
    except BaseException:  # its class may be anybody's
        return _not_kept(value)


def _write_list(writer: _Writer, value: list[Any], depth: int) -> Any:
    written = writer.values(list.copy(value), depth)
    return _not_kept(value) if written is None else written


def _write_tuple(writer: _Writer, value: tuple[Any, ...], depth: int) -> Any:
    written = writer.values(tuple(tuple.__iter__(value)), depth)
    return _not_kept(value) if written is None else {"$tuple": written}


def _write_dict(writer: _Writer, value: dict[Any, Any], depth: int) -> Any:
    items = list(dict.items(value))
    written = writer.values([each for _, each in items], depth)
    if written is None or not all(issubclass(type(key), str) for key, _ in items):
        return _not_kept(value)
    keys = [str.__str__(key) for key, _ in items]
    if any(map(_changes, keys)) or (len(keys) == 1 and keys[0].startswith("$")):
        return {"$object": [[_write_text(writer, key), each] for key, each in zip(keys, written, strict=True)]}
    return dict(zip(keys, written, strict=True))


def _write_length(_: _Writer, value: TextLength, __: int) -> Any:
    return {"$text_length": value.length}


def _write_nothing(_: _Writer, value: NotKept, __: int) -> Any:
    return {"$not_kept": value.what}


_WRITERS: tuple[tuple[type, Callable[[_Writer, Any, int], Any]], ...] = (
    (str, _write_text),
    (int, _write_integer),
    (float, _write_float),
    (datetime, _write_datetime),
    (BaseException, _write_error),
    (dict, _write_dict),
    (list, _write_list),
    (tuple, _write_tuple),
    (TextLength, _write_length),
    (NotKept, _write_nothing),
)
"""By the type itself: ``isinstance`` would ask a foreign object for its ``__class__``."""


class _Reader:
    """Reads the values of one event.

    Attributes:
        left_out: how many stand for what was left out.
    """

    def __init__(self) -> None:
        self.left_out = 0

    def value(self, form: Any) -> Any:
        """Return the value of a JSON form."""
        if isinstance(form, list):
            return [self.value(each) for each in form]
        if not isinstance(form, dict):
            return form
        mark = next(iter(form)) if len(form) == 1 else ""
        return self._marked(mark, form[mark]) if mark.startswith("$") else {k: self.value(v) for k, v in form.items()}

    def _marked(self, mark: str, form: Any) -> Any:
        read = _READERS.get(mark)
        if read is None:
            raise ValueError(f"{mark!r} is no kind of value; they are: {', '.join(_READERS)}")
        try:
            return read(self, form)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"what stands under {mark!r} does not fit: {error}") from None


def _read_datetime(_: _Reader, form: str) -> datetime:
    found = datetime.fromisoformat(form)
    return found if found.tzinfo is None else found.astimezone(UTC)


def _read_error(reader: _Reader, form: Mapping[str, Any]) -> RecordedError:
    texts = {name: reader.value(form[name]) for name in ("type_name", "message", "traceback")}
    if not all(isinstance(each, str) for each in texts.values()):
        raise TypeError(f"{', '.join(texts)} are texts")
    return RecordedError.from_json(texts)


def _read_float(_: _Reader, form: str) -> float:
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[form]


def _read_integer(_: _Reader, form: str) -> int:
    return int(form, 16)


def _read_tuple(reader: _Reader, form: list[Any]) -> tuple[Any, ...]:
    return tuple(reader.value(_list(form)))


def _read_object(reader: _Reader, form: list[Any]) -> dict[str, Any]:
    pairs = [(reader.value(key), reader.value(each)) for key, each in _list(form)]
    if not all(isinstance(key, str) for key, _ in pairs):
        raise TypeError("its keys are texts")
    return dict(pairs)


def _read_text(_: _Reader, form: list[str]) -> str:
    return "".join(_list(form))


def _read_length(reader: _Reader, form: int) -> str:
    if type(form) is not int or not 0 <= form <= _MAX_TEXT_LENGTH:
        raise ValueError(f"it is a whole number from 0 to {_MAX_TEXT_LENGTH}")
    reader.left_out += 1
    return "x" * form


def _read_nothing(reader: _Reader, form: str) -> NotKept:
    reader.left_out += 1
    return NotKept(str(form))


_READERS: Mapping[str, Callable[[_Reader, Any], Any]] = {
    "$datetime": _read_datetime,
    "$error": _read_error,
    "$float": _read_float,
    "$int": _read_integer,
    "$tuple": _read_tuple,
    "$object": _read_object,
    "$text": _read_text,
    "$text_length": _read_length,
    "$not_kept": _read_nothing,
}


def _changes(text: str) -> bool:
    """Whether JSON in ASCII would give back another text: a high surrogate and a low one become one character."""
    return not text.isascii() and _JOINED.search(text) is not None


def _list(form: Any) -> list[Any]:
    if not isinstance(form, list):
        raise TypeError("it is a list")
    return form


def _not_kept(value: object) -> dict[str, str]:
    kind = type(value)
    try:
        name = str.__str__(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
    except KeyboardInterrupt:
        raise
    except BaseException:  # its class may be anybody's
        name = "?"
    return {"$not_kept": name[:_MAX_NAME]}
