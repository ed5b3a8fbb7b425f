"""Every error that Thea raises, in one tree.

::

    TheaError
    ├── HookError
    │   ├── UnknownHookError          no hook has that name
    │   ├── HookCallError             a hook is called with the wrong arguments, or in the wrong way
    │   ├── RegistrationError         a callback or plugin does not fit the hooks
    │   │   └── CallbackLimitError    too many local callbacks for one state and phase
    │   ├── ReentrancyError           a hook, a transition or a turn is nested in itself
    │   ├── CallbackTimeoutError      a callback, agent or plugin did not come back within its limit
    │   └── CallbackSkippedError      a callback was not called: no thread to be had, or its breaker is open
    ├── DefinitionError               a state machine is not well formed
    ├── IllegalTransitionError        the definition has no such transition
    ├── ContextError                  a context is not JSON-shaped
    ├── TransitionVeto                a callback refuses a transition
    │   ├── ValidationError           ... because of what the user sent
    │   ├── AgentNotAvailableError    ... because nobody could answer
    │   └── GuardUnavailableError     ... because the plugin that guards is down
    ├── InvalidRequestError           a message, user id or message id that cannot be handled
    ├── LifeCycleError                an application is used while it is not running, or is started twice
    ├── ConfigError                   the configuration is wrong; holds every problem found
    ├── PluginError
    │   ├── PluginNotFoundError       not installed
    │   ├── PluginConflictError       two plugins of one name
    │   ├── PluginLoadError           cannot be imported, constructed, registered or started
    │   └── GuardRequiredError        a guard would be left out without being told to
    ├── StoreError
    │   ├── StoreUnavailableError     the store cannot be opened, read or written
    │   ├── StoreSchemaError          not a database of Thea, or of a newer version
    │   ├── ConversationBusyError     another holder kept the conversation for too long
    │   └── CommitRefusedError        another process took the conversation over
    └── RecordedError                 stands for an error that was written down

Each class has a ``code``: it never changes, is what ``thea --json`` prints, and names the section of the error
reference that explains the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "AgentNotAvailableError",
    "CallbackLimitError",
    "CallbackSkippedError",
    "CallbackTimeoutError",
    "CommitRefusedError",
    "ConfigError",
    "ContextError",
    "ConversationBusyError",
    "DefinitionError",
    "GuardRequiredError",
    "GuardUnavailableError",
    "HookCallError",
    "HookError",
    "IllegalTransitionError",
    "InvalidRequestError",
    "LifeCycleError",
    "PluginConflictError",
    "PluginError",
    "PluginLoadError",
    "PluginNotFoundError",
    "RecordedError",
    "ReentrancyError",
    "RegistrationError",
    "StoreError",
    "StoreSchemaError",
    "StoreUnavailableError",
    "TheaError",
    "TransitionVeto",
    "UnknownHookError",
    "ValidationError",
]


class TheaError(Exception):
    """The root of the tree: ``except TheaError`` catches whatever Thea itself raises.

    Every error of Thea can be pickled, with its attributes: it may cross to another process.
    """

    code: ClassVar[str] = "thea"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.args), self.__dict__


class HookError(TheaError):
    """Something is wrong with a hook, or with the way in which it is used."""

    code = "hook"


class UnknownHookError(HookError, LookupError):
    """No hook has that name.

    Attributes:
        hook: the name that was given.
    """

    code = "unknown-hook"

    def __init__(self, message: str, *, hook: str) -> None:
        super().__init__(message)
        self.hook = hook


class HookCallError(HookError, TypeError):
    """A hook was called with a missing or an unknown argument, or by the wrong method. The caller's bug."""

    code = "hook-call"


class RegistrationError(HookError):
    """A callback or a plugin was refused when it was registered; nothing of it is in any chain.

    Attributes:
        plugin: the plugin's name, or ``"local"``.
    """

    code = "registration"

    def __init__(self, message: str, *, plugin: str = "local") -> None:
        super().__init__(message)
        self.plugin = plugin


class CallbackLimitError(RegistrationError):
    """A state already has as many local callbacks for this phase as the engine allows."""

    code = "callback-limit"


class ReentrancyError(HookError, RuntimeError):
    """A hook, a transition or a turn was started while the same one runs in the same flow."""

    code = "reentrancy"


class CallbackTimeoutError(HookError, TimeoutError):
    """Something that has a time limit did not come back within it. It may still be running: it cannot be stopped.

    Attributes:
        seconds: the limit.
    """

    code = "callback-timeout"

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class CallbackSkippedError(HookError):
    """A callback was not called: no thread was to be had for it, or its circuit breaker is open."""

    code = "callback-skipped"


class DefinitionError(TheaError, ValueError):
    """A state machine's definition is not well formed.

    Attributes:
        problems: one sentence for each problem; all that were found.
    """

    code = "fsm-definition"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the state machine is not well formed:\n" + "\n".join(f"  - {each}" for each in problems))
        self.problems = problems


