"""What the core tells of itself: durations, failures, losses, breakers and queues of plugins, and transitions."""

from __future__ import annotations

import threading

import pytest

from thea_core import StoreUnavailableError, TransitionVeto, hookimpl

PATIENCE = 60.0


class Broken:
    name = "broken"

    @hookimpl
    def on_message(self):
        raise LookupError("no such thing")


class Hanging:
    name = "hanging"

    def __init__(self):
        self.go = threading.Event()

    @hookimpl(timeout=0.05)
    def on_message(self):
        self.go.wait(PATIENCE)


class Queued:
    """Hangs in its first delivery until it is let go."""

    name = "queued"
    delivery = "background"

    def __init__(self):
        self.inside, self.go = threading.Event(), threading.Event()

    @hookimpl
    def on_message(self):
        self.inside.set()
        assert self.go.wait(PATIENCE)


def breaker(scraped, plugin):
    name = "thea_plugin_breaker_changes_total"
    return {
        state: scraped(name, plugin=plugin, hook="on_message", state=state) for state in ("open", "half-open", "closed")
    }


class TestCalls:
    def test_each_call_has_its_duration(self, run, fire, scraped):
        thea = run()
        thea.callbacks.register("on_message", lambda: None)
        for _ in range(3):
            fire(thea, "on_message")
        name = "thea_plugin_hook_duration_seconds"
        for plugin in ("local", "prometheus"):
            assert scraped(f"{name}_count", plugin=plugin, hook="on_message") == 3
            assert 0 < scraped(f"{name}_sum", plugin=plugin, hook="on_message") < PATIENCE

    def test_errors_are_failures_until_the_breaker_opens_and_then_calls_are_skipped(self, run, fire, scraped):
        thea = run(Broken())
        for _ in range(7):
            fire(thea, "on_message")
        labels = {"plugin": "broken", "hook": "on_message"}
        assert scraped("thea_plugin_hook_failures_total", **labels, outcome="error") == 5
        assert scraped("thea_plugin_hook_failures_total", **labels, outcome="timeout") == 0
        assert scraped("thea_plugin_hook_duration_seconds_count", **labels) == 5
        assert scraped("thea_plugin_events_dropped_total", plugin="broken", reason="skipped") == 2
        assert breaker(scraped, "broken") == {"open": 1, "half-open": 0, "closed": 0}

    def test_a_timeout_is_told_apart(self, run, fire, scraped):
        hanging = Hanging()
        thea = run(hanging)
        fire(thea, "on_message")
        hanging.go.set()
        labels = {"plugin": "hanging", "hook": "on_message"}
        assert scraped("thea_plugin_hook_failures_total", **labels, outcome="timeout") == 1
        assert scraped("thea_plugin_hook_failures_total", **labels, outcome="error") == 0

    def test_of_a_plugin_that_never_failed_the_failures_are_zero_and_so_the_first_one_is_an_increase(
        self, run, fire, scraped
    ):
        fire(run(), "on_message")
        labels = {"plugin": "prometheus", "hook": "on_message"}
        assert scraped("thea_plugin_hook_failures_total", **labels, outcome="error") == 0
        assert breaker(scraped, "prometheus") == {"open": 0, "half-open": 0, "closed": 0}

    def test_a_breaker_that_closes_is_counted(self, run, fire, scraped):
        thea = run(Broken())
        for _ in range(5):
            fire(thea, "on_message")
        thea.plugins.enable("broken")
        assert breaker(scraped, "broken") == {"open": 1, "half-open": 0, "closed": 1}

    @pytest.mark.parametrize("state", ["ajar", None, ["open"]])
    def test_a_state_that_no_breaker_has_is_left_out(self, run, scraped, state):
        run().callbacks.trigger("on_plugin_health", plugin="shop", hook="on_message", state=state, reason="")
        found = [each["state"] for each in scraped.labels("thea_plugin_breaker_changes_total")]
        assert set(found) == {"open", "half-open", "closed"}

    def test_a_veto_is_no_failure(self, run, scraped):
        thea = run()

        @thea.fsm.pre_transition("processing")
        def refuse(context):
            raise TransitionVeto("not now")

        thea.handle_request("ana", "hola")
        found = scraped.labels("thea_plugin_hook_failures_total")
        values = {scraped("thea_plugin_hook_failures_total", **each) for each in found}
        assert values == {0}
        assert scraped("thea_plugin_hook_duration_seconds_count", plugin="local", hook="pre_transition") == 1

    def test_with_no_history_all_is_counted(self, run, fire, scraped):
        thea = run(Broken(), config={"callbacks": {"history_size": 0}})
        fire(thea, "on_message")
        assert scraped("thea_plugin_hook_failures_total", plugin="broken", hook="on_message", outcome="error") == 1


