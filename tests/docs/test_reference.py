"""The reference has every public name."""

import re

import pytest

import resilient_sse
from resilient_sse import checkpoints, relay, resume, testing
from tests.docs.pages import FENCE, text_of

DIRECTIVE = re.compile(r"^\.\. (?:auto\w+|py:\w+):: (\w+)$", re.MULTILINE)
KINDS = ("stream", "events", "states", "errors", "messages", "statistics")
ROOT_PAGES = [f"reference/{kind}.md" for kind in KINDS]
MODULES = {
    resilient_sse: ROOT_PAGES,
    checkpoints: ["reference/checkpoints.md"],
    relay: ["reference/relay.md", "reference/broadcast.md"],
    resume: ["reference/resume.md"],
    testing: ["reference/testing.md"],
}


def documented(*names):
    """Return the names that these pages document."""
    return [name for page in names for name in DIRECTIVE.findall(text_of(page))]


@pytest.mark.parametrize("module, pages", MODULES.items(), ids=[module.__name__ for module in MODULES])
def test_every_public_name_is_documented_once(module, pages):
    """What can be imported can be looked up."""
    names = documented(*pages)
    assert {name for name in module.__all__ if names.count(name) != 1} == set()


def in_plain_text(page):
    """Return the words in headings and in code of a page, its fences left out: what a code host shows."""
    text = FENCE.sub("", text_of(page))
    return set(re.findall(r"\w+", " ".join(re.findall(r"^#+ .*$|`[^`\n]+`", text, re.MULTILINE))))


def members(thing):
    """Return the public attributes and methods of a class; nothing for a function, or for what has no table."""
    if not isinstance(thing, type) or thing in (testing.VirtualClockLoop, testing.ClientOptions):
        return set()
    named = {
        name for cls in thing.__mro__ if cls.__module__.startswith("resilient_sse") for name in vars(cls)
    }
    return {name for name in named | set(getattr(thing, "__annotations__", {})) if not name.startswith("_")}


@pytest.mark.parametrize(
    "module, page",
    [pytest.param(module, page, id=page) for module, pages in MODULES.items() for page in pages],
)
def test_a_page_can_be_read_without_sphinx(module, page):
    """Every name that autodoc adds to a page, and every attribute and method of it, stands in its text too."""
    names = set(documented(page)) & set(module.__all__)
    assert names
    # `Resume` has its table on the page about its presets.
    shown = set(re.findall(r"^\.\. auto\w+:: (\w+)$", text_of(page), re.MULTILINE)) - {"Resume"}
    wanted = names.union(*(members(getattr(module, name)) for name in shown))
    assert wanted - in_plain_text(page) == set()
