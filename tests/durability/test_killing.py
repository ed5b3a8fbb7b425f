"""The kill test in short: a few kills in place of a hundred, with another seed in each run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.durability.driver import Plan
from tests.durability.killing import command, kill_again_and_again
from tests.durability.places import STORES, place


@pytest.mark.parametrize("store", STORES)
def test_a_process_that_is_killed_again_and_again_loses_nothing_and_does_nothing_twice(
    store: str, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    plan = Plan(place(store, tmp_path), tmp_path, messages=120, users=10, kills=6, seed=seed)
    print(f"to repeat it: {command(store, plan)}")  # noqa: T201 -- shown where the test fails
    result = kill_again_and_again(plan)
    assert result.problems == [], command(store, plan)
