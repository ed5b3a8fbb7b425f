"""Triggers hundreds of events within one, on every twentieth message."""

from thea_core import hookimpl


class Floods:
    def __init__(self):
        self._messages = 0

    @hookimpl
    def on_startup(self, app):
        self._trigger = app.callbacks.trigger

    @hookimpl
    def on_message(self):
        self._messages += 1
        if self._messages % 20 == 1:
            for number in range(300):
                self._trigger("on_session_timeout", user_id="nobody", session_id=f"{number}")
