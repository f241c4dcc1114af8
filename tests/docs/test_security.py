"""What the page about security promises is shown by the tests that it names."""

import re

from tests.docs.pages import ROOT, table, text_of

ROWS = table(
    text_of("reference/security.md"), "threat", "what a hostile peer does", "what the client does", "shown by"
)


def test_each_threat_names_tests_that_exist():
    """P42: each threat has a test, under the name that the page gives."""
    for threat, _, _, shown in ROWS:
        named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", shown)
        assert named, threat
        for file, name in named:
            source = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^ *(async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"


def test_the_usual_threats_are_there():
    """P42: a giant line, endless retries, an injected id, a stolen redirect, a bomb."""
    told = {row[0] for row in ROWS}
    assert {
        "endless event",
        "accept and close",
        "id injection",
        "redirect to another origin",
        "decompression bomb",
    } <= told
