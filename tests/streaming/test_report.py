"""The report: JSON, schema, answer, recount, and what people look at (R84-R92, R213-R218, R221)."""

import copy
import importlib
import io
import json
import re
import sys
from pathlib import Path
from random import Random
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from resilient_sse.monitoring.alerts import conditions
from resilient_sse.testing.report import (
    GATES,
    Report,
    print_report,
    render_page,
    report_schema,
)
from resilient_sse.testing.report.document import AGGREGATES
from resilient_sse.testing.scenarios import SCENARIOS, Entry, Gate
from tests.streaming.recount import assert_recounted, recount

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "lab" / "report.md"
BY_KEY = {scenario.key: scenario for scenario in SCENARIOS.values()}


def validate(document):
    """Check a report against the shipped schema."""
    jsonschema.Draft202012Validator(report_schema()).validate(document)


# --- The JSON


def test_the_same_seed_is_the_same_report(virtual_report):
    """To the byte, on both backends, and in the next version, unless a figure is meant to change (R213)."""
    text = (HERE / "report_of_seed_7.json").read_text("utf-8")
    assert json.dumps(virtual_report.to_dict(), indent=2) + "\n" == text


def test_a_good_report_has_exactly_the_agreed_keys(good, document):
    """Those of the schema at the top, in each scenario and in the aggregate, with types and words (R214-R217)."""
    jsonschema.Draft202012Validator.check_schema(report_schema())
    validate(document)
    assert document["production_readiness"] == "YES"
    assert set(document["aggregate_metrics"]) == set(AGGREGATES)
    for key, fields in document["scenarios"].items():
        assert set(fields) == {"status", *BY_KEY[key].fields}
        assert fields["status"] == "PASS"
    # Tests are gates that were judged, and each has a figure.
    assert document["total_tests"] == len(good.verdicts) > 100
    assert document["tests_passed"] + document["tests_failed"] == document["total_tests"]
    assert [str(verdict) for verdict in good.verdicts if verdict.value is None] == []


def test_the_schema_misses_nothing(document):
    """A report without one of its keys, at the top or below, is none, and neither is one with another (R214)."""
    scenarios = [("scenarios", key) for key in document["scenarios"]]
    places = [(), ("aggregate_metrics",), ("scenarios",), *scenarios]
    for place in places:
        for key in [*at(document, place), None]:
            spoilt = copy.deepcopy(document)
            if key is None:
                at(spoilt, place)["more"] = 1
            else:
                del at(spoilt, place)[key]
            with pytest.raises(jsonschema.ValidationError):
                validate(spoilt)


@pytest.mark.parametrize(
    "change",
    [
        {"tests_failed": 1},
        {"production_readiness": "MAYBE"},
        {"production_readiness": "NO"},
        {"readiness_reasons": ["none"]},
    ],
)
def test_the_schema_knows_what_yes_means(document, change):
    """YES goes with no failure and no reason, NO with reasons (R217)."""
    with pytest.raises(jsonschema.ValidationError):
        validate({**document, **change})


def at(document, place):
    """Look a place of a report up."""
    for key in place:
        document = document[key]
    return document


def test_the_answer_is_no_with_reasons(entries, good):
    """One event less, and the answer is NO, with the gates that failed, in JSON and on the page (R217)."""
    entries.remove(next(entry for entry in entries if entry.kind == "received" and entry.stream == "handoff"))
    spoilt = Report(entries, day=good.day)
    document = spoilt.to_dict()
    assert document["production_readiness"] == "NO"
    assert document["scenarios"]["scenario_4_network_handoff"]["status"] == "FAIL"
    assert any("message_loss is 1, not 0" in reason for reason in document["readiness_reasons"])
    assert document["tests_failed"] > 0
    validate(document)
    page = render_page(spoilt)
    assert "production readiness: NO" in page
    assert "message_loss is 1, not 0" in page
    assert page.count("<b class='FAIL'>") == 2  # the scenario, and all together


