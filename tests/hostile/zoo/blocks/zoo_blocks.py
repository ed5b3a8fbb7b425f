"""Blocks its event loop, so that nothing else on it can go on, and nothing can cancel it."""

import time

from thea_core import hookimpl


class Blocks:
    @hookimpl
    async def on_message(self):
        time.sleep(3600)  # noqa: ASYNC251 -- that is the point

    on_state_change = pre_transition = detect_intents = on_message
