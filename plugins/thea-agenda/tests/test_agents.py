"""The agents: whole conversations, one behaviour each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from thea_agenda import AgendaError
from thea_core import Turn


class TestEventAgent:
    def test_it_asks_for_the_title_and_creates_the_event(self, talk):
        assert talk.say("crear evento mañana") == "¿Cómo se llama el evento?"
        assert talk.say("Cena con Ana") == "Evento creado para mañana ✓"
        assert talk.say("¿qué tengo mañana?") == "Para mañana tienes:\n- Cena con Ana"

    def test_it_does_the_same_in_english(self, talk):
        assert talk.say("create an event tomorrow") == "What is the event called?"
        assert talk.say("Dinner with Ana") == "Event created for tomorrow ✓"

    def test_it_asks_nothing_where_all_is_said(self, talk):
        assert talk.say("crear evento cena mañana a las 21:00") == "Evento creado para mañana a las 21:00 ✓"
        assert not talk.reply.ask

    def test_it_asks_for_the_day_where_none_is_said(self, talk):
        assert talk.say("crear evento cena a las 21:00") == "¿Para qué día es?"
        assert talk.say("el viernes") == "Evento creado para pasado mañana a las 21:00 ✓"

    def test_it_asks_for_both_one_after_the_other(self, talk):
        assert talk.say("crear evento") == "¿Cómo se llama el evento?"
        assert talk.say("cena") == "¿Para qué día es?"
        assert talk.say("el 3 de mayo a las 5 de la tarde") == "Evento creado para el domingo 3 de mayo a las 17:00 ✓"

    def test_an_answer_that_is_no_day_is_asked_again_and_the_third_gives_up(self, talk):
        talk.say("crear evento cena")
        assert talk.say("no sé").startswith("No he entendido el día.")
        assert talk.say("ni idea").startswith("No he entendido el día.")
        assert talk.say("bah").startswith("Lo dejamos por ahora")
        assert (talk.reply.ask, talk.context["agenda"]) == (False, {"language": "es"})

    def test_a_blank_title_is_asked_again(self, talk):
        talk.say("create an event tomorrow")
        assert talk.say(" \t ") == "The event needs a name. What is it called?"
        assert talk.say("Dinner") == "Event created for tomorrow ✓"

    def test_a_time_is_kept_while_the_day_is_still_missing(self, talk):
        talk.say("crear evento cena")
        talk.say("a las 21:00")
        assert talk.say("mañana") == "Evento creado para mañana a las 21:00 ✓"

    def test_a_stretch_of_days_is_no_day(self, talk):
        assert talk.say("crear evento cena la semana que viene") == "¿Para qué día es?"

    def test_a_day_of_the_past_is_asked_again(self, talk):
        assert talk.say("crear evento cena ayer") == "Ese día ya ha pasado. ¿Para qué día es?"
        assert talk.say("el 3 de mayo de 2020") == "Ese día ya ha pasado. ¿Para qué día es?"
        assert talk.say("hoy") == "Evento creado para hoy ✓"

    def test_a_day_of_the_past_is_dropped_also_where_the_title_is_asked_for_first(self, talk):
        assert talk.say("crear evento ayer") == "¿Cómo se llama el evento?"
        assert talk.say("cena") == "¿Para qué día es?"

    def test_a_turn_that_runs_again_makes_no_second_event(self, talk):
        talk.say("crear evento mañana")
        context, agent = dict(talk.context), talk.agents["evento"]
        first = talk.say("Cena", message_id="same")
        turn = Turn("ana", "session-1", "same", talk.now, attempt=2)
        assert agent.handle("Cena", context, turn).text == first
        assert talk.say("¿qué tengo mañana?") == "Para mañana tienes:\n- Cena"

    def test_a_turn_that_runs_again_after_midnight_tells_the_day_that_was_kept(self, talk):
        agent = talk.agents["evento"]
        late = datetime(2026, 3, 4, 23, 59, tzinfo=UTC)
        turns = [Turn("ana", "session-1", "same", late + timedelta(minutes=minutes)) for minutes in (0, 2)]
        texts = [
            agent.handle("crear evento cena mañana", {"user_id": "ana", "state": "idle"}, turn).text for turn in turns
        ]
        assert texts == ["Evento creado para mañana ✓", "Evento creado para hoy ✓"]

    def test_a_new_command_begins_anew(self, talk):
        talk.say("crear evento")
        assert talk.say("crear evento cena mañana") == "Evento creado para mañana ✓"

    def test_what_another_session_left_half_made_is_forgotten(self, talk):
        talk.say("crear evento cena")
        talk.drop_pending()
        talk.session_id = "session-2"
        talk.say("crear evento")
        assert talk.reply.context["agenda"]["draft"]["title"] == ""

    def test_after_the_question_which_intent_was_meant_the_slots_say_what_was_asked(self, talk):
        (_, match) = talk.plugin.detect_intents("reunión mañana")
        context = {"user_id": "ana", "state": "executing", "slots": dict(match.slots)}
        reply = talk.agents["evento"].handle("2", context, Turn("ana", "s", "1", talk.now))
        assert reply.text.endswith("✓")

    def test_after_that_question_the_language_is_still_the_one_of_the_request(self, talk):
        slots = {"details": "reunión", "language": "es"}
        reply = talk.agents["evento"].handle("2", {"slots": slots}, Turn("ana", "s", "1", talk.now))
        assert reply.text == "¿Para qué día es?"

    def test_a_message_without_slots_is_taken_whole(self, talk):
        context = {"user_id": "ana", "state": "executing"}
        reply = talk.agents["evento"].handle("cena mañana", context, Turn("ana", "s", "1", talk.now))
        assert reply.text == "Evento creado para mañana ✓"

    def test_it_takes_a_message_of_another_intent_whole_where_a_callback_chose_it(self, talk):
        context = {"user_id": "ana", "state": "executing"}
        reply = talk.agents["evento"].handle("mi agenda mañana", context, Turn("ana", "s", "1", talk.now))
        assert reply.text == "Evento creado para mañana ✓"

    def test_a_title_cannot_forge_a_line_of_the_list(self, talk):
        talk.say("crear evento mañana")
        talk.say("cena\n- 10:00 robo")
        assert talk.say("¿qué tengo mañana?") == "Para mañana tienes:\n- cena - 10:00 robo"

    def test_slots_are_used_once(self, talk):
        talk.say("crear evento cena")
        assert "slots" not in talk.context

    def test_new_slots_begin_anew_whatever_was_half_made(self, talk):
        talk.say("crear evento cena")
        context = {**talk.context, "slots": {"details": "reunión mañana"}}
        talk.agents["evento"].handle("2", context, Turn("ana", "session-1", "other", talk.now))
        talk.drop_pending()
        assert talk.say("¿qué tengo mañana?") == "Para mañana tienes:\n- reunión"

    def test_the_context_that_it_is_given_stays_as_it_is(self, talk):
        context = {"user_id": "ana", "state": "executing"}
        talk.agents["evento"].handle("crear evento", context, Turn("ana", "s", "1", talk.now))
        assert context == {"user_id": "ana", "state": "executing"}

    def test_what_is_asked_for_is_in_the_context_and_gone_when_it_is_done(self, talk):
        talk.say("crear evento mañana")
        assert talk.context["agenda"]["draft"]["day"] == "2026-03-05"
        talk.say("cena")
        assert talk.context["agenda"] == {"language": "es"}

    def test_an_event_that_cannot_be_written_is_an_error(self, talk, path):
        path.unlink()
        with pytest.raises(AgendaError):
            talk.say("crear evento cena mañana")


class TestAgendaAgent:
    def test_an_empty_day(self, talk):
        assert talk.say("¿qué tengo mañana?") == "No tienes nada para mañana."
        assert talk.say("what's on my calendar tomorrow") == "You have nothing for tomorrow."

    def test_a_day_lists_times_in_order(self, talk):
        talk.say("crear evento cena mañana a las 21:00")
        talk.say("crear evento gimnasio mañana a las 8")
        assert talk.say("what do i have tomorrow") == "For tomorrow you have:\n- 08:00 gimnasio\n- 21:00 cena"

    def test_without_a_day_it_tells_what_is_coming(self, talk):
        talk.say("crear evento cena el 3 de mayo a las 21:00")
        talk.say("crear evento gimnasio hoy")
        assert talk.say("muéstrame mi agenda") == (
            "Próximamente tienes:\n- hoy: gimnasio\n- el domingo 3 de mayo a las 21:00: cena"
        )

    def test_what_is_over_is_not_coming(self, talk):
        talk.say("crear evento cena hoy")
        talk.now += timedelta(days=1)
        assert talk.say("mis eventos") == "No tienes nada próximamente."
        assert talk.say("what did i have scheduled on my calendar yesterday") == "For yesterday you have:\n- cena"

    def test_a_stretch_of_days_names_its_ends(self, talk):
        assert (
            talk.say("what do i have this weekend") == "You have nothing between Saturday, March 7 and Sunday, March 8."
        )
        talk.say("crear evento cena el sábado")
        assert talk.say("qué tengo el fin de semana") == (
            "Entre el sábado 7 de marzo y el domingo 8 de marzo tienes:\n- el sábado 7 de marzo: cena"
        )

    def test_a_long_list_is_cut_and_says_so(self, new_talk):
        talk = new_talk(upcoming=2)
        for number in range(5):
            talk.say(f"crear evento cena{number} mañana")
        assert talk.say("mi agenda").endswith("- mañana: cena1\n… y 3 más")


class TestLanguage:
    def test_a_message_that_does_not_tell_is_answered_in_the_language_of_the_conversation(self, talk):
        talk.say("¿qué tengo mañana?")
        assert talk.say("agenda") == "No tienes nada próximamente."

    @pytest.mark.parametrize(
        ("language", "text"), [("es", "No tienes nada próximamente."), ("en", "You have nothing coming up.")]
    )
    def test_at_the_start_the_setting_decides(self, new_talk, language, text):
        assert new_talk(language=language).say("agenda") == text

    def test_an_answer_in_another_language_changes_nothing(self, talk):
        talk.say("crear evento")
        assert talk.say("The art of what is not") == "¿Para qué día es?"
        assert talk.say("tomorrow at 5pm") == "Evento creado para mañana a las 17:00 ✓"


def test_tomorrow_is_counted_in_the_time_zone_of_the_settings(new_talk):
    talk = new_talk(timezone="Europe/Madrid")
    talk.now = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)  # the 5th in Madrid
    talk.say("crear evento cena hoy")
    talk.now += timedelta(hours=1)
    assert talk.say("qué tengo el 5 de marzo") == "Para hoy tienes:\n- cena"
