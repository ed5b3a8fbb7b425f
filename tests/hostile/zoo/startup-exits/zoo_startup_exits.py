"""Would end the program when it is started."""

import sys

from thea_core import hookimpl


@hookimpl
def on_startup():
    sys.exit(7)
