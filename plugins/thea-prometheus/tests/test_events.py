"""The six events: what is counted of each, as a scrape over HTTP shows it."""

from __future__ import annotations

import math

import pytest

from thea_core import RecordedError, Thea

USER = "alvaro_123"
LINES = {
    "on_message": [
        "thea_messages_total 1.0",
        'thea_message_length_characters_bucket{le="10.0"} 0.0',
        'thea_message_length_characters_bucket{le="25.0"} 1.0',
        "thea_message_length_characters_count 1.0",
        "thea_message_length_characters_sum 15.0",
    ],
    "on_state_change": ['thea_state_transitions_total{from_state="idle",to_state="processing"} 1.0'],
    "on_error": ['thea_errors_total{error_type="ValueError"} 1.0'],
    "on_session_timeout": ["thea_session_timeouts_total 1.0"],
    "on_intent_detected": [
        'thea_intents_total{intent="agenda"} 1.0',
        'thea_intent_confidence_ratio_bucket{intent="agenda",le="0.9"} 0.0',
        'thea_intent_confidence_ratio_bucket{intent="agenda",le="1.0"} 1.0',
        'thea_intent_confidence_ratio_count{intent="agenda"} 1.0',
        'thea_intent_confidence_ratio_sum{intent="agenda"} 0.92',
    ],
    "on_agent_delegated": ['thea_agent_delegations_total{agent="AgendaAgent"} 1.0'],
}


class OwnError(Exception):
    pass


class Exiting:
    """Ends the program when it is put into words."""

    __hash__ = None

    def __str__(self):
        raise SystemExit(3)


@pytest.mark.parametrize("hook", LINES)
def test_a_scrape_has_exactly_these_lines(fire, fetch, make, hook):
    plugin = make(port=0)
    with Thea({"store": {"url": "memory:"}}, plugins=[plugin]) as thea:
        before = fetch(plugin.url).splitlines()
        fire(thea, hook)
        after = fetch(plugin.url).splitlines()
    assert [line for line in LINES[hook] if line not in after] == []
    own = {line for line in after if not line.startswith(("#", "thea_plugin_")) and "_created" not in line} - set(
        before
    )
    assert {line for line in own if "_bucket" not in line} == {line for line in LINES[hook] if "_bucket" not in line}


def test_no_series_has_a_user_or_a_session_or_a_word_of_a_message(fire, fetch, make):
    plugin = make(port=0)
    with Thea({"store": {"url": "memory:"}}, plugins=[plugin]) as thea:
        for hook in LINES:
            fire(thea, hook)
        thea.handle_request(USER, "Agendar reunión")
        page = fetch(plugin.url)
    assert "thea_messages_total 2.0" in page
    for private in (USER, "s-0815", "reuni", "boom"):
        assert private not in page


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("x"), "ValueError"),
        (OwnError("x"), f"{__name__}.OwnError"),
        (RecordedError("builtins.KeyError", "x", "Traceback"), "KeyError"),
        (RecordedError("shop.OutOfStock", "x", "Traceback"), "shop.OutOfStock"),
    ],
)
def test_an_error_is_counted_by_its_type_also_where_only_a_record_of_it_came(run, fire, scraped, error, name):
    fire(run(), "on_error", error=error)
    assert scraped("thea_errors_total", error_type=name) == 1


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf, "high", None, 10**400])
def test_a_score_that_is_none_is_left_out_and_the_intent_counted(run, fire, scraped, score):
    thea = run()
    fire(thea, "on_intent_detected", score=score)
    assert scraped("thea_intents_total", intent="agenda") == 1
    assert scraped("thea_intent_confidence_ratio_count", intent="agenda") is None


@pytest.mark.parametrize("wrong", [None, 7, ["a"], {}, Exiting(), b"x", "\ud800", "x" * 10_000, 'a\nb"c\\'])
@pytest.mark.parametrize(
    ("hook", "argument"),
    [
        ("on_message", "message"),
        ("on_state_change", "old_state"),
        ("on_state_change", "new_state"),
        ("on_error", "error"),
        ("on_intent_detected", "intent"),
        ("on_agent_delegated", "agent"),
    ],
)
def test_whatever_who_triggers_an_event_gives_it_is_counted_and_can_be_scraped(  # noqa: PLR0917
    make, fire, fetch, hook, argument, wrong
):
    plugin = make(port=0)
    with Thea({"store": {"url": "memory:"}}, plugins=[plugin]) as thea:
        fire(thea, hook, **{argument: wrong})
        page = fetch(plugin.url)
        outcomes = [each.outcome for each in thea.callbacks.history if each.hook == hook]
    assert outcomes == ["ok"]
    assert f'thea_plugin_hook_duration_seconds_count{{hook="{hook}",plugin="prometheus"}} 1.0' in page
    assert all(len(line) < 500 for line in page.splitlines())


def test_told_events_while_it_is_not_running_it_counts_nothing(make, scraped):
    plugin = make()
    plugin.on_message(message="x")
    plugin.on_state_change(old_state="a", new_state="b")
    plugin.on_error(error=ValueError())
    plugin.on_session_timeout()
    plugin.on_intent_detected(intent="a", score=1.0)
    plugin.on_agent_delegated(agent="a")
    plugin.on_plugin_health(plugin="a", hook="b", state="open")
    assert scraped.names() == set()
