"""Raises an exception in every hook that cannot be put into words: its ``__str__`` raises, too."""

from thea_core import hookimpl


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Unspeakable:
    @hookimpl
    def on_message(self):
        raise UnspeakableError

    on_state_change = on_error = on_session_timeout = on_intent_detected = on_agent_delegated = on_message
    on_plugin_health = pre_transition = post_transition = on_transition_error = on_message
    detect_intents = provide_agents = create_store = on_shutdown = on_message
