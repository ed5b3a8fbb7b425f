"""A small assistant for the verbs that need one, as a plugin called ``echo``."""

from __future__ import annotations

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite

SOURCE = """
import logging, os, sys
from thea_core import AgentReply, IntentMatch, ValidationError, hookimpl

class EchoAgent:
    name = "echoing"
    intents = ("echo",)

    def handle(self, message, context, turn):
        if message == "fail":
            raise RuntimeError("boom")
        if message == "wait":
            print("waiting", file=sys.stderr, flush=True)
            open("gate").close()
        if message == "ask":
            return AgentReply("for whom?", ask=True)
        return f"echo: {message}"

class Echo:
    @hookimpl
    def provide_agents(self):
        return [EchoAgent()]

    @hookimpl
    def detect_intents(self, message):
        return [IntentMatch("echo", 1.0)] if message else None

    @hookimpl
    def pre_transition(self, target, context):
        if context["message"] == "veto":
            raise ValidationError("not that")

    @hookimpl
    def on_message(self, user_id, message):
        if message == "stumble":
            raise ValueError("oh")
        if message == "grumble":
            logging.getLogger("thea.plugins.echo").warning("the wall is near")
"""


def assistant(cli: Command, site: FakeSite, more: str = "") -> None:
    """Install the assistant, and configure it."""
    site.plugin(SOURCE, name="echo", value="echo_plugin:Echo")
    cli.write(f'[plugins]\nenabled = ["echo"]\n{more}')
