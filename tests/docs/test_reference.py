"""The reference has every public name."""

import re

import pytest

import resilient_sse
from resilient_sse import checkpoints, resume, testing
from tests.docs.pages import DOCS, text_of

DIRECTIVE = re.compile(r"^\.\. (?:auto\w+|py:\w+):: (\w+)$", re.MULTILINE)
KINDS = ("stream", "events", "states", "errors", "messages", "statistics")
ROOT_PAGES = [f"reference/{kind}.md" for kind in KINDS]


def documented(*names):
    """Return the names that these pages document."""
    return [name for page in names for name in DIRECTIVE.findall(text_of(page))]


@pytest.mark.parametrize(
    "module, pages",
    [
        pytest.param(resilient_sse, ROOT_PAGES, id="root"),
        pytest.param(checkpoints, ["reference/checkpoints.md"], id="checkpoints"),
        pytest.param(resume, ["reference/resume.md"], id="resume"),
        pytest.param(testing, ["reference/testing.md"], id="testing"),
    ],
)
def test_every_public_name_is_documented_once(module, pages):
    """What can be imported can be looked up."""
    names = documented(*pages)
    assert {name for name in module.__all__ if names.count(name) != 1} == set()


def test_documented_names_exist():
    """What autodoc is asked for is public."""
    for module, pages in (
        (resilient_sse, ROOT_PAGES),
        (checkpoints, ["reference/checkpoints.md"]),
        (resume, ["reference/resume.md"]),
        (testing, ["reference/testing.md"]),
    ):
        asked = {
            name
            for page in pages
            for name in re.findall(
                r"^\.\. auto(?:class|exception|function):: (\w+)$", text_of(page), re.MULTILINE
            )
        }
        assert asked <= set(module.__all__)


def test_the_reference_has_pages():
    """There is something to compare."""
    assert len(list((DOCS / "reference").glob("*.md"))) >= len(ROOT_PAGES)
