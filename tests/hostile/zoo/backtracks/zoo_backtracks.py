"""Holds the interpreter lock for about two seconds: a regular expression that tries every way to be wrong.

Meanwhile no other thread runs, so that nobody can go on in time. Each ``a`` more doubles its time; how many it takes is
measured at the import, in seconds of the processor, which do not count what else the machine is doing.
"""

import math
import re
import time

from thea_core import hookimpl

SECONDS = 2.0
PATTERN = re.compile(r"(a+)+$")


def _text():
    """Return a text for which the pattern takes between 1.4 and 2.8 seconds."""
    for length in range(12, 40):
        begun = time.thread_time()
        PATTERN.match("a" * length + "!")
        taken = time.thread_time() - begun
        if taken > SECONDS / 64:
            return "a" * (length + round(math.log2(SECONDS / taken))) + "!"
    raise RuntimeError("the machine is too fast for this regular expression")


TEXT = _text()


@hookimpl
def on_message():
    PATTERN.match(TEXT)
