"""The plugin: one event of Mixpanel for each of five events of Thea."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from thea_core import Application, Clock, PluginError, SystemClock, hookimpl
from thea_mixpanel.functions import load_function
from thea_mixpanel.losses import Losses
from thea_mixpanel.settings import MixpanelSettings
from thea_mixpanel.values import as_utc, clean_all, event_key, is_rejected, user_hash

if TYPE_CHECKING:
    from mixpanel import Mixpanel  # type: ignore[import-untyped]

    from thea_mixpanel.outbox import Outbox
    from thea_mixpanel.posting import Poster

__all__ = ["MixpanelPlugin"]

logger = logging.getLogger("thea.plugins.mixpanel")

_OLDEST = timedelta(days=5)  # what is older Mixpanel refuses
_LATEST = timedelta(hours=1)
_GRACE = 0.1  # seconds of a shutdown that are kept for telling what was lost
_INERT = (
    "thea-mixpanel has no token, so nothing is sent; give it one in thea.toml, "
    '[plugins.mixpanel.settings] token = "${MIXPANEL_TOKEN}", and set that variable'
)


class _Work(NamedTuple):
    """What one process works with: a child has its own, since the parent sends what it has gathered itself."""

    process: int
    losses: Losses
    poster: Poster
    outbox: Outbox
    mixpanel: Mixpanel


class MixpanelPlugin:
    """Sends five events to Mixpanel. In ``thea.toml`` it is called ``mixpanel``.

    ::

        Thea(plugins=[MixpanelPlugin(MixpanelSettings(token="", super_properties={"environment": "staging"}))])

    Args:
        settings: the options; None takes the defaults, with which nothing is sent.
        clock: tells and measures time.
        uniform: returns a random number between two, for the pauses between tries.
        wait: waits for an event for at most so many seconds, and tells whether it was set.

    Attributes:
        without_user: how many events were sent without a user, because Mixpanel would not take the user's id.

    Raises:
        ConfigError: ``opt_out`` or ``on_drop`` names no function that can be imported.

    Its callbacks run on the thread of its queue, and send a batch themselves when it is full. They ask for no time
    limit: a request has time limits of its own, and while one is repeated the queue is to wait. A callback that is left
    behind would send all the same, with another one beside it and out of order; three of them would stop the plugin.
    Thread-safe all the same, for an operator may choose otherwise.

    Nothing of what goes wrong at Mixpanel is raised by a callback, which would have its circuit breaker skip events: it
    is counted in ``lost`` and logged, and ``on_shutdown`` raises an error that names the total.

    With durable delivery (``[plugins.mixpanel] delivery = "durable"``) the application keeps each event until it has
    been delivered, and delivered it is only when Mixpanel has accepted it, or has refused this very event for good,
    which is counted as before. The callbacks only gather then, and ``on_flush`` sends; where Mixpanel does not take the
    events now, it raises, they are forgotten here and not counted, and the application brings them again. What arrives
    twice, Mixpanel drops by its ``$insert_id``; ``sent``, ``lost`` and ``without_user`` count it twice.
    """

    name = "mixpanel"
    delivery = "background"
    Settings = MixpanelSettings

    def __init__(
        self,
        settings: MixpanelSettings | None = None,
        *,
        clock: Clock | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self._settings = settings or MixpanelSettings()
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._wait = wait
        self._opt_out = load_function("opt_out", self._settings.opt_out)
        self._on_drop = load_function("on_drop", self._settings.on_drop)
        self._token = self._settings.token.get_secret_value() if self._settings.token else ""
        key = self._settings.user_id_key
        hashes = self._settings.user_id_mode == "hash"
        self._hash_key = key.get_secret_value().encode("utf-8", "surrogatepass") if hashes and key else None
        self._super_properties = clean_all(self._settings.super_properties)
        self._work: _Work | None = None
        self._app: Application | None = None
        self._durable: bool | None = None
        self.without_user = 0

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events were lost in this process since the start, by reason."""
        work = self._here()
        return {} if work is None else work.losses.counts

    @property
    def sent(self) -> int:
        """How many events Mixpanel has accepted from this process since the start."""
        work = self._here()
        return 0 if work is None else work.outbox.sent

    @hookimpl
    def on_startup(self, app: Application) -> None:
        """Import the library, and begin; without a token, warn."""
        self._app, self._durable = app, None
        if self._token:
            self._work = self._begin()
        else:
            logger.warning(_INERT)

    @hookimpl(timeout=None)
    def on_message(self, user_id: str, message: str, timestamp: datetime, event_id: str) -> None:
        """Send the length of the message, and when it came."""
        properties = {"message_length": len(message), "timestamp": timestamp}
        self._track(user_id, "Message Sent", properties, timestamp, event_id)

    @hookimpl(timeout=None)
    def on_state_change(self, user_id: str, old_state: str, new_state: str, timestamp: datetime, event_id: str) -> None:
        """Send the states before and after."""
        self._track(user_id, "State Change", {"from": old_state, "to": new_state}, timestamp, event_id)

    @hookimpl(timeout=None)
    def on_intent_detected(self, user_id: str, intent: str, score: float, timestamp: datetime, event_id: str) -> None:
        """Send the intent, and how sure its detector was."""
        self._track(user_id, "Intent Detected", {"intent": intent, "confidence": score}, timestamp, event_id)

    @hookimpl(timeout=None)
    def on_session_timeout(self, user_id: str, session_id: str, timestamp: datetime, event_id: str) -> None:
        """Send which session has ended."""
        self._track(user_id, "Session Timeout", {"session_id": session_id}, timestamp, event_id)

    @hookimpl(timeout=None)
    def on_agent_delegated(self, user_id: str, agent: str, intent: str, timestamp: datetime, event_id: str) -> None:
        """Send the agent and the intent."""
        self._track(user_id, "Agent Delegated", {"agent": agent, "intent": intent}, timestamp, event_id)

    @hookimpl(timeout=None)
    def on_flush(self, timeout: float) -> None:
        """Send what has been gathered.

        Raises:
            PluginError: the events are durable, and Mixpanel has not taken all of them.
        """
        work = self._here()
        if work is not None:
            work.outbox.deliver(timeout)

    @hookimpl
    def on_shutdown(self, timeout: float) -> None:
        """Send what is left with one last try, unless it is stored, and close the connections.

        Raises:
            PluginError: events were lost since the start; it names how many, and why.
        """
        work = self._here()
        if work is None:
            return
        work.outbox.close(max(timeout - _GRACE, timeout / 2))
        work.poster.close()
        if summary := work.losses.summary():
            raise PluginError(summary, plugin=self.name)

    def _begin(self) -> _Work:
        from mixpanel import Mixpanel

        from thea_mixpanel.outbox import Outbox, Surroundings
        from thea_mixpanel.posting import Poster

        settings = self._settings
        losses = Losses(self._on_drop)
        poster = Poster(settings.url, self._clock.now, self._token)
        outbox = Outbox(
            poster.post,
            losses,
            flush_at=settings.flush_at,
            max_retries=settings.max_retries,
            request_timeout=settings.request_timeout,
            surroundings=Surroundings(self._clock, self._uniform, self._wait),
            is_durable=self._is_durable,
        )
        return _Work(os.getpid(), losses, poster, outbox, Mixpanel(self._token, consumer=outbox))

    def _here(self) -> _Work | None:
        """Return what this process works with; None before the start, and without a token."""
        work = self._work
        if work is not None and work.process != os.getpid():  # a child, after a fork
            self._work = work = self._begin()
        return work

    def _is_durable(self) -> bool:
        """Tell whether events come out of the store, which keeps them where this raises.

        Asked first when there is one: at the start it is not known yet, and at the end no more.
        """
        if self._durable is None:
            self._durable = self._app is not None and self.name in self._app.callbacks.durable_plugins
        return self._durable

    def _track(self, user_id: str, name: str, properties: dict[str, Any], moment: datetime, event_id: str) -> None:
        work = self._here()
        if work is None or self._has_opted_out(work, user_id, durable=self._is_durable()):
            return
        now = self._clock.now()
        happened = as_utc(moment)
        if now - happened > _OLDEST:
            work.losses.add("older than 5 days")
            return
        distinct_id = self._distinct_id(user_id)
        every = {
            **self._super_properties,
            **clean_all(properties),
            "time": (now if happened - now > _LATEST else happened).timestamp(),
            "$insert_id": event_key(event_id),
        }
        if distinct_id and self._settings.id_mode == "simplified":
            every["$user_id"] = distinct_id
        work.mixpanel.track(distinct_id, name, every)

    def _has_opted_out(self, work: _Work, user_id: str, *, durable: bool) -> bool:
        if self._opt_out is None:
            return False
        try:
            return bool(self._opt_out(user_id))
        except Exception as error:  # the operator's own; in doubt nothing is sent
            if durable:
                raise  # it may be known later
            work.losses.add(f"opt_out raised {type(error).__name__}")
            return True

    def _distinct_id(self, user_id: str) -> str:
        """Return whose event it is; an empty text where Mixpanel would throw the event away for its id."""
        if is_rejected(user_id):
            self.without_user += 1
            return ""
        return str(user_id) if self._hash_key is None else user_hash(str(user_id), self._hash_key)
