"""What people really said, in English and Spanish: the messages of all subjects."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["utterances"]

DATA = Path(__file__).with_name("data")


def utterances() -> list[str]:
    """Return the texts of both files, the two languages mixed."""
    texts = []
    for name in ("clinc150.tsv", "home_intents_es.tsv"):
        with (DATA / name).open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            texts += [(number, row["text"]) for number, row in enumerate(rows)]
    return [text for _, text in sorted(texts)]
