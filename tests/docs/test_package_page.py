"""What a package index shows: a README whose links all lead somewhere, the addresses, and a picture."""

import re
import tomllib
import xml.etree.ElementTree as ET

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, module
from tests.test_links import links

package_page = module(DOCS / "package_page.py")
recording = module(DOCS / "recording.py")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
REPOSITORY, TAG = "https://host/owner/repository", "v1.2.3"
PAGE = package_page.page(README, REPOSITORY, TAG)


def test_no_link_of_the_readme_breaks_on_the_package_page():
    """P44: each link there is absolute; those to files, which exist (`test_links.py`), name them at the tag."""
    targets, made = list(links(README)), list(links(PAGE))
    assert len(targets) == len(made) > 10
    for target, url in zip(targets, made, strict=True):
        if not target.startswith("https://"):
            assert re.fullmatch(rf"{REPOSITORY}/(raw|tree|blob)/{TAG}/{re.escape(target)}", url)
    assert not re.search(r"<(?:img|a|picture)\b", PAGE)  # no other form of link
    assert "index yet" in README
    assert "index yet" not in PAGE
    assert "pip install 'resilient-sse[cli]'" in PAGE


def test_the_addresses_are_added_once():
    """The index gets four, and a second run changes nothing behind anybody's back."""
    text = package_page.with_urls(PYPROJECT, REPOSITORY, TAG)
    before, after = tomllib.loads(PYPROJECT), tomllib.loads(text)
    urls = after["project"].pop("urls")
    assert after == before
    assert set(urls) == {"Documentation", "Changelog", "Source", "Issues"}
    with pytest.raises(ValueError, match="already"):
        package_page.with_urls(text, REPOSITORY, TAG)


def test_the_picture_is_of_the_demo():
    """Its last screen, which is shown where nothing moves, says that nothing was lost."""
    demo = recording.PICTURES[0].file
    assert f"({demo.relative_to(ROOT).as_posix()})" in README
    text = demo.read_text(encoding="utf-8")
    drawing = ET.fromstring(text)  # noqa: S314 - our own file
    spaces = {"s": "http://www.w3.org/2000/svg"}
    style = drawing.find("s:style", spaces).text
    assert "prefers-reduced-motion" in style
    hidden = set(re.findall(r"\.(f\d+)\{visibility:hidden;", style))
    rows = [row for row in drawing.findall("s:text", spaces) if row.get("class") not in hidden]
    last = "\n".join(" ".join(row.itertext()) for row in rows)
    assert re.search(r"^messages received +50 +ok$", last, re.MULTILINE)
    assert re.search(r"^messages lost +0 +ok$", last, re.MULTILINE)
    assert "Passed in" in last


def test_pictures_are_small_and_load_nothing():
    """Each is shown by a page, and is safe and quick to show anywhere."""
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    chart = DOCS / "_static" / "speed.svg"
    assert {chart, *(picture.file for picture in recording.PICTURES)} == set((DOCS / "_static").glob("*.svg"))
    for picture in recording.PICTURES:
        text = picture.file.read_text(encoding="utf-8")
        assert f"_static/{picture.name}.svg)" in pages
        assert len(text) < 150_000
        assert not re.search(r"url\(|@import|href|<script|<foreignObject", text)


def test_actions_are_pinned():
    """P43: a workflow names each action by its commit, with the version beside it, and all name the same one."""
    used = {}
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in re.findall(r"uses: (.+)", workflow.read_text(encoding="utf-8")):
            action, commit, version = re.fullmatch(r"([\w/-]+)@([0-9a-f]{40}) # (v[\d.]+)", line).groups()
            assert used.setdefault(action, (commit, version)) == (commit, version)
    assert "pypa/gh-action-pypi-publish" in used
