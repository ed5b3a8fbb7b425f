"""In which line of a TOML text each key and array element stands.

``tomllib`` tells no lines. This reads a text that ``tomllib`` has accepted, so it need not check anything: it only has
to find its way. Where it does not, it stops, and the rest of the keys have no line.
"""

from __future__ import annotations

import re
from contextlib import suppress

from thea_core.config.masking import KeyPath

__all__ = ["locate"]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MULTILINE = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}', re.DOTALL)
_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'')
_SCALAR = re.compile(r"[^,\]}\n#]+")


def locate(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of each key, table header and array element of a TOML text. Never raises."""
    reader = _Reader(text)
    with suppress(_LostError, RecursionError):  # lines are a help; the configuration is read without them
        reader.document()
    return reader.lines


class _LostError(Exception):
    """The text is not what this reader knows."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[KeyPath, int] = {}
        self._counted = (0, 1)  # the position up to which newlines were counted, and the line there

    def document(self) -> None:
        table: KeyPath = ()
        counts: dict[KeyPath, int] = {}
        while self._skip(_BLANK) < len(self.text):
            if self._accept("[["):
                table = self._header(counts, repeated=True)
            elif self._accept("["):
                table = self._header(counts, repeated=False)
            else:
                self._pair(table)

    def _header(self, counts: dict[KeyPath, int], *, repeated: bool) -> KeyPath:
        keys = self._key()
        self._expect("]")
        path: KeyPath = ()
        for key in keys:  # of an array of tables, the last table is meant
            path = (*path, key)
            if path in counts and not (repeated and len(path) == len(keys)):
                path = (*path, counts[path])
            self._note(path)
        if repeated:
            self._expect("]")
            counts[path] = counts.get(path, -1) + 1
            path = (*path, counts[path])
        self._note(path)
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self.position
        path = table + self._key()
        for length in range(len(table) + 1, len(path) + 1):
            self._note(path[:length], start)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> KeyPath:
        keys: list[str] = []
        while not keys or self._accept("."):
            self._skip(_SPACE)
            keys.append(self._simple_key())
            self._skip(_SPACE)
        return tuple(keys)

    def _simple_key(self) -> str:
        bare = _BARE_KEY.match(self.text, self.position)
        if bare:
            self.position = bare.end()
            return bare[0]
        return _unquoted(self._match(_STRING))

    def _value(self, path: KeyPath) -> None:
        if self._accept("["):
            self._array(path)
        elif self._accept("{"):
            self._inline(path)
        elif self.text.startswith(('"""', "'''"), self.position):
            self._match(_MULTILINE)
        elif self.text.startswith(('"', "'"), self.position):
            self._match(_STRING)
        else:
            self._match(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        index = 0
        while self._skip(_BLANK) < len(self.text) and not self._accept("]"):
            self._note((*path, index))
            self._value((*path, index))
            self._skip(_BLANK)
            self._accept(",")
            index += 1

    def _inline(self, path: KeyPath) -> None:
        while self._skip(_BLANK) < len(self.text) and not self._accept("}"):
            self._pair(path)
            self._skip(_BLANK)
            self._accept(",")

    def _note(self, path: KeyPath, position: int | None = None) -> None:
        self.lines.setdefault(path, self._line(self.position if position is None else position))

    def _line(self, position: int) -> int:
        known, line = self._counted
        line += self.text.count("\n", known, position) if position >= known else -self.text.count("\n", position, known)
        self._counted = (position, line)
        return line

    def _skip(self, pattern: re.Pattern[str]) -> int:
        self._match(pattern)
        return self.position

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.position)
        if match is None:
            raise _LostError
        self.position = match.end()
        return match[0]

    def _accept(self, word: str) -> bool:
        found = self.text.startswith(word, self.position)
        if found:
            self.position += len(word)
        return found

    def _expect(self, word: str) -> None:
        self._skip(_SPACE)
        if not self._accept(word):
            raise _LostError


def _unquoted(text: str) -> str:
    import tomllib

    key: str = tomllib.loads(f"key = {text}")["key"]
    return key
