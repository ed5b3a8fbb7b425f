"""With durable delivery of its own the plugin counts what comes out of the store, where it comes out."""

from __future__ import annotations

from thea_core import Thea


def test_events_are_counted_when_they_are_delivered_and_no_call_is_said_to_wait(make, fire, scraped, tmp_path):
    config = {
        "store": {"url": f"sqlite:///{tmp_path / 'thea.db'}"},
        "plugins": {"prometheus": {"delivery": "durable"}},
    }
    with Thea(config, plugins=[make()], worker=False) as thea:
        thea.handle_request("ana", "hola")
        fire(thea, "on_error")
        assert scraped("thea_messages_total") == 0
        assert scraped("thea_transition_duration_seconds_count", to_state="processing") == 1
    with Thea(config, plugins=[make()]) as thea:
        assert thea.callbacks.flush(30) == 0
        assert thea.store.outbox.list() == ()
        assert scraped("thea_messages_total") == 1
        assert scraped("thea_agent_delegations_total", agent="fallback") == 1
        assert scraped("thea_errors_total", error_type="ValueError") == 1
        assert scraped("thea_state_transitions_total", from_state="initial", to_state="processing") == 1
        assert scraped("thea_plugin_calls_queued_total", plugin="prometheus") is None
        assert scraped("thea_plugin_hook_failures_total", plugin="prometheus", hook="on_message", outcome="error") == 0


def test_the_state_of_a_breaker_is_counted_too(make, scraped, tmp_path):
    config = {
        "store": {"url": f"sqlite:///{tmp_path / 'thea.db'}"},
        "plugins": {"prometheus": {"delivery": "durable"}},
    }
    with Thea(config, plugins=[make()]) as thea:
        thea.callbacks.trigger("on_plugin_health", plugin="shop", hook="on_message", state="open", reason="5 failures")
        assert thea.callbacks.flush(30) == 0
        assert scraped("thea_plugin_breaker_changes_total", plugin="shop", hook="on_message", state="open") == 1
