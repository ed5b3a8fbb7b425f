"""What a run takes while the services of the plugins are healthy, and while they are not.

One go is ``thea run`` as a user starts it, with all five plugins of the repository, over SQLite. Sentry and Mixpanel
are a server on loopback that answers, refuses connections, hangs, or answers with an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.measure import Effort, take_turns
from benchmarks.rows import Row, cost
from benchmarks.utterances import utterances
from tests.services.recording_server import Answer, RecordingServer

__all__ = ["measure"]

MESSAGES = 15_000
QUICK = 1_500
LONG_ENOUGH = 5
"""From so many rounds on a go has all of the messages; a short one shows mostly how long the end takes."""

HEALTHY = "a run while the services are healthy"
ANSWERS = {
    HEALTHY: Answer(body=b'{"error": null, "status": 1}'),
    "a run while they refuse connections": None,
    "a run while they hang": Answer(hang=True),
    "a run while they answer 500": Answer(status=500),
}

_CONFIG = """
[plugins]
enabled = ["logging", "sentry", "mixpanel", "prometheus", "agenda"]

[plugins.sentry.settings]
dsn = "http://publickey@{host}/42"

[plugins.mixpanel.settings]
token = "token"
endpoint = "http://{host}"

[store]
url = "sqlite:///thea.db"
"""


def measure(effort: Effort) -> Iterator[Row]:
    """Give the rows of services that fail."""
    count = MESSAGES if effort.rounds >= LONG_ENOUGH else QUICK
    with TemporaryDirectory() as folder:
        text = "".join(f"{each}\n" for each in islice(cycle(utterances()), count))
        messages = Path(folder, "messages.txt")
        messages.write_text(text, encoding="utf-8")
        goes: dict[str, Callable[[], float]] = {
            name: partial(_go, messages, count, answer) for name, answer in ANSWERS.items()
        }
        timings = take_turns(goes, rounds=max(1, effort.rounds // 2), turns=1)
    for name in list(ANSWERS)[1:]:
        yield cost(name, HEALTHY, timings, at_most=1.2)


def _go(messages: Path, count: int, answer: Answer | None) -> float:
    """Return the seconds of one run; a new folder each, since a run repeats nothing that was handled before."""
    with TemporaryDirectory() as folder, RecordingServer(answer) as server:
        host = server.host
        if answer is None:
            server.refuse()
        Path(folder, "thea.toml").write_text(_CONFIG.format(host=host), encoding="utf-8")
        code = "import sys; from thea_core.cli import main; sys.exit(main())"
        start = perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, "run", messages], cwd=folder, capture_output=True, check=False
        )
        took = perf_counter() - start
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(replies) != count:
        raise RuntimeError(f"the run ended with {done.returncode} and {len(replies)} replies: {done.stderr.decode()}")
    return took
