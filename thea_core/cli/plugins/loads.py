"""Loading plugins for a look at them: each in a process of its own, several at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from thea_core.plugins.discovery import Candidate

if TYPE_CHECKING:
    from thea_core.config import Config
    from thea_core.plugins.inspection import Inspection

__all__ = ["inspect_all", "modules_of"]

_AT_ONCE = 4


def modules_of(modules: Iterable[str]) -> list[Candidate]:
    """Return the candidates for what ``[plugins] modules`` lists."""
    return [Candidate.of_module(each) for each in modules]


def inspect_all(config: Config | None, candidates: Sequence[Candidate]) -> dict[str, Inspection]:
    """Load each plugin in a child process, with its settings, and return what was found, by name.

    Takes at most 10 seconds for every four of them. Nothing that a plugin does raises.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda each: _inspect(config, each), candidates))
    return {candidate.name: each for candidate, each in zip(candidates, found, strict=True)}


def _inspect(config: Config | None, candidate: Candidate) -> Inspection:
    from thea_core.config.masking import secret_texts
    from thea_core.plugins.inspection import inspect_plugin

    settings = None if config is None else config.plugins.entry(candidate.name).settings
    if settings is None:
        return inspect_plugin(candidate)
    plain = settings.plain()
    return inspect_plugin(candidate, settings=plain, secrets=set(secret_texts(plain, settings.hidden)))
