"""The table of alerts and objectives, held against the report."""

import pytest
from prometheus_client import CollectorRegistry

from resilient_sse import StreamStats
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import CONTRACT
from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.monitoring import ALERTS, SLOS, conditions
from resilient_sse.monitoring.measures import Share, Unit
from resilient_sse.monitoring.prometheus_rules import alert_annotations, alert_labels, expression
from tests.monitoring.expressions import SERIES, names

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


def test_there_are_no_other_rules():
    """Every rule stands in the table above, once."""
    assert sorted(BY_NAME) == sorted(param.values[0] for param in TABLE)
    assert len(ALERTS) == len(BY_NAME)


def test_the_conditions_are_worded_as_in_the_report():
    """R218: at least the four conditions of the report, in its order and its words."""
    assert conditions()[:4] == [
        "completion_rate < 99.5%",
        "mean_reconnect > 5s",
        "duplicate_rate > 1%",
        "message_loss > 0",
    ]
    assert len(conditions()) == len(ALERTS)


def test_one_stall_in_each_of_two_streams_is_none_too_many():
    """R107: what the rule watches rises with the second stall of one stream, not with the first of each of two."""
    registry = CollectorRegistry()
    stats = [StreamStats(started_at=0.0), StreamStats(started_at=0.0)]
    observers = [PrometheusMetrics(registry).attach(one, "https://host/stream") for one in stats]
    for stalls, repeated in ([(0, 0), 0], [(1, 1), 0], [(2, 1), 1]):
        stats[0].stalls, stats[1].stalls = stalls
        watched = BY_NAME["SSERepeatedStalls"].measure.metric.name
        assert registry.get_sample_value(watched) == repeated
    assert len(observers) == 2  # which are held weakly


def test_both_rules_for_the_reconnect_time_are_shipped():
    """X9: the mean of the tables, and the 95th percentile of the query."""
    assert "histogram_quantile(0.95," in expression(BY_NAME["SSEReconnectLatencyHigh"])
    assert expression(BY_NAME["SSEReconnectMeanHigh"]).startswith("rate(sse_reconnect_time_ms_sum[20m])")


SEED_QUERIES = {
    "SSECompletionRateLow": {"sse_stream_completion_rate"},
    "SSEReconnectLatencyHigh": {"sse_reconnect_time_ms_bucket"},
    "SSEDuplicateRateHigh": {"sse_duplicate_events_total", "sse_total_events_received"},
    "SSEMessageLoss": {"sse_message_loss_total"},
}


@pytest.mark.parametrize("name", SEED_QUERIES)
def test_a_query_reads_the_names_of_the_report(name):
    """X11: the names of the report."""
    assert names(expression(BY_NAME[name])) == SEED_QUERIES[name]


def test_the_error_rate_reads_outages():
    """R113: "more than 5 % of streams", which errors cannot tell: each failed attempt is one."""
    read = names(expression(BY_NAME["SSEErrorRateHigh"]))
    assert read == {"sse_client_outages_total", "sse_streams_started_total", "sse_client_streams"}


def test_the_queries_cover_the_contract():
    """R126-R132: each of the seven names is watched by a rule; errors by the outages that they are part of."""
    watched = set().union(*(names(expression(alert)) for alert in ALERTS))
    for metric in set(CONTRACT) - {catalogue.USER_VISIBLE_ERRORS}:
        assert any(name.startswith(metric.name) for name in watched), metric.name


@pytest.mark.parametrize("alert", ALERTS, ids=BY_NAME)
def test_a_query_reads_what_exists(alert):
    """No name that the exporter does not show."""
    assert names(expression(alert)) <= SERIES


def test_the_loss_of_completion_is_told():
    """R95: the message holds the rate, and that it is below the SLA."""
    told = alert_annotations(BY_NAME["SSECompletionRateLow"], "99.40", "https://host/*.html")
    assert told["summary"] == "Completion rate 99.40% below SLA"


def test_any_loss_counts_by_its_increase():
    """R124: a total would never resolve."""
    assert "increase(sse_message_loss_total[5m])" in expression(BY_NAME["SSEMessageLoss"])


@pytest.mark.parametrize("alert", ALERTS, ids=BY_NAME)
def test_a_window_is_twice_the_duration(alert):
    """A fault that strikes once must not be forgotten when the alert is due, nor one that strikes now and then."""
    window = getattr(alert.measure, "window", None)
    assert window is None or window >= 2 * alert.hold


@pytest.mark.parametrize("alert", ALERTS, ids=BY_NAME)
def test_a_sentence_shows_the_value_once(alert):
    """What people read first says how bad it is."""
    assert alert.summary.count("{value}") == 1
    assert alert.description.endswith(".")


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


def test_shares_are_percentages():
    """A share is shown with a percent sign, and nothing else is but the gauge."""
    for alert in ALERTS:
        assert (alert.unit is Unit.PERCENT) == (
            isinstance(alert.measure, Share) or alert.name == "SSECompletionRateLow"
        )


def test_the_pages_of_runbooks_have_names_of_their_own():
    """R184: what a link ends with."""
    assert BY_NAME["SSEMessageLoss"].runbook == "sse-message-loss"
    assert len({alert.runbook for alert in ALERTS}) == len(ALERTS)
