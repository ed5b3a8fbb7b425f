"""The driver of the kill test: sends messages to a child process, kills it, and sends again what was not answered."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.durability.lanes import Message, lanes
from tests.durability.places import LEASE_SECONDS, SESSION_SECONDS
from tests.durability.process import PATIENCE, Child

_AT_ONCE: Final = 10  # messages
_THREADS: Final = 4
_AGAIN: Final = 0.05  # how often a message that was answered long ago is sent once more
_EXPIRE: Final = 0.2  # how often so much time has passed since a kill that all sessions have expired
_ENDED: Final = "LifeCycleError"  # the answer of a child that is being closed


@dataclass(frozen=True)
class Plan:
    """What a run is to do. The same plan means the same messages, the same moments of killing, and other timing.

    Attributes:
        url: of the store.
        directory: an empty one, for journals.
        messages, users, kills: how many of them.
        seed: of everything that is left to chance.
    """

    url: str
    directory: Path
    messages: int
    users: int
    kills: int
    seed: int


@dataclass(frozen=True)
class Death:
    """When a child is killed.

    Attributes:
        moment: ``"starting"``: so many seconds after its process was begun; ``"working"``: after so many answers or
            seconds, whichever come first; ``"closing"``: after those it is let end, and killed a little later.
        seconds, answers: how many of them.
        later: the seconds for which a child lives on that is to end, or that has nothing to do any more.
    """

    moment: str
    seconds: float
    answers: int
    later: float


@dataclass
class Run:
    """What has happened, for the checks.

    Attributes:
        sent: all messages of each user, in the order of sending.
        replies: of each message id all that was answered: text and session.
        errors: what was answered in place of a reply, where nothing had to be.
        deaths: how many children were killed at each moment.
        expiries: how often all sessions were let expire.
        resent: how many messages had to be sent again, because their child was dead.
        repeated: how many were sent again though they had been answered.
        left: how many events were not handed over in the end.
        shift: seconds by which the last child's time was ahead.
        log: what the children have written to standard error.
    """

    sent: dict[str, list[Message]]
    replies: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    expiries: int = 0
    resent: int = 0
    repeated: int = 0
    left: int = 0
    shift: float = 0.0
    log: Path = Path()


class Driver:
    """Carries a plan out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = Random(f"{plan.seed} messages")
        self._fate = Random(f"{plan.seed} kills")
        self._lanes = lanes(plan.messages, plan.users, self._random)
        self._under_way: dict[str, str] = {}  # message id -> user
        self._pace = 0.01  # seconds an answer, as it was measured last
        self.run = Run({user: lane.messages for user, lane in self._lanes.items()}, log=plan.directory / "log")

    def drive(self) -> Run:
        """Do it all."""
        for _ in range(self._plan.kills):
            self._live(self._death())
        self._live(None)
        self._settle()
        return self.run

    # One child after another

    def _live(self, death: Death | None) -> None:
        """Let a child work until its death; without one, until all is answered, and then let it end."""
        self._pass_time()
        with self._child() as child:
            if not self._dies_starting(child, death):
                self._work(child, death)
                if death is not None and death.moment == "closing":
                    child.hang_up()
                    self._linger(child, death.later)
                if death is None and child.end() != 0:
                    self.run.errors.append(f"the last child did not end well: {child.errors()}")
            child.kill()
            while self._listen(child, 0.0):  # what it has answered before counts
                pass
        if death is not None:
            self.run.deaths[death.moment] += 1
        self._under_way.clear()
        self.run.resent += sum(lane.lost() for lane in self._lanes.values())

    def _settle(self) -> None:
        """Let the last sessions expire, and everything be handed over."""
        self.run.shift += SESSION_SECONDS + LEASE_SECONDS
        with self._child(quiet=True) as child:
            child.expect("ready")
            self._repeat_all(child)
            child.say(do="settle")
            self.run.left = child.expect("left")
            child.end()

    def _child(self, *, quiet: bool = False) -> Child:
        options = {
            "url": self._plan.url,
            "directory": str(self._plan.directory),
            "shift": self.run.shift,
            "threads": _THREADS,
            "quiet": quiet,
        }
        return Child("child", options, self.run.log)

    def _pass_time(self) -> None:
        """Let time go on for longer than whatever the last child held lives, and now and then than a session."""
        self.run.shift += LEASE_SECONDS * (1 + self._fate.random())
        if self._fate.random() < _EXPIRE:
            self.run.shift += SESSION_SECONDS
            self.run.expiries += 1

    def _death(self) -> Death:
        """Choose when the next child dies, such that the messages last for all of them."""
        left = self._plan.messages - len(self.run.replies)
        share = left / max(1, self._plan.kills - self.run.deaths.total())
        moment = self._fate.choices(("starting", "working", "closing"), (1, 8, 1))[0]
        part, later, by_count = self._fate.random() * 2, self._fate.random() * 0.1, self._fate.random() < 0.5
        if moment == "starting":
            return Death(moment, part * 0.15, 0, later)
        if by_count:
            return Death(moment, PATIENCE, round(part * share), later)
        return Death(moment, part * max(share, 5) * self._pace, round(3 * share) + 1, later)

    @staticmethod
    def _dies_starting(child: Child, death: Death | None) -> bool:
        """Wait until a child is ready; whether it is to die before that."""
        if death is not None and death.moment == "starting":
            child.hear(death.seconds)
            return True
        child.expect("ready")
        return False

    # Messages

    def _work(self, child: Child, death: Death | None) -> None:
        """Send messages and hear answers until the child is to die, or all is answered."""
        begun, answers = time.monotonic(), 0
        while True:
            self._send(child)
            seconds = PATIENCE if death is None else begun + death.seconds - time.monotonic()
            if seconds <= 0 or (death is not None and answers >= death.answers):
                return
            if not self._under_way:
                self._linger(child, 0.0 if death is None else min(seconds, death.later))
                return
            heard = self._listen(child, seconds)
            answers += heard
            if heard:
                self._pace = (time.monotonic() - begun) / answers
            elif death is None or child.process.poll() is not None:
                raise AssertionError(f"the child says nothing any more; it has written: {child.errors()}")

    def _send(self, child: Child) -> None:
        while len(self._under_way) < _AT_ONCE:
            ready = [lane for lane in self._lanes.values() if lane.ready]
            if not ready:
                return
            for message in self._random.choice(ready).send():
                self._say(child, message)
            if self.run.replies and self._random.random() < _AGAIN:
                self._repeat(child, self._random.choice(list(self.run.replies)))

    def _repeat(self, child: Child, message_id: str) -> None:
        if message_id not in self._under_way:
            user, _, text = message_id.partition(".")
            self.run.repeated += 1
            self._say(child, Message(user, text, 0))

    def _repeat_all(self, child: Child) -> None:
        """Send every message once more, some at a time: each has to get its reply again."""
        left = list(self.run.replies)
        while left or self._under_way:
            while left and len(self._under_way) < _AT_ONCE:
                self._repeat(child, left.pop())
            if not self._listen(child, PATIENCE):
                raise AssertionError(f"the child says nothing any more; it has written: {child.errors()}")

    def _say(self, child: Child, message: Message) -> None:
        self._under_way[message.id] = message.user
        child.say(id=message.id, user=message.user, text=message.text)

    def _listen(self, child: Child, seconds: float) -> int:
        """Note what the child has answered; return how many answers that were."""
        answers = [line for line in child.hear(seconds) if "id" in line]
        for line in answers:
            self._note(line)
        return len(answers)

    def _linger(self, child: Child, seconds: float) -> None:
        """Go on listening for so long, or until the child has ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and child.process.poll() is None:
            self._listen(child, left)

    def _note(self, line: dict[str, Any]) -> None:
        user = self._under_way.pop(line["id"])
        if "error" in line:
            if not line["error"].startswith(_ENDED):
                self.run.errors.append(f"{line['id']}: {line['error']}")
            return
        self.run.replies.setdefault(line["id"], []).append((line["text"], line["session"]))
        self._lanes[user].answered(line["id"])
