"""Starts threads that handle messages of their own while others are being handled, on every twentieth message."""

import threading

from thea_core import hookimpl


class Threads:
    def __init__(self):
        self._messages = 0

    @hookimpl
    def on_startup(self, app):
        self._app = app

    @hookimpl
    def on_message(self, user_id):
        self._messages += 1
        if user_id != "nobody" and self._messages % 20 == 1:
            threading.Thread(target=self._app.handle_request, args=("nobody", "hola")).start()
