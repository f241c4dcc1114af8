"""The monitors for Datadog: the same rules in other words."""

import json

import pytest
import yaml

from resilient_sse.monitoring import ALERTS
from resilient_sse.monitoring.datadog_monitors import datadog_monitors
from resilient_sse.monitoring.prometheus_rules import prometheus_rules

MONITORS = {
    monitor["name"]: monitor for monitor in json.loads(datadog_monitors(runbooks="https://host/*.html"))
}
RULES = {rule["alert"]: rule for rule in yaml.safe_load(prometheus_rules())["groups"][0]["rules"]}

QUERIES = {
    # R95: the best value of five minutes is still too low; of several processes on a host the worst counts
    "SSECompletionRateLow": "max(last_5m):min:sse_stream_completion_rate{*} by {service,host} < 99.5",
    "SSEReconnectMeanHigh": "avg(last_20m):avg:sse_reconnect_time_ms{*} by {service,host} > 5000",
    # R122: without `as_count` Datadog would take rates
    "SSEDuplicateRateHigh": (
        "sum(last_10m):100 * sum:sse_duplicate_events_total{*} by {service,host}.as_count()"
        " / sum:sse_total_events_received{*} by {service,host}.as_count() > 1"
    ),
    "SSEMessageLoss": "sum(last_5m):sum:sse_message_loss_total{*} by {service,host}.as_count() > 0",
    "SSEReconnectLatencyHigh": "percentile(last_20m):p95:sse_reconnect_time_ms{*} by {service,host} > 5000",
    # R113: each stream once, however many attempts it makes, and for as long as it is in trouble
    "SSEErrorRateHigh": (
        "min(last_5m):100 * sum:sse_client_streams{state IN (reconnecting,error)} by {service,host}"
        " / sum:sse_client_streams{*} by {service,host} > 5"
    ),
    "SSERepeatedStalls": "sum(last_15m):sum:sse_client_repeated_stalls_total{*} by {service,host}.as_count() > 0",
    "SSEStallRecoverySlow": "avg(last_10m):avg:sse_client_stall_recovery_seconds{*} by {service,host} > 5",
}


def test_queries_to_the_letter():
    """R125: one window, that of the rule; gauges all along, counters counted, each by process."""
    assert {name: monitor["query"] for name, monitor in MONITORS.items()} == QUERIES


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_monitor_says_what_the_rule_says(alert):
    """R125: threshold and severity are those of the rule file; no data is no alarm."""
    monitor, rule = MONITORS[alert.name], RULES[alert.name]
    limit = f" {alert.relation} {alert.threshold:g}"
    assert monitor["query"].endswith(limit)
    assert rule["expr"].replace("\n", " ").endswith(limit)
    assert monitor["options"]["thresholds"]["critical"] == alert.threshold
    assert monitor["tags"] == [f"{label}:{value}" for label, value in rule["labels"].items()]
    assert monitor["priority"] == ["critical", "high", "medium"].index(rule["labels"]["severity"]) + 1
    assert not monitor["options"]["notify_no_data"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_message_says_what_to_do(alert):
    """R114-R119: who reacts, until when, and where it is written how."""
    message = MONITORS[alert.name]["message"].lower()
    assert f"https://host/{alert.runbook}.html" in message
    assert f"{alert.severity.response}; {alert.severity.promise} within {alert.severity.due}." in message
    assert "{{value}}" in message
