"""Relative links in the Markdown files lead somewhere, also outside the pages that Sphinx builds."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        ".github/**/*.md",
        "docs/**/*.md",
        "docs/llms.txt",
        "examples/**/*.md",
        "benchmarks/**/*.md",
    )
    for page in ROOT.glob(pattern)
    if "_build" not in page.parts
)
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
LINK = re.compile(r"\]\(\s*<?([^\s)>]+)>?[^)]*\)|^\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links(text):
    """Yield the targets of inline links and of link definitions, those in code left out."""
    for inline, definition in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        yield inline or definition


def anchors(page):
    """Return the fragments that code hosts give to the headings of a page."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def problem(page, target):
    """Return what is wrong with a link, or None."""
    path, _, fragment = target.partition("#")
    destination = (page.parent / path) if path else page
    if not destination.exists():
        return f"{target}: no such file"
    if page.is_relative_to(ROOT / "docs"):
        return None  # a fragment may name an object or a label there, and Sphinx fails on unknown ones
    if fragment and destination.suffix == ".md" and fragment not in anchors(destination):
        return f"{target}: no such heading"
    return None


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_relative_links_lead_somewhere(page):
    """Each relative link of a page names an existing file and, outside the docs, an existing heading."""
    targets = [target for target in links(page.read_text(encoding="utf-8")) if not SCHEME.match(target)]
    assert [found for target in targets if (found := problem(page, target))] == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[x](missing.md)", id="inline"),
        pytest.param("[x](<missing.md>)", id="in-angle-brackets"),
        pytest.param("[x][y]\n\n[y]: missing.md\n", id="definition"),
        pytest.param("[x](#missing)", id="heading"),
    ],
)
def test_a_broken_link_is_noticed(text, tmp_path):
    """Every form of link is looked at, and a broken one is reported."""
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{text}\n", encoding="utf-8")
    assert [bool(problem(page, target)) for target in links(text)] == [True]


def test_links_in_code_are_left_alone():
    """Code shows links, it does not make any."""
    assert list(links("```md\n[x](missing.md)\n```\n\n`[x](missing.md)`\n")) == []


def test_the_package_names_pages_that_exist():
    """What the code and the tests call a page of the docs is one, also after pages have moved."""
    sources = [*(ROOT / "resilient_sse").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    named = {
        (str(source.relative_to(ROOT)), page)
        for source in sources
        for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|json)\b", source.read_text(encoding="utf-8"))
    }
    assert named
    assert [(source, page) for source, page in sorted(named) if not (ROOT / page).exists()] == []
