"""``python -m thea_core.cli`` is the ``thea`` command, for a shell that does not find the script."""

from __future__ import annotations

import sys

from thea_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
