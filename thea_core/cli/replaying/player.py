"""Runs a plugin on recorded events, and counts what came of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.hooks import suggestion
from thea_core.cli.replaying.alone import IN_FLIGHT
from thea_core.errors import HookError, UnknownHookError

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.cli.replaying.events import Recorded
    from thea_core.types import CallRecord

__all__ = ["Failure", "Player", "Tally"]

_FAILED = frozenset({"error", "timeout"})
_LOOK: Final = 0.1  # seconds after which a wait is interrupted, to see whether it shall go on
_PATIENCE: Final = 60.0  # seconds without any progress after which a queue is given up
_MOST_FAILURES = 10_000
_UNKNOWN = "another plugin, or another version of Thea, has brought it, and its events are left out"


@dataclass(slots=True)
class Tally:
    """What came of the events of one hook.

    Attributes:
        events: how many were recorded.
        ok: how many calls of the plugin's callbacks went well.
        failed: how many raised, or took too long.
        not_run: how many were left out, such as those for which no thread was to be had.
        seconds: how long all of them took.
        slowest: how long the slowest took.
    """

    events: int = 0
    ok: int = 0
    failed: int = 0
    not_run: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def calls(self) -> int:
        """How many calls there were, however they ended."""
        return self.ok + self.failed + self.not_run


@dataclass(frozen=True, slots=True)
class Failure:
    """One call that failed.

    Attributes:
        place: the event's ``FILE:LINE``; empty where the plugin itself fired it.
        hook: what was called.
        event_id: the event's.
        error: the exception's type and the start of its text, or how else it failed.
    """

    place: str
    hook: str
    event_id: str
    error: str


@dataclass(frozen=True, slots=True)
class _Here:
    """Which event is under way."""

    place: str = ""
    hook: str = ""
    event_id: str = ""


@dataclass(slots=True)
class _Queued:
    """The events that wait in the plugin's queue, by hook.

    A delivery may end before the trigger that queued it has written its own row: it is then ``early``.
    """

    waiting: dict[str, deque[_Here]] = field(default_factory=dict)
    early: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def put(self, hook: str, here: _Here) -> None:
        if self.early[hook]:
            self.early[hook] -= 1
            return
        self.waiting.setdefault(hook, deque()).append(here)
        self.count += 1

    def take(self, hook: str) -> _Here | None:
        if not self.waiting.get(hook):
            self.early[hook] += 1
            return None
        self.count -= 1
        return self.waiting[hook].popleft()


class Player:
    """Fires recorded events, and hears from the history of the calls what the plugin does with them.

    Args:
        thea: the running application.
        plugin: the plugin's name.
        remark: gets what is to be told meanwhile: the place of a line, and a sentence.

    Attributes:
        tallies: by hook, in the order in which they came.
        failures: the first 10,000.
        unknown: how many events are of hooks that are not known here, by hook.
        refused: how many lines are no events, or do not fit their hooks.
        left_out: how many events have values that only stand for what was left out.
    """

    def __init__(self, thea: Thea, plugin: str, remark: Callable[[str, str], None]) -> None:
        self.tallies: dict[str, Tally] = {}
        self.failures: list[Failure] = []
        self.unknown: Counter[str] = Counter()
        self.refused = 0
        self.left_out = 0
        self._callbacks = thea.callbacks
        self._plugin = plugin
        self._durable = plugin in thea.callbacks.durable_plugins
        self._remark = remark
        self._here = _Here()
        self._queued = _Queued()
        self._changed = threading.Condition()
        self._thread = threading.current_thread()
        self._callbacks.add_observer(self._observe)

    @property
    def failed(self) -> bool:
        """Whether any call of the plugin's failed."""
        return any(each.failed for each in self.tallies.values())

    @property
    def place(self) -> str:
        """Where the event is that is being fired by this thread; empty where none is."""
        return self._here.place if threading.current_thread() is self._thread else ""

    def play(self, line: Recorded) -> None:
        """Fire the event of a line; where it has none, or one that does not fit, tell so."""
        if line.event is None:
            self._refuse(line.place, line.problem)
            return
        hook, arguments, left_out = line.event
        self._here = _Here(line.place, hook, _text(arguments.get("event_id")))
        try:
            self._callbacks.trigger(hook, **arguments)
            if self._durable:  # those of several users would come in another order than they were fired in
                self._callbacks.flush(_PATIENCE)
        except UnknownHookError:
            self.unknown[hook] += 1
            if self.unknown[hook] == 1:
                near = suggestion(hook, [each.name for each in self._callbacks.hooks])
                self._remark(line.place, f"there is no hook {hook!r} here{near}; {_UNKNOWN}")
            return
        except HookError as error:
            self._refuse(line.place, str(error))
            return
        finally:
            self._here = _Here()
        with self._changed:
            self._tally(hook).events += 1
        self.left_out += bool(left_out)

    def wait_for_room(self, go_on: Callable[[], bool]) -> None:
        """Wait until few enough events are in the plugin's queue, as long as ``go_on()``."""
        self._wait_for_queue(IN_FLIGHT - 1, go_on)

    def finish(self, go_on: Callable[[], bool]) -> int:
        """Wait until the plugin's queue is empty and flushed, as long as ``go_on()``; return how many are left."""
        if self._wait_for_queue(0, go_on) == 0:
            self._callbacks.flush(_PATIENCE)
        return self._queued.count

    def _wait_for_queue(self, count: int, go_on: Callable[[], bool]) -> int:
        """Wait until at most ``count`` events are in the plugin's queue, or it stands still; return how many are."""
        with self._changed:
            before, since = self._queued.count, time.monotonic()
            while self._queued.count > count and go_on() and time.monotonic() - since < _PATIENCE:
                self._changed.wait(_LOOK)
                if self._queued.count != before:
                    before, since = self._queued.count, time.monotonic()
            return self._queued.count

    def _refuse(self, place: str, problem: str) -> None:
        self.refused += 1
        self._remark(place, problem)

    def _observe(self, call: CallRecord) -> None:
        """Take one call of a chain, or one delivery of the plugin's queue, on the queue's thread."""
        mine = [each for each in call.callbacks if each.plugin == self._plugin]
        if not mine:
            return
        outcomes = {each.outcome for each in mine}
        with self._changed:
            if "queued" in outcomes:
                for _ in mine:  # each is delivered by itself
                    self._queued.put(call.hook, self._fired(call.hook))
                return
            here = self._whose(call.hook)
            tally = self._tally(call.hook)
            seconds = sum(each.duration for each in mine)
            tally.seconds += seconds
            tally.slowest = max(tally.slowest, seconds)
            if outcomes & _FAILED:
                tally.failed += 1
                error = next(each.error or each.outcome for each in mine if each.outcome in _FAILED)
                if len(self.failures) < _MOST_FAILURES:
                    self.failures.append(Failure(here.place, call.hook, here.event_id, error))
            elif outcomes == {"ok"}:
                tally.ok += 1
            else:
                tally.not_run += 1
            self._changed.notify_all()

    def _fired(self, hook: str) -> _Here:
        """Return which event it is that this thread fires; none of the recording's, where the plugin fires it."""
        return self._here if threading.current_thread() is self._thread and self._here.hook == hook else _Here()

    def _whose(self, hook: str) -> _Here:
        """Return which event it was. What comes from a queue comes in the order in which it was put there."""
        if threading.current_thread() is self._thread:
            return self._fired(hook)
        here = self._queued.take(hook)
        if here is None:  # of what is being fired just now
            here = self._here if self._here.hook == hook else _Here()
        return here

    def _tally(self, hook: str) -> Tally:
        return self.tallies.setdefault(hook, Tally())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
