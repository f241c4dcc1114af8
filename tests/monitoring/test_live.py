"""The proof: a real Prometheus watches a program whose streams are tormented, and each alert comes and goes."""

import time

import pytest

from resilient_sse.monitoring import ALERTS, SLOS
from resilient_sse.monitoring.prometheus_rules import recorded as recorded_as
from tests.monitoring.live_stage import open_stage
from tests.monitoring.tools import need

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.ci]

SEED = (
    "SSECompletionRateLow",
    "SSEReconnectLatencyHigh",
    "SSEDuplicateRateHigh",
    "SSEErrorRateHigh",
    "SSEMessageLoss",
)
"""The five alerts of the report."""

P0_AND_P1 = (
    "sse_stream_completion_rate",
    "sse_message_loss_total",
    "sse_reconnect_time_ms_count",
    "sse_user_visible_errors_total",
)

POLL = 0.2
CALM = 6


class Journal:
    """What Prometheus said about the alerts."""

    def __init__(self, stage):
        self.stage = stage
        self.began = time.monotonic()
        self.states = {alert.name: [] for alert in ALERTS}
        self.alerts = {}

    def look(self):
        """Ask for the states of all rules and note what is new."""
        groups = self.stage.get("rules?type=alert")["groups"]
        firing = []
        for rule in (rule for group in groups for rule in group["rules"]):
            seen = self.states[rule["name"]]
            if seen[-1:] != [rule["state"]]:
                seen.append(rule["state"])
                firing += [rule["name"]] * (rule["state"] == "firing")
        if firing:
            told = self.stage.get("alerts")["alerts"]
            for name in firing:
                self.alerts[name] = [alert for alert in told if alert["labels"]["alertname"] == name]

    def look_until(self, condition, seconds):
        """Go on looking until *condition* holds of the states of the five, or so many seconds have passed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            if condition([self.states[name] for name in SEED]):
                return
            time.sleep(POLL)
        pytest.fail(f"it did not come to it within {seconds} s: {self.states}")

    def recorded(self, name):
        """Tell which states Prometheus itself has recorded."""
        series = self.stage.get(f'query?query=last_over_time(ALERTS{{alertname="{name}"}}[5m])')["result"]
        return {one["metric"]["alertstate"] for one in series}


def test_each_alert_fires_and_resolves(tmp_path):
    """R182, R183, R224: all on loopback, without a container; and R120-R124 in the words of a real Prometheus."""
    prometheus = need("prometheus")
    with open_stage(prometheus, tmp_path) as stage:
        journal = Journal(stage)
        journal.look_until(lambda states: all(states) and time.monotonic() - journal.began > CALM, CALM + 10)
        # Nothing has gone wrong, so nothing has been said, and all has been measured.
        assert [journal.states[name] for name in SEED] == [["inactive"]] * len(SEED)
        for name in P0_AND_P1:
            assert stage.get(f"query?query={name}")["result"], name
        stage.begin()
        journal.look_until(lambda states: all("firing" in seen for seen in states), 40)
        stage.end()
        journal.look_until(lambda states: all(seen[-1] == "inactive" for seen in states), 40)
        recorded = {name: journal.recorded(name) for name in SEED}
        check_rules(stage)
        left = [alert["labels"]["alertname"] for alert in stage.get("alerts")["alerts"]]
    assert set(left).isdisjoint(SEED)
    for name in SEED:
        assert recorded[name] == {"pending", "firing"}
        check(name, journal.alerts[name])


def check(name, told):
    """What people are told is what the rule says."""
    (rule,) = [rule for rule in ALERTS if rule.name == name]
    assert told
    for alert in told:
        assert alert["state"] == "firing"
        assert alert["labels"]["severity"] == rule.severity.word
        assert alert["labels"]["job"] == "demo"
        value = float(alert["value"])
        assert value < rule.threshold if rule.relation == "<" else value > rule.threshold
        assert f"{value:.{rule.unit.decimals}f}{rule.unit.suffix}" in alert["annotations"]["summary"]
        assert rule.runbook in alert["annotations"]["runbook_url"]


def check_rules(stage):
    """R96: every rule can be evaluated, and the objectives of the hour and the day have values of real streams."""
    rules = [rule for group in stage.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == {rule["name"]: "ok" for rule in rules}
    assert len(rules) == len(ALERTS) + 3 * len(SLOS) * 2
    for slo in SLOS:
        for suffix in ("1h", "1d"):
            (measured,) = stage.get(f"query?query={recorded_as(slo, suffix)}")["result"]
            (met,) = stage.get(f"query?query={recorded_as(slo, suffix)}:met")["result"]
            value = float(measured["value"][1])
            kept = {"<": value < slo.target, "<=": value <= slo.target, ">=": value >= slo.target}
            assert float(met["value"][1]) == kept[slo.relation], slo.name
            assert set(measured["metric"]) == {"__name__", "job"}
