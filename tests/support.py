"""What several test modules need."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from thea_core.testing.clock import FakeClock

__all__ = ["FakeClock", "run_in_child"]


def run_in_child(check: Callable[[], bool]) -> bool:
    """Call ``check`` in a forked child; whether it returned true there. The child does nothing else.

    Nothing is traced meanwhile: what measures the coverage has a lock, which another thread may hold just then, and
    which nobody would release in the child.
    """
    tracing, hook = sys.gettrace(), sys.unraisablehook
    sys.settrace(None)
    sys.unraisablehook = sys.__unraisablehook__  # what fails while the fork is made is printed
    child = os.fork()
    if child:
        sys.unraisablehook = hook
        sys.settrace(tracing)
    else:
        passed = False
        try:
            passed = check()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0 if passed else 1)
    return os.waitpid(child, 0)[1] == 0
