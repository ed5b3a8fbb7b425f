"""The child process of :mod:`thea_core.plugins.inspection`: loads one plugin, and writes what it finds line by line.

Each line is the mark that the parent chose, and then JSON. The plugin cannot get between: what it prints, to whichever
stream, goes to standard error, for the first thing done here is to keep the real standard output for the answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from thea_core.errors import PluginLoadError
from thea_core.plugins.discovery import Candidate
from thea_core.plugins.loading import construct, guarded, load_object, make_importable
from thea_core.plugins.settings import declared_secrets, describe, validated

__all__ = ["examine", "hooks_of", "main"]

Send = Callable[[dict[str, Any]], None]


def main(request: Mapping[str, Any]) -> None:
    """Examine the plugin that ``request`` names, answer, and end the process at once, whatever threads are left."""
    channel = os.dup(1)  # not inherited by what the plugin starts
    os.dup2(2, 1)
    mark = request["mark"]

    def send(part: dict[str, Any]) -> None:
        line = f"\n{mark}{json.dumps(part)}\n".encode()
        while line:
            line = line[os.write(channel, line) :]

    examine(_candidate(request["candidate"]), request["settings"], send)
    os._exit(0)


def examine(candidate: Candidate, settings: Mapping[str, Any] | None, send: Send) -> None:
    """Load the plugin step by step; ``send`` gets each stage before it begins, and the findings as they come."""
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
        send({"stage": "done", "hooks": hooks})
    except PluginLoadError as error:
        send({"stage": "done", "error": str(error)})


def hooks_of(plugin: object) -> Iterator[dict[str, Any]]:
    """Yield each callback of ``plugin``, in the form of ``inspection.HookInfo``."""
    import pluggy

    from thea_core.markers import PROJECT, hook_options

    reader = pluggy.PluginManager(PROJECT)
    for name in dir(plugin):
        options = reader.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        function = getattr(plugin, name)
        extra = hook_options(function)
        yield {
            "hook": options.get("specname") or name,
            "callback": function.__qualname__,
            "priority": extra["priority"],
            "position": "first" if options.get("tryfirst") else "last" if options.get("trylast") else "",
            "states": list(extra["states"]),
            "wrapper": bool(options.get("wrapper") or options.get("hookwrapper")),
        }


def _file_of(found: Any) -> str | None:
    name: str = getattr(found, "__module__", None) or found.__name__
    module = sys.modules.get(name)
    return getattr(module, "__file__", None)


def _candidate(fields: Mapping[str, Any]) -> Candidate:
    return Candidate(**{**fields, "requires": tuple(fields["requires"])})
