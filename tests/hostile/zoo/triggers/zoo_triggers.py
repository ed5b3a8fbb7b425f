"""Triggers events within events, and the very event that is running."""

from thea_core import hookimpl


class Triggers:
    @hookimpl
    def on_startup(self, app):
        self._trigger = app.callbacks.trigger

    @hookimpl
    def on_message(self):
        self._trigger("on_state_change", user_id="nobody", old_state="a", new_state="b")
        self._trigger("on_message", user_id="nobody", message="again", timestamp=None)

    @hookimpl
    def on_state_change(self):
        self._trigger("on_message", user_id="nobody", message="again", timestamp=None)
        self._trigger("on_state_change", user_id="nobody", old_state="b", new_state="a")
