"""Every Python block of every page is run, and a page can be shown where there is no network."""

import re

import pytest
from sybil.document import Document

from tests.docs.pages import DOCS, FENCE, PAGES, ROOT, module, name_of

conftest = module(DOCS / "conftest.py")
README = ROOT / "README.md"
SKIPPED = re.compile(r"^<!-- skip: next.*?-->\s*^```python$", re.MULTILINE)
BLOCK = re.compile(r"^\s*(?:```|~~~|:::)\{?(?:code-block\} )?(?:python|py|pycon)\b", re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run(page):
    """As many Python blocks are run as the page has, except for those that say that they are not."""
    text = page.read_text(encoding="utf-8")
    parsers = conftest.examples(page.parent, page.name).parsers
    examples = Document.parse(str(page), *parsers)
    blocks = len(BLOCK.findall(text))
    assert sum(example.region.evaluator is conftest.run for example in examples) == blocks
    assert not blocks or blocks > len(SKIPPED.findall(text))
    languages = [match["language"].strip() for match in FENCE.finditer(text)]
    for before, language in zip(["", *languages], languages, strict=False):
        assert language != "output" or before == "python"


def test_nothing_is_loaded_from_elsewhere():
    """No page needs the network to be shown."""
    loading = re.compile(r"!\[[^\]]*\]\(https?:|<(?:script|img|link|iframe)\b")
    assert [name_of(page) for page in PAGES if loading.search(page.read_text(encoding="utf-8"))] == []


def test_what_leads_to_pages():
    """`llms.txt` has every page about starting and using; what the search puts below the others is there."""
    listed = (DOCS / "llms.txt").read_text(encoding="utf-8")
    pages = [name_of(page) for page in PAGES if page.parent.name in ("start", "use")]
    assert [page for page in pages if f"]({page})" not in listed] == []
    (ranked,) = re.findall(r"/\^\(([^)]+)\)", (DOCS / "scorer.js").read_text(encoding="utf-8"))
    assert {*ranked.split("|")} <= {re.split(r"[./]", name_of(page))[0] for page in PAGES}
