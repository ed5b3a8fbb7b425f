"""The verbs of ``thea``, each with the line that its group's help shows."""

from __future__ import annotations

import click

from thea_core.cli.groups import Entry, Root, VerbGroup

__all__ = ["thea"]


def _entry(module: str, text: str) -> Entry:
    return Entry(f"thea_core.cli.{module}:command", text)


_PLUGINS = VerbGroup(
    "plugins",
    "Plugins: what is installed, what is enabled, in what order they run, and what is wrong with them.",
    {
        "list": _entry("plugins.list", "Show every plugin that is installed or enabled."),
        "info": _entry("plugins.info", "Show all that is known of one plugin."),
        "doctor": _entry("plugins.doctor", "Find out which plugins misbehave, and say what to do."),
        "enable": _entry("plugins.enable", "Enable a plugin in the configuration file."),
        "disable": _entry("plugins.disable", "Disable a plugin in the configuration file."),
        "install": _entry("plugins.install", "Install plugins with pip."),
        "uninstall": _entry("plugins.uninstall", "Uninstall plugins with pip."),
        "order": _entry("plugins.order", "Show the callbacks of a hook in the order in which they run."),
    },
)

_CONFIG = VerbGroup(
    "config",
    "The configuration: whether it is right, and what counts.",
    {
        "check": _entry("config.check", "Check the configuration, and tell every problem at once."),
        "show": _entry("config.show", "Show every value, and where it comes from."),
    },
)

_OUTBOX = VerbGroup(
    "outbox",
    "The outbox: events that wait for plugins with durable delivery, and those that were set aside.",
    {
        "list": _entry("outbox.list", "Show the events that wait for plugins with durable delivery."),
        "retry": _entry("outbox.retry", "Let events be tried again at once."),
        "drop": _entry("outbox.drop", "Remove events for good; the plugin never gets them."),
    },
)

_SESSIONS = VerbGroup(
    "sessions",
    "Sessions, and the conversations that are kept of them.",
    {"purge": _entry("sessions.purge", "Forget the conversations of users of whom nothing was heard for long.")},
)

thea = Root(
    "thea",
    "Run an assistant built with Thea, and look after its plugins.",
    {
        "init": _entry("init", "Write a commented thea.toml."),
        "chat": _entry("chat", "Hold a conversation in the terminal."),
        "run": _entry("run", "Handle the messages of a file, or of standard input."),
        "worker": _entry("worker", "End expired sessions and deliver durable events, until a signal comes."),
        "record": _entry("record", "Run a command, and record the events of its assistant."),
        "replay": _entry("replay", "Run one plugin on recorded events."),
        "history": _entry("history", "Show the last calls of callbacks, of an application that runs or has run."),
        "plugins": _PLUGINS,
        "outbox": _OUTBOX,
        "sessions": _SESSIONS,
        "config": _CONFIG,
        "hooks": _entry("hooks", "Show the hooks that callbacks can implement."),
        "fsm": _entry("fsm", "Draw the state machine."),
    },
)


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 -- click's order
    if wanted and not context.resilient_parsing:
        import platform

        from thea_core.plugins.compatibility import running_version

        click.echo(f"thea {running_version() or '(not installed)'} (Python {platform.python_version()})")
        context.exit()


thea.params.insert(
    0,
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_version,
        help="Show the version and leave.",
    ),
)
