"""Thea: the core of a conversational assistant, opened up by plugins.

These are the public names; everything else may change between two releases. A plugin needs few of them, so the large
parts are imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thea_core.errors import (
    AgentNotAvailableError,
    CallbackLimitError,
    CallbackSkippedError,
    CallbackTimeoutError,
    CommitRefusedError,
    ConfigError,
    ContextError,
    ConversationBusyError,
    DefinitionError,
    GuardRequiredError,
    GuardUnavailableError,
    HookCallError,
    HookError,
    IllegalTransitionError,
    InvalidRequestError,
    LifeCycleError,
    PluginConflictError,
    PluginError,
    PluginLoadError,
    PluginNotFoundError,
    RecordedError,
    ReentrancyError,
    RegistrationError,
    StoreError,
    StoreSchemaError,
    StoreUnavailableError,
    TheaError,
    TransitionVeto,
    UnknownHookError,
    ValidationError,
)
from thea_core.markers import hookimpl, hookspec
from thea_core.types import (
    Agent,
    AgentReply,
    Application,
    BreakerState,
    CallbackRecord,
    CallbackTotals,
    CallRecord,
    ClaimedEvents,
    Clock,
    Commit,
    Context,
    Conversation,
    ExpiredSession,
    HistoryRecord,
    HookResult,
    IntentMatch,
    Lease,
    Outbox,
    OutgoingEvent,
    Reply,
    Store,
    StoredEvent,
    SystemClock,
    Turn,
)

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.callbacks import CallbackManager, Registration
    from thea_core.conversation.contexts import ContextManager
    from thea_core.conversation.router import CoreRouter
    from thea_core.conversation.sessions import SessionManager
    from thea_core.fsm import Definition, FSMEngine

__all__ = [
    "Agent",
    "AgentNotAvailableError",
    "AgentReply",
    "Application",
    "BreakerState",
    "CallRecord",
    "CallbackLimitError",
    "CallbackManager",
    "CallbackRecord",
    "CallbackSkippedError",
    "CallbackTimeoutError",
    "CallbackTotals",
    "ClaimedEvents",
    "Clock",
    "Commit",
    "CommitRefusedError",
    "ConfigError",
    "Context",
    "ContextError",
    "ContextManager",
    "Conversation",
    "ConversationBusyError",
    "CoreRouter",
    "Definition",
    "DefinitionError",
    "ExpiredSession",
    "FSMEngine",
    "GuardRequiredError",
    "GuardUnavailableError",
    "HistoryRecord",
    "HookCallError",
    "HookError",
    "HookResult",
    "IllegalTransitionError",
    "IntentMatch",
    "InvalidRequestError",
    "Lease",
    "LifeCycleError",
    "Outbox",
    "OutgoingEvent",
    "PluginConflictError",
    "PluginError",
    "PluginLoadError",
    "PluginNotFoundError",
    "RecordedError",
    "ReentrancyError",
    "Registration",
    "RegistrationError",
    "Reply",
    "SessionManager",
    "Store",
    "StoreError",
    "StoreSchemaError",
    "StoreUnavailableError",
    "StoredEvent",
    "SystemClock",
    "Thea",
    "TheaError",
    "TransitionVeto",
    "Turn",
    "UnknownHookError",
    "ValidationError",
    "hookimpl",
    "hookspec",
]

_LATE = {
    "CallbackManager": "thea_core.callbacks",
    "ContextManager": "thea_core.conversation.contexts",
    "CoreRouter": "thea_core.conversation.router",
    "Definition": "thea_core.fsm",
    "FSMEngine": "thea_core.fsm",
    "Registration": "thea_core.callbacks",
    "SessionManager": "thea_core.conversation.sessions",
    "Thea": "thea_core.app",
}


def __getattr__(name: str) -> Any:
    """Import one of the large parts at its first use."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LATE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
