"""What the rules make of processes that have just begun, of streams that live for days, and of nothing at all."""

import pytest

from resilient_sse.metrics import catalogue
from resilient_sse.monitoring.prometheus_rules import yaml_text

ERRORS = 'sse_user_visible_errors_total{job="api", instance="a", category="connection_lost"}'
OUTAGES = 'sse_client_outages_total{job="api", instance="a"}'
STARTED = 'sse_streams_started_total{job="api", instance="a"}'
STREAMS = 'sse_client_streams{job="api", instance="a", state="%s"}'
LOSS = 'sse_message_loss_total{job="api", instance="%s"}'
DUPLICATES = 'sse_duplicate_events_total{job="api", instance="a"}'
RECEIVED = 'sse_total_events_received{job="api", instance="a"}'
TIMES = 'sse_reconnect_time_ms_%s{job="api", instance="a"}'
BUCKET = 'sse_reconnect_time_ms_bucket{job="api", instance="a", le="%s"}'
STALLS = 'sse_client_repeated_stalls_total{job="api", instance="a"}'


def streams(others="0x320", **shown):
    """Return the series of all states, as a process shows them."""
    states = catalogue.STREAMS.labels["state"]
    return {STREAMS % state: shown.get(state, others) for state in states}


CASES = {
    "R123: outages, and no stream that could have them": (
        "SSEErrorRateHigh",
        {OUTAGES: "0+6x80", STARTED: "0x80", **streams(connected="0x80")},
        {"10m": False, "20m": False},
    ),
    "one stream is started among a thousand that live long": (
        "SSEErrorRateHigh",
        {OUTAGES: "0+1x80", STARTED: "1000+1x80", **streams(connected="1000x80")},
        {"10m": False, "20m": False},
    ),
    "the thousand have outages": (
        "SSEErrorRateHigh",
        {OUTAGES: "0+10x80", STARTED: "1000x80", **streams(connected="1000x80")},
        {"15m": True},
    ),
    "R113: one of a hundred is dead, and tries again for an hour": (
        "SSEErrorRateHigh",
        {
            ERRORS: "0x39 0+3x240",
            OUTAGES: "0x39 1x240",
            STARTED: "100x280",
            **streams(connected="100x39 99x240", reconnecting="0x39 1x240"),
        },
        {"12m": False, "15m": False, "21m": False, "40m": False, "69m": False},
    ),
    "R113: six of a hundred are dead for an hour, then well again": (
        "SSEErrorRateHigh",
        {
            OUTAGES: "0x39 6x280",
            STARTED: "100x320",
            **streams(connected="100x39 94x239 100x40", reconnecting="0x39 6x239 0x40"),
        },
        {"14m45s": False, "15m": True, "20m": True, "45m": True, "69m": True, "79m": True, "80m15s": False},
    ),
    "R113: six of a hundred have given up for good": (
        "SSEErrorRateHigh",
        {
            OUTAGES: "0x39 6x280",
            STARTED: "100x320",
            **streams(connected="100x39 94x280", error="0x39 3x280", reconnecting="0x39 3x280"),
        },
        {"14m45s": False, "15m": True, "20m": True, "69m": True},
    ),
    "R113: five of a hundred are dead": (
        "SSEErrorRateHigh",
        {
            OUTAGES: "0x39 5x280",
            STARTED: "100x320",
            **streams(connected="100x39 95x280", reconnecting="0x39 5x280"),
        },
        {"15m": False, "21m": False, "69m": False},
    ),
    "R113: three are dead for long, and another three have an outage": (
        "SSEErrorRateHigh",
        {
            OUTAGES: "3x79 6x80",
            STARTED: "100x160",
            **streams(connected="97x160", reconnecting="3x160"),
        },
        {"19m": False, "24m45s": False, "25m": True, "29m30s": True, "30m15s": False},
    ),
    "R113: all streams give up within half a minute, and are closed": (
        "SSEErrorRateHigh",
        {OUTAGES: "0x39 100x80", STARTED: "100x120", **streams(connected="100x39 0x80")},
        {"14m45s": False, "15m": True, "19m45s": True, "21m": False},
    ),
    "R113: a process is in trouble from its first moment on, and began its streams before it was seen": (
        "SSEErrorRateHigh",
        {OUTAGES: "_x8 100x80", STARTED: "_x8 100x80", **streams("_x8 0x80", reconnecting="_x8 100x80")},
        {"6m45s": False, "7m": True, "12m": True, "12m15s": True, "20m": True},
    ),
    "a process begins with a hundred streams, then one more, and one outage": (
        "SSEErrorRateHigh",
        {
            OUTAGES: "_x8 0x4 1x60",
            STARTED: "_x8 100x4 101x60",
            **streams("_x8 0x60", connected="_x8 100x4 101x60"),
        },
        {"9m": False, "12m": False},
    ),
    "R113: six of a hundred have an outage, once": (
        "SSEErrorRateHigh",
        {OUTAGES: "0x39 6x80", STARTED: "100x120", **streams(connected="100x120")},
        {"14m45s": False, "15m": True, "19m45s": True, "21m": False},
    ),
    "a process in the place of another, with fewer outages than that had": (
        "SSEErrorRateHigh",
        {
            OUTAGES: "500x119 100x80",
            STARTED: "900x119 100x80",
            **streams(connected="100x119 0x80", reconnecting="0x119 100x80"),
        },
        {"25m": False, "34m45s": False, "35m": True, "40m": True, "41m": True},
    ),
    "a process is seen for the first time after weeks of outages": (
        "SSEErrorRateHigh",
        {OUTAGES: "_x8 500x80", STARTED: "_x8 900x80", **streams("_x8 0x80", connected="_x8 100x80")},
        {"7m": False, "11m": False, "13m": False, "18m": False},
    ),
    "R113: a young process has six outages, which are soon over": (
        "SSEErrorRateHigh",
        {OUTAGES: "_x8 0 6x80", STARTED: "_x8 100x80", **streams("_x8 0x80", connected="_x8 100x80")},
        {"7m": False, "7m15s": True, "11m": True, "13m": False},
    ),
    "R113: a young process has five outages": (
        "SSEErrorRateHigh",
        {OUTAGES: "_x8 0 5x80", STARTED: "_x8 100x80", **streams("_x8 0x80", connected="_x8 100x80")},
        {"7m15s": False, "11m": False, "13m": False},
    ),
    "Prometheus was away for a quarter of an hour: the outages of before are not new": (
        "SSEErrorRateHigh",
        {
            OUTAGES: "50x79 _x60 50x80",
            STARTED: "100x79 _x60 100x80",
            **streams(connected="100x79 _x60 100x80"),
        },
        {"36m": False, "41m": False, "46m": False, "52m": False},
    ),
    "R100: a thousand streams are away for a minute, once": (
        "SSEReconnectMeanHigh",
        {TIMES % "sum": "0x40 60000000x120", TIMES % "count": "0x40 1000x120"},
        {"20m": False, "20m15s": True, "25m": True, "30m": True, "30m15s": False, "35m": False},
    ),
    "R121: the same, as a quantile": (
        "SSEReconnectLatencyHigh",
        {BUCKET % "30000.0": "0x160"}
        | dict.fromkeys([BUCKET % le for le in ("60000.0", "+Inf")], "0x40 1000x120"),
        {"20m": False, "20m15s": True, "25m": True, "30m": True, "30m15s": False, "35m": False},
    ),
    "R103: one replay repeats a thousand events, once": (
        "SSEDuplicateRateHigh",
        {DUPLICATES: "0x40 1000x120", RECEIVED: "0+10x40 1400+10x120"},
        {"15m": False, "15m15s": True, "18m": True, "20m": True, "20m15s": False, "25m": False},
    ),
    "R122: duplicates of nothing": (
        "SSEDuplicateRateHigh",
        {DUPLICATES: "0x80", RECEIVED: "0x80"},
        {"20m": False},
    ),
    "R124: the first value that is seen of a process is a loss": (
        "SSEMessageLoss",
        {LOSS % "a": "_x8 1x60"},
        {"2m45s": False, "3m": True, "6m45s": True, "8m": False},
    ),
    "a process that begins without a loss": (
        "SSEMessageLoss",
        {LOSS % "a": "_x8 0x60"},
        {"4m": False, "8m": False},
    ),
    "a process that has lost something long ago": (
        "SSEMessageLoss",
        {LOSS % "a": "0x3 5x76"},
        {"2m": True, "10m": False, "19m": False},
    ),
    "a restart is no loss": (
        "SSEMessageLoss",
        {LOSS % "a": "7x40 0x40"},
        {"9m": False, "11m": False, "12m": False},
    ),
    "Prometheus was away for a quarter of an hour: what was lost before is not lost again": (
        "SSEMessageLoss",
        {LOSS % "a": "5x79 _x60 5x80"},
        {"36m": False, "37m": False, "40m": False},
    ),
    "and neither is it if the process was marked as gone": (
        "SSEMessageLoss",
        {LOSS % "a": "5x79 stale _x59 5x80"},
        {"36m": False, "37m": False, "40m": False},
    ),
    "what was lost while Prometheus was away is a loss": (
        "SSEMessageLoss",
        {LOSS % "a": "5x79 _x60 6x80"},
        {"35m": False, "37m": True, "42m": False},
    ),
    "the first of a process in the place of another, after a while": (
        "SSEMessageLoss",
        {LOSS % "a": "5x79 _x60 1x80"},
        {"35m": False, "37m": True, "42m": False},
    ),
    "another process loses something again, and neither hides the other": (
        "SSEMessageLoss",
        {LOSS % "a": "0x80", LOSS % "b": "0x40 1x40"},
        {"10m": False, "12m": True, "17m": False},
    ),
    "stalls of before a pause of Prometheus": (
        "SSERepeatedStalls",
        {STALLS: "2x79 _x120 2x80"},
        {"51m": False, "53m": False, "60m": False},
    ),
    "R107: no stream has stalled twice": ("SSERepeatedStalls", {STALLS: "0x80"}, {"20m": False}),
}


