"""What the contracts need: turns, begun and ended by a commit, and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from thea_core.types import Commit, Conversation, Lease, Store

__all__ = ["begin", "run_together", "take", "turn"]


def begin(store: Store, user_id: str = "ana", **options: Any) -> Conversation:
    """Begin a turn that must not find the conversation busy."""
    conversation = store.begin(user_id, **{"owner": "here", "duration": 30.0, **options})
    if conversation is None:
        pytest.fail(f"the conversation of {user_id!r} is busy")
    return conversation


def take(store: Store, user_id: str = "ana", **options: Any) -> tuple[Lease, int]:
    """Take a lease; return it with the version that was read."""
    conversation = begin(store, user_id, **options)
    if conversation.lease is None:
        pytest.fail(f"the message {options.get('message_id')!r} was handled before")
    return conversation.lease, conversation.version


def turn(store: Store, user_id: str = "ana", **changes: Any) -> None:
    """Begin and commit."""
    lease, version = take(store, user_id, message_id=changes.get("message_id"))
    store.commit(Commit(lease, version, **{"context": "{}", "session_id": "s1", "session_timeout": 60.0, **changes}))


def run_together(*works: Callable[[threading.Event], object]) -> None:
    """Run each on a thread of its own; raise what the first to fail has raised.

    Each gets an event that says that another one has failed: who repeats something until others have done their part
    gives up then.
    """
    failed = threading.Event()
    errors: list[BaseException] = []

    def run(work: Callable[[threading.Event], object]) -> None:
        try:
            work(failed)
        except BaseException as error:  # raised again below
            errors.append(error)
            failed.set()

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
