"""How the documentation is built: Sphinx with MyST, the reference pages generated from the code."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Thea"
author = "the contributors of Thea"
project_copyright = "the contributors of Thea"
release = version = version_of("thea-core")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "thea_reference"]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

nitpicky = True
nitpick_ignore_regex = [
    # Names of the standard library and of other projects are not looked up: a build must not need the network.
    ("py:.*", r"(?!thea).*"),
    # What is not public has no page: type variables, and the classes of modules within the core.
    ("py:.*", r".*\.[A-Z]"),
    ("py:.*", r"thea_core\.[a-z_]+\..*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"Thea {release}"
