"""The options of the plugin: ``[plugins.prometheus.settings]`` in ``thea.toml``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["PrometheusSettings", "Registry"]

# An inline callback takes microseconds, and the usual limit of a plugin's callback is two seconds.
_DURATIONS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@runtime_checkable
class Registry(Protocol):
    """What a ``prometheus_client.CollectorRegistry`` can do, without importing it."""

    def register(self, collector: Any) -> None: ...  # noqa: D102 -- told by prometheus_client

    def unregister(self, collector: Any) -> None: ...  # noqa: D102

    def collect(self) -> Iterable[Any]: ...  # noqa: D102


class PrometheusSettings(BaseModel):
    """The plugin's options. Immutable; every value is checked when it is made.

    ::

        PrometheusSettings(port=9464, max_label_values=50)

    Raises:
        pydantic.ValidationError: an option is unknown or has a value that does not fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="The port on which to serve the metrics over HTTP; 0 takes a free one. Without it no port is "
        "opened, and the host's own /metrics shows them.",
    )
    addr: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="The address to listen on, if there is a `port`. Who can reach it can read the metrics.",
    )
    max_label_values: int = Field(
        default=100,
        ge=1,
        description="How many values each label may take; those that come later are counted as 'other'.",
    )
    duration_buckets: tuple[float, ...] = Field(
        default=_DURATIONS, description="The upper bounds of the buckets of durations, in seconds, ascending."
    )
    registry: str | Registry | None = Field(
        default=None,
        description="The registry that gets the metrics, as 'module:name'. Without it, the default one of "
        "prometheus_client.",
    )

    @field_validator("duration_buckets")
    @classmethod
    def _check_buckets(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        ascending = all(low < high for low, high in itertools.pairwise(value))
        if not value or not ascending or not 0 < value[0] <= value[-1] < math.inf:
            raise ValueError(
                f"{list(value)!r} are no buckets; expected numbers of seconds greater than 0, each greater than the "
                "one before, such as [0.001, 0.01, 0.1, 1]"
            )
        return value

    @field_validator("registry", mode="before")
    @classmethod
    def _check_registry(cls, value: object) -> object:
        if value is None or (isinstance(value, Registry) and not isinstance(value, type)):
            return value
        module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            return value
        raise ValueError(
            f"{value!r} names no registry; expected 'module:name', such as 'myapp.metrics:REGISTRY' "
            "(from Python also the CollectorRegistry itself)"
        )
