"""``thea plugins info``."""

from __future__ import annotations

from dataclasses import asdict
from math import inf
from typing import Any

import click

from thea_core.cli import exits
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import duration, fields, moment, plain, print_json, say, table, warn
from thea_core.cli.plugins.survey import Row, Survey, delivery_text, limit_text
from thea_core.config.problems import toml_text
from thea_core.plugins.inspection import HookInfo, Inspection, SettingInfo

__all__ = ["command"]


@verb("plugins info", plugin="there is no such plugin, or it does not load (with --load)")
@click.argument("name")
@click.option(
    "--load", is_flag=True, help="Load the plugin in a process of its own, for at most 10 s: hooks and settings."
)
@json_option
@click.pass_context
def command(context: click.Context, name: str, load: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Show all that is known of one plugin.

    NAME is the plugin's, or that of a distribution that offers one plugin. The plugin is imported only with --load.
    """
    options: Options = context.obj
    survey = Survey(options)
    row = survey.row(name)
    if load:
        survey.load([row])
    if options.json:
        print_json(_as_json(row))
    else:
        if survey.known.error is not None:
            warn(f"the configuration is wrong, so this may not be all of it:\n{survey.known.error}")
        _show(row, survey)
    if row.status in {"not installed", "conflict", "fails"}:
        context.exit(exits.PLUGIN)


def _show(row: Row, survey: Survey) -> None:
    candidate = row.candidate
    click.echo(click.style(plain(row.name), bold=True))
    fields(
        [
            ("distribution", f"{candidate.distribution} {candidate.version}" if candidate.distribution else ""),
            ("summary", candidate.summary),
            ("entry point" if candidate.distribution else "module", candidate.value),
            ("installed in", candidate.location),
            ("requires", ", ".join(candidate.requires)),
            ("enabled", {"": "no", "enabled": "yes", "modules": "yes, in [plugins] modules"}[row.source]),
            ("status", row.told),
            ("reason", row.reason),
            ("hooks", ", ".join(row.hooks)),
            ("priority", row.priority),
            ("required", "yes" if row.entry is not None and row.entry.required else ""),
            ("guard", "yes: its failures refuse a transition" if row.entry and row.entry.on_failure == "veto" else ""),
            *_limits(row, survey),
            *_figures(row, survey),
            ("configured", "\n".join(f"{key} = {toml_text(value)}" for key, value in _configured(row).items())),
        ]
    )
    if row.inspection is not None:
        _show_inspection(row.inspection)
    elif candidate.value:
        say(f"\nIts callbacks and settings: thea plugins info {row.name} --load")


def _show_inspection(found: Inspection) -> None:
    if found.hooks:
        say("\nCallbacks")
        table(
            ["hook", "callback", "priority", "limited to", "time limit", "delivery"],
            [_callback(each) for each in found.hooks],
        )
    if found.settings:
        say(f"\nSettings, in [plugins.{found.plugin}.settings]")
        table(["key", "type", "default", "meaning"], [_setting(each) for each in found.settings])
    if found.output:
        say(f"\nIt printed\n{found.output.rstrip()}")


def _callback(hook: HookInfo) -> list[str]:
    place = {"first": "tryfirst", "last": "trylast"}.get(hook.position, str(hook.priority))
    states = ", ".join(hook.states) or "-"
    return [
        hook.hook,
        hook.callback,
        "wrapper" if hook.wrapper else place,
        states,
        limit_text(hook),
        delivery_text(hook),
    ]


def _limits(row: Row, survey: Survey) -> list[tuple[str, str]]:
    """Return what the operator says of how the plugin is called, and what counts where nothing is said."""
    entry, config = row.entry, survey.known.config
    if not row.source or entry is None or config is None:
        return []
    default = config.callbacks.shown("timeout")
    shown = [
        ("delivery", entry.delivery or "as its author chose"),
        ("timeout", entry.shown("timeout") or f"as its author chose, else {default}"),
    ]
    if entry.delivery in (None, "background"):
        shown.append(("queue_size", str(entry.queue_size)))
    if entry.delivery in (None, "durable"):
        shown.append(("max_attempts", str(entry.max_attempts)))
    if entry.delivery != "inline":
        shown.append(("flush_interval", entry.shown("flush_interval")))
    return shown


def _figures(row: Row, survey: Survey) -> list[tuple[str, str]]:
    """Return what the record of calls says of the plugin."""
    figures, summary = row.figures, row.figures.summary
    if summary is None:
        return []
    counts = f"{summary.failures} failed, {summary.timeouts} took too long"
    rest = f"{summary.dropped} events dropped, {summary.skipped} calls left out"
    breakers = (f"{each.state} for {each.hook} since {moment(each.time)}: {each.reason}" for each in figures.breakers)
    shown = [("calls", f"{summary.calls}; {counts}; {rest}")]
    if summary.worst_call is not None:
        hook, callback = summary.worst_call
        worst = f"{duration(summary.worst)} at worst ({callback} for {hook})"
        shown.append(("times", f"{duration(summary.mean)} on average, {worst}"))
    return [*shown, ("breaker", "\n".join(breakers) or "closed"), ("record", survey.figures.told)]


def _setting(setting: SettingInfo) -> list[str]:
    default = "(required)" if setting.required else setting.default or ""
    return [setting.name, setting.type, default, setting.description]


def _configured(row: Row) -> dict[str, Any]:
    """Return the plugin's settings as configured; what is not known to be harmless is not shown."""
    if row.entry is None or row.entry.settings is None:
        return {}
    from thea_core.cli.config.secrets import harmless_settings

    return harmless_settings(row.entry.settings, row.inspection)


def _as_json(row: Row) -> dict[str, Any]:
    candidate, found = row.candidate, row.inspection
    extra: dict[str, Any] = {
        "location": candidate.location or None,
        "requires": list(candidate.requires),
        "configured": _configured(row),
        **_limits_json(row),
    }
    if found is not None:
        extra |= {
            "settings": [asdict(each) for each in found.settings],
            "output": found.output,
        }
    return row.to_json() | extra


def _limits_json(row: Row) -> dict[str, Any]:
    entry = row.entry
    if entry is None:
        return dict.fromkeys(("delivery", "timeout", "queue_size", "max_attempts", "flush_interval"))
    return {
        "delivery": entry.delivery,
        "timeout": "none" if entry.timeout == inf else entry.timeout,
        "queue_size": entry.queue_size,
        "max_attempts": entry.max_attempts,
        "flush_interval": entry.flush_interval,
    }
