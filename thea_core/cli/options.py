"""What every verb knows besides its own arguments: the shared options, and the configuration they lead to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from thea_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from thea_core.config import Config

__all__ = ["Known", "Options"]


def _call(command: Sequence[str], **streams: Any) -> int:
    import subprocess

    return subprocess.call(command, **streams)  # noqa: S603 -- what the verbs themselves put together


def _become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    import signal

    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and what is ignored stays so in the other program
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 -- what the user asks for


@dataclass(slots=True)
class Options:
    """The shared options of one run of the command, and what it reaches the world through.

    Attributes:
        config: the file that ``--config`` names.
        no_plugins: whether ``--no-plugins`` was given.
        without_guards: whether ``--without-guards`` was given.
        json: whether the output is for a program.
        environ: the environment.
        directory: where configuration files are looked for; None is the working directory.
        run: runs pip, lets its output through to the stream it is given, and returns its exit status.
        become: puts another program, with an environment, in the place of this process; raises OSError if it cannot.
    """

    config: Path | None = None
    no_plugins: bool = False
    without_guards: bool = False
    json: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    directory: Path | None = None
    run: Callable[..., int] = _call
    become: Callable[[Sequence[str], Mapping[str, str]], None] = _become

    @property
    def base(self) -> Path:
        """Return the directory in which files are looked for."""
        from pathlib import Path

        return self.directory or Path()

    def load(self) -> Config:
        """Return the configuration; raises ConfigError with every problem."""
        from thea_core.config import load_config

        return load_config(self.config, environ=self.environ, directory=self.directory)

    def known(self) -> Known:
        """Return what can be known of the plugins that the configuration names, however wrong the rest of it is."""
        try:
            config = self.load()
        except ConfigError as error:
            return self._guess(error)
        plugins = config.plugins
        return Known(config, None, config.source, tuple(plugins.enabled), tuple(plugins.modules))

    def run_pip(self, command: Sequence[str]) -> int:
        """Run pip; its output goes to standard error where standard output is for a program."""
        return self.run(command, stdout=sys.stderr if self.json else None)

    def file(self) -> Path:
        """Return the file that ``enable``, ``disable`` and ``init`` edit, whether it is there or not."""
        base = self.base
        named = self.config or self.environ.get("THEA_CONFIG")
        if named:
            return base / named
        own, shared = base / "thea.toml", base / "pyproject.toml"
        return shared if not own.exists() and _has_settings(shared) else own

    def _guess(self, error: ConfigError) -> Known:
        from thea_core.config.sources import find

        try:
            document = find(self.config, self.environ, self.directory)
        except ConfigError:
            return Known(None, error, None)
        if document is None:
            return Known(None, error, None)
        table = document.data.get("plugins")
        lists = table if isinstance(table, dict) else {}
        return Known(None, error, document.path, _strings(lists.get("enabled")), _strings(lists.get("modules")))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the configuration.

    Attributes:
        config: the configuration; None where it has problems.
        error: the problems; None where it has none.
        source: the file, if it could be read.
        enabled, modules: what ``[plugins]`` lists.
    """

    config: Config | None
    error: ConfigError | None
    source: Path | None
    enabled: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def _strings(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str))


def _has_settings(pyproject: Path) -> bool:
    import tomllib

    try:
        return bool(tomllib.loads(pyproject.read_text(encoding="utf-8-sig"))["tool"]["thea"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
