"""LangGraph's side of a turn: a graph of the same four steps, with its SQLite checkpointer.

Its nodes do nothing but set the keys that Thea's router sets, so that the graph and its checkpoints are what is
measured. A user is a thread; a message is one ``invoke``. The messages are kept as LangGraph's documentation keeps
those of a chat, in ``MessagesState``; or as one plain key, the last one only, which is the least that it can do. The
checkpointer's own pragmas are left alone: WAL, and SQLite's default, ``synchronous=FULL``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.peers import peer

__all__ = ["checkpointed"]

ANSWER = "Sorry, I cannot help with that yet."


class State(TypedDict, total=False):
    """The state of the graph: the keys of a context."""

    user_id: str
    state: str
    message: str
    intent: str | None
    score: float | None
    agent: str | None
    reply: str


def processing(state: State) -> State:  # noqa: ARG001 -- as nodes are called
    """Take the message up."""
    return {"state": "processing"}


def disambiguation(state: State) -> State:  # noqa: ARG001
    """Find the intent: none."""
    return {"intent": None, "score": None, "agent": "fallback"}


def executing(state: State) -> dict[str, Any]:
    """Answer, in the form in which the message came."""
    answer = {"reply": ANSWER} if "message" in state else {"messages": [{"role": "assistant", "content": ANSWER}]}
    return {"state": "executing", **answer}


def completion(state: State) -> State:  # noqa: ARG001
    """Come to rest."""
    return {"state": "idle"}


def checkpointed(
    file: Path, stack: ExitStack, *, chat: bool, durability: str | None = None
) -> Callable[[str, str], object] | None:
    """Return what handles one message of one user; None where LangGraph is not installed.

    Args:
        file: where the checkpoints go.
        stack: closes the file.
        chat: whether the graph keeps the messages, as that of a chat.
        durability: when checkpoints are written; None leaves the default.
    """
    graph, saver = peer("langgraph.graph"), peer("langgraph.checkpoint.sqlite")
    if graph is None or saver is None:
        return None
    connection = stack.enter_context(closing(sqlite3.connect(file, check_same_thread=False)))
    compiled = _compiled(graph, _chat_state(graph) if chat else State, saver.SqliteSaver(connection))

    def invoke(user: str, message: str) -> object:
        config = {"configurable": {"thread_id": user}}
        given = {"messages": [{"role": "user", "content": message}]} if chat else {"message": message}
        return compiled.invoke({"user_id": user, **given}, config, durability=durability)

    return invoke


def _chat_state(graph: Any) -> type:
    keys = {key: kind for key, kind in State.__annotations__.items() if key not in ("message", "reply")}
    return type("ChatState", (graph.MessagesState,), {"__annotations__": keys, "__module__": __name__})


def _compiled(graph: Any, state: type, saver: Any) -> Any:
    builder = graph.StateGraph(state)
    nodes = [processing, disambiguation, executing, completion]
    for node in nodes:
        builder.add_node(node.__name__, node)
    names = [graph.START, *(node.__name__ for node in nodes), graph.END]
    for source, target in pairwise(names):
        builder.add_edge(source, target)
    return builder.compile(checkpointer=saver)
