"""Awaits what never comes, and goes on when it is cancelled."""

import asyncio
from contextlib import suppress

from thea_core import hookimpl


class Stays:
    @hookimpl
    async def on_message(self):
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    on_state_change = pre_transition = detect_intents = on_message
