"""Ids of events that are the same if a turn runs again."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from tests.conversation.parts import Driver, World
from thea_core.conversation.events import TurnOccurrences, keyed_id

KEY = bytes(range(32))
parts = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=5), min_size=1, max_size=4)


def occurrences(key: bytes = KEY) -> TurnOccurrences:
    return TurnOccurrences(key, "ana", "s1", "m1")


@given(parts)
def test_an_id_is_a_uuid_of_36_characters(given_parts: list[str]) -> None:
    text = keyed_id(KEY, *given_parts)
    assert str(uuid.UUID(text)) == text
    assert (uuid.UUID(text).version, uuid.UUID(text).variant) == (8, uuid.RFC_4122)


@given(parts, parts)
def test_different_parts_have_different_ids(one: list[str], other: list[str]) -> None:
    assert (keyed_id(KEY, *one) == keyed_id(KEY, *other)) == (one == other)


def test_another_key_gives_other_ids() -> None:
    assert keyed_id(KEY, "ana") != keyed_id(KEY[::-1], "ana")


def test_the_same_turn_gives_the_same_ids() -> None:
    one, other = occurrences(), occurrences()
    for each in (one, other):
        each.begin("on_state_change")
    assert one.event_id("on_state_change") == other.event_id("on_state_change")


def test_each_occurrence_of_a_hook_has_an_id_of_its_own() -> None:
    turn = occurrences()
    seen = set()
    for _ in range(3):
        turn.begin("on_state_change")
        seen.add(turn.event_id("on_state_change"))
    assert len(seen) == 3


def test_occurrences_count_whether_somebody_asks_for_their_id_or_not() -> None:
    one, other = occurrences(), occurrences()
    for each in (one, other):
        each.begin("on_state_change")
    one.event_id("on_state_change")
    for each in (one, other):
        each.begin("on_state_change")
    assert one.event_id("on_state_change") == other.event_id("on_state_change")


def test_an_event_that_a_callback_triggers_twice_has_two_ids() -> None:
    turn = occurrences()
    assert turn.event_id("on_custom") != turn.event_id("on_custom")


def test_every_event_of_a_turn_has_the_session_of_the_turn(driver: Driver, world: World) -> None:
    world.echo()
    reply = driver.handle(world.router, "ana", "echo")
    assert {each["session_id"] for _, each in world.events.entries} == {reply.session_id}


def test_no_two_events_have_one_id(driver: Driver, world: World) -> None:
    world.echo()
    for user_id in ("ana", "ben"):
        for _ in range(2):
            driver.handle(world.router, user_id, "echo")
    ids = [each["event_id"] for _, each in world.events.entries]
    assert len(set(ids)) == len(ids)


def test_two_stores_give_different_ids_to_the_same_message(driver: Driver) -> None:
    ids = []
    for world in (World(), World()):
        driver.handle(world.router, "ana", "hola", "m1")
        ids.append(world.events.of("on_message")[0]["event_id"])
    assert ids[0] != ids[1]
