"""How an exception is written into the log: its type, its text, and a traceback that hides what must be hidden."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

from thea_core import RecordedError
from thea_logging.privacy import escape_lines

__all__ = ["error_text", "error_type", "is_plain", "render"]

_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"
_MOST_LINKS = 20
_MOST_MEMBERS = 10


def error_type(error: BaseException) -> str:
    """Return the name of the exception's class, with its module unless that is ``builtins``."""
    if isinstance(error, RecordedError):
        return error.type_name.removeprefix("builtins.")
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_text(error: BaseException) -> str:
    """Return ``str(error)``, or a note where the exception's own ``__str__`` raises."""
    if isinstance(error, RecordedError):
        return error.message
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # whoever wrote the exception wrote its __str__
        return f"<str() of the exception raised {type(broken).__name__}>"


def is_plain(error: BaseException) -> bool:
    """Tell whether Python's own traceback of ``error`` can be printed as it is.

    False where the text of one of its exceptions holds a line break or another character that is not printable, which
    could forge a line of the log or command the terminal. Also False for a ``SyntaxError``, with which Python prints
    the text that it could not parse.
    """
    return not any(
        isinstance(each, SyntaxError) or not error_text(each).isprintable() or not "".join(_notes(each)).isprintable()
        for each in _related(error)
    )


def render(error: BaseException, clean: Callable[[str], str]) -> str:
    """Return a traceback of ``error`` in which all text that came with an exception has passed through ``clean``.

    It has the lines of Python's own: the frames (file, line, function, line of source), the causes and what was being
    handled, the members of exception groups and the notes; each exception's text is one line. At most 20 exceptions of
    a chain and 10 members of a group are shown. No frame holds a value, so ``clean`` sees all that could be personal.
    """
    return "\n".join(_lines(error, clean, depth=3))


def _lines(error: BaseException, clean: Callable[[str], str], *, depth: int) -> Iterator[str]:
    for each, words in reversed(_chain(error)):
        yield from _frames(each)
        yield f"{escape_lines(error_type(each))}: {clean(error_text(each))}"
        yield from (clean(note) for note in _notes(each))
        yield from _member_lines(each, clean, depth=depth)
        if words:
            yield from ("", words, "")


def _frames(error: BaseException) -> Iterator[str]:
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield from (escape_lines(entry.rstrip("\n")) for entry in traceback.format_tb(error.__traceback__))


def _member_lines(error: BaseException, clean: Callable[[str], str], *, depth: int) -> Iterator[str]:
    if not isinstance(error, BaseExceptionGroup):
        return
    members = error.exceptions[:_MOST_MEMBERS] if depth else ()
    for number, member in enumerate(members, 1):
        yield f"  -- exception {number} of {len(error.exceptions)} in the group:"
        for line in _lines(member, clean, depth=depth - 1):
            yield from ("  " + part for part in line.split("\n"))
    if len(members) < len(error.exceptions):
        yield f"  -- and {len(error.exceptions) - len(members)} more"


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """List the exception and what led to it, newest first, each with the words that Python prints below it."""
    links = [(error, "")]
    seen = {id(error)}
    while len(links) < _MOST_LINKS:
        older, words = _previous(links[-1][0])
        if older is None or id(older) in seen:
            break
        seen.add(id(older))
        links.append((older, words))
    return links


def _previous(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, _CAUSE
    return (None, "") if error.__suppress_context__ else (error.__context__, _CONTEXT)


def _related(error: BaseException) -> Iterator[BaseException]:
    """Give every exception that Python might print with ``error``, each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [str(note) for note in notes if isinstance(note, str)] if isinstance(notes, list | tuple) else []
