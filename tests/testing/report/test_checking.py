"""The independent checker: it agrees with honest reports and finds every other (R216, R217)."""

import ast
import copy
import json
from pathlib import Path
from random import Random

import pytest

from resilient_sse.testing.report import Report, check, check_files, checking
from resilient_sse.testing.report.checking.check import _figures
from resilient_sse.testing.report.checking.columns import Columns
from resilient_sse.testing.scenarios import write_log
from resilient_sse.testing.scenarios.log import Entry

ALLOWED = {
    "resilient_sse.testing.report.checking",
    "resilient_sse.testing.report.checking.check",
    "resilient_sse.testing.report.checking.columns",
    "resilient_sse.testing.report.checking.numbers",
    "resilient_sse.testing.report.gates",
}


def leaves(value, path=()):
    """Yield the path to each value of a report."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path


def other(value):
    """Return another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case list():
            return value[1:]
        case "YES" | "NO":
            return {"YES": "NO", "NO": "YES"}[value]
        case _:
            return f"{value}?"


def test_it_agrees_with_an_honest_report(document, lines):
    """No difference at all."""
    assert check(document, lines) == []


def test_it_counts_every_figure(report, lines):
    """All figures of all runs, those that are not in the JSON included, are the same to the last digit given."""
    for judged in report.judged:
        mine = Columns([line for line in lines if line["run"] == judged.run.name])
        assert _figures(mine) == judged.figures


def test_it_shares_no_code_with_the_report():
    """It imports the table of gates and its own modules, and nothing else of this package."""
    for path in Path(checking.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("resilient_sse"):
                assert node.module in ALLOWED, f"{path.name} imports {node.module}"


@pytest.mark.slow
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.proof), 31], ids=["each", "some"])
def test_it_finds_every_altered_figure(document, lines, step):
    """Each value of the report, altered alone, is named in a difference; only the date cannot be known."""
    for path in list(leaves(document))[::step]:
        if path == ("test_date",):
            continue
        spoilt = copy.deepcopy(document)
        place = spoilt
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = other(place[path[-1]])
        found = check(spoilt, lines)
        assert any(path[-1] in difference for difference in found), path


@pytest.mark.proof
def test_it_finds_constants(document, replay):
    """A report that was written for another run, however good its figures, is not that of this run (R216)."""
    _, lines = replay()  # by another seed: recovery times differ
    assert check(document, lines) != []


def test_it_finds_a_missing_scenario(document, lines):
    """One that was played must be reported."""
    del document["scenarios"]["scenario_1_slow_3g"]
    assert "scenarios: scenario_1_slow_3g is missing" in check(document, lines)


def test_a_return_alone_tells_of_no_loss(entries, report):
    """A fault after which only the recovery is shown, and not the loss, is a silent one (R8, R65)."""
    mine = [entry for entry in entries if entry.run.startswith("scenario_6")]
    fault = next(entry for entry in mine if entry.kind == "fault" and entry.facts["name"] == "reset")
    lost = next(
        entry for entry in mine[mine.index(fault) :] if entry.stream == fault.stream and entry.kind == "state"
    )
    assert (lost.facts["old"], lost.facts["new"]) == ("connected", "reconnecting")
    mine.remove(lost)
    wrong = Report(mine, day=report.day)
    (judged,) = wrong.judged
    assert judged.figures["silent_failures"] == 1
    assert judged.figures["visible_errors"] == "199 of 200"
    assert check(wrong.to_dict(), [json.loads(entry.to_json()) for entry in mine]) == []


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(4, 12))]
)
def test_both_count_the_same_in_spoilt_logs(entries, report, seed):
    """Lines lost, repeated, moved or altered at random: report and checker draw the same conclusions."""
    random = Random(seed)
    # The large ones take a while: each is in one log of four.
    left_out = {0: ("scenario_2",), 1: ("scenario_6",)}.get(seed % 4, ("scenario_2", "scenario_6"))
    entries = [entry for entry in entries if not entry.run.startswith(left_out)]
    spoilt = [spoil(entry, random) for entry in entries if entry.kind == "start" or random.random() > 0.002]
    flat = [entry for many in spoilt for entry in many]
    lines = [json.loads(entry.to_json()) for entry in flat]
    # From the same lines: a report on entries that were written and read again.
    wrong = Report([Entry.from_json(json.dumps(line)) for line in lines], day=report.day)
    assert wrong.to_dict()["production_readiness"] == "NO"
    assert check(json.loads(json.dumps(wrong.to_dict())), lines) == []
    for judged in wrong.judged:
        counted = _figures(Columns([line for line in lines if line["run"] == judged.run.name]))
        assert counted == judged.figures


def spoil(entry, random):
    """Repeat an entry or alter it, once in a while."""
    if entry.kind == "start" or random.random() > 0.003:
        return [entry]
    facts = dict(entry.facts)
    match random.randrange(4):
        case 0:
            return [entry, entry]
        case 1 if entry.kind == "received" and isinstance(facts["id"], int):
            facts["id"] += random.choice([-1, 1])
        case 2 if entry.kind == "state":
            facts["message"] = ""
        case 3 if "sum" in facts:
            facts["sum"] += 1
    return [Entry(entry.run, entry.at, entry.kind, entry.stream, facts)]


def test_files(tmp_path, document, entries):
    """It reads what the command wrote, and refuses what is neither a report nor a log."""
    report, log, other_file = tmp_path / "r.json", tmp_path / "l.jsonl", tmp_path / "o.json"
    report.write_text(json.dumps(document), encoding="utf-8")
    write_log(log, entries)
    assert check_files(report, log) == []
    for wrong in ("[]", "{}", "no json"):
        other_file.write_text(wrong, encoding="utf-8")
        with pytest.raises(ValueError, match=r"report|Expecting"):
            check_files(other_file, log)
        with pytest.raises(ValueError, match=r"log|Expecting"):
            check_files(report, other_file)
