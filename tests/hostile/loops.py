"""Plugins that turn against the event loop and the task in which they run."""

from __future__ import annotations

import asyncio

from thea_core import hookimpl


class Cancelling:
    """Cancels the task in which it runs."""

    name = "cancelling"

    @hookimpl
    async def on_message(self):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    @hookimpl
    async def pre_transition(self):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    @hookimpl
    async def detect_intents(self):
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)


class Stopping:
    """Stops the event loop in which it runs."""

    name = "stopping"

    @hookimpl
    async def on_message(self):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)

    @hookimpl
    async def on_agent_delegated(self):
        asyncio.get_running_loop().stop()


class Closing:
    """Tries to run and to close the event loop in which it runs."""

    name = "closing"

    @hookimpl
    async def on_message(self):
        asyncio.get_running_loop().close()

    @hookimpl
    async def on_agent_delegated(self):
        asyncio.get_running_loop().run_forever()


class Leaving:
    """Leaves tasks behind that never end, and a coroutine that nobody awaits."""

    name = "leaving"

    def __init__(self):
        self._tasks = []

    @hookimpl
    async def on_message(self):
        self._tasks.append(asyncio.get_running_loop().create_task(asyncio.Event().wait()))
