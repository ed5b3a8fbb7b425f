"""Whose message a line is, and by which id a second run knows it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from thea_core.cli.messages.formats import Message

__all__ = ["Names", "name_of_file"]

_LONGEST = 200  # characters: with a line number behind it, it is still a user id
_SHOWN = 32  # hexadecimal digits of a hash: 128 bits


@dataclass(frozen=True, slots=True)
class Names:
    """Gives users and message ids to the messages of one file.

    Attributes:
        file: the file's name; a random one for standard input.
        user: whose messages all are; None leaves each line its own.
        salt: makes all ids anew; empty makes those of the last run.
    """

    file: str
    user: str | None = None
    salt: str = ""

    def makes_user(self, message: Message) -> bool:
        """Return whether the line is a user of its own."""
        return self.user is None and message.user_id is None

    def user_of(self, message: Message, number: int) -> object:
        """Return the user: the one of ``--user``, of the line, or the line itself."""
        if self.user is not None:
            return self.user
        return f"{self.file}:{number}" if message.user_id is None else message.user_id

    def id_of(self, message: Message, number: int) -> object:
        """Return the line's own message id, or one made of the file's name, the line's number and its text."""
        if message.message_id is None:
            return f"run-{_hash(self.salt, self.file, str(number), str(message.text))}"
        if self.salt and isinstance(message.message_id, str):
            return f"run-{_hash(self.salt, message.message_id)}"
        return message.message_id


def name_of_file(path: str) -> str:
    """Return the name of a file, without its folder, fit for a user id."""
    name = os.fsencode(os.path.basename(path)).decode(errors="replace")  # noqa: PTH119 -- the path is bytes to Linux
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 17]}-{_hash(name)[:16]}"


def _hash(*parts: str) -> str:
    text = "\0".join(f"{len(each)}:{each}" for each in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_SHOWN]
