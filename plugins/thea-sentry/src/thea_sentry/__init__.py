"""Report the errors and session timeouts of a Thea assistant to Sentry.

::

    from thea_sentry import SentryPlugin, SentrySettings

    plugin = SentryPlugin(SentrySettings(dsn="https://key@sentry.example/42"))

An error is one event, with the trail of what this user's conversation did before. Neither the text of messages, nor
what exceptions say, nor local variables, nor raw user ids are sent unless the operator says so. ``sentry_sdk`` is
imported when the plugin starts and has something to send to, not before.
"""

from __future__ import annotations

from thea_sentry.plugin import SentryPlugin
from thea_sentry.privacy import user_hash
from thea_sentry.settings import SentrySettings

__all__ = ["SentryPlugin", "SentrySettings", "user_hash"]
