"""The contract: which hooks there are, with which arguments, and that each is documented."""

from __future__ import annotations

import inspect
import typing

import pytest

from thea_core import CallbackManager, hookspecs
from thea_core.callbacks.hooks import Hook, Kind

CONTRACT = {
    "on_message": (Kind.EVENT, "user_id message timestamp"),
    "on_state_change": (Kind.EVENT, "user_id old_state new_state"),
    "on_error": (Kind.EVENT, "user_id error traceback"),
    "on_session_timeout": (Kind.EVENT, "user_id session_id"),
    "on_intent_detected": (Kind.EVENT, "user_id intent score"),
    "on_agent_delegated": (Kind.EVENT, "user_id agent intent"),
    "pre_transition": (Kind.TRANSITION, "source target context"),
    "post_transition": (Kind.TRANSITION, "source target context"),
    "on_transition_error": (Kind.TRANSITION, "source target error context"),
    "detect_intents": (Kind.COLLECT, "message context"),
    "provide_agents": (Kind.COLLECT, ""),
    "create_store": (Kind.FIRSTRESULT, "url"),
    "provide_hookspecs": (Kind.LIFECYCLE, ""),
    "on_startup": (Kind.LIFECYCLE, "app"),
    "on_shutdown": (Kind.LIFECYCLE, "timeout"),
    "on_flush": (Kind.LIFECYCLE, "timeout"),
    "on_plugin_health": (Kind.EVENT, "plugin hook state reason"),
}
HOOKS = CallbackManager().hooks


def test_the_hooks_are_these_and_no_others() -> None:
    assert {hook.name: (hook.kind, " ".join(hook.parameters)) for hook in HOOKS} == CONTRACT


@pytest.mark.parametrize("hook", HOOKS, ids=str)
def test_a_hook_says_when_it_is_called_and_what_each_argument_is(hook: Hook) -> None:
    first, *rest = hook.doc.splitlines()
    assert first.startswith("Called ")
    assert first.endswith(".")
    for argument in hook.parameters:
        assert any(line.strip().startswith(f"{argument}: ") for line in rest), argument


@pytest.mark.parametrize("hook", HOOKS, ids=str)
def test_a_hook_says_what_a_returned_value_does_where_it_does_anything(hook: Hook) -> None:
    returns = typing.get_type_hints(hook.function)["return"]
    assert ("Returns:" in hook.doc) == (returns is not type(None))


@pytest.mark.parametrize("hook", HOOKS, ids=str)
def test_every_argument_has_a_type(hook: Hook) -> None:
    hints = typing.get_type_hints(hook.function)
    assert set(hook.parameters) <= set(hints)


@pytest.mark.parametrize("hook", [each for each in HOOKS if each.kind is Kind.EVENT], ids=str)
def test_every_event_offers_the_extras(hook: Hook) -> None:
    assert {"event_id", "session_id", "timestamp"} <= set(hook.arguments)


@pytest.mark.parametrize("hook", [each for each in HOOKS if each.kind is not Kind.EVENT], ids=str)
def test_other_hooks_offer_their_own_arguments_only(hook: Hook) -> None:
    assert hook.arguments == hook.parameters


@pytest.mark.parametrize("name", hookspecs.__all__)
def test_each_group_of_hooks_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(hookspecs, name))
