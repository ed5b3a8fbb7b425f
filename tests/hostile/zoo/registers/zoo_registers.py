"""Adds and removes callbacks within events, and switches another plugin off and on, on every twentieth message."""

from contextlib import suppress

from thea_core import PluginError, hookimpl


class Registers:
    def __init__(self):
        self._registration = None
        self._messages = 0

    @hookimpl
    def on_startup(self, app):
        self._app = app

    @hookimpl
    def on_message(self):
        self._messages += 1
        if self._messages % 20 == 1:
            if self._registration is not None:
                self._registration.remove()
            self._registration = self._app.callbacks.register("on_message", hear)
            self._app.callbacks.register("on_state_change", hear).remove()
            self._switch("bystander")

    def _switch(self, name):
        plugins = self._app.plugins
        state = next((each.state for each in plugins if each.name == name), None)
        with suppress(PluginError):  # it is being switched just now, or is not there
            if state == "running":
                plugins.disable(name)
            else:
                plugins.enable(name)


def hear():
    pass
