"""The two decorators, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from thea_core import RegistrationError, hookimpl, hookspec
from thea_core.markers import hook_options, spec_options


def function() -> None: ...


class TestHookimpl:
    def test_it_returns_the_function_unchanged_with_and_without_options(self) -> None:
        assert hookimpl(function) is function
        assert hookimpl()(function) is function
        assert hookimpl(priority=3)(function) is function

    def test_it_notes_priority_and_states(self) -> None:
        @hookimpl(priority=3, states=["idle", "executing"])
        def callback() -> None: ...

        assert hook_options(callback) == {"priority": 3, "timeout": ..., "states": ("idle", "executing")}

    def test_without_options_the_priority_is_0_for_every_state(self) -> None:
        @hookimpl
        def callback() -> None: ...

        assert hook_options(callback) == {"priority": 0, "timeout": ..., "states": ()}

    def test_an_unmarked_function_has_the_same_options(self) -> None:
        assert hook_options(lambda: None) == {"priority": 0, "timeout": ..., "states": ()}

    @pytest.mark.parametrize("priority", ["1", 1.0, True, (1,)])
    def test_a_priority_is_a_whole_number(self, priority: Any) -> None:
        with pytest.raises(RegistrationError, match="priority must be a whole number, not"):
            hookimpl(priority=priority)

    @pytest.mark.parametrize(
        "options",
        [{"priority": 0, "tryfirst": True}, {"priority": 1, "trylast": True}, {"tryfirst": True, "trylast": True}],
    )
    def test_options_that_contradict_each_other_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(RegistrationError, match="give one of priority, tryfirst and trylast"):
            hookimpl(**options)

    def test_one_string_is_not_several_states(self) -> None:
        with pytest.raises(RegistrationError, match=r"such as states=\('idle',\)"):
            hookimpl(states="idle")

    @pytest.mark.parametrize("states", [5, None, [1], [None]])
    def test_states_are_names(self, states: Any) -> None:
        with pytest.raises(RegistrationError, match="states must be names of states, not"):
            hookimpl(states=states)

    @pytest.mark.parametrize("option", ["time_limit", "hookwrapper", "prority"])
    def test_an_unknown_option_is_refused(self, option: str) -> None:
        with pytest.raises(TypeError, match=option):
            hookimpl(**{option: 1})


class TestHookspec:
    def test_it_returns_the_function_unchanged(self) -> None:
        assert hookspec(function) is function
        assert hookspec(collect=True)(function) is function

    def test_it_notes_whether_results_are_collected(self) -> None:
        assert spec_options(hookspec(lambda: None)) == {"collect": False}
        assert spec_options(hookspec(collect=True)(lambda: None)) == {"collect": True}
        assert spec_options(lambda: None) == {"collect": False}

    def test_all_results_and_the_first_contradict_each_other(self) -> None:
        with pytest.raises(RegistrationError, match="give one of collect and firstresult"):
            hookspec(collect=True, firstresult=True)


@pytest.mark.parametrize("mark", [hookimpl, hookspec])
@pytest.mark.parametrize("marked", ["on_message", 10, type("Plugin", (), {})], ids=["name", "number", "class"])
def test_what_is_no_function_cannot_be_marked(mark: Any, marked: object) -> None:
    with pytest.raises(RegistrationError, match=r"decorates functions and methods, not .*given by keyword"):
        mark(marked)
