"""Tell Mixpanel what happens in a Thea assistant.

::

    from thea_mixpanel import MixpanelPlugin, MixpanelSettings

    plugin = MixpanelPlugin(MixpanelSettings(token="", region="eu"))  # without a token nothing is sent

Five events are sent, in batches and in the background. Neither the text of messages nor errors ever are.
"""

from __future__ import annotations

from thea_mixpanel.plugin import MixpanelPlugin
from thea_mixpanel.settings import MixpanelSettings

__all__ = ["MixpanelPlugin", "MixpanelSettings"]
