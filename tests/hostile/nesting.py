"""Plugins that call back into the application while it calls them."""

from __future__ import annotations

import os
import threading

from thea_core import hookimpl


class Retriggering:
    """Two of them call each other for ever: each event triggers the other one, and itself."""

    name = "retriggering"

    @hookimpl
    def on_startup(self, app):
        self._callbacks = app.callbacks

    @hookimpl
    def on_message(self, user_id, message, timestamp):
        self._callbacks.trigger("on_state_change", user_id=user_id, old_state="a", new_state="b")
        self._callbacks.trigger("on_message", user_id=user_id, message=message, timestamp=timestamp)

    @hookimpl
    def on_state_change(self, user_id):
        self._callbacks.trigger("on_message", user_id=user_id, message="again", timestamp=None)
        self._callbacks.trigger("on_state_change", user_id=user_id, old_state="a", new_state="b")


class Requesting:
    """Handles a message within a message, in its own flow."""

    name = "requesting"

    @hookimpl
    def on_startup(self, app):
        self._app = app

    @hookimpl
    def on_message(self, user_id, message):
        self._app.handle_request(user_id, message)


class Threading:
    """Starts a thread that handles a message of its own, for each message of the others."""

    name = "threading"

    def __init__(self):
        self.replies = []
        self.threads = []

    @hookimpl
    def on_startup(self, app):
        self._app = app

    @hookimpl
    def on_message(self, user_id):
        if user_id.startswith("from a thread"):
            return
        thread = threading.Thread(target=self._handle, args=(f"from a thread {len(self.threads)}",))
        self.threads.append(thread)
        thread.start()

    def _handle(self, user_id):
        self.replies.append(self._app.handle_request(user_id, "hola"))


class Registering:
    """Registers a callback within every event, and removes the one before; switches a plugin off and on."""

    name = "registering"

    def __init__(self, other):
        self._other = other
        self._registration = None
        self.calls = 0

    @hookimpl
    def on_startup(self, app):
        self._app = app

    @hookimpl(priority=1000)
    def on_message(self):
        if self._registration is not None:
            self._registration.remove()
        self._registration = self._app.callbacks.register("on_message", self._count)
        self._switch()

    @hookimpl(priority=1000)
    def on_state_change(self):
        self._app.callbacks.register("on_state_change", self._count).remove()

    def _switch(self):
        running = {each.name: each.state for each in self._app.plugins}
        if running[self._other] == "running":
            self._app.plugins.disable(self._other)
        else:
            self._app.plugins.enable(self._other)

    def _count(self, user_id):
        self.calls += 1


class Switched:
    """Is switched off and on by another plugin."""

    name = "switched"

    def __init__(self):
        self.messages = 0

    @hookimpl
    def on_message(self):
        self.messages += 1


class Forking:
    """Forks within an event, on every tenth message; the child handles nothing and ends at once."""

    name = "forking"

    def __init__(self):
        self.children = []
        self._messages = 0

    @hookimpl
    def on_message(self):
        self._messages += 1
        if self._messages % 10 == 0:
            child = os.fork()
            if child == 0:
                os._exit(0)
            self.children.append(os.waitpid(child, 0)[1])
