"""What is typed into ``thea chat``: line by line, with a history of lines on a terminal."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

__all__ = ["lines_of"]

_PROMPT = "you> "
_LONGEST = 16 * 2**20  # bytes; longer than any message may be


def lines_of(refuse: Callable[[str], None]) -> Iterator[str]:
    """Give the lines of standard input; on a terminal after a prompt, until Ctrl-D or Ctrl-C.

    Args:
        refuse: gets the reason where a line is no text; the lines after it follow.
    """
    if sys.stdin.isatty():
        return _typed()
    return _piped(refuse)


def _typed() -> Iterator[str]:
    with suppress(ImportError):  # then the lines are just read: not every Python has it
        importlib.import_module("readline")
    while True:
        try:
            line = input(_PROMPT)
        except (EOFError, KeyboardInterrupt):  # only of the wait for a line: what stops its answer is another matter
            return
        yield line


def _piped(refuse: Callable[[str], None]) -> Iterator[str]:
    from thea_core.cli.messages.lines import read_lines

    for line in read_lines(sys.stdin.buffer, _LONGEST):
        if line.refused is None:
            yield line.text
        else:
            refuse(f"line {line.number}: {line.refused}")