class TestTransitions:
    def test_each_has_its_duration_by_target(self, run, scraped):
        thea = run()
        for user in ("ana", "ben"):
            thea.handle_request(user, "hola")
        counts = {
            each["to_state"]: scraped("thea_transition_duration_seconds_count", **each)
            for each in scraped.labels("thea_transition_duration_seconds_count")
        }
        assert counts == {"processing": 2, "executing": 2, "completion": 2, "idle": 2}
        changed = scraped.labels("thea_state_transitions_total")
        assert sum(scraped("thea_state_transitions_total", **each) for each in changed) == 8
        assert 0 < scraped("thea_transition_duration_seconds_sum", to_state="idle") < PATIENCE

    def test_one_that_is_refused_has_one_too_and_changes_nothing(self, run, scraped):
        thea = run()

        @thea.fsm.pre_transition("processing")
        def refuse(context):
            raise TransitionVeto("not now")

        thea.handle_request("ana", "hola")
        assert scraped("thea_transition_duration_seconds_count", to_state="processing") == 1
        assert scraped.labels("thea_state_transitions_total") == []


class TestQueues:
    def length(self, scraped):
        return scraped("thea_plugin_calls_queued_total", plugin="queued") - scraped(
            "thea_plugin_calls_delivered_total", plugin="queued"
        )

    def dropped(self, scraped, reason):
        return scraped("thea_plugin_events_dropped_total", plugin="queued", reason=reason)

    def test_queued_less_delivered_is_its_length(self, run, fire, scraped):
        plugin = Queued()
        thea = run(plugin)
        for _ in range(4):
            fire(thea, "on_message")
        assert plugin.inside.wait(PATIENCE)
        assert self.length(scraped) == 4
        plugin.go.set()
        assert thea.callbacks.flush(PATIENCE) == 0
        assert self.length(scraped) == 0
        assert scraped("thea_plugin_calls_delivered_total", plugin="queued") == 4
        assert scraped("thea_plugin_hook_duration_seconds_count", plugin="queued", hook="on_message") == 4

    def test_what_waits_in_the_store_is_in_no_queue(self, run, fire, scraped):
        class Sure(Queued):
            delivery = "durable"

        plugin = Sure()
        thea = run(plugin)
        plugin.go.set()
        for _ in range(3):
            fire(thea, "on_message")
        assert thea.callbacks.flush(PATIENCE) == 0
        assert scraped("thea_plugin_calls_queued_total", plugin="queued") is None
        assert scraped("thea_plugin_calls_delivered_total", plugin="queued") is None
        assert scraped("thea_plugin_hook_duration_seconds_count", plugin="queued", hook="on_message") == 3
        assert self.dropped(scraped, "not_stored") == 0

    def test_what_the_store_does_not_take_is_dropped_for_that_reason(self, run, fire, scraped):
        class Sure(Queued):
            delivery = "durable"

        thea = run(Sure())

        class Full:
            def append(self, user_id, events):
                raise StoreUnavailableError("no space left")

            def claim(self, plugin, *, duration, limit):
                return ()

        thea.callbacks.attach_outbox(Full())
        fire(thea, "on_message")
        assert self.dropped(scraped, "not_stored") == 1
        assert self.dropped(scraped, "queue_full") is None

    def test_a_call_for_which_there_was_no_room_was_never_queued(self, run, fire, scraped):
        plugin = Queued()
        thea = run(plugin, config={"plugins": {"queued": {"queue_size": 2}}})
        fire(thea, "on_message")
        assert plugin.inside.wait(PATIENCE)
        for _ in range(5):
            fire(thea, "on_message")
        assert self.dropped(scraped, "queue_full") == 3
        plugin.go.set()
        thea.callbacks.flush(PATIENCE)
        assert self.length(scraped) == 0
        assert self.dropped(scraped, "queue_closed") == 0

    def test_a_call_that_waited_when_the_queue_was_closed_has_left_it(self, run, fire, scraped):
        plugin = Queued()
        thea = run(plugin)
        for _ in range(3):
            fire(thea, "on_message")
        assert plugin.inside.wait(PATIENCE)
        thea.callbacks.close(0.0)
        assert self.length(scraped) == 1  # the one that is being delivered
        assert self.dropped(scraped, "queue_closed") == 2
        plugin.go.set()
        thea.callbacks.flush(PATIENCE)
        assert self.length(scraped) == 0
        assert self.dropped(scraped, "queue_full") == 0

    def test_a_delivery_that_is_skipped_has_left_it(self, run, fire, scraped):
        class Failing:
            name = "queued"
            delivery = "background"

            @hookimpl
            def on_message(self):
                raise LookupError("no")

            @hookimpl
            def on_flush(self):
                pass

        thea = run(Failing())
        for _ in range(8):
            fire(thea, "on_message")
        thea.callbacks.flush(PATIENCE)
        assert self.length(scraped) == 0
        assert self.dropped(scraped, "skipped") == 3
        assert scraped("thea_plugin_calls_delivered_total", plugin="queued") == 8

    def test_the_figures_are_complete_before_the_first_plugin_is_shut_down(self, make, fire, scraped):
        """Who looks in the on_shutdown of any plugin sees the end of it all."""
        from thea_core import Thea

        seen = []

        class Last(Queued):
            @hookimpl
            def on_shutdown(self):
                seen.append(scraped("thea_plugin_calls_delivered_total", plugin="queued"))

        plugin = Last()
        plugin.go.set()
        with Thea({"store": {"url": "memory:"}}, plugins=[make(), plugin]) as thea:
            for _ in range(50):
                fire(thea, "on_message")
        assert seen == [50]
