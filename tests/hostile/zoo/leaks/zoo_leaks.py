"""Leaks a thread a message."""

import threading

from thea_core import hookimpl


@hookimpl
def on_message():
    threading.Thread(target=threading.Event().wait).start()
