from __future__ import annotations

import inspect
import json
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core import ContextError
from thea_core.fsm.context import MAX_DEPTH, copy_context, is_flat

TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)
CONTEXTS = st.dictionaries(TEXT, VALUES, max_size=6).map(lambda more: {**more, "user_id": "ana", "state": "idle"})


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("must not be called")

    __str__ = __hash__ = __eq__ = __repr__  # type: ignore[assignment]


class HostileKey(Hostile):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


def with_value(value: object) -> dict[str, Any]:
    return {"user_id": "ana", "state": "idle", "deep": [1, {"place": value}]}


def nested(depth: int, kind: type = dict) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"in": value} if kind is dict else [value]
    return value


def containers(value: object) -> list[object]:
    found = [value] if isinstance(value, dict | list) else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found + [each for one in inner for each in containers(one)]


class TestCopies:
    @given(CONTEXTS)
    def test_a_copy_is_equal_and_shares_no_container(self, context: dict[str, Any]) -> None:
        copy = copy_context(context)
        assert copy == context
        assert not {id(each) for each in containers(copy)} & {id(each) for each in containers(context)}

    @given(CONTEXTS)
    def test_a_copy_survives_its_way_through_json(self, context: dict[str, Any]) -> None:
        assert json.loads(json.dumps(copy_context(context), allow_nan=False)) == context

    @given(CONTEXTS)
    def test_a_flat_context_has_only_scalars(self, context: dict[str, Any]) -> None:
        small = all(abs(each) < 2**62 for each in context.values() if type(each) is int)
        assert is_flat(context) == (small and len(containers(context)) == 1)

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (Colour.RED, "red"),
            (Size.LARGE, 3),
            (OrderedDict(a=Size.LARGE), {"a": 3}),
            (defaultdict(list, a=[Colour.RED]), {"a": ["red"]}),
            (type("Listed", (list,), {})([Size.LARGE]), [3]),
            (type("Real", (float,), {})(0.5), 0.5),
            ({Colour.RED: 1}, {"red": 1}),
        ],
        ids=str,
    )
    def test_values_of_subclasses_become_plain(self, value: object, plain: object) -> None:
        copy = copy_context(with_value(value))["deep"][1]["place"]
        assert copy == plain
        assert type(copy) is type(plain)
        assert [*map(type, copy)] == [*map(type, plain)] if isinstance(plain, dict | list) else True

    def test_a_context_of_a_subclass_becomes_a_dict(self) -> None:
        assert type(copy_context(OrderedDict(user_id=Colour.RED, state="idle"))) is dict
        assert type(copy_context({"user_id": Colour.RED, "state": "idle"})["user_id"]) is str

    def test_no_code_of_a_subclass_runs(self) -> None:
        class Own(dict[str, object]):
            def __iter__(self) -> Iterator[str]:
                raise SystemExit(3)

            keys = items = copy = __len__ = __iter__  # type: ignore[assignment]

        assert copy_context(Own(user_id="ana", state="idle")) == {"user_id": "ana", "state": "idle"}

    def test_a_key_of_a_subclass_becomes_plain_at_the_top_too(self) -> None:
        copy = copy_context({"user_id": "ana", "state": "idle", Colour.RED: 1})
        assert [type(key) for key in copy] == [str, str, str]

    def test_what_is_100_deep_is_copied(self) -> None:
        for kind in (dict, list):
            context = {"user_id": "ana", "state": "idle", "deep": nested(MAX_DEPTH - 1, kind)}
            assert copy_context(context) == context


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ((1, 2), "is tuple"),
            ({1}, "is set"),
            (b"x", "is bytes"),
            (1j, "is complex"),
            (Hostile(), "is Hostile"),
            (float("nan"), "is nan, which is not finite"),
            (float("-inf"), "is -inf, which is not finite"),
            (10**4300, "is an integer of more than 4300 digits"),
            (-(10**4300), "is an integer of more than 4300 digits"),
            ({1: 2}, "has a key that is int, not str"),
            ({None: 2}, "has a key that is NoneType, not str"),
            ({HostileKey(): 2}, "has a key that is HostileKey, not str"),
        ],
        ids=lambda each: type(each).__name__,
    )
    def test_an_intruder_is_named_with_its_place(self, value: object, problem: str) -> None:
        with pytest.raises(ContextError) as caught:
            copy_context(with_value(value))
        assert caught.value.path == "context['deep'][1]['place']"
        assert str(caught.value).startswith(f"context['deep'][1]['place'] {problem}; a context holds only dict")

    @pytest.mark.parametrize("value", [(1,), float("nan"), float("inf"), 10**4300], ids=["tuple", "nan", "inf", "int"])
    def test_an_intruder_at_the_top_is_found(self, value: object) -> None:
        with pytest.raises(ContextError) as caught:
            copy_context({"user_id": "ana", "state": "idle", "x": value})
        assert caught.value.path == "context['x']"

    def test_the_largest_integer_is_taken(self) -> None:
        assert copy_context(with_value(10**4300 - 1)) == with_value(10**4300 - 1)

    @pytest.mark.parametrize("kind", [dict, list])
    def test_what_is_101_deep_is_refused(self, kind: type) -> None:
        with pytest.raises(ContextError, match="is more than 100 deep"):
            copy_context({"user_id": "ana", "state": "idle", "deep": nested(MAX_DEPTH, kind)})

    def test_a_cycle_is_refused(self) -> None:
        cycle: dict[str, Any] = {"user_id": "ana", "state": "idle"}
        cycle["self"] = [cycle]
        with pytest.raises(ContextError, match="contains itself") as caught:
            copy_context(cycle)
        assert caught.value.path.startswith("context['self'][0]['self']")

    @pytest.mark.parametrize("context", [None, [], "x", Mock(spec=dict)], ids=["None", "list", "str", "Mock"])
    def test_what_is_no_dict_is_refused(self, context: Any) -> None:
        with pytest.raises(ContextError, match="a context must be a dict, not "):
            copy_context(context)

    @pytest.mark.parametrize(
        ("context", "path", "found"),
        [
            ({"state": "idle"}, "context['user_id']", "is missing"),
            ({"user_id": "ana"}, "context['state']", "is missing"),
            ({"user_id": 5, "state": "idle"}, "context['user_id']", "is 5"),
            ({"user_id": "ana", "state": None}, "context['state']", "is None"),
            ({"user_id": ["x" * 5000], "state": "idle"}, "context['user_id']", "is ['xxxxx"),
        ],
        ids=["no user", "no state", "user 5", "state None", "long"],
    )
    def test_user_and_state_are_required(self, context: dict[str, Any], path: str, found: str) -> None:
        with pytest.raises(ContextError) as caught:
            copy_context(context)
        assert caught.value.path == path
        assert str(caught.value).startswith(f"{path} {found}")
        assert len(str(caught.value)) < 200

    def test_a_stack_that_is_full_is_not_called_a_changed_context(self) -> None:
        context = {"user_id": "ana", "state": "idle", "deep": nested(MAX_DEPTH - 1)}

        def descend(left: int) -> None:
            if left:
                descend(left - 1)
            else:
                copy_context(context)

        left = sys.getrecursionlimit() - len(inspect.stack(0))
        with pytest.raises(RecursionError):
            descend(left - 60)

    def test_a_context_that_another_thread_changes_meanwhile_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        inner: dict[str, Any] = {"number": 0.5, "more": 1}

        def change(_: float) -> bool:  # stands for the other thread, at just this moment
            inner[f"new {len(inner)}"] = 1
            return True

        monkeypatch.setattr("thea_core.fsm.context.isfinite", change)
        with pytest.raises(ContextError, match="the context was changed while it was read"):
            copy_context(with_value(inner))
