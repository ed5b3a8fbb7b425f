"""Stops and closes the event loop on which it runs."""

import asyncio

from thea_core import hookimpl


class Stops:
    @hookimpl
    async def on_message(self):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)

    @hookimpl
    async def on_state_change(self):
        asyncio.get_running_loop().close()

    @hookimpl
    async def on_agent_delegated(self):
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)
        loop.run_forever()

    pre_transition = on_message
    detect_intents = on_state_change
