"""
Unit tests of the rule file, for `promtool test rules`.

Theory of operation.  For each alert series are made up that are bad by just enough for just long enough, and
others that are not quite; `promtool` plays them against the rules.  An alert must fire at the first moment at
which it may, not one sample before, not for what is just below its threshold, not without traffic, and it must
resolve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_sse.monitoring.alerts import ALERTS, SLOS, Rise, Value, unit_of, window_of
from resilient_sse.monitoring.prometheus_rules import (
    RUNBOOKS,
    WINDOWS,
    alert_annotations,
    alert_labels,
    duration,
    recorded,
    yaml_text,
)
from tests.monitoring.made_up import Phase, series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_sse.monitoring.alerts import Alert
    from resilient_sse.monitoring.prometheus_rules import Plain

__all__ = ["ALERT_VECTORS", "RULES_FILE", "SLO_VECTORS", "promtool_slo_tests", "promtool_tests"]

ALERT_VECTORS: Final[Mapping[str, tuple[float, float]]] = {
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

SLO_VECTORS: Final[Mapping[str, tuple[float, float]]] = {
    "sse_stream_completion_rate": (99.9, 99.7),
    "sse_message_loss_rate": (0, 0.01),
    "sse_duplicate_rate": (0.99, 1.01),
    "sse_reconnect_time_mean_ms": (4900, 5100),
    "sse_reconnect_time_p95_ms": (4199, 4201),
    "sse_reconnect_time_p99_ms": (4799, 4801),
}
"""For each objective a value that meets it, and one that misses it."""

RULES_FILE: Final = "sse-rules.yml"
"""What the rule file is called where nothing else is said."""

_TICK: Final = 15.0  # seconds between two samples, and between two evaluations
_SLO_TICK: Final = 300.0
_LABELS: Final = {"job": "api", "instance": "one:9100", "network": "4g"}
_AFTER: Final = 4  # samples for which an alert goes on to fire


def promtool_tests(rules_file: str = RULES_FILE, *, scale: float = 1.0, runbooks: str = RUNBOOKS) -> str:
    """
    Return the tests of the alerts, as YAML.

    Args:
        rules_file: Where the rules are, seen from the directory of the test file.
        scale: The scale that the rules were made with.
        runbooks: The address that the rules were made with.
    """
    return _document(
        rules_file, _TICK / scale, [test for alert in ALERTS for test in _alert_tests(alert, scale, runbooks)]
    )


def promtool_slo_tests(rules_file: str = RULES_FILE, *, scale: float = 1.0) -> str:
    """
    Return the tests of the recording rules, as YAML; a file of their own, since `promtool` evaluates a whole day.

    Args:
        rules_file: Where the rules are, seen from the directory of the test file.
        scale: The scale that the rules were made with.
    """
    tests = [_recording_test(suffix, window, scale) for suffix, window, _ in WINDOWS]
    return _document(rules_file, _SLO_TICK / scale, tests)


def _document(rules_file: str, every: float, tests: list[Plain]) -> str:
    head = "# Run with `promtool test rules FILE`.\n"
    return head + yaml_text(
        {"rule_files": [rules_file], "evaluation_interval": duration(every), "tests": tests}
    )


def _alert_tests(alert: Alert, scale: float, runbooks: str) -> list[Plain]:
    made = _Played(alert, scale, runbooks)
    once = isinstance(alert.measure, Rise)
    past, before = ALERT_VECTORS[alert.name]
    due, over, window = made.due, made.due + _AFTER, made.window
    resolved = made.onset + window if once else over + window
    tests = [
        made.test(
            "just past its threshold",
            made.phases(past, over),
            silent=(0, due - 1, resolved + 1),
            firing=(due, due + 1),
        ),
        made.test("just before its threshold", made.phases(before, over), silent=(due, over)),
        made.test("no traffic", [Phase(2 * due, None)], silent=(1, due, 2 * due)),
    ]
    if not once:
        # So many good samples bring the window's ratio back below the threshold just before the alert is due.
        good = 1 + int(window * abs(1 - alert.threshold / past))
        tests.append(made.test("just too short", made.phases(past, due - good), silent=(due, due + window)))
    return tests


class _Played:
    """Makes the tests of one alert; times are in samples."""

    def __init__(self, alert: Alert, scale: float, runbooks: str) -> None:
        self._alert = alert
        self._tick = _TICK / scale
        self.window = _ticks(window_of(alert.measure))
        self.onset = _onset(alert)
        self.due = self.onset + _ticks(alert.hold)
        shown = f"{ALERT_VECTORS[alert.name][0]:.{alert.unit.decimals}f}"
        self._fired: Plain = {
            "exp_labels": {**alert_labels(alert), **_LABELS},
            "exp_annotations": alert_annotations(alert, shown, runbooks),
        }

    def phases(self, level: float, bad: int) -> list[Phase]:
        """Return a bad time, from its beginning to sample *bad*, and a good time that is long enough."""
        good = self.window + 2 * self.due
        if isinstance(
            self._alert.measure, Rise
        ):  # it happens once, and is remembered for as long as the window
            return [Phase(self.onset - 1, None), Phase(1, level), Phase(good, None)]
        return [Phase(bad, level), Phase(good, 100.0 if self._alert.relation == "<" else 0.0)]

    def test(
        self, name: str, phases: list[Phase], *, silent: tuple[int, ...], firing: tuple[int, ...] = ()
    ) -> Plain:
        """Return one test: series, and at which samples the alert is silent or fires."""
        checks = sorted([*((at, False) for at in silent), *((at, True) for at in firing)])
        return {
            "name": f"{self._alert.name}: {name}",
            "interval": duration(self._tick),
            "input_series": series(self._alert.measure, _LABELS, phases),
            "alert_rule_test": [
                {
                    "eval_time": duration(at * self._tick) if at else "0s",
                    "alertname": self._alert.name,
                    "exp_alerts": [self._fired] if fires else [],
                }
                for at, fires in checks
            ],
        }


def _onset(alert: Alert) -> int:
    """Return at which sample the measure is bad for the first time: a rate needs two."""
    match alert.measure:
        case Value():
            return 0
        case Rise():
            return _AFTER
        case _:
            return 1


def _recording_test(suffix: str, window: float, scale: float) -> Plain:
    """Play jobs of two processes each: for each objective one that meets it, and one that misses it."""
    ticks = round(window / _SLO_TICK) + 1
    at = duration(ticks * _SLO_TICK / scale)
    made: list[Plain] = []
    checks: list[Plain] = []
    for slo in SLOS:
        name = recorded(slo, suffix)
        checks.append(_check(f"{name}:target", at, f"{name}:target", slo.target))
        for level, met in zip(SLO_VECTORS[slo.name], (1, 0), strict=True):
            # Each its own job: objectives that read the same metrics would be in each other's way.
            job = f"{slo.name}-{'met' if met else 'missed'}"
            for instance in ("one:9100", "two:9100"):
                labels = {"job": job, "instance": instance, "network": "4g"}
                made += series(slo.measure, labels, [Phase(ticks, level)])
            kept = f'{{job="{job}", network="4g"}}'
            checks.append(
                _check(f"round({name}{kept}, {10.0 ** -unit_of(slo.measure).decimals:g})", at, kept, level)
            )
            checks.append(_check(f"{name}:met{kept}", at, f"{name}:met{kept}", met))
    return {
        "name": f"recording rules: {suffix}",
        "interval": duration(_SLO_TICK / scale),
        "input_series": made,
        "promql_expr_test": checks,
    }


def _check(expression: str, at: str, labels: str, value: float) -> Plain:
    return {"expr": expression, "eval_time": at, "exp_samples": [{"labels": labels, "value": value}]}


def _ticks(seconds: float) -> int:
    return round(seconds / _TICK)
