"""``python -m benchmarks [SUBJECT ...]``: measures, and prints a table of ratios.

Ends with 1 where a target is missed, so that a script can tell.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.measure import Effort, compile_bytecode
from benchmarks.rows import Row, as_json, as_text
from benchmarks.subjects import SUBJECTS, measure_alone

QUICK = Effort(rounds=3, turns=3, batch=0.004)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; return the exit code."""
    options = _options(arguments)
    compile_bytecode()
    found: dict[str, list[Row]] = {}
    for subject in options.subjects:
        found[subject] = measure_alone(subject, options.effort)
        if not options.json:
            print(f"{subject}: {SUBJECTS[subject]}\n\n{as_text(found[subject])}\n", flush=True)
    if options.json:
        print(json.dumps({**_machine(), "subjects": {name: as_json(rows) for name, rows in found.items()}}, indent=2))
    return int(any(row.met is False for rows in found.values() for row in rows))


def _machine() -> dict[str, str]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    subjects = "\n".join(f"  {name:12} {what}" for name, what in SUBJECTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Thea side by side with its peers; print ratios, which hold from machine to machine.",
        epilog=f"subjects (all of them, if none is named):\n{subjects}\n\nexit code: 1 where a target is missed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help="what to measure")
    parser.add_argument("--json", action="store_true", help="print JSON, with the value of every round")
    parser.add_argument("--quick", action="store_true", help="measure for a short time; the ratios are rough")
    parser.add_argument("--rounds", type=int, metavar="N", help="how many ratios to take of each pair")
    options = parser.parse_args(arguments)
    if unknown := [each for each in options.subjects if each not in SUBJECTS]:
        parser.error(f"there is no subject {unknown[0]!r}; choose from {', '.join(SUBJECTS)}")
    options.subjects = options.subjects or list(SUBJECTS)
    options.effort = QUICK if options.quick else Effort()
    if options.rounds is not None:
        options.effort = replace(options.effort, rounds=max(1, options.rounds))
    return options


if __name__ == "__main__":
    sys.exit(main())
