"""Copies that nobody else sees."""

from __future__ import annotations

from typing import Any

import pytest

from thea_core import HookResult, IntentMatch, RecordedError
from thea_core.callbacks.copies import own, own_results, written


class TestOwn:
    def test_dicts_and_lists_are_copied_at_every_depth_and_all_else_is_the_same(self) -> None:
        thing = object()
        value = {"a": [{"b": thing}], "c": "text"}
        copy = own(value)
        assert copy == value
        assert copy["a"][0]["b"] is thing
        copy["a"][0]["b"] = copy["d"] = 1
        assert value == {"a": [{"b": thing}], "c": "text"}

    def test_slots_and_synonyms_of_an_intent_are_copied(self) -> None:
        match = IntentMatch("agenda", 0.9, synonyms=["diary"], slots={"days": [1]})
        copy = own([match])[0]
        assert copy == match
        copy.slots["days"].append(2)
        copy.synonyms.append("calendar")
        assert (match.synonyms, match.slots) == (["diary"], {"days": [1]})

    def test_what_holds_itself_is_copied_once(self) -> None:
        value: list[Any] = [1]
        value += [value, value]
        copy = own(value)
        assert copy[0] == 1
        assert copy[1] is copy[2] is copy
        assert copy is not value

    def test_what_is_too_deep_to_be_copied_stays_as_it_is(self) -> None:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        assert own(value) is value

    def test_nothing_is_asked_of_an_object_of_somebody_else(self) -> None:
        class Hostile(dict[str, Any]):
            def __getattribute__(self, name: str) -> Any:
                raise RuntimeError(name)

        value = Hostile()
        assert own(value) is value


def test_results_are_copied_as_they_come() -> None:
    result = HookResult("shop", "detect", ["one"])
    assert own_results([result]) == [result]
    assert own_results([result])[0].value is not result.value
    assert own_results(result) == result
    assert own_results(result).value is not result.value
    assert own_results(None) is None


class Unnameable(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__"):
            raise SystemExit(name)
        return super().__getattribute__(name)


class UnnameableError(Exception, metaclass=Unnameable):
    pass


class TestWritten:
    def test_an_exception_is_written_down_with_its_traceback(self) -> None:
        with pytest.raises(ValueError, match="no") as info:
            raise ValueError("no")
        found = written(info.value)
        assert type(found) is RecordedError
        assert (found.type_name, found.message) == ("builtins.ValueError", "no")
        assert "raise ValueError" in found.traceback

    def test_so_are_those_at_every_depth(self) -> None:
        value = {"errors": [ValueError("no"), "text"]}
        found = written(value)
        assert found["errors"][0].type_name == "builtins.ValueError"
        assert found["errors"][1] == "text"
        assert type(value["errors"][0]) is ValueError

    def test_one_that_is_written_down_already_stays_the_same_but_for_the_frames_through_which_it_came(self) -> None:
        error = RecordedError("shop.SoldOut", "no bread", "somewhere")
        with pytest.raises(RecordedError):
            raise error
        found = written(error)
        assert found.to_json() == error.to_json()
        assert error.__traceback__ is not None
        assert found.__traceback__ is None

    def test_one_whose_class_does_anything_is_a_note(self) -> None:
        assert written(UnnameableError()).message == "<writing the exception down raised SystemExit>"

    def test_ctrl_c_passes(self) -> None:
        class Interrupting(Exception):  # noqa: N818 -- it is what it does
            def __str__(self) -> str:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            written(Interrupting())
