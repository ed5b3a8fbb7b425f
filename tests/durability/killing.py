"""The kill test: a process is killed again and again, and nothing that it acknowledged is gone or done twice.

Run as ``python -m tests.durability.killing --store sqlite --messages 2000 --users 50 --kills 100 --seed 123``. Prints
the command that repeats the run, and one line of result. Where something does not hold it prints all that does not, and
ends with 1.

The memory store is left out: with its process everything is gone.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.durability.assistant import DURABLE, INLINE, read_journal
from tests.durability.checks import Outcome, check, first_of_each
from tests.durability.driver import Driver, Plan, Run
from tests.durability.places import STORES, application, place, version


@dataclass(frozen=True)
class Result:
    """What came of a run: what does not hold, and the figures of the result line."""

    problems: list[str]
    figures: str


def kill_again_and_again(plan: Plan) -> Result:
    """Carry a plan out, and check all that has to hold."""
    begun = time.monotonic()
    run = Driver(plan).drive()
    seconds = time.monotonic() - begun
    outcome = Outcome(
        run.sent,
        run.replies,
        _contexts(plan, run),
        durable=read_journal(plan.directory / DURABLE),
        inline=read_journal(plan.directory / INLINE),
        expiries=run.expiries,
    )
    problems = [*run.errors, *check(outcome)]
    if run.left:
        problems.append(f"{run.left} events were not handed over in the end")
    return Result(problems, f"{_figures(plan, run, outcome)}, {seconds:.0f} s")


def _figures(plan: Plan, run: Run, outcome: Outcome) -> str:
    kills = ", ".join(f"{count} {moment}" for moment, count in sorted(run.deaths.items()))
    events, ends = (len(first_of_each(lines)) for lines in (outcome.durable, outcome.inline))
    return (
        f"{plan.messages} messages of {plan.users} users, {run.deaths.total()} kills ({kills}), "
        f"{run.resent} messages re-sent unanswered and {run.repeated} answered, "
        f"{events} durable events and {len(outcome.durable) - events} repetitions, "
        f"{ends} sessions ended and {len(outcome.inline) - ends} repetitions inline"
    )


def _contexts(plan: Plan, run: Run) -> dict[str, dict[str, object]]:
    with application(plan.url, [], shift=run.shift) as app:
        return {user: app.contexts.load(user) for user in run.sent}


def command(store: str, plan: Plan) -> str:
    """Return what repeats a run."""
    return (
        f"python -m tests.durability.killing --store {store} --messages {plan.messages} --users {plan.users} "
        f"--kills {plan.kills} --seed {plan.seed}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill a process again and again, and see what is lost.")
    parser.add_argument("--store", choices=STORES, required=True)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    return parser.parse_args()


def main() -> int:
    """Run it, and return the status to exit with."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="killing-") as name:
        plan = Plan(place(asked.store, Path(name)), Path(name), asked.messages, asked.users, asked.kills, asked.seed)
        sys.stdout.write(f"{command(asked.store, plan)}\n")
        sys.stdout.flush()
        result = kill_again_and_again(plan)
        verdict = f"{len(result.problems)} things do not hold" if result.problems else "everything holds"
        machine = f"Python {platform.python_version()}, {version(plan.url)}, {os.cpu_count()} cores"
        sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%d}, {machine}: {result.figures}, seed {plan.seed}: {verdict}\n")
        for problem in result.problems:
            sys.stdout.write(f"- {problem}\n")
        return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