def test_a_part_is_never_ready(entries, good):
    """A report on fewer than six scenarios says NO, whatever they came to (R217)."""
    key = SCENARIOS["handoff"].key
    part = Report([entry for entry in entries if entry.run.startswith(key)], day=good.day)
    document = part.to_dict()
    assert part.kept
    assert document["production_readiness"] == "NO"
    assert document["scenarios"]["scenario_1_slow_3g"]["status"] == "NOT RUN"
    validate(document)


@pytest.mark.parametrize(
    "kinds, complaint", [([], "empty"), (["finish"], "not whole"), (["start"], "none of the scenarios")]
)
def test_no_log_no_report(good, kinds, complaint):
    """Bad input: an empty log, one without its beginning, and one of something else are refused."""
    log = [Entry("a/virtual", 0.0, kind, None, {"scenario": "a", "form": "virtual"}) for kind in kinds]
    with pytest.raises(ValueError, match=complaint):
        Report(log, day=good.day)


def test_the_alerts_are_those_of_the_rule_files(document):
    """Generated from the table that the rule files are made from, the four agreed ones first (R218)."""
    named = document["alerts_configured"]
    assert named == conditions()
    assert named[:3] == ["completion_rate < 99.5%", "mean_reconnect > 5s", "duplicate_rate > 1%"]
    assert named[3] == "message_loss > 0"


def test_a_busy_machine_is_named(entries, good):
    """Next to gates that were failed, and only there: the times may be the machine's."""
    late = [
        Entry(x.run, x.at, x.kind, x.stream, {**x.facts, "late": 0.81}) if x.kind == "finish" else x
        for x in entries
    ]
    assert Report(late, day=good.day).ready
    late.remove(next(entry for entry in late if entry.kind == "received" and entry.stream == "handoff"))
    (said,) = [reason for reason in Report(late, day=good.day).reasons if "late" in reason]
    assert said.startswith("handoff/virtual: this machine itself was up to 0.8 s late")


@pytest.mark.parametrize(
    "relation, limit, passing, failing",
    [
        ("==", 0, [0], [1, False, "0", None]),
        ("==", True, [True], [1, False]),
        ("==", (1, 2), [[1, 2]], [[1], [2, 1]]),
        ("within", (1.0, 2.0), [1, 1.5, 2.0], [0.99, 2.01, True, "1"]),
        ("<", 5.0, [4.99], [5.0, None]),
        ("<=", 5.0, [5.0], [5.01]),
        (">", 80.0, [80.1], [80.0]),
        (">=", 1, [1], [0]),
    ],
)
def test_relations(relation, limit, passing, failing):
    """Each relation takes what it should and nothing else."""
    gate = Gate("*", "figure", relation, limit, "R0")
    assert all(gate.passes(value) for value in passing)
    assert not any(gate.passes(value) for value in failing)


# --- The recount


def test_the_recount_agrees_with_an_honest_report(document, lines):
    """The six figures over all scenarios are the same by other code, which sees each that was altered (R216)."""
    assert_recounted(document, lines)
    for name in AGGREGATES:
        with pytest.raises(AssertionError):
            assert_recounted({"aggregate_metrics": {**recount(lines), name: 7_777}}, lines)


@pytest.mark.parametrize("seed", range(2))
def test_both_count_the_same_in_spoilt_logs(entries, good, seed):
    """Lines lost, repeated, moved or altered at random: the report and the recount come to the same (R216)."""
    random = Random(seed)
    kept = [entry for entry in entries if entry.kind == "start" or random.random() > 0.002]
    spoilt = [entry for one in kept for entry in spoil(one, random)]
    lines = [json.loads(entry.to_json()) for entry in spoilt]
    # From the same lines: a report on entries that were written and read again.
    report = Report(map(entry_of, lines), day=good.day).to_dict()
    assert report["production_readiness"] == "NO"
    assert_recounted(report, lines)


