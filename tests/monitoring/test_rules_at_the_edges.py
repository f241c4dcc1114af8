"""
The rules, judged by promtool against series that are made up.

What is bad by just enough for just long enough, and what is not quite: an alert must fire at the first moment at
which it may, not one sample before, not for what is just below its threshold, not without traffic, and it must
resolve.
Then processes that have just begun, streams that live for days, and nothing at all.
"""

import json
from bisect import bisect_left

import pytest

from resilient_sse.metrics import catalogue
from resilient_sse.monitoring.alerts import (
    ALERTS,
    SLOS,
    Mean,
    Quantile,
    Ratio,
    Rise,
    Value,
    unit_of,
)
from resilient_sse.monitoring.prometheus_rules import WINDOWS, duration, recorded

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


ALERT_VECTORS = {
    "SSECompletionRateLow": (99.4, 99.5),
    "SSEReconnectMeanHigh": (5100, 4900),
    "SSEDuplicateRateHigh": (1.01, 0.99),
    "SSEMessageLoss": (1, 0),
    "SSEReconnectLatencyHigh": (5001, 4999),
    "SSEErrorRateHigh": (6, 5),
    "SSERepeatedStalls": (1, 0),
    "SSEStallRecoverySlow": (5.1, 4.9),
}
"""For each alert a value just past the threshold, and one just before it."""

SLO_VECTORS = {
    "sse_stream_completion_rate": (99.9, 99.7),
    "sse_message_loss_rate": (0, 0.01),
    "sse_duplicate_rate": (0.99, 1.01),
    "sse_reconnect_time_mean_ms": (4900, 5100),
    "sse_reconnect_time_p95_ms": (4199, 4201),
    "sse_reconnect_time_p99_ms": (4799, 4801),
}
"""For each objective a value that meets it, and one that misses it."""

TICK, SLO_TICK = 15, 300
"""Seconds between two samples, and between two evaluations."""
AFTER = 4  # samples for which an alert goes on to fire
MANY = 100_000  # how much happens between two samples: enough for shares of a thousandth of a percent


def rises(measure, level):
    """Yield series: name, own label, and the rise from one sample to the next; a level of `None` is no traffic."""
    many = 0 if level is None else MANY
    match measure:
        case Rise():
            yield measure.metric.name, "", level or 0
        case Ratio():
            yield measure.part.name, "", many * (level or 0) / 100
            yield measure.whole.name, "", many
            for label, values in measure.standing.labels.items() if measure.standing else ():
                yield from ((measure.standing.name, f', {label}="{value}"', 0) for value in values)
        case Mean():
            yield f"{measure.metric.name}_sum", "", many * (level or 0)
            yield f"{measure.metric.name}_count", "", many
        case Quantile():  # the bucket of the level and a neighbour, so that interpolation finds the level
            bounds = measure.metric.buckets
            at = max(bisect_left(bounds, level or 0), 1)
            part = ((level or 0) - bounds[at - 1]) / (bounds[at] - bounds[at - 1])
            below = max(round(many * (measure.share - part) / (1 - part)), 0) if level else 0
            upto = round(many * measure.share / part) if level and not below else many
            for number, bound in enumerate(bounds):
                yield f"{measure.metric.name}_bucket", f', le="{bound!r}"', below if number < at else upto
            yield f"{measure.metric.name}_bucket", ', le="+Inf"', many


def series(measure, phases, labels='job="api", instance="a"'):
    """Return series of which *measure* makes the level of each phase, one after the other: (samples, level)."""
    if isinstance(measure, Value):  # the first sample is taken at 0
        (ticks, level), *more = phases
        values = [f"_x{ticks + 1}" if level is None else f"{level}x{ticks}"]
        values += [f"{level}x{ticks - 1}" for ticks, level in more]
        return {f"{measure.metric.name}{{{labels}}}": " ".join(values)}
    made = {}
    for ticks, level in phases:
        for name, own, step in rises(measure, level):
            total, values = made.get((name, own), (0, "0"))
            more = f" {total + step:.12g}+{step:.12g}x{ticks - 1}"
            made[name, own] = total + step * ticks, values + more
    return {f"{name}{{{labels}{own}}}": values for (name, own), (_, values) in made.items()}


