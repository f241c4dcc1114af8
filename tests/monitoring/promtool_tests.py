"""
Unit tests of the rule file, for `promtool test rules`.

Series are made up that are bad by just enough for just long enough, and others that are not quite.  An alert must
fire at the first moment at which it may, not one sample before, not for what is just below its threshold, not
without traffic, and it must resolve.
"""

import json
from bisect import bisect_left

from resilient_sse.monitoring.alerts import (
    ALERTS,
    SLOS,
    Mean,
    Quantile,
    Rise,
    Share,
    Value,
    unit_of,
    window_of,
)
from resilient_sse.monitoring.prometheus_rules import (
    RUNBOOKS,
    WINDOWS,
    alert_annotations,
    alert_labels,
    duration,
    recorded,
)

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
LABELS = {"job": "api", "instance": "one:9100", "network": "4g"}


def rises(measure, level):
    """Yield series: name, own label, and the rise from one sample to the next; a level of `None` is no traffic."""
    many = 0 if level is None else MANY
    match measure:
        case Rise():
            yield measure.metric.name, "", level or 0
        case Share():
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


def series(measure, labels, phases):
    """Return series of which *measure* makes the level of each phase, one after the other: (samples, level)."""
    inner = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    if isinstance(measure, Value):  # the first sample is taken at 0
        (ticks, level), *more = phases
        values = [f"_x{ticks + 1}" if level is None else f"{level}x{ticks}"]
        values += [f"{level}x{ticks - 1}" for ticks, level in more]
        return [{"series": f"{measure.metric.name}{{{inner}}}", "values": " ".join(values)}]
    made = {}
    for ticks, level in phases:
        for name, own, step in rises(measure, level):
            total, values = made.get((name, own), (0, "0"))
            more = f" {total + step:.12g}+{step:.12g}x{ticks - 1}"
            made[name, own] = total + step * ticks, values + more
    return [
        {"series": f"{name}{{{inner}{own}}}", "values": values} for (name, own), (_, values) in made.items()
    ]


def promtool_tests(rules_file, *, scale=1, runbooks=RUNBOOKS):
    """Return the tests of the alerts, as YAML; *scale* and *runbooks* are those that the rules were made with."""
    tests = [test for alert in ALERTS for test in _alert_tests(alert, TICK / scale, runbooks)]
    return _document(rules_file, TICK / scale, tests)


def promtool_slo_tests(rules_file):
    """Return the tests of the recording rules; a file of their own, since `promtool` evaluates a whole day."""
    return _document(rules_file, SLO_TICK, [_recording_test(suffix, window) for suffix, window, _ in WINDOWS])


def _document(rules_file, every, tests):
    return json.dumps({"rule_files": [rules_file], "evaluation_interval": duration(every), "tests": tests})


def _alert_tests(alert, tick, runbooks):
    """Play what is just past the threshold, just before it, nothing, and what is bad for too short a time."""
    past, before = ALERT_VECTORS[alert.name]
    once = isinstance(alert.measure, Rise)  # it happens once, and is remembered for as long as the window
    window, hold = round(window_of(alert.measure) / TICK), round(alert.hold / TICK)
    onset = AFTER if once else 0 if isinstance(alert.measure, Value) else 1  # a rate needs two samples
    due = onset + hold
    over = due + AFTER
    resolved = onset + window if once else over + window
    fired = {
        "exp_labels": {**alert_labels(alert), **LABELS},
        "exp_annotations": alert_annotations(alert, f"{past:.{alert.unit.decimals}f}", runbooks),
    }

    def test(name, phases, silent, firing=()):
        return {
            "name": f"{alert.name}: {name}",
            "interval": duration(tick),
            "input_series": series(alert.measure, LABELS, phases),
            "alert_rule_test": [
                {
                    "eval_time": f"{round(at * tick)}s",
                    "alertname": alert.name,
                    "exp_alerts": [fired] * (at in firing),
                }
                for at in sorted((*silent, *firing))
            ],
        }

    def phases(level, bad):
        good = window + 2 * due
        if once:
            return [(onset - 1, None), (1, level), (good, None)]
        return [(bad, level), (good, 100.0 if alert.relation == "<" else 0.0)]

    yield test("just past", phases(past, over), (0, due - 1, resolved + 1), (due, due + 1))
    yield test("just before", phases(before, over), (due, over))
    yield test("no traffic", [(2 * due, None)], (1, due, 2 * due))
    if not once:
        # So many good samples bring the window's ratio back below the threshold just before the alert is due.
        good = 1 + int(window * abs(1 - alert.threshold / past))
        yield test("just too short", phases(past, due - good), (due, due + window))


def _recording_test(suffix, window):
    """Play jobs of two processes each: for each objective one that meets it, and one that misses it."""
    ticks = round(window / SLO_TICK) + 1
    at, made, checks = duration(ticks * SLO_TICK), [], []

    def check(expression, labels, value):
        samples = [{"labels": labels, "value": value}]
        checks.append({"expr": expression, "eval_time": at, "exp_samples": samples})

    for slo in SLOS:
        name = recorded(slo, suffix)
        check(f"{name}:target", f"{name}:target", slo.target)
        for level, met in zip(SLO_VECTORS[slo.name], (1, 0), strict=True):
            # Each its own job: objectives that read the same metrics would be in each other's way.
            job = f"{slo.name}-{met}"
            for instance in ("one:9100", "two:9100"):
                made += series(slo.measure, {**LABELS, "job": job, "instance": instance}, [(ticks, level)])
            kept = f'{{job="{job}", network="4g"}}'
            check(f"round({name}{kept}, {10.0 ** -unit_of(slo.measure).decimals:g})", kept, level)
            check(f"{name}:met{kept}", f"{name}:met{kept}", met)
    return {
        "name": f"recording rules: {suffix}",
        "interval": duration(SLO_TICK),
        "input_series": made,
        "promql_expr_test": checks,
    }
