"""A plugin manager as an application would run it, for the tests of plugins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support import FakeClock
from thea_core.callbacks import CallbackManager
from thea_core.callbacks.steps import drive
from thea_core.markers import hookimpl
from thea_core.plugins.manager import PluginManager

MESSAGE = {"user_id": "ana", "message": "hola", "timestamp": None}


class Recording:
    """A plugin that notes in a list, which it may share with others, what happens to it."""

    def __init__(self, name: str = "recording", notes: list[Any] | None = None) -> None:
        self.name = name
        self.notes: list[Any] = [] if notes is None else notes

    @hookimpl
    def on_startup(self, app):
        self.notes.append(("start", self.name))

    @hookimpl
    def on_message(self, message):
        self.notes.append(("message", self.name))

    @hookimpl
    def on_shutdown(self, timeout):
        self.notes.append(("stop", self.name, timeout))


class Application:
    """As much of an application as a plugin manager needs."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.callbacks = CallbackManager(clock=self.clock)
        self.plugins = PluginManager(self.callbacks, **options)

    def start(self) -> None:
        drive(self.plugins.load())
        drive(self.plugins.start(self))

    def close(self, timeout: float = 5.0) -> None:
        drive(self.plugins.shutdown(timeout))
        self.callbacks.close(1.0)

    def say(self) -> None:
        self.callbacks.trigger("on_message", **MESSAGE)

    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in self.plugins}

    def reason(self, name: str) -> str:
        return next(each.reason for each in self.plugins if each.name == name)


@contextmanager
def running(*objects: object, **options: Any) -> Iterator[Application]:
    """Start an application with these plugins, and close it in the end."""
    app = Application(objects=objects, **options)
    try:
        app.start()
        yield app
    finally:
        app.close()
