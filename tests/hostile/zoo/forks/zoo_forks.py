"""Forks while other threads hold locks, on every twentieth message. The child ends at once."""

import os

from thea_core import hookimpl


class Forks:
    def __init__(self):
        self._messages = 0

    @hookimpl
    def on_message(self):
        self._messages += 1
        if self._messages % 20 == 1:
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