@pytest.mark.parametrize("title", CASES)
@pytest.mark.proof
def test_at_the_edge(title, rules, judge):
    """R107, R113, R122-R124: whether the alert fires, at these times; between two scrapes, too."""
    name, values, expected = CASES[title]
    firing = [at for at, fires in expected.items() if fires]
    silent = [at for at, fires in expected.items() if not fires]
    test = {
        "interval": "15s",
        "input_series": [{"series": series, "values": numbers} for series, numbers in values.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": []} for at in silent],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
            for at in firing
        ],
    }
    document = {"rule_files": [rules.name], "evaluation_interval": "5s", "tests": [test]}
    (rules.parent / "tests.yml").write_text(yaml_text(document))
    code, said = judge("test", "rules", "tests.yml")
    assert code == 0, said


def test_the_pods_of_a_job_are_one(rules, judge):
    """R96: on Kubernetes processes differ by `pod` as well as by `instance`; the rate is the job's."""
    values = {
        "expected_events": ("0+100x80", "0+100x80"),
        "expected_events_received": ("0+100x80", "0+90x80"),
    }
    test = {
        "interval": "1m",
        "input_series": [
            {
                "series": f'sse_client_{name}_total{{job="api", instance="{pod}:9100", pod="{pod}"}}',
                "values": numbers,
            }
            for name, of in values.items()
            for pod, numbers in zip(("one", "two"), of, strict=True)
        ],
        "promql_expr_test": [
            {
                "expr": "round(job:sse_stream_completion_rate:1h, 0.01)",
                "eval_time": "65m",
                "exp_samples": [{"labels": '{job="api"}', "value": 95}],
            }
        ],
    }
    document = {"rule_files": [rules.name], "evaluation_interval": "1m", "tests": [test]}
    (rules.parent / "tests.yml").write_text(yaml_text(document))
    code, said = judge("test", "rules", "tests.yml")
    assert code == 0, said
