"""The child process of :mod:`thea_core.plugins.inspection`: loads and binds one plugin, and writes what it finds.

The plugin is not started: nothing of it is called but what loading and binding call.

Each line is the mark that the parent chose, and then JSON. The plugin cannot get between: what it prints, to whichever
stream, goes to standard error, for the first thing done here is to keep the real standard output for the answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from thea_core.callbacks.binding import name_of
from thea_core.errors import PluginLoadError
from thea_core.plugins.conditions import Conditions
from thea_core.plugins.discovery import Candidate
from thea_core.plugins.loading import construct, guarded, load_object, make_importable
from thea_core.plugins.settings import declared_secrets, describe, validated

__all__ = ["examine", "hooks_of", "main"]

Send = Callable[[dict[str, Any]], None]

_DECLARED = ("thread", "delivery")
"""What binding asks of a plugin besides its callbacks."""


def main(request: Mapping[str, Any]) -> None:
    """Examine the plugin that ``request`` names, answer, and end the process at once, whatever threads are left."""
    channel = os.dup(1)  # not inherited by what the plugin starts
    os.dup2(2, 1)
    mark = request["mark"]

    def send(part: dict[str, Any]) -> None:
        line = f"\n{mark}{json.dumps(part)}\n".encode()
        while line:
            line = line[os.write(channel, line) :]

    examine(_candidate(request["candidate"]), request["settings"], send, Conditions.from_json(request["conditions"]))
    os._exit(0)


def examine(
    candidate: Candidate,
    settings: Mapping[str, Any] | None,
    send: Send,
    conditions: Conditions = Conditions(),  # noqa: B008 -- it cannot be changed
) -> None:
    """Load and bind the plugin step by step; ``send`` gets each stage before it begins, and the findings as they come.

    Args:
        candidate: where the plugin comes from.
        settings: its settings as configured; None if there are none.
        send: takes one part of the answer; the last one has the stage ``"done"``.
        conditions: on which it is bound.
    """
    try:
        send({"stage": "imported"})
        if candidate.distribution is None:
            make_importable()
        found = load_object(candidate)
        with guarded(candidate, "examined"):
            model = getattr(found, "Settings", None)
            findings = {
                "file": _file_of(found),
                "settings": list(describe(model)),
                "secrets": [list(path) for path in declared_secrets(model, settings)],
            }
        send({"stage": "constructed", **findings})
        plugin = construct(candidate, found, lambda model: validated(model, settings, plugin=candidate.name))
        send({"stage": "examined"})
        with guarded(candidate, "examined"):
            hooks = sorted(hooks_of(plugin), key=lambda each: (each["hook"], each["callback"]))
        send({"stage": "registered", "hooks": hooks})
        send({"stage": "done", **_bound(candidate, plugin, hooks, conditions)})
    except PluginLoadError as error:
        send({"stage": "done", "error": str(error)})


def hooks_of(plugin: object) -> Iterator[dict[str, Any]]:
    """Yield each callback of ``plugin`` as its author marked it, in the form of ``inspection.HookInfo``."""
    for _, hook, function, options in _marked(plugin):
        yield {
            "hook": hook,
            "callback": name_of(function),
            "priority": options["priority"],
            "position": "first" if options["tryfirst"] else "last" if options["trylast"] else "",
            "states": list(options["states"]),
            "wrapper": bool(options["wrapper"] or options["hookwrapper"]),
            "optional": bool(options["optionalhook"]),
        }


def _marked(plugin: object) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    """Yield attribute, hook, function and options of all that is marked with ``@hookimpl``."""
    import pluggy

    from thea_core.markers import PROJECT, hook_options

    reader = pluggy.PluginManager(PROJECT)
    for name in dir(plugin):
        options = reader.parse_hookimpl_opts(plugin, name)
        if options is not None:
            function = getattr(plugin, name)
            yield name, options.get("specname") or name, function, {**options, **hook_options(function)}


def _bound(candidate: Candidate, plugin: object, hooks: list[dict[str, Any]], conditions: Conditions) -> dict[str, Any]:
    """Bind the plugin as an application would that has no other one; return what that shows.

    Hooks that are not known here may be another plugin's: their callbacks are left out, with what would be said of them
    if there were none.

    Raises:
        PluginLoadError: a callback does not fit its hook, or what the plugin says of itself does not.
    """
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.steps import drive
    from thea_core.plugins.entries import ENABLED, MODULES, Entry
    from thea_core.plugins.phases import Phases

    callbacks = CallbackManager(history_size=0, timeout=conditions.timeout, timeouts=conditions.timeouts)
    phases = Phases(callbacks, lambda _name, _model: None, conditions.states)
    source = ENABLED if candidate.distribution else MODULES
    entry = Entry(candidate, source, 0, conditions.options, plugin=plugin)
    cores = {each.name for each in callbacks.hooks}
    drive(phases.add_hooks(entry))
    known = {each.name for each in callbacks.hooks}
    foreign = {each["hook"] for each in hooks if each["hook"] not in known and not each["optional"]}
    if foreign:
        with guarded(candidate, "examined"):
            entry.plugin = _part(plugin, lambda hook: hook not in foreign)
    if not foreign or any(each["hook"] in known for each in hooks):
        drive(phases.bind(entry))
    found = {(each.hook.name, each.name): each for each in (entry.binding.callbacks if entry.binding else ())}
    for each in hooks:
        callback = found.get((each["hook"], each["callback"]))
        if callback is not None:
            each |= {
                "kind": callback.hook.kind.name.lower(),
                "timeout": callback.timeout,
                "delivery": callback.delivery,
                "is_async": callback.is_async,
            }
    return {
        "hooks": hooks,
        "adds": sorted(known - cores),
        "unknown": [[hook, _refusal(phases, entry, plugin, hook)] for hook in sorted(foreign)],
    }


def _part(plugin: object, wanted: Callable[[str], bool]) -> SimpleNamespace:
    """Return an object that has the plugin's callbacks of some hooks, and what it says of itself."""
    parts = {name: getattr(plugin, name) for name, hook, _, _ in _marked(plugin) if wanted(hook)}
    said = {name: getattr(plugin, name) for name in _DECLARED if hasattr(plugin, name)}
    return SimpleNamespace(**parts, **said)


def _refusal(phases: Any, entry: Any, plugin: object, hook: str) -> str:
    """Return what an application says of a callback whose hook nobody knows."""
    from thea_core.callbacks.steps import drive

    entry.plugin = _part(plugin, hook.__eq__)
    try:
        drive(phases.bind(entry))
    except PluginLoadError as error:
        return str(error)
    return f"there is no hook {hook!r}"


def _file_of(found: Any) -> str | None:
    name: str = getattr(found, "__module__", None) or found.__name__
    module = sys.modules.get(name)
    return getattr(module, "__file__", None)


def _candidate(fields: Mapping[str, Any]) -> Candidate:
    return Candidate(**{**fields, "requires": tuple(fields["requires"])})
