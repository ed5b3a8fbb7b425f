"""Finding the registry that the setting ``registry`` names."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, cast

from thea_core import ConfigError
from thea_prometheus.settings import Registry

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["load_registry"]

_KEY = "[plugins.prometheus.settings] registry"


def load_registry(setting: str | Registry | None) -> CollectorRegistry:
    """Return the registry itself: the default one of ``prometheus_client`` for None, that of ``"module:name"``.

    Raises:
        ConfigError: the module cannot be imported, has no such name, or that is no registry.
    """
    if setting is None:
        from prometheus_client import REGISTRY

        return REGISTRY
    found = _find(setting) if isinstance(setting, str) else setting
    if not isinstance(found, Registry) or isinstance(found, type):
        raise _problem(setting, f"is {_kind(found)}", "name a CollectorRegistry of prometheus_client")
    return cast("CollectorRegistry", found)


def _find(setting: str) -> object:
    module_name, _, path = setting.partition(":")
    try:
        found: object = import_module(module_name)
    except Exception as error:  # the module is the operator's own: importing it may raise anything
        reason = f"cannot be imported: {type(error).__name__}: {error}"
        advice = f"check that {module_name!r} can be imported by the Python that runs Thea"
        raise _problem(setting, reason, advice) from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise _problem(setting, f"does not exist: there is no {name!r} in {module_name!r}", _near(found, name))
        found = getattr(found, name)
    return found


def _kind(found: object) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"


def _near(owner: object, name: str) -> str:
    close = difflib.get_close_matches(name, dir(owner), n=1)
    return f"did you mean {close[0]!r}?" if close else "name a registry of that module"


def _problem(setting: object, found: str, advice: str) -> ConfigError:
    return ConfigError([f"{_KEY}: {setting!r} {found}; {advice}"])