def entry_of(line):
    """Read a line of a log again."""
    facts = dict(line)
    return Entry(*(facts.pop(name, None) for name in ("run", "at", "kind", "stream")), facts)


def spoil(entry, random):
    """Repeat an entry or alter it, once in a while."""
    if entry.kind == "start" or random.random() > 0.003:
        return [entry]
    facts = dict(entry.facts)
    match random.randrange(3):
        case 0:
            return [entry, entry]
        case 1 if entry.kind == "received" and isinstance(facts["id"], int):
            facts["id"] += random.choice([-1, 1])
        case 2 if "sum" in facts:
            facts["sum"] += 1
    return [Entry(entry.run, entry.at, entry.kind, entry.stream, facts)]


# --- What people look at


def test_the_page(good):
    """It nests, loads nothing from anywhere, and shows each scenario with its charts and every gate (R84-R92)."""
    page = render_page(good)
    inner = page.partition("<main>")[2].partition("</main>")[0]
    main = ET.fromstring(f"<main>{inner}</main>")  # noqa: S314 - a page of our own
    assert not {element.tag for element in main.iter()} & {"script", "img", "link", "iframe", "object"}
    assert not any({"src", "href"} & {*element.keys()} for element in main.iter())
    assert not re.search(r"url\(|@import|https?://|<script|<link", page)
    drawings = [drawing.get("aria-label") for drawing in main.iter("svg")]
    assert len(drawings) == sum(len(scenario.charts) for scenario in SCENARIOS.values())
    assert all(drawings)
    assert page.count("<section>") == page.count("<b class='PASS'>PASS</b>") == len(SCENARIOS) + 1
    assert "production readiness: YES" in page
    assert page.count(">pass</span>") == len(good.verdicts)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_text_from_a_log_is_text(entries, good):
    """Bad input: a log is data, and what it holds never becomes part of the page."""
    nasty = '<script>alert(1)</script>&"'
    altered = {"state": {"message": nasty}, "fault": {"name": nasty}, "ended": {"error": nasty}}
    spoilt = [Entry(x.run, x.at, x.kind, x.stream, {**x.facts, **altered.get(x.kind, {})}) for x in entries]
    page = render_page(Report(spoilt, day=good.day))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("plain", [True, False])
def test_the_tables(good, plain):
    """Every scenario with its figures and what was wanted, with units, in 80 columns, and the answer (R84-R92)."""
    out = io.StringIO()
    print_report(good, out, plain=plain)
    text = out.getvalue()
    for scenario in SCENARIOS.values():
        assert f"{scenario.name}, virtual time: PASS" in text
    assert re.search(r"pass\W+mean reconnect time\W+[\d,.]+ ms\W+at most 2,500 ms", text)
    assert not re.search(r"\bR\d", text)  # the numbers of our own demands
    assert re.search(r"message loss\W+0\W+0\W", text)
    assert re.search(r"auto reconnect\W+yes\W+yes", text)
    assert "1000, 2000, 4000" in text
    assert "production readiness: YES" in text
    assert ("───" in text) is not plain
    assert max(map(len, text.splitlines())) <= (110 if plain else 80)
    assert not any(line.endswith(" ") for line in text.splitlines()) or not plain


def test_without_rich(monkeypatch):
    """Bad input: the error names what to install."""
    monkeypatch.setattr("resilient_sse.testing.extra.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'resilient-sse\[testing\]'"):
        importlib.reload(sys.modules["resilient_sse.testing.report"])


def test_the_reference_lists_every_gate():
    """P45: figure, limit and forms of each, in the order of the table, and none besides."""
    rows = re.findall(
        r"^\| \S.*? \| `(\w+)` \| (.+?) \| ([a-z, ]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert rows == [(gate.figure, gate.wanted, ", ".join(gate.forms) or "all") for gate in GATES]
