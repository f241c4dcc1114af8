"""Sphinx: Markdown pages, docstrings by autodoc, every unresolved reference an error."""

from __future__ import annotations

import logging
import re
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "resilient_sse"
author = "The resilient_sse authors"
project_copyright = author
version = release = installed_version("resilient-sse")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build", "conftest.py"]
html_theme = "furo"
html_title = f"resilient_sse {version}"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_fence_as_directive = ["mermaid"]  # so that the same fence draws a diagram on a code host
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # docstrings quote code with single backticks, as Markdown does

nitpicky = True
# Builds need no network, hence no inventories of other projects: references into these stay plain text.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(abc|anyio|asyncio|collections|contextlib|datetime|enum|httpx|pathlib|random|ssl|types|typing)\..*",
    ),
]

copybutton_exclude = ".linenos, .gp, .go"

# A kind of page may have no page yet.  `suppress_warnings` cannot say so: this warning has no type.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)

FENCE = re.compile(r"^(?P<indent>\s*)```(?P<language>\w*)$")


def fences_to_directives(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Turn the Markdown code fences of a docstring, which reStructuredText does not know, into directives."""
    inside = False
    converted: list[str] = []
    for line in lines:
        if fence := FENCE.match(line):
            inside = not inside
            if inside:
                converted += [f"{fence['indent']}.. code-block:: {fence['language'] or 'text'}", ""]
            else:
                converted.append("")
        else:
            converted.append(f"    {line}" if inside else line)
    lines[:] = converted


def setup(app: Sphinx) -> None:
    """Listen before napoleon, which has the ordinary priority of 500."""
    app.connect("autodoc-process-docstring", fences_to_directives, priority=400)
