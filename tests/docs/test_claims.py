"""The claims of the README are those of the last report; those of the page about security name their tests."""

import copy
import json
import re

import pytest

from resilient_sse.testing.report import report_schema
from tests.docs.pages import DOCS, ROOT, module, table, text_of

claims = module(DOCS / "claims.py")
README = (DOCS.parent / "README.md").read_text("utf-8")
REPORT = json.loads(claims.REPORT.read_text("utf-8"))


def test_the_readme_is_up_to_date():
    """Writing the table anew changes nothing; if this fails, run `python docs/claims.py --write`."""
    assert claims.updated(README, REPORT) == README


def test_the_last_report_is_a_report():
    """What the claims are made from validates against the shipped schema (R214, R215)."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(REPORT, report_schema())


def test_there_is_a_claim_for_each_of_the_five():
    """Reliability, speed, resilience, transparency and performance, as the first report has them (R227)."""
    rows = re.findall(r"^\| \*\*(\w+)\*\*: ", claims.table(REPORT), re.MULTILINE)
    assert rows == ["Reliability", "Speed", "Resilience", "Transparency", "Performance"]


def test_each_claim_names_a_test_that_exists():
    """The README says which test would fail (P45)."""
    source = (DOCS.parent / claims.TESTS).read_text("utf-8")
    for promise in claims.PROMISES:
        suite, name = promise.test.split("::")
        body = re.search(rf"^class {suite}:\n(.*?)(?=^class |\Z)", source, re.MULTILINE | re.DOTALL)
        assert body, promise.test
        assert f"    def {name}(" in body[1], promise.test


CLAIMS = [claim for promise in claims.PROMISES for claim in promise.claims]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.figure)
def test_a_claim_that_is_worse_than_its_gate_is_not_made(claim):
    """Spoil one figure, and the table cannot be written."""
    spoilt = copy.deepcopy(REPORT)
    group = (
        spoilt["aggregate_metrics"] if claim.scenario == "aggregate" else spoilt["scenarios"][claim.scenario]
    )
    worse = {
        "mean_completion_rate_percent": 99.4,
        "backoff_sequence": [1000, 2000, 5000],
        "jitter_diversity_percent": 80.0,
    }
    group[claim.figure] = worse.get(claim.figure, 10_000)
    with pytest.raises(ValueError, match=claim.figure):
        claims.table(spoilt)


def test_a_report_that_says_no_makes_no_claims():
    """Nothing is claimed from a run that failed elsewhere (R217)."""
    with pytest.raises(ValueError, match="all is well"):
        claims.table({**REPORT, "production_readiness": "NO"})


# --- Security


THREATS = table(
    text_of("reference/security.md"), "threat", "what a hostile peer does", "what the client does", "shown by"
)


def test_each_threat_names_tests_that_exist():
    """P42: each threat, the usual ones among them, has a test, under the name that the page gives."""
    usual = {
        "endless event",
        "accept and close",
        "id injection",
        "redirect to another origin",
        "decompression bomb",
    }
    assert usual <= {row[0] for row in THREATS}
    for threat, _, _, shown in THREATS:
        named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", shown)
        assert named, threat
        for file, name in named:
            source = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^ *(async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"
