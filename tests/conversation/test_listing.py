"""Lists that plugins give are read without running any code of theirs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from thea_core.conversation.listing import listed


class Endless(list[int]):
    def __iter__(self) -> Any:
        return itertools.count()


@pytest.mark.parametrize(
    "value", [[1, 2], (1, 2), {1, 2}, frozenset({1, 2}), {1: 0, 2: 0}.keys(), {3: 1, 4: 2}.values()]
)
def test_whatever_holds_its_items_is_read(value: Any) -> None:
    assert listed(value) == [1, 2]


def test_a_list_that_iterates_in_its_own_way_is_read_as_the_list_that_it_is() -> None:
    assert listed(Endless([1, 2])) == [1, 2]


@pytest.mark.parametrize("value", ["ab", b"ab", {"a": 1}, None, 7, itertools.count(), (each for each in [1]), object()])
def test_anything_else_is_no_list(value: Any) -> None:
    assert listed(value) is None
