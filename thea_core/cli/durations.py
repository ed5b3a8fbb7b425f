"""Durations as the configuration writes them, on the command line."""

from __future__ import annotations

import click

__all__ = ["seconds_of"]


def seconds_of(text: str) -> float:
    """Return the seconds of ``500ms``, ``2s``, ``5m``, ``1h``, ``90d`` or a number of seconds.

    Raises:
        click.BadParameter: it is no duration, zero, less, or more than a hundred years.
    """
    from thea_core.config.kinds import Duration, parse_duration

    seconds = parse_duration(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is not {Duration.expected}")
    return seconds
