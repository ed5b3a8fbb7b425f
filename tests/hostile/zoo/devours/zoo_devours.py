"""Asks for more memory than there is, in every hook."""

from thea_core import hookimpl


class Devours:
    @hookimpl
    def on_message(self):
        bytearray(1 << 62)

    on_state_change = on_error = on_session_timeout = on_intent_detected = on_agent_delegated = on_message
    on_plugin_health = pre_transition = post_transition = on_transition_error = on_message
    detect_intents = provide_agents = create_store = on_shutdown = on_message