def edges(alert):
    """Play what is just past the threshold, just before it, nothing, and what is bad for too short a time."""
    past, before = ALERT_VECTORS[alert.name]
    once = isinstance(alert.measure, Rise)  # it happens once, and is remembered for as long as the window
    window, hold = round(alert.measure.window / TICK), round(alert.hold / TICK)
    onset = AFTER if once else 0 if isinstance(alert.measure, Value) else 1  # a rate needs two samples
    due = onset + hold
    over = due + AFTER
    resolved = onset + window if once else over + window

    def case(title, phases, silent, firing=()):
        looked = [f"{at * TICK}s" for at in silent] + [f"{at * TICK}s!" for at in firing]
        return title, series(alert.measure, phases), " ".join(looked)

    def phases(level, bad):
        good = window + 2 * due
        if once:
            return [(onset - 1, None), (1, level), (good, None)]
        return [(bad, level), (good, 100.0 if alert.relation == "<" else 0.0)]

    yield case("just past", phases(past, over), (0, due - 1, resolved + 1), (due, due + 1))
    yield case("just before", phases(before, over), (due, over))
    yield case("no traffic", [(2 * due, None)], (1, due, 2 * due))
    if not once:
        # So many good samples bring the window's ratio back below the threshold just before the alert is due.
        good = 1 + int(window * abs(1 - alert.threshold / past))
        yield case("just too short", phases(past, due - good), (due, due + window))


def play(rules, judge, every, *tests):
    """Have promtool play tests against the rules."""
    document = {"rule_files": [rules.name], "evaluation_interval": every, "tests": tests}
    (rules.parent / "tests.yml").write_text(json.dumps(document))
    code, said = judge("test", "rules", "tests.yml")
    assert code == 0, said


def story(values, tick, **looks):
    """Return a test of series with a sample each *tick*."""
    return {
        "interval": tick,
        "input_series": [{"series": of, "values": values[of]} for of in values],
        **looks,
    }


def equals(expression, labels, value, at):
    """Return what promtool is to find."""
    return {"expr": expression, "eval_time": at, "exp_samples": [{"labels": labels, "value": value}]}


def watched(name, title, values, looked):
    """Return the test of an alert: it fires at the times with `!`, and is silent at the others."""
    firing = f'count(ALERTS{{alertname="{name}", alertstate="firing"}})'
    silent = [at for at in looked.split() if not at.endswith("!")]
    return story(
        *(values, f"{TICK}s"),
        name=f"{name}: {title}",
        alert_rule_test=[{"eval_time": at, "alertname": name, "exp_alerts": []} for at in silent],
        promql_expr_test=[equals(firing, "{}", 1, at[:-1]) for at in looked.split() if at not in silent],
    )


@pytest.mark.proof
@pytest.mark.ci
def test_at_the_threshold(rules, judge):
    """R95, R100, R103, R105, R107, R108, R113, R120-R124: just past, just before, nothing, too short, resolved."""
    play(rules, judge, "15s", *(watched(alert.name, *edge) for alert in ALERTS for edge in edges(alert)))


@pytest.mark.parametrize("name, title", [(name, title) for name, cases in CASES.items() for title in cases])
@pytest.mark.proof
def test_at_the_edge(name, title, rules, judge):
    """R107, R113, R122-R124: whether the alert fires, at these times; between two scrapes, too."""
    play(rules, judge, "5s", watched(name, title, *CASES[name][title]))


@pytest.mark.proof
@pytest.mark.ci
@pytest.mark.parametrize("suffix, window", [(suffix, window) for suffix, window, _ in WINDOWS])
def test_the_recording_rules(suffix, window, rules, judge):
    """R94, R96, R99: jobs of two processes each; for each objective one that meets it, and one that misses it."""
    ticks = round(window / SLO_TICK) + 1
    at, made, looks = duration(ticks * SLO_TICK), {}, []
    for slo in SLOS:
        name = recorded(slo, suffix)
        looks.append(equals(f"{name}:target", f"{name}:target", slo.target, at))
        for level, met in zip(SLO_VECTORS[slo.name], (1, 0), strict=True):
            # Each its own job: objectives that read the same metrics would be in each other's way.
            job = f'job="{slo.name}-{met}", network="4g"'
            for instance in ("one", "two"):
                made |= series(slo.measure, [(ticks, level)], f'{job}, instance="{instance}"')
            rounded = f"round({name}{{{job}}}, {10.0 ** -unit_of(slo.measure).decimals:g})"
            looks.append(equals(rounded, f"{{{job}}}", level, at))
            looks.append(equals(f"{name}:met{{{job}}}", f"{name}:met{{{job}}}", met, at))
    play(rules, judge, "5m", story(made, "5m", promql_expr_test=looks))


def test_the_pods_of_a_job_are_one(rules, judge):
    """R96: on Kubernetes processes differ by `pod` as well as by `instance`; the rate is the job's."""
    sent, arrived = "sse_client_expected_events_total", "sse_client_expected_events_received_total"
    values = {}
    for pod, lost in (("one", 0), ("two", 10)):
        labels = f'{{job="api", instance="{pod}:9100", pod="{pod}"}}'
        values |= {sent + labels: "0+100x80", arrived + labels: f"0+{100 - lost}x80"}
    look = equals("round(job:sse_stream_completion_rate:1h, 0.01)", '{job="api"}', 95, "65m")
    play(rules, judge, "1m", story(values, "1m", promql_expr_test=[look]))
