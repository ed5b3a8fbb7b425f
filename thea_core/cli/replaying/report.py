"""What came of a replay, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thea_core.cli.output import say, table
from thea_core.cli.replaying.player import Player, Tally

__all__ = ["as_json", "remarks", "show"]

_SHOWN = 10


def show(player: Player) -> None:
    """Print a table with a row for each hook, and below it which events failed."""
    if not player.tallies:
        say("There was no event to replay.")
        return
    rows = [[hook, *_cells(each)] for hook, each in player.tallies.items()]
    table(["hook", "events", "ok", "failed", "not run", "total", "slowest"], rows)
    places = list(dict.fromkeys(each.place for each in player.failures if each.place))
    if places:
        more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
        say(f"Failed: {', '.join(places[:_SHOWN])}{more}")


def remarks(player: Player, plugin: str) -> Iterator[str]:
    """Give what a person should know of how far the result can be trusted."""
    if player.tallies and not any(each.calls for each in player.tallies.values()):
        yield f"the plugin {plugin} has no callback of any of these events"
    if player.left_out:
        yield (
            f"in {_many(player.left_out, 'event')} texts or values were left out; of a text only the length is right. "
            "If a failure depends on them, record with --messages"
        )
    for hook, count in player.unknown.items():
        yield f"{_many(count, 'event')} of the hook {hook}, which is not known here, left out"
    if player.refused:
        yield f"{_many(player.refused, 'line')} refused"


def as_json(player: Player, file: Path, plugin: str) -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "plugin": plugin,
        "file": str(file),
        "failed": player.failed,
        "hooks": [
            {
                "hook": hook,
                "events": each.events,
                "ok": each.ok,
                "failed": each.failed,
                "not_run": each.not_run,
                "seconds": round(each.seconds, 6),
                "slowest": round(each.slowest, 6),
            }
            for hook, each in player.tallies.items()
        ],
        "failures": [
            {"place": each.place or None, "hook": each.hook, "event_id": each.event_id or None, "error": each.error}
            for each in player.failures
        ],
        "unknown_hooks": dict(player.unknown),
        "refused": player.refused,
        "left_out": player.left_out,
    }


def _cells(tally: Tally) -> list[str]:
    if not tally.calls:
        return [f"{tally.events:,}", *["-"] * 5]
    counts = (tally.events, tally.ok, tally.failed, tally.not_run)
    return [*(f"{each:,}" for each in counts), _time(tally.seconds), _time(tally.slowest)]


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
