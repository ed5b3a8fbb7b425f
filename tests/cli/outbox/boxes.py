"""Events in the outbox of a store, as deliveries have left them, and a plugin that makes a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from thea_core.storage import open_store
from thea_core.types import Outbox, OutgoingEvent, StoredEvent, SystemClock

SECRET = "what a user wrote"

SHELF = """
from thea_core import OutgoingEvent, SystemClock, hookimpl
from thea_core.storage.memory import MemoryStore

class Bare(MemoryStore):
    outbox = None

@hookimpl
def create_store(url):
    if url == "shelf:bare":
        return Bare(clock=SystemClock())
    if url == "shelf:":
        store = MemoryStore(clock=SystemClock())
        store.outbox.append("ana", [OutgoingEvent("weather", "on_message", "e1", "{}")])
        return store
"""
"""The source of a plugin that makes two stores: one with an event in its outbox, and one without an outbox."""


@contextmanager
def outbox() -> Iterator[Outbox]:
    """Give the outbox of ``thea.db`` in the working directory."""
    with closing(open_store("sqlite:///thea.db", clock=SystemClock())) as store:
        assert store.outbox is not None
        yield store.outbox


def add(box: Outbox, user_id: str, *event_ids: str, plugin: str = "weather") -> None:
    """Store events."""
    box.append(user_id, [OutgoingEvent(plugin, "on_message", each, f'{{"message": "{SECRET}"}}') for each in event_ids])


def fail(box: Outbox, *, plugin: str = "weather", park: bool = False) -> None:
    """Let the next delivery of each user fail: the event is set aside, or tried again in an hour."""
    for claimed in box.claim(plugin, duration=60.0, limit=100):
        box.settle(claimed, delivered=0, retry_in=None if park else 3600.0, park=park, error="OSError: away")


def kept(box: Outbox) -> dict[str, StoredEvent]:
    """Return what is there, by event id."""
    return {each.event_id: each for each in box.list()}
