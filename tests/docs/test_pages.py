"""Every page is reachable, and every Python block in it is run."""

import posixpath
import re
from fnmatch import fnmatch

import pytest
from sybil.document import Document

from tests.docs.pages import DOCS, FENCE, PAGES, ROOT, module, name_of

conftest = module(DOCS / "conftest.py")
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
SKIPPED = re.compile(r"^<!-- skip: next.*?-->\s*^```python$", re.MULTILINE)


def entries(page):
    """Return the pages that the tables of contents of a page name."""
    known = {name_of(other).removesuffix(".md") for other in PAGES}
    found = set()
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        if match["language"].strip() != "{toctree}":
            continue
        for line in match["content"].splitlines():
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name_of(page)), line.strip()))
            if line.strip() and not line.startswith(":"):
                matching = {name for name in known if fnmatch(name, target)}
                assert matching, f"{name_of(page)} names {target}, which does not exist"
                found |= matching
    return found


def test_every_page_is_reachable():
    """The tables of contents lead from the index to every page."""
    reached, new = set(), {"index"}
    while new:
        reached |= new
        new = {entry for name in new for entry in entries(DOCS / f"{name}.md")} - reached
    assert reached == {name_of(page).removesuffix(".md") for page in PAGES}


def executed(path, sybil):
    """Return how many Python blocks of a page are run, those that are skipped left out."""
    document = Document.parse(str(path), *sybil.parsers)
    blocks = [example for example in document if example.region.evaluator is conftest.run]
    return len(blocks) - len(SKIPPED.findall(document.text))


@each_page
def test_every_block_is_run(page):
    """As many Python blocks are run as the page has, except for those that say that they are not."""
    text = page.read_text(encoding="utf-8")
    blocks = len(
        re.findall(r"^\s*(?:```|~~~|:::)\{?(?:code-block\} )?(?:python|py|pycon)\b", text, re.MULTILINE)
    )
    skipped = len(SKIPPED.findall(text))
    sybil = conftest.examples(DOCS, "*.md")
    assert executed(page, sybil) == blocks - skipped
    assert not blocks or blocks > skipped


def test_the_readme_is_run():
    """The blocks of the README are run too."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert executed(ROOT / "README.md", conftest.examples(ROOT, "README.md")) == text.count("```python\n") > 0


@each_page
def test_an_output_follows_its_block(page):
    """Every `output` block has a `python` block before it, so that there is something to compare it with."""
    languages = [match["language"].strip() for match in FENCE.finditer(page.read_text(encoding="utf-8"))]
    for before, language in zip(["", *languages], languages, strict=False):
        assert language != "output" or before == "python"


@each_page
def test_a_page_begins_with_its_title(page):
    """One heading of the first level, at the top."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


@each_page
def test_nothing_is_loaded_from_elsewhere(page):
    """No page needs the network to be shown."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"!\[[^\]]*\]\(https?:|<(?:script|img|link|iframe)\b", text)


def test_the_short_index_has_the_pages_of_users():
    """`llms.txt` leads to every page about starting and using."""
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    for page in PAGES:
        if page.parent.name in ("start", "use"):
            assert f"]({name_of(page)})" in text


def test_search_ranks_pages_that_exist():
    """What the search puts below the pages for users is there."""
    (ranked,) = re.findall(r"/\^\(([^)]+)\)", (DOCS / "scorer.js").read_text(encoding="utf-8"))
    known = {name_of(page).removesuffix(".md").split("/")[0] for page in PAGES}
    assert set(ranked.split("|")) <= known
