"""Takes longer for an event than it takes until the next one comes, and has a queue that is soon full."""

import time

from thea_core import hookimpl


class Dawdles:
    delivery = "background"

    @hookimpl
    def on_message(self):
        time.sleep(0.05)

    on_state_change = on_agent_delegated = on_message
