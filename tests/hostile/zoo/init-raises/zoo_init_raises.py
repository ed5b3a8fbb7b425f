"""Raises an exception in its constructor."""

from thea_core import hookimpl


class InitRaises:
    def __init__(self):
        raise ValueError("not made today")

    @hookimpl
    def on_message(self):
        """Never called: there is no such object."""
