"""Gathers events in the background, and hangs when it is to send them."""

import time

from thea_core import hookimpl


class FlushHangs:
    delivery = "background"

    @hookimpl
    def on_message(self):
        pass

    @hookimpl
    def on_flush(self):
        time.sleep(3600)
