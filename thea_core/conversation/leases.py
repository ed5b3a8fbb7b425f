"""Keeps the leases of running turns alive: a turn may last as long as it likes, and a dead process holds nothing up."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Final

from thea_core.callbacks.failures import short_text
from thea_core.callbacks.forking import watch
from thea_core.conversation.workers import begin
from thea_core.types import Clock, Lease, Store

__all__ = ["LEASE_SECONDS", "LeaseKeeper"]

logger = logging.getLogger("thea_core.conversation")

LEASE_SECONDS: Final = 30.0
"""How long a lease lives unless it is renewed: after a crash, so long at most does its user wait."""

_RENEW_NS: Final = round(LEASE_SECONDS / 3 * 1_000_000_000)
_LOOK_SECONDS: Final = LEASE_SECONDS / 6


class LeaseKeeper:
    """Renews leases every third of their life, on a daemon thread ``thea-leases``. Thread-safe, fork-safe.

    The thread is started at the first lease. It looks at what is held every sixth of a lease's life, so that a turn,
    which is nearly always shorter than that, wakes nobody; it ends when it finds nothing twice, or when the keeper is
    gone. A lease that was lost is forgotten: its turn learns it at its commit. The places of those who wait in the
    store's queue live as long as a lease, and are renewed with the leases.

    Args:
        store: where the leases are.
        clock: measures their age.
        owner: tells whose places are renewed.

    Attributes:
        before_looking: a weak reference to what the thread calls before it looks; gives None where nothing is called.
    """

    _places: int
    _places_since: int  # when the oldest of them that was not renewed was taken, or all were

    def __init__(self, store: Store, clock: Clock, owner: Callable[[], str] = str) -> None:
        self._store = store
        self._owner = owner
        self._now = clock.monotonic_ns
        self.before_looking: Callable[[], Callable[[], None] | None] = lambda: None
        self._fresh()
        watch(self)

    def add(self, lease: Lease) -> None:
        """Renew ``lease`` from now on."""
        self._held[lease] = self._now()
        if self._thread is None:
            self._start()

    def discard(self, lease: Lease) -> None:
        """Renew ``lease`` no more."""
        self._held.pop(lease, None)

    def add_place(self) -> None:
        """Renew the owner's places from now on; to be called for each of them."""
        with self._guard:
            if not self._places:
                self._places_since = self._now()
            self._places += 1
        if self._thread is None:
            self._start()

    def discard_place(self) -> None:
        """Note that there is one place less."""
        with self._guard:
            self._places = max(0, self._places - 1)  # a fork forgets the parent's

    def renew_due(self) -> int:
        """Renew what has not been renewed for a third of its life; return how many leases and places are held."""
        prepare = self.before_looking()
        if prepare is not None:
            prepare()
        now = self._now()
        for lease, since in list(self._held.items()):
            if now - since >= _RENEW_NS:
                self._renew(lease, now)
        if self._places and now - self._places_since >= _RENEW_NS:
            self._renew_places(now)
        return len(self._held) + self._places

    def stop(self) -> None:
        """Let the thread end soon; a later lease starts another."""
        self._stop.set()

    def after_fork_in_child(self) -> None:
        """Forget the parent's leases and thread."""
        self._fresh()

    def _fresh(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[Lease, int] = {}
        self._places = 0
        self._places_since = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def _start(self) -> None:
        with self._guard:
            if self._thread is None:
                stop = self._stop = threading.Event()
                thread = threading.Thread(
                    target=_work, args=(weakref.ref(self, lambda _: stop.set()), stop), name="thea-leases", daemon=True
                )
                if begin(thread):
                    self._thread = thread

    def _end(self) -> bool:
        """Let the thread end, unless a lease has come in the meantime."""
        with self._guard:
            if (self._held or self._places) and not self._stop.is_set():
                return False
            self._thread = None
        if self._held or self._places:  # added after the look above, by somebody who still saw the thread
            self._start()
        return True

    def _renew(self, lease: Lease, now: int) -> None:
        try:
            if self._store.renew(lease, duration=LEASE_SECONDS):
                if lease in self._held:
                    self._held[lease] = now
                return
        except Exception as error:  # the thread must live, whatever a plugin's store raises
            logger.warning("a lease could not be renewed; it is tried again: %s", short_text(error))
            return
        self.discard(lease)

    def _renew_places(self, now: int) -> None:
        try:
            self._store.renew_places(owner=self._owner(), duration=LEASE_SECONDS)
            self._places_since = now
        except Exception as error:  # as above
            logger.warning("places in queues could not be renewed; it is tried again: %s", short_text(error))


def _work(keeper: weakref.ref[LeaseKeeper], stop: threading.Event) -> None:
    """Look again and again; holds no reference to the keeper while it waits."""
    empty = 0
    while True:
        stop.wait(_LOOK_SECONDS)
        alive = keeper()
        if alive is None:
            return
        empty = 0 if alive.renew_due() else empty + 1
        if (empty > 1 or stop.is_set()) and alive._end():  # noqa: SLF001 -- same module
            return
        del alive
