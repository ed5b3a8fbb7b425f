"""Writes the parts of the reference that the code already says: hooks, errors and public names.

A page holds a line such as ``<!-- generated: hooks -->`` or ``<!-- generated: error unknown-hook -->``; when Sphinx
reads the page, the text made here takes that line's place. So the reference cannot disagree with the code, and is
searched and linked like any other text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, get_origin

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PLACE = re.compile(r"^<!-- generated: (?P<part>\w+)(?: (?P<of>[\w-]+))? -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what this extension does."""
    from pygments.lexers.special import TextLexer

    app.connect("source-read", _fill)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _sign)
    app.add_lexer("mermaid", TextLexer)  # drawn by the forges that show these pages; plain text elsewhere
    return {"parallel_read_safe": True}


def _fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = expand(source[0])


def _skip(_app: Sphinx, _what: str, _name: str, value: object, *_more: object) -> bool | None:
    """Leave out the fields of named tuples: the docstring of the class says what they are."""
    return True if inspect.isdatadescriptor(value) and (value.__doc__ or "").startswith("Alias for field") else None


def _sign(_app: Sphinx, _what: str, _name: str, value: object, *_more: object) -> tuple[str, None] | None:
    """Show protocols without arguments: nobody makes one."""
    return ("", None) if isinstance(value, type) and Protocol in value.__bases__ else None


def expand(text: str) -> str:
    """Return a page's text with its generated parts filled in."""
    return PLACE.sub(lambda place: PARTS[place["part"]](*filter(None, [place["of"]])), text)


# ------------------------------------------------------------------------------------------------------------- hooks


def hooks() -> str:
    """Return the hook reference: a section for each class of ``thea_core.hookspecs``, a subsection for each hook."""
    from thea_core import hookspecs

    groups = [getattr(hookspecs, name) for name in hookspecs.__all__]
    groups.sort(key=lambda group: inspect.getsourcelines(group)[1])
    return "\n\n".join(_hook_group(group) for group in groups)


def _hook_group(group: type) -> str:
    parts = [f"## {_spaced(group.__name__)}", _rst(_docstring(group))]
    for name, function in vars(group).items():
        if inspect.isfunction(function):
            parts += [f"(hook-{name})=", f"### {name}", f"*{_kind(group, function)}*", _rst(_signature(function))]
    return "\n\n".join(parts)


def _kind(group: type, function: Callable[..., Any]) -> str:
    options = _pluggy_options(function)
    if options["firstresult"]:
        return "Result hook: the first result that is not None ends the call."
    if group.__name__ == "Transitions":
        return "Transition hook: what a callback returns becomes the context."
    if group.__name__ == "LifeCycle":
        return "Life-cycle hook."
    if options["collect"]:
        return "Result hook: the results of all callbacks are collected, in the order of the chain."
    return "Event: what a callback returns is ignored."


def _pluggy_options(function: Callable[..., Any]) -> dict[str, Any]:
    from thea_core.markers import PROJECT, spec_options

    return {"firstresult": False, **getattr(function, f"{PROJECT}_spec", {}), **spec_options(function)}


def _signature(function: Callable[..., Any]) -> str:
    """Return a description of the hook as its callers see it: without ``self``."""
    signature = inspect.signature(function)
    arguments = [argument for argument in signature.parameters.values() if argument.name != "self"]
    shown = signature.replace(parameters=arguments)
    body = "\n".join("   " + line if line else "" for line in _docstring(function).splitlines())
    return f".. py:function:: {function.__name__}{_unquoted(shown)}\n\n{body}"


# ------------------------------------------------------------------------------------------------------------ errors


def error(code: str) -> str:
    """Return the section of the error that has this code; what to do about it is written below it, by hand."""
    from thea_core import errors as module

    (found,) = (kind for name in module.__all__ if (kind := getattr(module, name)).code == code)
    return _error(found)


def _error(kind: Any) -> str:
    directive = f".. py:exception:: thea_core.{kind.__name__}\n   :canonical: {kind.__module__}.{kind.__name__}"
    body = "\n".join("   " + line if line else "" for line in _docstring(kind).splitlines())
    bases = ", ".join(f"``{base.__name__}``" for base in kind.__bases__)
    return "\n\n".join(
        [f"(error-{kind.code})=", f"## {kind.code}", _rst(f"{directive}\n\n   A kind of {bases}.\n\n{body}")]
    )


# ---------------------------------------------------------------------------------------------------- public names


def names() -> str:
    """Return the reference of every public name that has no page of its own."""
    import thea_core
    from thea_core import errors as module

    listed = [name for name in thea_core.__all__ if name not in module.__all__]
    return "\n\n".join(f"## {name}\n\n{_rst(_directive(name, getattr(thea_core, name)))}" for name in listed)


def _directive(name: str, value: object) -> str:
    if inspect.isclass(value) and get_origin(value) is None:  # an alias such as dict[str, Any] is data
        return f".. autoclass:: thea_core.{name}\n   :members:"
    if inspect.isfunction(value):
        return f".. autofunction:: thea_core.{name}"
    return f".. autodata:: thea_core.types.{name}"  # data is documented only where it is assigned


# --------------------------------------------------------------------------------------------------------- rendering


def _rst(text: str) -> str:
    """Return reStructuredText, which is what docstrings are written in, as a block of a MyST page."""
    return f"```{{eval-rst}}\n{text}\n```"


def _docstring(thing: Any) -> str:
    from sphinx.ext.napoleon import Config, GoogleDocstring

    text = inspect.getdoc(thing) or ""
    return str(GoogleDocstring(text, Config(napoleon_use_ivar=True), what="class" if inspect.isclass(thing) else ""))


def _unquoted(signature: inspect.Signature) -> str:
    return str(signature).replace("'", "")


def _spaced(name: str) -> str:
    """Return ``LifeCycle`` as ``Life cycle``."""
    words = re.findall(r"[A-Z][a-z]*", name)
    return " ".join([words[0], *(word.lower() for word in words[1:])])


PARTS: dict[str, Callable[..., str]] = {"hooks": hooks, "error": error, "names": names}
