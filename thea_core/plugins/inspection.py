"""What a plugin really has, found out by loading it in a child process with a hard time limit.

Metadata does not tell which hooks a plugin has, or whether it loads and fits them. To know, its code must run, and that
code may hang, exit or print. So it runs in a process of its own (:mod:`thea_core.plugins.probe`), which is killed, with
whatever it has started, when it has answered or when the time is up.
"""

from __future__ import annotations

import json
import os
import secrets as random_words
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Final

from thea_core.errors import PluginLoadError
from thea_core.plugins.compatibility import check
from thea_core.plugins.conditions import Conditions
from thea_core.plugins.discovery import Candidate, discover
from thea_core.plugins.loading import advice
from thea_core.plugins.secrets import secret_texts

__all__ = ["EVENT", "LIFE_CYCLE", "HookInfo", "Inspection", "SettingInfo", "inspect_plugin"]

EVENT: Final = "event"
LIFE_CYCLE: Final = "lifecycle"
"""Two of the kinds of hooks: those that only tell, and those that the application calls for one plugin at a time."""

_MAX_OUTPUT = 16_384
_CHILD = (
    "import json, sys\n"
    "request = json.loads(sys.stdin.buffer.read())\n"
    "sys.path[:] = request['path']\n"
    "from thea_core.plugins.probe import main\n"
    "main(request)\n"
)


