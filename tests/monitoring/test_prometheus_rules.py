"""The rule file, judged by promtool, and its YAML, as a real reader of YAML takes it."""

import re

import pytest
import yaml

from resilient_sse.monitoring import ALERTS, SLOS
from resilient_sse.monitoring.prometheus_rules import alert_labels, duration, prometheus_rules
from tests.monitoring.tools import SERIES, names

TOLD = re.compile(r" (ack|review|summary|description|condition): ")
"""What is told to people, who have their own time."""

NAMES = [alert.name for alert in ALERTS]


def groups(**options):
    """Return the groups of the rule file by their names."""
    return {group["name"]: group for group in yaml.safe_load(prometheus_rules(**options))["groups"]}


def test_promtool_accepts_the_rules(rules, judge):
    """R183, X11: the file is valid, and so is each expression in it."""
    code, said = judge("check", "rules", rules.name)
    assert code == 0, said
    assert f"SUCCESS: {len(ALERTS) + 2 * 3 * len(SLOS)} rules found" in said


def test_a_rule_has_what_the_table_says():
    """R114-R119: severity, time to react, duration and the link to the runbook."""
    rules = {
        rule["alert"]: rule for rule in groups(runbooks="https://host/books/*.html")["sse-alerts"]["rules"]
    }
    assert list(rules) == NAMES
    for alert in ALERTS:
        rule = rules[alert.name]
        assert rule["for"] == duration(alert.hold)
        assert rule["labels"] == alert_labels(alert)
        assert rule["annotations"]["runbook_url"] == f"https://host/books/{alert.runbook}.html"
        assert rule["annotations"]["condition"] == alert.condition
        assert "{{ $value | printf " in rule["annotations"]["summary"]


def test_objectives_are_recorded_hourly_and_daily():
    """R94, R96: each with its target, and whether it is met; summed over processes, so that other labels stay."""
    for suffix in ("1h", "1d"):
        rules = {rule["record"]: rule["expr"] for rule in groups()[f"sse-slo-{suffix}"]["rules"]}
        for slo in SLOS:
            name = f"job:{slo.name}:{suffix}"
            assert f"[{suffix}]" in rules[name]
            assert "without (instance, pod)" in rules[name]
            assert rules[f"{name}:met"] == f"{name} {slo.relation} bool {slo.target:g}"
            assert rules[f"{name}:target"] == f"vector({slo.target:g})"
            assert names(rules[name]) <= SERIES
        assert len(rules) == 3 * len(SLOS)


@pytest.mark.parametrize("scale", [60, 0.5])
def test_all_durations_are_scaled(scale):
    """For rehearsals: windows, durations and intervals alike; nothing else."""

    def lines(of):
        def seconds(found):
            size = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
            return f"<{float(found[1]) * size * of:g}>"

        made = prometheus_rules(scale=of).splitlines()
        return [
            re.sub(r"(?<![\w:-])(\d+)(ms|s|m|h|d)\b", seconds, line) for line in made if not TOLD.search(line)
        ]

    found = [lines(1), lines(scale)]
    assert found[0] == found[1]
    assert any("<300>" in line for line in found[0])


def test_it_is_fit_to_be_read():
    """Blocks for what has several lines; whatever address is given comes back."""
    text = prometheus_rules(runbooks="yes: # 'a' \"*\" \\ é")
    assert (
        '- alert: "SSEMessageLoss"\n        expr: |-\n          (increase(sse_message_loss_total[5m])' in text
    )
    (rule, *_) = yaml.safe_load(text)["groups"][0]["rules"]
    assert rule["annotations"]["runbook_url"] == f"yes: # 'a' \"{ALERTS[0].runbook}\" \\ é"