class IllegalTransitionError(TheaError, ValueError):
    """The definition has no transition between these states; the context is as it was.

    Attributes:
        source, target: the states.
    """

    code = "illegal-transition"

    def __init__(self, message: str, *, source: str, target: str) -> None:
        super().__init__(message)
        self.source = source
        self.target = target


class ContextError(TheaError, ValueError):
    """A context is not JSON-shaped, or lacks ``user_id`` or ``state``.

    Attributes:
        path: where in the context, such as ``context['cart'][2]``.
    """

    code = "context"

    def __init__(self, message: str, *, path: str = "context") -> None:
        super().__init__(message)
        self.path = path


class TransitionVeto(TheaError):  # noqa: N818 -- a veto is an answer, not a failure
    """Raised by a callback that refuses a transition; its text is what the user is told.

    The context stays as it was, no error callback runs and no event is fired.
    """

    code = "veto"


class ValidationError(TransitionVeto):
    """A veto: what the user sent is not good enough to go on with."""

    code = "validation"


class AgentNotAvailableError(TransitionVeto):
    """A veto: nobody is there to answer."""

    code = "agent-not-available"


class GuardUnavailableError(TransitionVeto):
    """A veto in the name of a guard (``on_failure = "veto"``) that failed: the door stays shut.

    Attributes:
        plugin: the guard's name.
        reason: why it could not decide.
    """

    code = "guard-unavailable"

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(
            f"the guard {plugin!r} could not decide ({reason}), so the transition is refused; "
            "mend the plugin, or start with --without-guards"
        )
        self.plugin = plugin
        self.reason = reason


class InvalidRequestError(TheaError, ValueError):
    """A message, user id or message id that cannot be handled; nothing was fired, nothing was stored."""

    code = "invalid-request"


class LifeCycleError(TheaError, RuntimeError):
    """An application was used before it was started or after it was closed, or was started twice."""

    code = "life-cycle"


class ConfigError(TheaError):
    """The configuration is wrong.

    Attributes:
        problems: one text for each problem, each with its place, what was found and what to do; all that were found.
    """

    code = "config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n\n".join(problems))
        self.problems = problems


class PluginError(TheaError):
    """Something is wrong with a plugin.

    Attributes:
        plugin: its name.
    """

    code = "plugin"

    def __init__(self, message: str, *, plugin: str) -> None:
        super().__init__(message)
        self.plugin = plugin


class PluginNotFoundError(PluginError, LookupError):
    """No installed distribution offers a plugin of that name."""

    code = "plugin-not-found"


class PluginConflictError(PluginError):
    """Two plugins have one name."""

    code = "plugin-conflict"


class PluginLoadError(PluginError):
    """A plugin could not be imported, constructed, registered or started."""

    code = "plugin-load"


class GuardRequiredError(PluginError):
    """A guard would be left out, and nobody said ``--without-guards``."""

    code = "guard-required"


class StoreError(TheaError):
    """The store could not do what it was asked; what was acknowledged before is safe."""

    code = "store"


class StoreUnavailableError(StoreError):
    """The store cannot be opened, read or written now."""

    code = "store-unavailable"


class StoreSchemaError(StoreError):
    """The file or database is not one of Thea's, or was written by a newer version."""

    code = "store-schema"


class ConversationBusyError(StoreError):
    """The conversation stayed in other hands for longer than the caller could wait."""

    code = "conversation-busy"


class CommitRefusedError(StoreError):
    """A commit came too late: the lease was lost, and another holder has gone on. Nothing was written."""

    code = "commit-refused"


class RecordedError(TheaError):
    """An error as it was written down: what crosses a file or a store holds no live exception.

    Attributes:
        type_name: the class's name with its module, such as ``"builtins.ValueError"``.
        message: the exception's text, or a note that it had none to give.
        traceback: the formatted traceback; empty where none was kept.
    """

    code = "recorded"

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Write ``error`` down. Never raises, whatever the exception's own ``__str__`` does."""
        kind = type(error)
        return cls(f"{kind.__module__}.{kind.__qualname__}", error_text(error), format_traceback(error))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make it again from what :meth:`to_json` gave."""
        return cls(data["type_name"], data["message"], data["traceback"])

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"type_name": self.type_name, "message": self.message, "traceback": self.traceback}


def _made_again(kind: type[TheaError], args: tuple[Any, ...]) -> TheaError:
    """Make an error without its constructor, whose arguments are not kept; its attributes follow."""
    return kind.__new__(kind, *args)


def error_text(error: BaseException) -> str:
    """Return ``str(error)``, or a note where the exception's own ``__str__`` raises."""
    try:
        return str.__str__(str(error))  # a subclass of str is made plain
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a plugin's __str__ may do anything
        return f"<str() of the exception raised {type(broken).__name__}>"


def format_traceback(error: BaseException) -> str:
    """Return the formatted traceback of ``error``. Never raises but for KeyboardInterrupt."""
    import traceback

    try:
        return "".join(traceback.format_exception(error))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # the same: formatting calls the exception's own methods
        return f"{type(error).__name__}: <formatting the exception raised {type(broken).__name__}>\n"
