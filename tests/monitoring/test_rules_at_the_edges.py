"""What the rules make of processes that have just begun, of streams that live for days, and of nothing at all."""

import json

import pytest

from resilient_sse.metrics import catalogue

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
    "SSEErrorRateHigh": {
        "R123: outages, and no stream that could have them": (
            {OUTAGES: "0+6x80", STARTED: "0x80", **streams(connected="0x80")},
            "10m 20m",
        ),
        "one stream is started among a thousand that live long": (
            {OUTAGES: "0+1x80", STARTED: "1000+1x80", **streams(connected="1000x80")},
            "10m 20m",
        ),
        "the thousand have outages": (
            {OUTAGES: "0+10x80", STARTED: "1000x80", **streams(connected="1000x80")},
            "15m!",
        ),
        "R113: one of a hundred is dead, and tries again for an hour": (
            {
                ERRORS: "0x39 0+3x240",
                OUTAGES: "0x39 1x240",
                STARTED: "100x280",
                **streams(connected="100x39 99x240", reconnecting="0x39 1x240"),
            },
            "12m 15m 21m 40m 69m",
        ),
        "R113: six of a hundred are dead for an hour, then well again": (
            {
                OUTAGES: "0x39 6x280",
                STARTED: "100x320",
                **streams(connected="100x39 94x239 100x40", reconnecting="0x39 6x239 0x40"),
            },
            "14m45s 15m! 20m! 45m! 69m! 79m! 80m15s",
        ),
        "R113: six of a hundred have given up for good": (
            {
                OUTAGES: "0x39 6x280",
                STARTED: "100x320",
                **streams(connected="100x39 94x280", error="0x39 3x280", reconnecting="0x39 3x280"),
            },
            "14m45s 15m! 20m! 69m!",
        ),
        "R113: five of a hundred are dead": (
            {
                OUTAGES: "0x39 5x280",
                STARTED: "100x320",
                **streams(connected="100x39 95x280", reconnecting="0x39 5x280"),
            },
            "15m 21m 69m",
        ),
        "R113: three are dead for long, and another three have an outage": (
            {OUTAGES: "3x79 6x80", STARTED: "100x160", **streams(connected="97x160", reconnecting="3x160")},
            "19m 24m45s 25m! 29m30s! 30m15s",
        ),
        "R113: all streams give up within half a minute, and are closed": (
            {OUTAGES: "0x39 100x80", STARTED: "100x120", **streams(connected="100x39 0x80")},
            "14m45s 15m! 19m45s! 21m",
        ),
        "R113: a process is in trouble from its first moment on, and began its streams before it was seen": (
            {OUTAGES: "_x8 100x80", STARTED: "_x8 100x80", **streams("_x8 0x80", reconnecting="_x8 100x80")},
            "6m45s 7m! 12m! 12m15s! 20m!",
        ),
        "a process begins with a hundred streams, then one more, and one outage": (
            {
                OUTAGES: "_x8 0x4 1x60",
                STARTED: "_x8 100x4 101x60",
                **streams("_x8 0x60", connected="_x8 100x4 101x60"),
            },
            "9m 12m",
        ),
        "R113: six of a hundred have an outage, once": (
            {OUTAGES: "0x39 6x80", STARTED: "100x120", **streams(connected="100x120")},
            "14m45s 15m! 19m45s! 21m",
        ),
        "a process in the place of another, with fewer outages than that had": (
            {
                OUTAGES: "500x119 100x80",
                STARTED: "900x119 100x80",
                **streams(connected="100x119 0x80", reconnecting="0x119 100x80"),
            },
            "25m 34m45s 35m! 40m! 41m!",
        ),
        "a process is seen for the first time after weeks of outages": (
            {OUTAGES: "_x8 500x80", STARTED: "_x8 900x80", **streams("_x8 0x80", connected="_x8 100x80")},
            "7m 11m 13m 18m",
        ),
        "R113: a young process has six outages, which are soon over": (
            {OUTAGES: "_x8 0 6x80", STARTED: "_x8 100x80", **streams("_x8 0x80", connected="_x8 100x80")},
            "7m 7m15s! 11m! 13m",
        ),
        "R113: a young process has five outages": (
            {OUTAGES: "_x8 0 5x80", STARTED: "_x8 100x80", **streams("_x8 0x80", connected="_x8 100x80")},
            "7m15s 11m 13m",
        ),
        "Prometheus was away for a quarter of an hour: the outages of before are not new": (
            {
                OUTAGES: "50x79 _x60 50x80",
                STARTED: "100x79 _x60 100x80",
                **streams(connected="100x79 _x60 100x80"),
            },
            "36m 41m 46m 52m",
        ),
    },
    "SSEReconnectMeanHigh": {
        "R100: a thousand streams are away for a minute, once": (
            {TIMES % "sum": "0x40 60000000x120", TIMES % "count": "0x40 1000x120"},
            "20m 20m15s! 25m! 30m! 30m15s 35m",
        )
    },
    "SSEReconnectLatencyHigh": {
        "R121: the same, as a quantile": (
            {BUCKET % "30000.0": "0x160"}
            | dict.fromkeys([BUCKET % le for le in ("60000.0", "+Inf")], "0x40 1000x120"),
            "20m 20m15s! 25m! 30m! 30m15s 35m",
        )
    },
    "SSEDuplicateRateHigh": {
        "R103: one replay repeats a thousand events, once": (
            {DUPLICATES: "0x40 1000x120", RECEIVED: "0+10x40 1400+10x120"},
            "15m 15m15s! 18m! 20m! 20m15s 25m",
        ),
        "R122: duplicates of nothing": ({DUPLICATES: "0x80", RECEIVED: "0x80"}, "20m"),
    },
    "SSEMessageLoss": {
        "R124: the first value that is seen of a process is a loss": (
            {LOSS % "a": "_x8 1x60"},
            "2m45s 3m! 6m45s! 8m",
        ),
        "a process that begins without a loss": ({LOSS % "a": "_x8 0x60"}, "4m 8m"),
        "a process that has lost something long ago": ({LOSS % "a": "0x3 5x76"}, "2m! 10m 19m"),
        "a restart is no loss": ({LOSS % "a": "7x40 0x40"}, "9m 11m 12m"),
        "Prometheus was away for a quarter of an hour: what was lost before is not lost again": (
            {LOSS % "a": "5x79 _x60 5x80"},
            "36m 37m 40m",
        ),
        "and neither is it if the process was marked as gone": (
            {LOSS % "a": "5x79 stale _x59 5x80"},
            "36m 37m 40m",
        ),
        "what was lost while Prometheus was away is a loss": ({LOSS % "a": "5x79 _x60 6x80"}, "35m 37m! 42m"),
        "the first of a process in the place of another, after a while": (
            {LOSS % "a": "5x79 _x60 1x80"},
            "35m 37m! 42m",
        ),
        "another process loses something again, and neither hides the other": (
            {LOSS % "a": "0x80", LOSS % "b": "0x40 1x40"},
            "10m 12m! 17m",
        ),
    },
    "SSERepeatedStalls": {
        "stalls of before a pause of Prometheus": ({STALLS: "2x79 _x120 2x80"}, "51m 53m 60m"),
        "R107: no stream has stalled twice": ({STALLS: "0x80"}, "20m"),
    },
}
"""For each alert what happens, and the times at which it is looked at: with `!` it fires, else it is silent."""


def play(rules, judge, test, every):
    """Have promtool play one test against the rules."""
    document = {"rule_files": [rules.name], "evaluation_interval": every, "tests": [test]}
    (rules.parent / "tests.yml").write_text(json.dumps(document))
    code, said = judge("test", "rules", "tests.yml")
    assert code == 0, said


@pytest.mark.parametrize("name, title", [(name, title) for name, cases in CASES.items() for title in cases])
@pytest.mark.proof
def test_at_the_edge(name, title, rules, judge):
    """R107, R113, R122-R124: whether the alert fires, at these times; between two scrapes, too."""
    values, looked = CASES[name][title]
    silent = [at for at in looked.split() if not at.endswith("!")]
    test = {
        "interval": "15s",
        "input_series": [{"series": series, "values": numbers} for series, numbers in values.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": []} for at in silent],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                "eval_time": at.removesuffix("!"),
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
            for at in looked.split()
            if at not in silent
        ],
    }
    play(rules, judge, test, "5s")


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
    play(rules, judge, test, "1m")
