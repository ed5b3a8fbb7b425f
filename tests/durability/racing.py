"""The race test: several processes with several threads handle messages of the same few users, and none is lost.

Run as ``python -m tests.durability.racing --store postgres --messages 5000``, with ``--stop`` to stop one of the
processes (SIGSTOP) in the middle of turns for longer than its leases live. Prints the command that repeats the run, and
one line of result. Where something does not hold it prints all that does not, and ends with 1.

Leases live for two seconds where a process is stopped, in all processes: a wrapper around the store sees to it.

A process that is stopped in the middle of a write to a SQLite file holds up everybody else who writes to it, until it
goes on. So there the stopped process delivers no events and has one thread only, which is stopped within an agent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.durability.assistant import DURABLE, proof, read_journal
from tests.durability.checks import Line, first_of_each
from tests.durability.places import STORES, opened, place, version
from tests.durability.process import PATIENCE, Child

_LEASE = 2.0


@dataclass(frozen=True)
class Race:
    """What a run is to do.

    Attributes:
        url: of the store.
        directory: an empty one.
        messages: how many in all, at least.
        users, processes, threads: how many of them; so many threads in each process.
        stop: whether the first process is stopped for longer than its leases live.
        seed: of everything that is left to chance.
    """

    url: str
    directory: Path
    messages: int
    seed: int
    stop: bool = False
    users: int = 20
    processes: int = 4
    threads: int = 8


@dataclass
class Course:
    """What was said in a race, by each process.

    Attributes:
        sent: of each thread, of each user the messages in order.
        refused: how many commits were refused, of each process.
        errors: what should not have happened.
        left: how many events were not handed over in the end.
    """

    sent: list[dict[str, list[str]]]
    refused: list[int]
    errors: list[str]
    left: int


class Racers:
    """The processes of a race."""

    def __init__(self, plan: Race, stack: ExitStack) -> None:
        self._plan = plan
        self._children = [stack.enter_context(self._child(number)) for number in range(plan.processes)]
        self._heard: list[list[dict[str, Any]]] = [[] for _ in self._children]

    def run(self) -> Course:
        """Let them race, and return what they say."""
        numbers = range(len(self._children))
        for number in numbers:
            self._hear(number, "ready")
        self._say_all(go=True)
        if self._plan.stop:
            self._stop_first()
        done = [self._hear(number, "done") for number in numbers]
        self._say_all(finish=True)
        left = [self._hear(number, "left") for number in numbers]
        errors = [line["error"] for heard in self._heard for line in heard if "error" in line]
        sent = [thread for each in done for thread in each["sent"]]
        return Course(sent, [each["refused"] for each in done], errors, max(left))

    def _child(self, number: int) -> Child:
        plan, holds = self._plan, self._plan.stop and number == 0
        quiet = holds and plan.url.startswith("sqlite:")
        threads = 1 if quiet else plan.threads
        options = {
            "url": plan.url,
            "directory": str(plan.directory),
            "name": "abcdefgh"[number],
            "threads": threads,
            "messages": -(-plan.messages // (plan.processes * threads)),
            "users": plan.users,
            "seed": plan.seed,
            "lease": _LEASE if plan.stop else None,
            "worker": not quiet,
            "holds": holds,
        }
        return Child("racer", options, plan.directory / "log")

    def _stop_first(self) -> None:
        """Stop the first process while it has a user's lease, until another one has taken that over."""
        first = self._children[0]
        self._hear(0, "holding")
        first.process.send_signal(signal.SIGSTOP)
        expired = time.monotonic() + _LEASE
        try:
            while not self._was_answered(since=expired):
                if time.monotonic() > expired + PATIENCE:
                    raise AssertionError(f"nobody takes over what a stopped process held: {first.errors()}")
        finally:
            first.process.send_signal(signal.SIGCONT)
        first.say(go=True)

    def _was_answered(self, since: float) -> bool:
        """Listen to the others for a while: whether one of them has just answered the user who was held."""
        answered = False
        for number, child in enumerate(self._children[1:], start=1):
            lines = child.hear(0.1)
            self._heard[number] += lines
            answered |= any("answered" in line for line in lines)
        return answered and time.monotonic() > since

    def _say_all(self, **line: object) -> None:
        for child in self._children:
            child.say(**line)

    def _hear(self, number: int, key: str) -> Any:
        """Wait until that process says a line with that key, and return the value."""
        child, until = self._children[number], time.monotonic() + PATIENCE
        while True:
            for line in self._heard[number]:
                if key in line:
                    return line[key]
            lines = child.hear(1.0)
            self._heard[number] += lines
            if not lines and (child.process.poll() is not None or time.monotonic() > until):
                raise AssertionError(f"process {number} does not say {key!r}; it has written: {child.errors()}")


