"""The README's first command, on a copy of the checkout, from nothing: it ends in a conversation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT

CONVERSATION = "crear evento mañana\nComida con Ana\n"


def copy_of_checkout(target: Path) -> Path:
    """Copy what git knows of, or may come to know: nothing that was built or installed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    return target


@pytest.mark.network
def test_the_first_command_ends_in_a_conversation_with_both_plugins(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ (python3 .*thea chat.*)$", readme, re.MULTILINE)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("THEA_", "VIRTUAL_ENV"))}
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=copy_of_checkout(tmp_path),
        env=inherited | {"LC_ALL": "C.UTF-8", "NO_COLOR": "1"},
        input=CONVERSATION,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Evento creado para mañana ✓" in done.stdout
