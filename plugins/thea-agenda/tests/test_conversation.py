"""The agenda in whole turns: router, state machine, sessions and hooks of Thea."""

from __future__ import annotations

import shutil

import pytest

from thea_core import CoreRouter, FSMEngine


@pytest.fixture
def router(plugin):
    """A router with the plugin's parts, put together by hand, at a fixed moment."""
    fsm = FSMEngine()
    fsm.callbacks.register("detect_intents", plugin.detect_intents)
    fsm.pre_transition("executing")(plugin.pre_transition)
    router = CoreRouter(fsm_engine=fsm)
    for agent in plugin.provide_agents():
        router.register(agent)
    return router


@pytest.fixture
def handle(router, now):
    def handle(message, user_id="ana", message_id=None):
        return router.handle_request(user_id, message, message_id, timestamp=now)

    return handle


@pytest.fixture
def say(handle):
    def say(*messages):
        return [handle(message).text for message in messages]

    return say


def test_an_event_is_created_over_two_turns_and_told(say):
    assert say("crear evento mañana", "Cena con Ana", "¿qué tengo mañana?") == [
        "¿Cómo se llama el evento?",
        "Evento creado para mañana ✓",
        "Para mañana tienes:\n- Cena con Ana",
    ]


def test_the_same_in_english(say):
    assert say("create an event tomorrow", "Dinner", "what's on my calendar tomorrow") == [
        "What is the event called?",
        "Event created for tomorrow ✓",
        "For tomorrow you have:\n- Dinner",
    ]


def test_a_title_that_would_be_a_request_of_its_own_is_a_title(say):
    assert say("crear evento mañana", "reunión el viernes")[1] == "Evento creado para mañana ✓"


def test_after_cancelling_a_new_event_begins_anew(say):
    say("crear evento cena", "cancelar")
    assert say("crear evento mañana") == ["¿Cómo se llama el evento?"]


@pytest.mark.parametrize("answer", ["2", "crear un evento", "nuevo"])
def test_a_noun_and_a_day_are_asked_about_and_the_answer_makes_the_event(say, answer):
    question, done = say("reunión mañana", answer)
    assert "1. ver la agenda\n2. crear un evento" in question
    assert done == "Evento creado para mañana ✓"
    assert say("¿qué tengo mañana?") == ["Para mañana tienes:\n- reunión"]


def test_the_answer_to_which_one_may_be_to_see_the_agenda(say):
    assert say("reunión mañana", "ver la agenda")[1] == "No tienes nada para mañana."


def test_what_was_cancelled_is_not_taken_up_by_an_event_that_had_to_be_asked_about(say):
    say("crear evento cena", "cancelar", "reunión mañana", "2")
    assert say("¿qué tengo mañana?") == ["Para mañana tienes:\n- reunión"]


def test_a_message_that_comes_again_makes_no_second_event(say, handle):
    replies = [handle("crear evento cena mañana", message_id="m1") for _ in range(2)]
    assert [reply.text for reply in replies] == ["Evento creado para mañana ✓"] * 2
    assert say("¿qué tengo mañana?") == ["Para mañana tienes:\n- cena"]


def test_while_the_file_is_away_the_turn_is_refused_and_the_question_stands(say, handle, path):
    say("crear evento mañana")
    away = path.with_suffix(".away")
    shutil.move(path, away)
    refused = handle("Cena")
    assert (refused.ok, refused.text.startswith("La agenda no está disponible")) == (False, True)
    shutil.move(away, path)
    assert say("Cena") == ["Evento creado para mañana ✓"]


def test_two_users_do_not_see_each_other(say, handle):
    say("crear evento cena mañana")
    assert handle("¿qué tengo mañana?", user_id="luis").text == "No tienes nada para mañana."


def test_what_is_not_for_the_agenda_goes_to_the_fallback(handle):
    reply = handle("¿qué tiempo hace?")
    assert (reply.intent, reply.agent) == (None, "fallback")


def test_the_context_keeps_only_the_language_when_all_is_done(handle):
    context = handle("crear evento cena mañana").context
    assert context["agenda"] == {"language": "es"}
    assert "slots" not in context
