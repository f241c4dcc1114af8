"""Sphinx: Markdown pages, docstrings by autodoc, every unresolved reference an error, nothing from the network."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxDirective

from resilient_sse import StreamStats

sys.path.insert(0, str(Path(__file__).parent))
import state_diagram

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
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"resilient_sse {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_search_scorer = str(Path(__file__).parent / "scorer.js")
html_extra_path = ["llms.txt"]
html_show_sourcelink = False

myst_enable_extensions = ["alert", "attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_fence_as_directive = ["mermaid"]  # the same fence draws the diagram on a code host
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # docstrings quote code with single backticks, as Markdown does
python_maximum_signature_line_length = 88

nitpicky = True
# Builds need no network, hence no inventories of other projects: references into these stay plain text.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(abc|anyio|asyncio|collections|contextlib|datetime|enum|httpx|json|os|pathlib|random|redis|ssl|types|typing)\..*",
    ),
    (
        r"py:class",
        r"Redis|CollectorRegistry|DogStatsd|MeterProvider|Path|TracerProvider",
    ),  # redis-py publishes no inventory
    (
        r"py:class",
        r"(resilient_sse\..*\.)?(ArgsT|GapCallbackT|Item_co|ResultT|StateCallbackT|T)",
    ),  # type variables
]

copybutton_exclude = ".linenos, .gp, .go"

FENCE = re.compile(r"^(?P<indent>\s*)```(?P<language>\w*)$")
CODE_IN_A_WORD = re.compile(r"(`[^`]+`)(?=\w)")


def adapt_docstring(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """
    Turn what docstrings write as Markdown does, and reStructuredText does not know, into its own.

    These are fences around code, and code that a letter follows, as in `Pause`s.
    """
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
            converted.append(f"    {line}" if inside else CODE_IN_A_WORD.sub(r"\1\ ", line))
    lines[:] = converted
    if what in ("attribute", "data", "property"):
        PLAIN[:] = converted


PLAIN: list[str] = []


def restore_attribute(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Undo what napoleon has made of an attribute's text: it takes whatever stands before a colon for a type."""
    if what in ("attribute", "data", "property"):
        lines[:] = [*PLAIN, ""]


class StateDiagram(SphinxDirective):
    """A Mermaid diagram of states, drawn here instead of by a script in the reader's browser."""

    has_content: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing."""
        return [nodes.raw("", state_diagram.svg("\n".join(self.content)), format="html")]


def hide_signature(
    _app: Sphinx,
    what: str,
    _name: str,
    obj: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Show no constructor for what nobody constructs: protocols, and figures that a stream gives."""
    hidden = what == "class" and (getattr(obj, "_is_protocol", False) or obj is StreamStats)
    return (None, None) if hidden else (signature, returns)


def setup(app: Sphinx) -> None:
    """Listen on both sides of napoleon, which has the ordinary priority of 500."""
    app.connect("autodoc-process-docstring", adapt_docstring, priority=400)
    app.connect("autodoc-process-docstring", restore_attribute, priority=600)
    app.connect("autodoc-process-signature", hide_signature)
    app.add_directive("mermaid", StateDiagram)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # it says "Variables"
