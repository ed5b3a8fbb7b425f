"""The ``thea`` command, one module a verb.

:func:`main` is what the installed script calls. A verb's module is imported when the verb is used, so that
``thea --help`` stays quick and a verb that needs no application never loads one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    Args:
        arguments: what stands after ``thea``; None takes those of the process.
    """
    from thea_core.cli.root import thea

    for stream in (sys.stdout, sys.stderr):  # a terminal that knows few characters is no reason to stop
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        thea.main(None if arguments is None else list(arguments), prog_name="thea")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