@dataclass(frozen=True)
class Result:
    """What came of a race: what does not hold, how many commits were refused, and the figures of the result line."""

    problems: list[str]
    refused: list[int]
    figures: str


def race(plan: Race) -> Result:
    """Carry a plan out, and check all that has to hold."""
    begun = time.monotonic()
    with ExitStack() as stack:
        course = Racers(plan, stack).run()
    seconds = time.monotonic() - begun
    told = read_journal(plan.directory / DURABLE)
    contexts = _contexts(plan)
    problems = [*course.errors, *check_contexts(course.sent, contexts), *check_told(contexts, told)]
    if course.left:
        problems.append(f"{course.left} events were not handed over in the end")
    count = sum(len(texts) for thread in course.sent for texts in thread.values())
    figures = (
        f"{count} messages of {plan.users} users, {plan.processes} processes of {plan.threads} threads, "
        f"{'one of them stopped, ' if plan.stop else ''}{sum(course.refused)} commits refused, "
        f"{len(told)} durable events with {len(told) - len(first_of_each(told))} repetitions, {seconds:.0f} s"
    )
    return Result(problems, course.refused, figures)


def check_contexts(sent: list[dict[str, list[str]]], contexts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Every message was applied exactly once, and those of one thread in the order in which it sent them."""
    for user, context in contexts.items():
        seen = context.get("seen", [])
        of_threads = [thread.get(user, []) for thread in sent]
        if sorted(seen) != sorted(text for texts in of_threads for text in texts) or context.get("count") != len(seen):
            yield f"{user}: {context.get('count')} messages {seen} were applied of {of_threads}"
        if {key: context.get(key) for key in ("digest", "padding")} != proof(seen):
            yield f"{user}: the context does not fit itself: {dict(context)}"
        for texts in of_threads:
            if [text for text in seen if text in texts] != texts:
                yield f"{user}: the messages {texts} of one thread were applied in the order {seen}"


def check_told(contexts: Mapping[str, Mapping[str, Any]], told: Iterable[Line]) -> Iterator[str]:
    """Every message was told, in the order of the commits when it was told first."""
    first = defaultdict(list)
    for line in first_of_each(told):
        first[line["user"]].append(line["what"])
    for user in {*first, *contexts}:
        if first[user] != contexts.get(user, {}).get("seen", []):
            yield f"{user}: {first[user]} were told of {contexts.get(user, {}).get('seen')}"


def _contexts(plan: Race) -> dict[str, dict[str, Any]]:
    with opened(plan.url) as store:
        texts = {f"user{number}": store.load(f"user{number}") for number in range(plan.users)}
    return {user: json.loads(text or "{}") for user, text in texts.items()}


def command(store: str, plan: Race) -> str:
    """Return what repeats a run."""
    stop = " --stop" if plan.stop else ""
    return f"python -m tests.durability.racing --store {store} --messages {plan.messages} --seed {plan.seed}{stop}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Let several processes handle messages of the same users.")
    parser.add_argument("--store", choices=STORES, required=True)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--stop", action="store_true", help="stop one process for longer than its leases live")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    return parser.parse_args()


def main() -> int:
    """Run it, and return the status to exit with."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="racing-") as name:
        plan = Race(place(asked.store, Path(name)), Path(name), asked.messages, asked.seed, asked.stop)
        sys.stdout.write(f"{command(asked.store, plan)}\n")
        sys.stdout.flush()
        result = race(plan)
        verdict = f"{len(result.problems)} things do not hold" if result.problems else "everything holds"
        machine = f"Python {platform.python_version()}, {version(plan.url)}, {os.cpu_count()} cores"
        sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%d}, {machine}: {result.figures}, seed {plan.seed}: {verdict}\n")
        for problem in result.problems:
            sys.stdout.write(f"- {problem}\n")
        return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
