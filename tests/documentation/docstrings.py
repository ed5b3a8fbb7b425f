"""Runs the examples in the docstrings of one module: ``python -m tests.documentation.docstrings MODULE``.

An example is an indented block after ``::`` that is Python. It sees its module's names, every public name of
``thea_core``, and the stand-ins below for what a reader would have: an application, a context, the time.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import thea_core
from thea_core import hookimpl

_BLOCK = re.compile(r"::\n\n(?P<code>(?:[ ]+\S.*\n|\n)+)", re.MULTILINE)


def documented(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Give the module and each class, function and method that it defines, with a name for messages."""
    yield module.__name__, module
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__ and (
            inspect.isclass(value) or inspect.isroutine(value)
        ):
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                yield from ((f"{module.__name__}.{name}.{each}", part) for each, part in vars(value).items())


def examples(docstring: str) -> Iterator[str]:
    """Give the blocks of a docstring that are Python; a drawing or another language is none."""
    for block in _BLOCK.finditer(inspect.cleandoc(docstring) + "\n"):
        code = textwrap.dedent(block["code"])
        try:
            ast.parse(code)
        except SyntaxError:
            continue
        yield code


class MyPlugin:
    """A plugin such as a reader may have written."""

    name = "sentry"

    @hookimpl
    def on_message(self, user_id: str) -> None:
        """Do nothing."""


def stand_ins(stack: ExitStack) -> dict[str, Any]:
    """Return what an example may use without making it; the stack stops what was started."""
    app = stack.enter_context(thea_core.Thea({"store": {"url": "memory:"}}, plugins=[MyPlugin()]))
    return {
        **{name: getattr(thea_core, name) for name in thea_core.__all__},
        "MyPlugin": MyPlugin,
        "app": app,
        "callbacks": app.callbacks,
        "context": {"user_id": "ana", "state": "initial", "message": "hola"},
        "fsm": app.fsm,
        "now": datetime(2026, 1, 1, tzinfo=UTC),
        "print_message": lambda user_id, message: None,
        "router": app.router,
        "store": app.store,
    }


def names_of(module: ModuleType) -> dict[str, Any]:
    """Return what a module defines or imports, except parts of the core: ``fsm`` is an engine in an example."""
    return {name: value for name, value in vars(module).items() if not is_part(value)}


def is_part(value: object) -> bool:
    """Tell whether it is a module of the core."""
    return inspect.ismodule(value) and value.__name__.startswith("thea_core.")


def main(module: ModuleType) -> int:
    """Run the module's examples, in an empty directory; return how many fail."""
    Path("thea.toml").write_text('[store]\nurl = "memory:"\n', encoding="utf-8")
    failed = 0
    package = import_module(module.__name__.partition(".")[0])
    for name, thing in documented(module):
        for code in examples(getattr(thing, "__doc__", None) or ""):
            try:
                with ExitStack() as stack:
                    names = stand_ins(stack) | names_of(package) | names_of(module)
                    exec(compile(code, f"<example of {name}>", "exec"), names)
            except Exception:
                traceback.print_exc()
                sys.stderr.write(f"the example of {name} fails:\n{textwrap.indent(code, '    ')}\n")
                failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main(import_module(sys.argv[1])))
