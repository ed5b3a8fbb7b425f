"""Who sends: the application's Sentry, one that is set up for the whole process, or a client of the plugin's own."""

from __future__ import annotations

import codecs
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from thea_core import ConfigError
from thea_sentry.settings import SentrySettings

if TYPE_CHECKING:
    from sentry_sdk import Client, Scope
    from sentry_sdk.client import BaseClient

__all__ = ["HostClient", "InitialisedClient", "PrivateClient", "Sender", "choose"]

logger = logging.getLogger("thea.plugins.sentry")


class Sender(Protocol):
    """What captures go through. Thread-safe."""

    def scope(self) -> AbstractContextManager[Scope]:
        """Make what is captured within go to this client, with what is set on the scope that is entered."""
        ...

    def expect_again(self) -> None:
        """Take from now on for held up, and not for lost, what has not arrived and may do so later."""
        ...

    def flush(self, timeout: float) -> str:
        """Send what waits, for at most ``timeout`` seconds; return why something was held up, or an empty text."""
        ...

    def close(self, timeout: float) -> None:
        """Send what waits, for at most ``timeout`` seconds, and log what was lost."""
        ...

    def after_fork_in_child(self) -> None:
        """Leave what waits to the parent."""
        ...


class HostClient:
    """The Sentry that the application has initialised, whichever it is at the time. It is never closed from here."""

    def __init__(self) -> None:
        self._again = False

    def scope(self) -> AbstractContextManager[Scope]:
        """Make a scope over those of the application, which keep their tags, user and breadcrumbs."""
        import sentry_sdk

        return sentry_sdk.new_scope()

    def expect_again(self) -> None:
        """Tell the transport, unless it is the application's, which tells nobody what it has lost."""
        import sentry_sdk

        self._again = True
        _expect_again(sentry_sdk.get_client())

    def flush(self, timeout: float) -> str:
        """Send what waits."""
        import sentry_sdk

        from thea_sentry.losses import hold_up

        return hold_up(sentry_sdk.get_client(), timeout)

    def close(self, timeout: float) -> None:
        """Send what waits."""
        import sentry_sdk

        from thea_sentry.losses import drain

        drain(sentry_sdk.get_client(), timeout, durable=self._again)

    def after_fork_in_child(self) -> None:
        """Do nothing: what to do with its queue at a fork is the application's business."""


class InitialisedClient(HostClient):
    """Sentry, initialised for the whole process by the plugin. It goes on when the plugin stops, like a host's own."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration

        super().__init__()
        quiet = AtexitIntegration(callback=lambda _pending, _timeout: None)  # the SDK's own prints to standard error
        self._options = {"integrations": [quiet], **options}
        _checked(sentry_sdk.init, self._options)
        self._options["release"] = sentry_sdk.get_client().options["release"]  # finding it out may start git

    def after_fork_in_child(self) -> None:
        """Initialise anew: the parent's queue would be sent from here, too."""
        import sentry_sdk

        sentry_sdk.init(**self._options)


class PrivateClient:
    """A client that only the plugin uses: it patches nothing, and no scope of the process knows it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {"default_integrations": False, "auto_enabling_integrations": False, **options}
        self._again = False
        self._lock = threading.Lock()
        self._client: Client | None = self._make()

    @contextmanager
    def scope(self) -> Iterator[Scope]:
        """Make scopes that know nothing of the application's, for the time of one capture."""
        from sentry_sdk.scope import Scope, use_isolation_scope, use_scope

        with use_isolation_scope(Scope()), use_scope(Scope(client=self._there())) as scope:
            yield scope

    def expect_again(self) -> None:
        """Tell the transport."""
        self._again = True
        _expect_again(self._there())

    def flush(self, timeout: float) -> str:
        """Send what waits."""
        from thea_sentry.losses import hold_up

        return hold_up(self._there(), timeout)

    def close(self, timeout: float) -> None:
        """Send what waits, and close the client."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            from thea_sentry.losses import drain

            drain(client, timeout, durable=self._again)
            client.close(timeout=0)

    def after_fork_in_child(self) -> None:
        """Forget the client unclosed: the parent sends what waits in it. The next capture makes another."""
        self._lock = threading.Lock()
        self._client = None

    def _there(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> Client:
        import sentry_sdk

        made: Client = _checked(sentry_sdk.Client, self._options)
        return made


def choose(settings: SentrySettings, dsn: str | None, options: Mapping[str, Any]) -> Sender | None:
    """Return what sends as the settings say; None, after a warning, where there is nowhere to send to.

    ``sentry_sdk`` is not imported for that, unless there is something to send to.

    Args:
        settings: the plugin's.
        dsn: the DSN, checked.
        options: ``sentry_options``, with functions in place of their names.

    Raises:
        ConfigError: an option is none of the SDK's.
    """
    host = _host_client()
    if host is not None and settings.mode != "isolated":
        if (dsn is not None or settings.mode == "init") and host.dsn != dsn:
            logger.warning("the application has initialised Sentry: that one is used, and `dsn` is not")
        return HostClient()
    if settings.mode == "host":
        logger.warning("nothing is reported: the application has no Sentry; call sentry_sdk.init before Thea starts")
        return None
    if dsn is None:
        logger.warning("nothing is reported: set `dsn` in [plugins.sentry.settings]%s", _other_way(settings.mode))
        return None
    from thea_sentry.losses import CountingTransport

    codecs.lookup("idna")  # the first request would import it: a process forked meanwhile could never import it
    own = {
        "include_local_variables": settings.include_locals,
        "enable_logs": settings.timeouts == "log",
        "transport": CountingTransport,
        **options,
        "dsn": dsn,
        "environment": settings.environment,
        "release": settings.release,
    }
    return InitialisedClient(own) if settings.mode == "init" else PrivateClient(own)


def _expect_again(client: BaseClient) -> None:
    from thea_sentry.losses import CountingTransport

    if isinstance(client.transport, CountingTransport):
        client.transport.durable = True


def _other_way(mode: str) -> str:
    return ", or call sentry_sdk.init before Thea starts" if mode == "auto" else ""


def _host_client() -> BaseClient | None:
    """Return the application's client, if it has one that sends. Without a transport it is initialised to no use."""
    sdk = sys.modules.get("sentry_sdk")
    if sdk is None:
        return None
    client: BaseClient = sdk.get_client()
    return client if client.is_active() and client.transport is not None else None


def _checked(make: Any, options: Mapping[str, Any]) -> Any:
    try:
        return make(**options)
    except TypeError as error:  # an unknown option
        raise ConfigError(
            [f"[plugins.sentry.settings] sentry_options: {error}; see the options of sentry_sdk"]
        ) from None
