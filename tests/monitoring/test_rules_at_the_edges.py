"""What the rules make of processes that have just begun, of streams that live for days, and of nothing at all."""

import pytest

from resilient_sse.monitoring.yaml_text import yaml_text

ERRORS = 'sse_user_visible_errors_total{job="api", instance="a", category="%s"}'
STARTED = 'sse_streams_started_total{job="api", instance="a"}'
STREAMS = 'sse_client_streams{job="api", instance="a", state="%s"}'
LOSS = 'sse_message_loss_total{job="api", instance="%s"}'
DUPLICATES = 'sse_duplicate_events_total{job="api", instance="a"}'
RECEIVED = 'sse_total_events_received{job="api", instance="a"}'
STALLS = 'sse_client_repeated_stalls_total{job="api", instance="a"}'

CASES = {
    "R123: errors, and no stream that could have them": (
        "SSEErrorRateHigh",
        {ERRORS % "server_error": "0+6x80", STARTED: "0x80", STREAMS % "connected": "0x80"},
        {"10m": False, "20m": False},
    ),
    "one stream is started among a thousand that live long": (
        "SSEErrorRateHigh",
        {ERRORS % "connection_lost": "0+1x80", STARTED: "1000+1x80", STREAMS % "connected": "1000x80"},
        {"10m": False, "20m": False},
    ),
    "the thousand have errors": (
        "SSEErrorRateHigh",
        {ERRORS % "connection_lost": "0+10x80", STARTED: "1000x80", STREAMS % "connected": "1000x80"},
        {"15m": True},
    ),
    "they have given up, and count as streams all the same": (
        "SSEErrorRateHigh",
        {
            ERRORS % "max_retries_exceeded": "0+1x80",
            STARTED: "1000x80",
            STREAMS % "connected": "10x80",
            STREAMS % "error": "990x80",
        },
        {"15m": False},
    ),
    "errors are counted, not streams: one of a hundred whose server is away makes 60 in five minutes": (
        "SSEErrorRateHigh",
        {
            ERRORS % "connection_lost": "0+3x80",
            STARTED: "100x80",
            STREAMS % "connected": "99x80",
            STREAMS % "reconnecting": "1x80",
        },
        {"4m": False, "15m": True},
    ),
    "R113: all streams give up within half a minute, and are closed": (
        "SSEErrorRateHigh",
        {
            ERRORS % "connection_lost": "0x39 300 600x80",
            ERRORS % "max_retries_exceeded": "0x40 100x80",
            STARTED: "100x120",
            STREAMS % "connected": "100x39 0x80",
        },
        {"14m45s": False, "15m": True, "19m": True, "21m": False},
    ),
    "R113: a process is in trouble from its first moment on, and began its streams before it was seen": (
        "SSEErrorRateHigh",
        {
            ERRORS % "connection_lost": "_x8 100+100x60",
            STARTED: "_x8 100x60",
            STREAMS % "reconnecting": "_x8 100x60",
        },
        {"7m": False, "7m15s": True, "12m": True},
    ),
    "a process begins with a hundred streams, then one more, and one error": (
        "SSEErrorRateHigh",
        {
            ERRORS % "connection_lost": "_x8 0x4 1x60",
            STARTED: "_x8 100x4 101x60",
            STREAMS % "connected": "_x8 100x4 101x60",
        },
        {"9m": False, "12m": False},
    ),
    "R113: six of a hundred have an error, once": (
        "SSEErrorRateHigh",
        {
            ERRORS % "max_retries_exceeded": "0x39 6x80",
            STARTED: "100x120",
            STREAMS % "connected": "100x39 94x80",
        },
        {"14m45s": False, "15m": True, "21m": False},
    ),
    "R113: four of a hundred": (
        "SSEErrorRateHigh",
        {
            ERRORS % "max_retries_exceeded": "0x39 4x80",
            STARTED: "100x120",
            STREAMS % "connected": "100x39 96x80",
        },
        {"15m": False, "19m": False},
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
def test_at_the_edge(title, rules, judge):
    """R107, R113, R122-R124: whether the alert fires, at these times."""
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
    document = {"rule_files": [rules.name], "evaluation_interval": "15s", "tests": [test]}
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
