"""What a driver has still to send: of each user the messages in their order, and of all users some at once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

_PAIRS = 0.15  # how often two messages of one user are sent at once


@dataclass(frozen=True)
class Message:
    """One message; ``group`` tells which were sent one after another: a message waits for those of the group before."""

    user: str
    text: str
    group: int

    @property
    def id(self) -> str:
        return f"{self.user}.{self.text}"


class Lane:
    """The messages of one user. The next group is sent when all of the one before are answered."""

    def __init__(self, user: str, count: int, random: Random) -> None:
        self.messages: list[Message] = []
        while len(self.messages) < count:
            group = self.messages[-1].group + 1 if self.messages else 0
            size = min(2 if random.random() < _PAIRS else 1, count - len(self.messages))
            start = len(self.messages)
            self.messages += [Message(user, str(number), group) for number in range(start, start + size)]
        self._waiting = deque(self.messages)
        self._open: dict[str, Message] = {}

    @property
    def ready(self) -> bool:
        """Whether a group can be sent."""
        return bool(self._waiting) and not self._open

    def send(self) -> list[Message]:
        """Take the next group."""
        group = [self._waiting.popleft()]
        while self._waiting and self._waiting[0].group == group[0].group:
            group.append(self._waiting.popleft())
        self._open = {message.id: message for message in group}
        return group

    def answered(self, message_id: str) -> None:
        """Note that a message need not be sent again."""
        self._open.pop(message_id, None)

    def lost(self) -> int:
        """Take back what was sent and not answered; return how many messages are to be sent again."""
        count = len(self._open)
        self._waiting.extendleft(reversed(self._open.values()))
        self._open = {}
        return count


def lanes(messages: int, users: int, random: Random) -> dict[str, Lane]:
    """Share so many messages among so many users, nearly evenly."""
    shares = [messages // users + (number < messages % users) for number in range(users)]
    return {f"user{number}": Lane(f"user{number}", share, random) for number, share in enumerate(shares)}