@dataclass(frozen=True, slots=True)
class HookInfo:
    """One callback that a plugin has.

    Attributes:
        hook: the hook's name.
        callback: the function's qualified name.
        priority: its number, as the plugin's author wrote it.
        position: ``"first"`` (``tryfirst``), ``"last"`` (``trylast``), or empty where the number counts.
        states: the target states to which it is limited; empty means every state.
        wrapper: whether it surrounds the rest of the chain; it always runs inline, without a limit.
        optional: whether nobody complains where there is no such hook.
        kind: ``"event"``, ``"collect"``, ``"firstresult"``, ``"transition"`` or ``"lifecycle"``, as the hook is; empty
            where it could not be bound, for the hook is none of Thea's, or some callback does not fit.
        timeout: its limit in seconds; None where it runs for as long as it takes. Of a life-cycle hook it says nothing:
            for these the application has limits of its own.
        delivery: ``"background"`` where a call only puts it on the plugin's queue, ``"durable"`` where the event is
            stored, and handed over afterwards; else ``"inline"``.
        is_async: whether it is asynchronous.
    """

    hook: str
    callback: str
    priority: int = 0
    position: str = ""
    states: tuple[str, ...] = ()
    wrapper: bool = False
    optional: bool = False
    kind: str = ""
    timeout: float | None = None
    delivery: str = "inline"
    is_async: bool = False

    @property
    def limited(self) -> bool | None:
        """Whether it has a limit; None where that is not known, or the application has one of its own for it."""
        return None if self.kind in ("", LIFE_CYCLE) else self.timeout is not None


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One key of ``[plugins.NAME.settings]``.

    Attributes:
        name: the key.
        type: what it takes, as the plugin's author annotated it.
        required: whether it must be given.
        default: the default as text; None where there is none. The default of a secret is not shown.
        description: what the author says about it; may be empty.
    """

    name: str
    type: str
    required: bool
    default: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the child process found.

    Attributes:
        plugin: the plugin's name.
        error: why it cannot be loaded or bound, in one text that names the plugin; None if it can.
        hooks: its callbacks, by hook; empty if it could not be loaded.
        adds: the hooks that it adds.
        unknown: the hooks of its callbacks that are neither Thea's nor its own, each with what an application says
            where no other plugin adds it, either.
        settings: the keys that it takes; known as soon as its import succeeds.
        file: the file of its module, where its import succeeded.
        output: what the plugin printed meanwhile, to either stream; the first 16 KiB.
        duration: seconds that it all took.
    """

    plugin: str
    error: str | None = None
    hooks: tuple[HookInfo, ...] = ()
    adds: tuple[str, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()
    settings: tuple[SettingInfo, ...] = ()
    file: str | None = None
    output: str = ""
    duration: float = 0.0


def inspect_plugin(
    plugin: str | Candidate,
    *,
    settings: Mapping[str, Any] | None = None,
    secrets: Collection[str] = (),
    conditions: Conditions = Conditions(),  # noqa: B008 -- it cannot be changed
    timeout: float = 10.0,
) -> Inspection:
    """Load and bind one plugin in a child process, and tell what it has or why it does not load.

    Blocks for up to ``timeout`` seconds. Thread-safe; several plugins may be inspected at once.

    Args:
        plugin: its name, or what :func:`~thea_core.plugins.discovery.discover` found.
        settings: its settings as configured; None if there are none.
        secrets: texts that must not stand in the result, besides what the plugin's model declares as secret, or sounds
            like it by its name.
        conditions: on which an application would bind it.
        timeout: seconds until the child process is killed; its start counts, too.

    Raises:
        PluginNotFoundError, PluginConflictError: from looking up a name. What the plugin does raises nothing.
    """
    candidate = discover().find(plugin) if isinstance(plugin, str) else plugin
    try:
        check(candidate)
    except PluginLoadError as error:
        return Inspection(candidate.name, error=str(error))
    start = time.monotonic()
    child = _Child(candidate, settings, conditions)
    child.run(timeout)
    declared = {tuple(path) for path in child.answer.get("secrets", ())}
    redact = _Redaction({*secrets, *secret_texts(dict(settings or {}), declared)})
    return _result(candidate, child, redact, timeout, time.monotonic() - start)


class _Child:
    """One run of the child process, and what came of it."""

    def __init__(self, candidate: Candidate, settings: Mapping[str, Any] | None, conditions: Conditions) -> None:
        self._mark = random_words.token_hex(16)
        request = {
            "mark": self._mark,
            "path": list(sys.path),
            "candidate": asdict(candidate),
            "settings": None if settings is None else dict(settings),
            "conditions": conditions.to_json(),
        }
        self._request = json.dumps(request, default=str).encode()
        self._finished = threading.Event()
        self._output = bytearray()
        self.answer: dict[str, Any] = {"stage": "started"}
        self.in_time = False
        self.exit_status: int | None = None

    @property
    def output(self) -> str:
        return bytes(self._output).decode(errors="replace")

    def run(self, timeout: float) -> None:
        """Run the child to its answer, its end or the limit, and see to it that nothing of it is left."""
        process = subprocess.Popen(  # noqa: S603 -- this very Python, with a text of our own
            [sys.executable, "-P", "-u", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        threads: list[threading.Thread] = []
        try:
            threads = [
                threading.Thread(target=target, args=(pipe,), daemon=True, name="thea-inspection")
                for target, pipe in (
                    (self._feed, process.stdin),
                    (self._listen, process.stdout),
                    (self._collect, process.stderr),
                )
            ]
            for thread in threads:
                thread.start()
            self.in_time = self._finished.wait(timeout)
        finally:
            self._end(process, threads)

    def _end(self, process: subprocess.Popen[bytes], threads: list[threading.Thread]) -> None:
        _kill(process)  # before it is waited for: until then its number cannot be another's
        with suppress(subprocess.TimeoutExpired):
            self.exit_status = process.wait(1.0)
        for thread in threads:  # one may stay behind: where a process that left the group still holds a pipe
            thread.join(0.5)

    def _feed(self, pipe: IO[bytes]) -> None:
        with suppress(OSError), pipe:
            pipe.write(self._request)

    def _listen(self, pipe: IO[bytes]) -> None:
        """Take the marked lines; what else arrives was printed before the child could redirect its output."""
        mark = self._mark.encode()
        with pipe:
            for line in pipe:
                _, found, text = line.partition(mark)
                if found and text.endswith(b"\n"):
                    self.answer.update(json.loads(text))
                if self.answer["stage"] == "done":
                    break
        self._finished.set()

    def _collect(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), 65_536):
                self._output += chunk[: _MAX_OUTPUT - len(self._output)]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it has started, except what has left its process group."""
    with suppress(OSError):  # nothing is left of it
        os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class _Redaction:
    """Takes secrets out of a text."""

    secrets: Collection[str] = field(repr=False)

    def __call__(self, text: str) -> str:
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def _result(candidate: Candidate, child: _Child, redact: _Redaction, timeout: float, duration: float) -> Inspection:
    answer = child.answer
    error = answer.get("error") or _unanswered(candidate, child, timeout)
    return Inspection(
        plugin=candidate.name,
        error=None if error is None else redact(error),
        hooks=tuple(HookInfo(**{**each, "states": tuple(each["states"])}) for each in answer.get("hooks", ())),
        adds=tuple(answer.get("adds", ())),
        unknown=tuple((hook, redact(text)) for hook, text in answer.get("unknown", ())),
        settings=tuple(SettingInfo(**each) for each in answer.get("settings", ())),
        file=answer.get("file"),
        output=redact(child.output),
        duration=duration,
    )


def _unanswered(candidate: Candidate, child: _Child, timeout: float) -> str | None:
    """Return what to say of a child that did not get to its end; None if it did."""
    stage = child.answer["stage"]
    if stage == "done":
        return None
    whose = f"plugin {candidate.name!r} ({candidate.origin})"
    if not child.in_time:
        return f"{whose} hangs: it was still being {stage} after {timeout:g} s, and was stopped. {advice(candidate)}"
    ending = _ending(child.exit_status)
    return f"{whose} ended the process in which it was being {stage} ({ending}). {advice(candidate)}"


def _ending(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
