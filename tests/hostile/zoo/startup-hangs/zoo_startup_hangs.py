"""Hangs when it is started."""

import time

from thea_core import hookimpl


@hookimpl
def on_startup():
    time.sleep(3600)
