"""Groups of verbs that are imported when they are used, and what all verbs have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import click

from thea_core.cli import exits
from thea_core.cli.options import Options
from thea_core.cli.output import plain, print_json
from thea_core.errors import TheaError

__all__ = ["Entry", "Root", "Verb", "VerbGroup", "json_option", "verb"]

F = TypeVar("F", bound=Callable[..., Any])

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Entry(NamedTuple):
    """A verb in the table of its group.

    Attributes:
        place: where its command is, ``"module:attribute"``.
        help: the line that the group's help shows; the first line of the verb's own help.
    """

    place: str
    help: str


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Put a shared option into the :class:`Options` of this run; it may stand before or after the verb."""
    if value and parameter.name is not None:
        setattr(context.ensure_object(Options), parameter.name, value)


def _remember_file(context: click.Context, _: click.Parameter, value: str | None) -> None:
    from pathlib import Path

    if value is not None:
        context.ensure_object(Options).config = Path(value)


def _shared() -> list[click.Parameter]:
    options: list[dict[str, Any]] = [
        {
            "param_decls": ["--config"],
            "callback": _remember_file,
            "type": click.Path(dir_okay=False),
            "metavar": "PATH",
            "help": "The configuration file; else THEA_CONFIG, thea.toml, or [tool.thea] of pyproject.toml.",
        },
        {"param_decls": ["--no-plugins"], "is_flag": True, "help": "Start without any plugin."},
        {
            "param_decls": ["--without-guards"],
            "is_flag": True,
            "help": 'Start even where a guard (on_failure = "veto") is left out.',
        },
    ]
    return [click.Option(**{"callback": _remember, "expose_value": False, **each}) for each in options]


def json_option(function: F) -> F:
    """Add ``--json`` to a verb whose output a program would read."""
    option = click.option(
        "--json",
        "json",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        is_eager=True,
        help="Print JSON, also of an error.",
    )
    return option(function)


class _Helped(click.Command):
    """A command whose help shows the shared options apart, and the exit statuses.

    Attributes:
        statuses: the exit statuses that it can end with, and what they mean.
    """

    statuses: Mapping[int, str] = exits.MEANINGS

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the shared ones."""
        shared = {"config", "no_plugins", "without_guards"}
        own: list[tuple[str, str]] = []
        others: list[tuple[str, str]] = []
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx) if isinstance(each, click.Option) else None
            if record is not None:
                (others if each.name in shared else own).append(record)
        with formatter.section("Options"):
            formatter.write_dl(own)
        with formatter.section("Shared options, before or after the verb"):
            formatter.write_dl(others)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's
        """Write the exit statuses."""
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status), meaning) for status, meaning in sorted(self.statuses.items())])


class Verb(_Helped):
    """One verb. Made by :func:`verb`."""


def verb(name: str, statuses: Sequence[int] = (), **meanings: str) -> Callable[[Callable[..., Any]], Verb]:
    """Make a function the verb ``name``.

    Args:
        name: the verb.
        statuses: the exit statuses that it can end with, besides 0, 2 and 130.
        meanings: what a status means for this verb, where that is more than its general meaning: ``failed="..."``.
    """
    known = {each: exits.MEANINGS[each] for each in (exits.OK, exits.USAGE, *statuses, exits.INTERRUPTED)}
    known.update({getattr(exits, key.upper()): text for key, text in meanings.items()})

    def make(function: Callable[..., Any]) -> Verb:
        made = click.command(name, cls=Verb, context_settings=_SETTINGS)(function)
        made.params += _shared()
        made.statuses = known
        return made

    return make


class VerbGroup(_Helped, click.Group):
    """A group that knows its verbs by name, and imports one when it is used."""

    def __init__(self, name: str, help: str, verbs: Mapping[str, Entry | click.Command]) -> None:  # noqa: A002 -- click's
        super().__init__(name, help=help, context_settings=_SETTINGS, subcommand_metavar="VERB ...")
        self.params += _shared()
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's
        """Return the verbs, in the order of the table."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's
        """Import and return a verb; None where there is none of that name."""
        found = self._verbs.get(cmd_name)
        return _imported(found) if isinstance(found, Entry) else found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown verb, with the one that was meant."""
        if args[0] not in self._verbs and not args[0].startswith("-"):
            ctx.fail(self._unknown(args[0]))
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs from the table, without importing one, and the options."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, each.help or "") for name, each in self._verbs.items()])
        super().format_options(ctx, formatter)

    def _unknown(self, name: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(name, self._verbs, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"The verbs are: {', '.join(self._verbs)}."
        return f"There is no verb '{name}'. {hint}"


class Root(VerbGroup):
    """The whole command: the one place where an error becomes a message and an exit status."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run, and end the process (raises SystemExit). What is neither Thea's nor the user's fault is a traceback."""
        kwargs["standalone_mode"] = False
        options = kwargs.setdefault("obj", Options())
        try:
            status = super().main(*args, **kwargs)
        except click.UsageError as error:
            status = _show_usage(error)
        except click.Abort as error:
            status = _fail_interrupted(options, error)
        except exits.Refusal as error:
            status = _fail(options, error.code, str(error), error.status)
        except TheaError as error:
            status = _fail(options, error.code, str(error), exits.status_of(error))
        sys.exit(status or exits.OK)


def _show_usage(error: click.UsageError) -> int:
    context = error.ctx
    click.echo(f"{_title('usage')}: {error.format_message()}", err=True)
    if context is not None:
        click.echo(f"\n{context.get_usage()}\nHelp: {context.command_path} --help", err=True)
    return exits.USAGE


def _fail_interrupted(options: Options, error: click.Abort) -> int:
    status = exits.TERMINATED if isinstance(error.__cause__, exits.Terminated) else exits.INTERRUPTED
    return _fail(options, "interrupted", exits.MEANINGS[status], status)


def _title(code: str) -> str:
    return click.style(f"error[{code}]", fg="red", bold=True)


def _fail(options: Options, code: str, message: str, status: int) -> int:
    if options.json:
        print_json({"error": {"code": code, "message": message}})
    click.echo(f"{_title(code)}: {plain(message)}", err=True)
    return status


def _imported(entry: Entry) -> click.Command:
    from importlib import import_module

    module, _, attribute = entry.place.partition(":")
    return cast("click.Command", getattr(import_module(module), attribute))
