"""The table of alerts and objectives, held against the report."""

import pytest

from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import CONTRACT
from resilient_sse.monitoring import ALERTS, SLOS, conditions
from resilient_sse.monitoring.alerts import Ratio, Unit
from resilient_sse.monitoring.prometheus_rules import alert_annotations, alert_labels, expression
from tests.monitoring.tools import SERIES, names

BY_NAME = {alert.name: alert for alert in ALERTS}

CRITICAL = {"severity": "critical", "ack": "5m"}
HIGH = {"severity": "high", "ack": "15m"}
MEDIUM = {"severity": "medium", "review": "24h"}

TABLE = [
    pytest.param("SSECompletionRateLow", ("<", 99.5), 300, CRITICAL, "page on-call", id="R95-R114-R120"),
    pytest.param("SSEMessageLoss", (">", 0), 60, CRITICAL, "page on-call", id="R105-R115-R124"),
    pytest.param("SSEReconnectMeanHigh", (">", 5000), 600, HIGH, "alert ops", id="R100-R116"),
    pytest.param("SSEReconnectLatencyHigh", (">", 5000), 600, HIGH, "alert ops", id="R121"),
    pytest.param("SSEErrorRateHigh", (">", 5), 300, HIGH, "alert ops", id="R113-R117-R123"),
    pytest.param("SSERepeatedStalls", (">", 0), 60, MEDIUM, "monitor", id="R107-R118"),
    pytest.param("SSEDuplicateRateHigh", (">", 1), 300, MEDIUM, "monitor", id="R90-R103-R119-R122"),
    pytest.param("SSEStallRecoverySlow", (">", 5), 60, MEDIUM, "monitor", id="R108"),
]


@pytest.mark.parametrize("name,limit,hold,labels,response", TABLE)
def test_a_rule_is_that_of_the_report(name, limit, hold, labels, response):
    """Threshold, duration, severity, the time in which to react, and who is told."""
    alert = BY_NAME[name]
    assert (alert.relation, alert.threshold) == limit
    assert alert.hold == hold
    assert alert_labels(alert) == labels
    assert alert_annotations(alert, "1", "https://host/*.html")["response"] == response


def test_the_conditions_are_worded_as_in_the_report():
    """R218: every rule stands in the table above, once; first the four conditions of the report, in its words."""
    assert sorted(alert.name for alert in ALERTS) == sorted(param.values[0] for param in TABLE)
    assert conditions()[:4] == [
        "completion_rate < 99.5%",
        "mean_reconnect > 5s",
        "duplicate_rate > 1%",
        "message_loss > 0",
    ]
    assert len(conditions()) == len(ALERTS)


READ = {
    "SSECompletionRateLow": {"sse_stream_completion_rate"},
    "SSEReconnectLatencyHigh": {"sse_reconnect_time_ms_bucket"},
    "SSEReconnectMeanHigh": {"sse_reconnect_time_ms_sum", "sse_reconnect_time_ms_count"},
    "SSEDuplicateRateHigh": {"sse_duplicate_events_total", "sse_total_events_received"},
    "SSEMessageLoss": {"sse_message_loss_total"},
    # "more than 5 % of streams" (R113), which errors cannot tell: each failed attempt is one
    "SSEErrorRateHigh": {"sse_client_outages_total", "sse_streams_started_total", "sse_client_streams"},
}


def test_queries_read_the_names_of_the_report():
    """X9, X11, R124, R126 to R132: mean and quantile; a total is read by its rise, or it never resolves."""
    found = {alert.name: names(expression(alert)) for alert in ALERTS}
    assert {name: found[name] for name in READ} == READ
    assert set().union(*found.values()) <= SERIES, "no name that the exporter does not show"
    for metric in set(CONTRACT) - {catalogue.USER_VISIBLE_ERRORS}:  # which are part of the outages
        assert any(name.startswith(metric.name) for name in set().union(*READ.values())), metric.name
    assert "histogram_quantile(0.95," in expression(BY_NAME["SSEReconnectLatencyHigh"])
    assert "increase(sse_message_loss_total[5m])" in expression(BY_NAME["SSEMessageLoss"])


@pytest.mark.parametrize("alert", ALERTS, ids=BY_NAME)
def test_a_rule_can_be_read_and_kept(alert):
    """A window of twice the duration, or a fault that strikes once would be forgotten; the value is shown once."""
    assert alert.measure.window == 0 or alert.measure.window >= 2 * alert.hold
    assert alert.summary.count("{value}") == 1
    assert alert.description.endswith(".")
    is_share = isinstance(alert.measure, Ratio) or alert.name == "SSECompletionRateLow"
    assert (alert.unit is Unit.PERCENT) == is_share


def test_the_loss_of_completion_is_told():
    """R95: the message holds the rate, and that it is below the SLA; the runbook's name ends the link (R184)."""
    told = alert_annotations(BY_NAME["SSECompletionRateLow"], "99.40", "https://host/*.html")
    assert told["summary"] == "Completion rate 99.40% below SLA"
    assert BY_NAME["SSEMessageLoss"].runbook == "sse-message-loss"
    assert len({alert.runbook for alert in ALERTS}) == len(ALERTS)


OBJECTIVES = [
    ("sse_stream_completion_rate", ">=", 99.8),
    ("sse_message_loss_rate", "<=", 0),
    ("sse_duplicate_rate", "<", 1),
    ("sse_reconnect_time_mean_ms", "<", 5000),
    ("sse_reconnect_time_p95_ms", "<", 4200),
    ("sse_reconnect_time_p99_ms", "<", 4800),
]


def test_the_objectives_are_those_of_the_report():
    """R90, R94, R99, R105: completion, loss, duplicates, and the three targets of the reconnect time."""
    assert [(slo.name, slo.relation, slo.target) for slo in SLOS] == OBJECTIVES
