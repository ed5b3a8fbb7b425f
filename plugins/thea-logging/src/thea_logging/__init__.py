"""Log what happens in a Thea assistant, as structured records of Python's own ``logging``.

::

    from thea_logging import LoggingPlugin, LoggingSettings

    plugin = LoggingPlugin(LoggingSettings(handler="json-stderr"))

Each of the six events becomes one record of the logger ``thea.events``. Nothing is printed unless the host has
configured its logging or asks for ``handler="json-stderr"``, and neither the text of messages nor raw user ids are
logged unless the operator says so.
"""

from __future__ import annotations

from thea_logging.formatter import JsonLinesFormatter
from thea_logging.plugin import LoggingPlugin
from thea_logging.privacy import user_hash
from thea_logging.settings import LoggingSettings

__all__ = ["JsonLinesFormatter", "LoggingPlugin", "LoggingSettings", "user_hash"]
