"""What a manager says when it is used wrongly."""

from __future__ import annotations

from typing import Any

from thea_core.callbacks.hooks import Hook, HookTable, Kind, suggestion
from thea_core.callbacks.loops import on_loop_thread
from thea_core.errors import HookCallError, ReentrancyError, RegistrationError

__all__ = ["name_taken", "not_callable", "refuse_arguments", "refuse_on_loop"]


def not_callable(hooks: HookTable, name: str, *kinds: Kind) -> HookCallError:
    """Return the error for a hook that is called by the wrong method; an unknown hook raises its own."""
    hook = hooks[name]
    method = "trigger" if Kind.EVENT in kinds else "call"
    fix = {
        Kind.EVENT: "use trigger or atrigger",
        Kind.TRANSITION: "a transition of the engine calls it: use fsm.handle",
        Kind.LIFECYCLE: "the application calls it",
    }.get(hook.kind, "use call or acall")
    article = "an" if hook.kind is Kind.EVENT else "a"
    return HookCallError(f"{method} is not for {hook.signature}, which is {article} {hook.kind.value}; {fix}")


def name_taken(name: str, distribution: str | None = None) -> RegistrationError:
    """Return the error for a plugin whose name another one has."""
    source = f" (distribution {distribution})" if distribution else ""
    return RegistrationError(
        f"plugin {name!r}{source}: that name is taken already; each plugin needs a name of its own", plugin=name
    )


def refuse_on_loop(hook: Hook) -> None:
    """Raise where a synchronous call with asynchronous callbacks would wait for itself."""
    if on_loop_thread():
        raise ReentrancyError(
            f"{hook} has asynchronous callbacks and was triggered on one of Thea's event loops, where it would wait "
            "for itself; await atrigger instead"
        )


def refuse_arguments(hook: Hook, arguments: dict[str, Any]) -> None:
    """Raise where a call's arguments are not the hook's; extras and optional arguments are."""
    missing = [each for each in hook.parameters if each not in arguments and each not in hook.optional]
    unknown = [each for each in arguments if each not in hook.arguments]
    if missing or unknown:
        faults = [f"the argument {each!r} is missing" for each in missing]
        faults += [f"the argument {each!r} is unknown{suggestion(each, hook.arguments)}" for each in unknown]
        raise HookCallError(f"{hook.signature} was called wrongly: {'; '.join(faults)}") from None
