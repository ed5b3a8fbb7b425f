"""Report what the tests have covered, from the data files in a folder: where one Python measures, not all have one.

``python report_coverage.py FOLDER``. Coverage is measured on one Python; where that one is missing there is nothing to
report, and that is no failure.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(folder: Path) -> int:
    """Combine and report; return the status of the first step that fails."""
    if not list(folder.glob(".coverage.*")):
        sys.stdout.write("coverage was not measured: the Python that measures it is not installed\n")
        return 0
    for step in (["combine", str(folder)], ["report"]):
        status = subprocess.run([sys.executable, "-m", "coverage", *step], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
