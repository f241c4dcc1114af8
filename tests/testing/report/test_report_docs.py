"""The reference page says what the code does (P45)."""

import re
from pathlib import Path

from resilient_sse.testing.report.gates import GATES
from resilient_sse.testing.report.labels import wanted

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "report.md"


def test_the_page_lists_every_gate():
    """Figure, limit and forms of each, in the order of the table, and none besides."""
    rows = re.findall(
        r"^\| \S.*? \| `(\w+)` \| (.+?) \| ([a-z, ]+) \| R", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert rows == [(gate.figure, wanted(gate), ", ".join(gate.forms) or "all") for gate in GATES]
