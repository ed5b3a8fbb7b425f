"""Runs the commands of ``console`` blocks, as a reader would, and compares what they print.

A line that begins with ``$`` is a command, one with ``>`` goes on with it, the others are what is printed. ``...``
stands for any text. Where nothing is shown, nothing is compared. A command must succeed, unless the next one is
``echo $?``. The working directory and exported variables last from one block of a page to the next.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from pathlib import Path

_END = "--- end of command, status "
_WIDTH = "100"


@dataclass
class Command:
    """One command and what the page shows of its output."""

    text: str
    shown: list[str] = field(default_factory=list)


def commands(block: str) -> list[Command]:
    """Take a ``console`` block apart."""
    found: list[Command] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif line.startswith("> ") and found and not found[-1].shown:
            found[-1].text += "\n" + line[2:]
        elif found:
            found[-1].shown.append(line)
        else:
            raise ValueError(f"a console block begins with a command ('$ ...'), not with {line!r}")
    return found


class Shell:
    """A shell in a virtual environment of its own, which sees all that is installed beside these tests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._state = directory / ".shell-state"
        self._environment = _make_environment(directory / ".environment")

    def run(self, block: str) -> None:
        """Run a block's commands; raises AssertionError where a page and the truth differ."""
        todo = commands(block)
        outputs = self._outputs(todo)
        for number, (command, (output, status)) in enumerate(zip(todo, outputs, strict=True)):
            asks_status = number + 1 < len(todo) and todo[number + 1].text == "echo $?"
            if status and not asks_status:
                raise AssertionError(f"$ {command.text}\nfailed with status {status}:\n{output}")
            if command.shown and not matches(command.shown, output):
                shown = "\n".join(command.shown)
                raise AssertionError(f"$ {command.text}\nthe page shows:\n{shown}\nbut this is printed:\n{output}")

    def _outputs(self, todo: list[Command]) -> list[tuple[str, int]]:
        steps = [f'{each.text}\nstatus=$?; printf "\\n%s%d\\n" "{_END}" $status; (exit $status)' for each in todo]
        script = "\n".join(
            [f'[ -e "{self._state}" ] && . "{self._state}" && cd "$PWD"', *steps, f'export -p > "{self._state}"']
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        parts = re.split(rf"\n{_END}(\d+)\n", done.stdout)
        if len(parts) != 2 * len(todo) + 1:
            raise AssertionError(f"the shell stopped within the block:\n{done.stdout}")
        return [(output, int(status)) for output, status in zip(parts[:-1:2], parts[1::2], strict=True)]


def matches(shown: list[str], output: str) -> bool:
    """Tell whether the output is what the page shows, where ``...`` stands for any text."""
    wanted = "\n".join(line.rstrip() for line in shown).strip("\n")
    printed = "\n".join(line.rstrip() for line in output.splitlines()).strip("\n")
    pattern = ".*?".join(re.escape(part) for part in wanted.split("..."))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def _make_environment(directory: Path) -> dict[str, str]:
    """Make a virtual environment that also has what this one has; return the variables that switch it on.

    What a page installs stays in it. The scripts of this environment are copied, so that they run there.
    """
    venv.create(directory, symlinks=True, with_pip=False)
    paths = {name: sysconfig.get_path(name, vars={"base": str(directory)}) for name in ("purelib", "scripts")}
    here = sysconfig.get_path("purelib")
    Path(paths["purelib"], "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    for script in Path(sysconfig.get_path("scripts")).iterdir():
        copy = Path(paths["scripts"], script.name)
        if not script.is_symlink() and not copy.exists() and script.read_bytes()[:2] == b"#!":
            copy.write_text(script.read_text(encoding="utf-8").replace(sys.prefix, str(directory)), encoding="utf-8")
            copy.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("THEA_", "COV_", "PYTHON"))}
    return kept | {
        "PATH": os.pathsep.join([paths["scripts"], os.environ["PATH"]]),
        "VIRTUAL_ENV": str(directory),
        "COLUMNS": _WIDTH,
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
