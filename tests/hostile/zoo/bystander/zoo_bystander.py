"""Does no harm. The plugin ``registers`` switches it off and on."""

from thea_core import hookimpl


@hookimpl
def on_message():
    pass


@hookimpl
async def on_agent_delegated():
    pass
