"""The JSON report: its keys, its schema, its answer (R213-R218, R221)."""

import jsonschema
import pytest

from resilient_sse.monitoring.alerts import conditions
from resilient_sse.testing.report import GATES, Report, report_schema
from resilient_sse.testing.report.gates import Gate
from resilient_sse.testing.scenarios import SCENARIOS, Entry

SEED_KEYS = {
    "test_date",
    "total_tests",
    "tests_passed",
    "tests_failed",
    "scenarios",
    "aggregate_metrics",
    "production_readiness",
    "alerts_configured",
}

SEED_SCENARIOS = {
    "scenario_1_slow_3g": {"status", "completion_rate_percent", "duplicates", "message_loss", "duration_ms"},
    "scenario_2_stall_detection": {"status", "stall_recovery_ms", "ui_feedback", "auto_reconnect"},
    "scenario_3_packet_loss": {
        "status",
        "initial_delivery_percent",
        "completion_after_replay_percent",
        "gaps",
    },
    "scenario_4_network_handoff": {"status", "total_events", "received_events", "recovery_ms"},
    "scenario_5_rapid_reconnects": {
        "status",
        "reconnect_attempts",
        "backoff_sequence",
        "jitter_diversity_percent",
        "final_completion_percent",
    },
    "scenario_6_user_experience": {"status", "silent_failures", "visible_errors", "retry_indicator"},
}

SEED_AGGREGATES = {
    "mean_completion_rate_percent",
    "mean_reconnect_time_ms",
    "p95_reconnect_time_ms",
    "p99_reconnect_time_ms",
    "total_message_loss",
    "total_duplicates",
}


def validate(document):
    """Check a report against the shipped schema."""
    jsonschema.Draft202012Validator(report_schema()).validate(document)


def test_the_schema_is_one():
    """The shipped file is a JSON Schema (R213)."""
    jsonschema.Draft202012Validator.check_schema(report_schema())


def test_a_good_report_has_exactly_the_agreed_keys(document):
    """At the top, in each scenario and in the aggregate (R214, R215, R216)."""
    assert document.keys() == SEED_KEYS
    assert {key: set(fields) for key, fields in document["scenarios"].items()} == SEED_SCENARIOS
    assert set(document["aggregate_metrics"]) == SEED_AGGREGATES
    assert document["production_readiness"] == "YES"
    validate(document)


def test_the_figures_have_the_agreed_types(document):
    """Numbers are numbers, flags are flags, words are the agreed words (R215)."""
    scenarios = document["scenarios"]
    assert {scenario["status"] for scenario in scenarios.values()} == {"PASS"}
    assert scenarios["scenario_2_stall_detection"]["ui_feedback"] == "Visible"
    assert scenarios["scenario_2_stall_detection"]["auto_reconnect"] is True
    assert scenarios["scenario_5_rapid_reconnects"]["backoff_sequence"] == [1000, 2000, 4000]
    assert scenarios["scenario_6_user_experience"]["visible_errors"] == "All"
    assert scenarios["scenario_6_user_experience"]["retry_indicator"] == "Shown"


@pytest.mark.parametrize("key", [*sorted(SEED_KEYS), "readiness_reasons"])
def test_the_schema_misses_nothing(document, key):
    """A report without one of its keys is none; one that says YES has no reasons (R214)."""
    if key == "readiness_reasons":
        document[key] = ["none"]
    else:
        del document[key]
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_the_schema_is_closed(document):
    """Another key is an error wherever the agreed report is closed; so is YES with a failed scenario (R214)."""
    for spoil in (
        lambda x: x.update(more=1),
        lambda x: x["scenarios"].update(more={}),
        lambda x: x["scenarios"]["scenario_1_slow_3g"].update(more=1),
        lambda x: x["aggregate_metrics"].update(more=1),
        lambda x: x["scenarios"]["scenario_1_slow_3g"].update(status="FAIL"),
        lambda x: x.update(tests_failed=1),
        lambda x: x.update(production_readiness="MAYBE"),
    ):
        spoilt = {**document, "scenarios": {k: dict(v) for k, v in document["scenarios"].items()}}
        spoilt["aggregate_metrics"] = dict(document["aggregate_metrics"])
        spoil(spoilt)
        with pytest.raises(jsonschema.ValidationError):
            validate(spoilt)


