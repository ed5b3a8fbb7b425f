"""Cancels its own task, and all others that it finds."""

import asyncio

from thea_core import hookimpl


class Cancels:
    @hookimpl
    async def on_message(self):
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    on_state_change = on_agent_delegated = pre_transition = post_transition = detect_intents = on_message
