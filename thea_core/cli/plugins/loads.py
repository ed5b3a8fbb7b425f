"""Loading plugins for a look at them: each in a process of its own, several at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from thea_core.errors import DefinitionError
from thea_core.plugins.discovery import Candidate

if TYPE_CHECKING:
    from thea_core.config import Config
    from thea_core.plugins.conditions import Conditions
    from thea_core.plugins.inspection import Inspection

__all__ = ["inspect_all", "modules_of"]

_AT_ONCE = 4
_TIME = 10.0  # seconds for each


def modules_of(modules: Iterable[str]) -> list[Candidate]:
    """Return the candidates for what ``[plugins] modules`` lists."""
    return [Candidate.of_module(each) for each in modules]


def inspect_all(
    config: Config | None, candidates: Sequence[Candidate], beside: Sequence[Candidate] = ()
) -> dict[str, Inspection]:
    """Load each plugin in a child process, with its settings, and return what was found, by name.

    Takes at most 10 seconds for every four of them. Nothing that a plugin does raises.

    Args:
        config: the configuration, where it can be read.
        candidates: which plugins.
        beside: the others that would run beside them; loaded only where one of them may add a hook that is needed.
    """
    found = _inspect_each(config, candidates)
    if any(each.unknown for each in found):
        adds = {hook for each in [*found, *_inspect_each(config, beside)] for hook in each.adds}
        found = [_judged(each, adds) for each in found]
    return {candidate.name: each for candidate, each in zip(candidates, found, strict=True)}


def _inspect_each(config: Config | None, candidates: Sequence[Candidate]) -> list[Inspection]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda each: _inspect(config, each), candidates))


def _inspect(config: Config | None, candidate: Candidate) -> Inspection:
    from thea_core.config.masking import secret_texts
    from thea_core.plugins.inspection import inspect_plugin

    if config is None:
        return inspect_plugin(candidate, timeout=_TIME)
    conditions = _conditions(config, candidate.name)
    settings = config.plugins.entry(candidate.name).settings
    if settings is None:
        return inspect_plugin(candidate, conditions=conditions, timeout=_TIME)
    plain = settings.plain()
    secrets = set(secret_texts(plain, settings.hidden))
    return inspect_plugin(candidate, settings=plain, secrets=secrets, conditions=conditions, timeout=_TIME)


def _conditions(config: Config, name: str) -> Conditions:
    from thea_core.config.operator import Operator
    from thea_core.plugins.conditions import Conditions
    from thea_core.plugins.entries import PluginOptions

    return Conditions(
        options=Operator(config).tables().get(name, PluginOptions()),
        timeout=_limit(config.callbacks.timeout),
        timeouts={"detect_intents": _limit(config.conversation.detect_timeout)},
        states=_states(config),
    )


def _limit(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def _states(config: Config) -> tuple[str, ...] | None:
    from thea_core.fsm.definition import Definition

    own = config.fsm.definition()
    try:
        return (Definition() if own is None else Definition.from_mapping(own)).states
    except DefinitionError:  # told where the configuration is checked
        return None


def _judged(found: Inspection, adds: Collection[str]) -> Inspection:
    """Return the inspection with an error, where it has callbacks of hooks that no plugin adds."""
    missing = [text for hook, text in found.unknown if hook not in adds]
    return replace(found, error="\n".join(missing)) if missing and found.error is None else found
