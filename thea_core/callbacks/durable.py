"""How events get into the outbox for plugins with durable delivery.

Nothing is called when such an event is fired: it is written down, and stored. While a turn runs in the flow, or the end
of a session, it joins what that commits; otherwise it is stored by itself, at once. It is handed over later, by the
plugin's courier (:mod:`thea_core.callbacks.couriers`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from thea_core.callbacks import flow
from thea_core.callbacks.history import Failure
from thea_core.callbacks.hooks import Hook
from thea_core.callbacks.limits import Abandoned, CallbackStep, ThreadStep, Ways
from thea_core.callbacks.threads import Outcome
from thea_core.errors import StoreUnavailableError
from thea_core.types import OutgoingEvent

if TYPE_CHECKING:
    from thea_core.callbacks.binding import Callback
    from thea_core.callbacks.failures import FailureLog
    from thea_core.types import Outbox

__all__ = ["Gathered", "Outlet", "gathered"]

_WITHIN = '"within":'


class Gathered:
    """The events that join the commit of one piece of work. Thread-safe: callbacks of a turn run on several threads.

    Attributes:
        user_id: whose work it is.
        events: what there is so far, in order.
        open: whether more may come; afterwards events are stored by themselves.
    """

    __slots__ = ("_lock", "events", "open", "user_id")

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.events: list[OutgoingEvent] = []
        self.open = True
        self._lock = threading.RLock()  # a finalizer may run within, and fire an event in its turn

    def add(self, event: OutgoingEvent) -> bool:
        """Let an event join; False where it comes too late."""
        with self._lock:
            if self.open:
                self.events.append(event)
            return self.open

    def drop(self, hook: str) -> None:
        """Take out what was gathered of one hook: it did not come true."""
        with self._lock:
            self.events = [each for each in self.events if each.hook != hook]

    def close(self) -> list[OutgoingEvent]:
        """Let no more in, and return what is to be committed. Idempotent."""
        with self._lock:
            self.open = False
            return self.events


gathered: ContextVar[Gathered | None] = ContextVar("thea_gathered", default=None)
"""What events join that are fired in this flow; None outside of turns. Look at ``open``."""


class Outlet:
    """What all plugins with durable delivery share in one manager: where their events go. Thread-safe.

    Args:
        ways: where an event is stored whose caller must not block.
        failures: takes what could not be stored.

    Attributes:
        outbox: where events are stored and claimed; None until one is attached.
    """

    def __init__(self, ways: Ways, failures: FailureLog) -> None:
        self.outbox: Outbox | None = None
        self._ways = ways
        self._failures = failures

    def collector(self, callback: Callback, busy: list[int]) -> Callable[[str, object, object], CallbackStep | None]:
        """Return a function that stores an event for a callback; what it returns is waited for, if it is not None.

        It takes the JSON form of the event as text, its id, and the user's. The hooks within which the event was fired
        are noted with it: when it is delivered they count as running, or two callbacks that fire each other's event
        would go on for ever.

        Args:
            callback: for which the events are.
            busy: the running calls of chains; the caller's own is one of them.
        """
        plugin, hook, current = callback.plugin, callback.hook, gathered.get

        def collect(text: str, event_id: object, user_id: object) -> CallbackStep | None:
            nested = len(busy) > 1
            if nested or flow.framed() is not None:
                around = flow.carried(hook, stack=nested)[1:]
                within = [key.name for key in around if isinstance(key, Hook)]
                if within:
                    text = f"{text[:-1]},{_WITHIN}{json.dumps(sorted(within))}}}"
            event = OutgoingEvent(plugin, hook.name, _storable(str(event_id)), text)
            work = current()
            if work is not None and work.add(event):
                return None
            user = _storable(user_id) if type(user_id) is str else ""
            return _StoreStep(partial(self._append, user, event), self._ways)

        return collect

    def lose(self, callback: Callback, error: BaseException) -> Failure:
        """Log that an event could not be stored, and return what to note in the row.

        Raises:
            KeyboardInterrupt: that is the error.
        """
        if isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, Abandoned):  # nobody waits for it any more: it is stored, or its own failure is logged
            return Failure(0, "cancelled", None)
        self._failures.report_lost(callback.plugin, callback.hook.name, error)
        return Failure(0, "dropped", self._failures.text(error))

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads."""
        self._ways.after_fork_in_child()

    def close(self) -> None:
        """Let the threads end."""
        self._ways.threads.close()

    def _append(self, user_id: str, event: OutgoingEvent) -> None:
        if self.outbox is None:
            raise StoreUnavailableError(
                "there is no store with an outbox where the event could wait: durable delivery works within a "
                "Thea application, or after callbacks.attach_outbox(...)"
            )
        self.outbox.append(user_id, [event])


def _storable(text: str) -> str:
    """Return a text that every store takes: it may have come from anybody who fires an event."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


class _StoreStep(ThreadStep):
    """Stores an event: in the calling thread, or on one of Thea's where an event loop must not wait."""

    __slots__ = ("_append",)

    def __init__(self, append: Callable[[], None], ways: Ways) -> None:
        super().__init__(append, ways, None, (), capped=False)
        self._append = append

    def wait(self) -> Outcome:
        """Store it here."""
        try:
            self._append()
        except Exception as error:  # its outcome; Ctrl-C passes
            return None, error
        return None, None
