"""Calls itself without end, in every hook."""

from thea_core import hookimpl


class Recurses:
    @hookimpl
    def on_message(self):
        return self.on_message()

    on_state_change = on_error = on_session_timeout = on_intent_detected = on_agent_delegated = on_message
    on_plugin_health = pre_transition = post_transition = on_transition_error = on_message
    detect_intents = provide_agents = create_store = on_shutdown = on_message
