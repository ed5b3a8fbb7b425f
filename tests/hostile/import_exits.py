"""A module whose import would end the program."""

from __future__ import annotations

import sys

sys.exit(7)
