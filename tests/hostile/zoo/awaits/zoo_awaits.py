"""Awaits what never comes, in every hook."""

import asyncio

from thea_core import hookimpl


class Awaits:
    @hookimpl
    async def on_message(self):
        await asyncio.Event().wait()

    on_state_change = on_intent_detected = on_agent_delegated = on_plugin_health = on_message
    pre_transition = post_transition = detect_intents = provide_agents = on_message
