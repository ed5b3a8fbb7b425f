"""How long it takes to begin: whole processes, started in turns.

Of an import and of the discovery two things are measured: the whole process, which is what a user waits for, and the
part alone, as the process itself tells it: without the interpreter's own start, which would hide half of it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.measure import ROOT, Effort, take_turns
from benchmarks.rows import Row, cost, missing

__all__ = ["measure"]

DISTRIBUTIONS = 300

_PART = """
from time import perf_counter
{before}
start = perf_counter()
{part}
print(perf_counter() - start)
"""

_HELLO = """
import click
@click.command()
@click.argument("name")
@click.option("--times", default=1, help="How often.")
def hello(name, times):
    "Greet somebody."
    click.echo(f"hello {name}" * times)
hello(prog_name="hello")
"""

_THEA = """
import sys
from thea_core.cli import main
sys.argv[0] = "thea"
sys.exit(main())
"""

_DISCOVER = "from thea_core.plugins.discovery import discover; discover()"
_FIND = "from importlib.metadata import entry_points; entry_points(group='thea.plugins')"

_METADATA = """Metadata-Version: 2.1
Name: {name}
Version: 1.{number}
Summary: A distribution that is there to be passed over
Requires-Python: >=3.11
Requires-Dist: click>=8
Requires-Dist: rich>=13; extra == "colours"
Classifier: Development Status :: 4 - Beta
Classifier: Programming Language :: Python :: 3

# {name}

"""
_TEXT = "What a distribution's description has to say, it says at some length, and nobody reads it here. "


def measure(effort: Effort) -> Iterator[Row]:
    """Give the rows of starting."""
    thea, pluggy = "import thea_core", "import pluggy"
    yield _compare(effort, _watched, (f"process: {thea}", _python(thea)), (pluggy, _python(pluggy)), 2.5)
    yield _compare(effort, _told, (thea, _part("", thea)), (pluggy, _part("", pluggy)), 2.5)
    used = "from thea_core import CallbackManager, FSMEngine"  # what is large comes at its first use
    yield _compare(effort, _told, (used, _part("", used)), (pluggy, _part("", pluggy)))
    help_of_thea = ("process: thea --help", [*_python(_THEA), "--help"])
    yield _compare(effort, _watched, help_of_thea, ("a click hello-world", [*_python(_HELLO), "--help"]), 2.5)
    with TemporaryDirectory() as folder:
        _install(Path(folder))
        yield from _discovery(effort, folder)


def _discovery(effort: Effort, folder: str) -> Iterator[Row]:
    """Both sides have loaded the core, as the command has; what loads the metadata is a part of looking for it."""
    before = f"import sys, thea_core; sys.path.append({folder!r})\n"
    ours, theirs = f"discovery, {DISTRIBUTIONS} distributions", "entry_points()"
    process = (f"process: {ours}", _python(before + _DISCOVER))
    yield _compare(effort, _watched, process, (theirs, _python(before + _FIND)), 1.3)
    yield _compare(effort, _told, (ours, _part(before, _DISCOVER)), (theirs, _part(before, _FIND)), 1.3)


def _compare(
    effort: Effort,
    go: Callable[[list[str]], Callable[[], float]],
    ours: tuple[str, list[str]],
    theirs: tuple[str, list[str]],
    at_most: float | None = None,
) -> Row:
    for name, command in (ours, theirs):
        if (failure := _failure(command)) is not None:
            return missing(ours[0], theirs[0], f"{name} does not run: {failure}")
    goes = {name: go(command) for name, command in (ours, theirs)}
    timings = take_turns(goes, rounds=effort.rounds, turns=max(2, effort.turns // 2))
    return cost(ours[0], theirs[0], timings, at_most=at_most)


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def _part(before: str, part: str) -> list[str]:
    return _python(_PART.format(before=before, part=part))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)


def _failure(command: list[str]) -> str | None:
    done = _run(command)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def _watched(command: list[str]) -> Callable[[], float]:
    """Return a go that takes the time of a whole process."""

    def go() -> float:
        start = perf_counter()
        _run(command)
        return perf_counter() - start

    return go


def _told(command: list[str]) -> Callable[[], float]:
    """Return a go that asks the process itself for the time."""
    return lambda: float(_run(command).stdout)


def _install(folder: Path) -> None:
    """Write the metadata of as many distributions: a third of them with commands, five with plugins."""
    for number in range(DISTRIBUTIONS):
        name = f"passed-over-{number}"
        place = folder / f"passed_over_{number}-1.{number}.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(_METADATA.format(name=name, number=number) + _TEXT * 40, encoding="utf-8")
        (place / "RECORD").write_text("", encoding="utf-8")
        entries = f"[console_scripts]\n{name} = passed_over_{number}:main\n" if number % 3 == 0 else ""
        if number % 60 == 0:
            entries += f"\n[thea.plugins]\npassed{number} = passed_over_{number}:Plugin\n"
        if entries:
            (place / "entry_points.txt").write_text(entries, encoding="utf-8")
