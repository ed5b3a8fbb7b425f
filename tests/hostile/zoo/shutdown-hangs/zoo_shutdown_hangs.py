"""Hangs when it is shut down."""

import time

from thea_core import hookimpl


@hookimpl
def on_shutdown():
    time.sleep(3600)
