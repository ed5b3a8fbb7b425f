"""How much Hypothesis tries (a little at a desk, more in CI), and what Ctrl-C means wherever the tests were started."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# No deadlines: a slow machine is not a failure. The data base of examples is left out in CI, where nothing is kept.
settings.register_profile("desk", deadline=None, max_examples=30)
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=False,
    max_examples=int(os.environ.get("THEA_EXAMPLES", "60")),
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# A shell starts what runs in the background with SIGINT ignored, and every child inherits that. Tests send SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
