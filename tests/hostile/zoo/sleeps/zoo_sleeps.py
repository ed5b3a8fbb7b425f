"""Hangs in every hook, in C code that releases the interpreter lock: nothing can wake it."""

import time

from thea_core import hookimpl


class Sleeps:
    @hookimpl
    def on_message(self):
        time.sleep(3600)

    on_state_change = on_intent_detected = on_agent_delegated = on_plugin_health = on_message
    pre_transition = post_transition = detect_intents = provide_agents = on_message