def test_tests_are_gates(report, document):
    """The counts are of gates judged, and they add up (R214)."""
    assert document["total_tests"] == len(report.verdicts) > 100
    assert document["tests_passed"] + document["tests_failed"] == document["total_tests"]


def test_the_answer_is_no_with_reasons(entries, report):
    """One event less, and the answer is NO, with the gates that failed (R217)."""
    gone = next(entry for entry in entries if entry.kind == "received" and entry.stream == "handoff")
    entries.remove(gone)
    spoilt = Report(entries, day=report.day).to_dict()
    assert spoilt["production_readiness"] == "NO"
    assert spoilt["scenarios"]["scenario_4_network_handoff"]["status"] == "FAIL"
    assert any("message_loss is 1, not 0" in reason for reason in spoilt["readiness_reasons"])
    assert spoilt["tests_failed"] > 0
    validate(spoilt)


def test_a_part_is_never_ready(entries, report):
    """A report on fewer than six scenarios says NO, whatever they came to (R217)."""
    key = SCENARIOS["handoff"].key
    part = Report([entry for entry in entries if entry.run.startswith(key)], day=report.day)
    document = part.to_dict()
    assert part.kept
    assert document["production_readiness"] == "NO"
    assert document["scenarios"]["scenario_1_slow_3g"]["status"] == "NOT RUN"
    validate(document)


def test_no_log_no_report(report):
    """An empty log, or one without its beginning, is refused."""
    with pytest.raises(ValueError, match="empty"):
        Report([], day=report.day)


def test_the_alerts_are_those_of_the_rule_files(report):
    """Generated from the table that the rule files are made from, the four agreed ones first (R218)."""
    named = report.to_dict()["alerts_configured"]
    assert named == conditions()
    assert named[:4] == [
        "completion_rate < 99.5%",
        "mean_reconnect > 5s",
        "duplicate_rate > 1%",
        "message_loss > 0",
    ]


WRONG = {
    "==": lambda limit: (
        not limit if isinstance(limit, bool) else f"{limit} " if isinstance(limit, str) else -7
    ),
    "<=": lambda limit: limit + 0.1,
    "<": lambda limit: limit,
    ">=": lambda limit: limit - 0.1,
    ">": lambda limit: limit,
    "within": lambda limit: limit[1] + 0.1,
}


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: f"{gate.scenario}-{gate.figure}-{gate.forms}")
def test_every_gate_can_fail(gate):
    """What lies just beyond the limit fails, and so does a figure that there is not (R217)."""
    assert not gate.passes(WRONG[gate.relation](gate.limit))
    assert not gate.passes(None)


@pytest.mark.parametrize(
    "relation, limit, good, bad",
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
def test_relations(relation, limit, good, bad):
    """Each relation takes what it should and nothing else."""
    gate = Gate("*", "figure", relation, limit, "R0")
    assert [gate.passes(value) for value in good] == [True] * len(good)
    assert [gate.passes(value) for value in bad] == [False] * len(bad)


def test_every_gate_has_a_figure(report):
    """A gate on a figure that nobody computes would fail for ever; here each has one."""
    for verdict in report.verdicts:
        assert verdict.value is not None, str(verdict)


def test_a_busy_machine_is_named(entries, report):
    """Next to gates that were failed, and only there: the times may be the machine's."""
    spoilt = [
        Entry(x.run, x.at, x.kind, x.stream, {**x.facts, "late": 0.81}) if x.kind == "finish" else x
        for x in entries
    ]
    assert Report(spoilt, day=report.day).ready
    spoilt.remove(next(entry for entry in spoilt if entry.kind == "received" and entry.stream == "handoff"))
    (said,) = [reason for reason in Report(spoilt, day=report.day).reasons if "late" in reason]
    assert said.startswith("scenario_4_network_handoff/virtual: this machine itself was up to 0.8 s late")
