"""Reading the pages of the documentation: their tables, their fences, and who leads to whom."""

import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)

FENCE = re.compile(
    r"^(?P<marks>`{3,})(?P<language>[^\n`]*)\n(?P<content>.*?)^(?P=marks)\s*$", re.DOTALL | re.MULTILINE
)
CELL = re.compile(r"\s*(?<!\\)\|\s*")


def name_of(page):
    """Return the path of a page, from `docs/` on."""
    return page.relative_to(DOCS).as_posix()


def text_of(name):
    """Return the text of a page of `docs/`."""
    return (DOCS / name).read_text(encoding="utf-8")


def fences(text, language):
    """Return the contents of the fences with this info string."""
    return [match["content"] for match in FENCE.finditer(text) if match["language"].strip() == language]


def tables(text):
    """Return every table as a list of rows, the header first; a row is a list of cells."""
    found, rows = [], []
    for line in [*FENCE.sub("", text).splitlines(), ""]:
        if line.startswith("|"):
            rows.append(CELL.split(line.strip())[1:-1])
        elif rows:
            found.append([rows[0], *rows[2:]])
            rows = []
    return found


def table(text, *header):
    """Return the rows of the one table with this header."""
    (rows,) = [rows[1:] for rows in tables(text) if rows[0] == list(header)]
    return rows


def code(cell):
    """Return what stands between the backticks of a cell."""
    match = re.fullmatch(r"`+(.+?)`+", cell)
    assert match, f"{cell!r} is not code"
    return match[1]


def module(path):
    """Import a script that belongs to no package."""
    name = f"docs_script_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
