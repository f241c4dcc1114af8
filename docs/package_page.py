"""
Makes the README fit for the page of a package index, which has no files of the repository.

`python docs/package_page.py https://host/owner/repository v0.2.0` makes the links of `README.md` lead to that tag,
says how to install it from the index, and adds `[project.urls]` to `pyproject.toml`.  The release workflow runs it
before it builds, so that the address of the repository is written down nowhere: a fork releases with its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["page", "with_urls"]

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?P<image>!?)(?P<text>\[[^\]]*\])\((?P<target>[^)\s]+)\)")
UNRELEASED = re.compile(r"<!-- until it is on the index -->.*?<!-- end -->", re.DOTALL)
INSTALL = "```console\n$ pip install 'resilient-sse[cli]'\n```"
BEFORE = "[project.optional-dependencies]\n"


def page(readme: str, repository: str, tag: str) -> str:
    """
    Return *readme* as the index shows it: installed from there, with absolute links, those of images to the file.

    Raises:
        ValueError: There is no paragraph about installing.
    """
    readme, found = UNRELEASED.subn(INSTALL, readme)
    if found != 1:
        raise ValueError("README.md does not say once how to install it before it is on the index")

    def absolute(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        view = "raw" if link["image"] else "tree" if (ROOT / target).is_dir() else "blob"
        return f"{link['image']}{link['text']}({repository}/{view}/{tag}/{target})"

    return LINK.sub(absolute, readme)


def with_urls(pyproject: str, repository: str, tag: str) -> str:
    """
    Return *pyproject* with the addresses that a package index shows.

    Raises:
        ValueError: There is no place for them, or they are there.
    """
    if pyproject.count(BEFORE) != 1 or "[project.urls]" in pyproject:
        raise ValueError("pyproject.toml has no place for [project.urls], or has it already")
    urls = {
        "Documentation": f"{repository}/blob/{tag}/docs/index.md",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Source": repository,
        "Issues": f"{repository}/issues",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    return pyproject.replace(BEFORE, f"[project.urls]\n{lines}\n{BEFORE}")


if __name__ == "__main__":
    try:
        repository, tag = (argument.rstrip("/") for argument in sys.argv[1:])
    except ValueError:
        sys.exit("usage: python docs/package_page.py https://host/owner/repository TAG")
    for name, change in (("README.md", page), ("pyproject.toml", with_urls)):
        file = ROOT / name
        file.write_text(change(file.read_text(encoding="utf-8"), repository, tag), encoding="utf-8")
