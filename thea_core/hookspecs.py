"""The contract: every hook of the core, when it is called and what its callbacks may do.

The hook reference of the documentation is generated from this module, so each docstring is written for people who
write plugins: the first line says *when*, ``Args`` what is given, ``Returns`` what a returned value does.

A callback names only the arguments that it needs. An event offers ``event_id``, ``session_id`` and ``timestamp`` to
every callback that names them, besides its own arguments.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from thea_core.markers import hookspec
from thea_core.types import Agent, Application, Context, IntentMatch, Store

__all__ = ["Conversation", "Events", "Health", "LifeCycle", "Transitions"]


class Events:
    """Events tell what happens. What a callback returns is ignored, and nothing that it raises reaches the caller.

    Besides its own arguments, every event offers these to a callback that names them:

    - ``event_id`` (``str``): a UUID of 36 characters, the same for every callback of one occurrence;
    - ``session_id`` (``str | None``): the session in which it happened, where there is one;
    - ``timestamp`` (``datetime``): when it happened, aware, in UTC.
    """

    @hookspec
    def on_message(self, user_id: str, message: str, timestamp: datetime) -> None:
        """Called when a user sends a message, before anything else is done with it.

        Args:
            user_id: who sent it.
            message: the text, as it came.
            timestamp: when it came, aware, in UTC.
        """

    @hookspec
    def on_state_change(self, user_id: str, old_state: str, new_state: str) -> None:
        """Called after the state of a conversation has changed.

        A callback of this event cannot start a transition: that is refused with ``ReentrancyError``.

        Args:
            user_id: whose conversation.
            old_state: the state before.
            new_state: the state now.
        """

    @hookspec
    def on_error(self, user_id: str, error: Exception, traceback: str) -> None:
        """Called once when an error happened while a message was handled. A veto is no error.

        Args:
            user_id: whose message.
            error: the exception.
            traceback: the formatted traceback.
        """

    @hookspec
    def on_session_timeout(self, user_id: str, session_id: str) -> None:
        """Called when a session has ended by inactivity. It may be told twice, with one ``event_id``, after a crash.

        Args:
            user_id: whose session.
            session_id: the session that has ended.
        """

    @hookspec
    def on_intent_detected(self, user_id: str, intent: str, score: float) -> None:
        """Called when the intent of a message is known, also when the user's answer to a question made it clear.

        Args:
            user_id: who sent the message.
            intent: the intent's name.
            score: how sure its detector was, 0 to 1.
        """

    @hookspec
    def on_agent_delegated(self, user_id: str, agent: str, intent: str) -> None:
        """Called when a message is about to be handed to an agent; not where it goes back to an agent that asked.

        Args:
            user_id: who sent the message.
            agent: the agent's name, ``"fallback"`` for the fallback agent.
            intent: the intent's name, ``""`` for the fallback agent.
        """


class Transitions:
    """Transition hooks surround a change of state. Their callbacks may change the context, and may veto.

    A plugin's callback gets a copy of the context of its own; only what it returns is adopted. It refuses the
    transition by raising ``TransitionVeto`` or one of its kinds. Any other exception is contained: the transition goes
    on without that callback, unless its plugin is a guard (``on_failure = "veto"``).
    ``@hookimpl(states=("executing",))`` limits a callback to those targets.
    """

    @hookspec(collect=True)
    def pre_transition(self, source: str, target: str, context: Context) -> Context | None:
        """Called before the state changes, once the transition is known to be legal.

        Args:
            source: the state now.
            target: the state that is being entered.
            context: a copy of the conversation's context.

        Returns:
            The context to go on with (same ``user_id``, same ``state``), or None for "unchanged".
        """

    @hookspec(collect=True)
    def post_transition(self, source: str, target: str, context: Context) -> Context | None:
        """Called after the state has changed, while the transition can still be undone.

        Args:
            source: the state before.
            target: the state that has been entered.
            context: a copy of the conversation's context.

        Returns:
            The context to go on with (same ``user_id``, same ``state``), or None for "unchanged".
        """

    @hookspec(collect=True)
    def on_transition_error(self, source: str, target: str, error: BaseException, context: Context) -> Context | None:
        """Called when the conversation has been put into the error state, before ``on_error`` is told.

        Args:
            source: the state before the transition that failed.
            target: the state that was being entered; the same as ``source`` where no transition was under way.
            error: the exception.
            context: a copy of the error context.

        Returns:
            The error context to go on with (same ``user_id``, same ``state``), or None for "unchanged".
        """


class Conversation:
    """Result hooks give the conversation its parts. Each callback runs isolated from the others."""

    @hookspec(collect=True)
    def detect_intents(self, message: str, context: Context) -> list[IntentMatch] | None:
        """Called for every message to find out what the user wants.

        Args:
            message: the text.
            context: a copy of the conversation's context.

        Returns:
            The intents that were found, in any order; the results of all callbacks are merged.
        """

    @hookspec(collect=True)
    def provide_agents(self) -> list[Agent] | None:
        """Called when the plugin starts, to learn which agents it brings.

        Returns:
            The agents. Where two answer one intent, the one of the higher priority does, and a warning says so.
        """

    @hookspec(firstresult=True)
    def create_store(self, url: str) -> Store | None:
        """Called at start where the core does not know the scheme of ``[store] url``.

        Args:
            url: the configured URL.

        Returns:
            The store, or None where the URL is not this plugin's; the first store is taken.
        """


class LifeCycle:
    """Life-cycle hooks are called by the application, for one plugin at a time."""

    @hookspec(collect=True)
    def provide_hookspecs(self) -> Any:
        """Called after all plugins are constructed and before any is registered.

        Returns:
            An object, class or module whose functions are marked with ``@hookspec``: hooks that this plugin adds.
        """

    @hookspec(collect=True)
    def on_startup(self, app: Application) -> None:
        """Called once before the plugin's other callbacks can run; one that raises leaves the plugin out.

        Args:
            app: the application.
        """

    @hookspec(collect=True)
    def on_shutdown(self, timeout: float) -> None:
        """Called once when the plugin is switched off or the application ends, after its last callback.

        What it raises is logged. A ``PluginError`` with the plugin's own name is for what it has to say at its end,
        such as "12 events lost: HTTP 500": that is told in its own words, also by ``thea run``.

        Args:
            timeout: seconds that are left for it.
        """

    @hookspec(collect=True)
    def on_flush(self, timeout: float) -> None:
        """Called for a plugin with a queue, or with durable delivery: the time to send what it has gathered.

        Where it has a queue: when that has run empty, every ``flush_interval``, and within ``flush`` and ``close``; on
        the queue's own thread, never while another callback of the queue runs. Where its delivery is durable: after
        some events were handed over, and before they are noted as delivered; where it fails, they come again.

        Args:
            timeout: seconds that it may take.
        """


class Health:
    """Told by the core about the plugins; an event like any other."""

    @hookspec
    def on_plugin_health(self, plugin: str, hook: str, state: str, reason: str) -> None:
        """Called when the circuit breaker of a plugin has changed its state.

        Args:
            plugin: the plugin's name, or ``"local"`` for a local callback.
            hook: the hook whose calls it concerns.
            state: ``"open"`` (calls are skipped), ``"half-open"`` (one call is tried) or ``"closed"`` (all is well).
            reason: why, in words.
        """
