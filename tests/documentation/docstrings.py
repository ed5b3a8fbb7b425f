"""Runs the examples in the docstrings of one module: ``python -m tests.documentation.docstrings MODULE``.

An example is an indented block after ``::`` that is Python. It sees its module's names, every public name of
``thea_core``, and the stand-ins below for what a reader would have: a router, a context, the time.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

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


def stand_ins() -> dict[str, Any]:
    """Return what an example may use without making it."""
    from datetime import UTC, datetime

    import thea_core

    engine = thea_core.FSMEngine()
    return {
        **{name: getattr(thea_core, name) for name in thea_core.__all__},
        "callbacks": engine.callbacks,
        "context": {"user_id": "ana", "state": "initial", "message": "hola"},
        "fsm": engine,
        "now": datetime(2026, 1, 1, tzinfo=UTC),
        "print_message": lambda user_id, message: None,
        "router": thea_core.CoreRouter(fsm_engine=engine),
    }


def main(module: ModuleType) -> int:
    """Run the module's examples; return how many fail."""
    failed = 0
    package = import_module(module.__name__.partition(".")[0])
    for name, thing in documented(module):
        for code in examples(getattr(thing, "__doc__", None) or ""):
            try:
                exec(compile(code, f"<example of {name}>", "exec"), stand_ins() | vars(package) | vars(module))
            except Exception:
                traceback.print_exc()
                sys.stderr.write(f"the example of {name} fails:\n{textwrap.indent(code, '    ')}\n")
                failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main(import_module(sys.argv[1])))
