"""
The rules as a rule file for Prometheus.

Every expression names the metrics of the catalogue and nothing else, and has no value where nothing was measured:
a division by what has not risen is left out, and quantiles of empty histograms are not a number, which is on
neither side of any threshold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from resilient_sse.metrics.catalogue import Metric
from resilient_sse.monitoring.alerts import (
    ALERTS,
    DAY,
    HOUR,
    SLOS,
    Alert,
    Mean,
    Measure,
    Quantile,
    Ratio,
    Rise,
    Slo,
    Value,
)

__all__ = ["PAUSE", "RUNBOOKS", "WINDOWS", "Scope", "alert_annotations", "alert_labels", "duration"]
__all__ += ["expression", "prometheus_rules", "promql", "recorded"]

RUNBOOKS: Final = "docs/runbooks/*.md"
"""Where the runbooks lie in the repository; alerts should lead to where they are published."""

WINDOWS: Final = (("1h", HOUR, 60.0), ("1d", DAY, 300.0))
"""What recording rules look back on: their suffix, how far in seconds, and how often they are evaluated."""

PAUSE: Final = HOUR
"""After how long a pause of Prometheus old losses are taken for new ones, in seconds; it is paid at each look."""

_PROCESS: Final = ("instance", "pod")
"""The labels that tell the processes of a job apart; on Kubernetes each process is in a pod of its own."""

_HEAD: Final = "# Made by `resilient-sse rules prometheus`.  Change the generator, not this file."


def prometheus_rules(*, scale: float = 1.0, runbooks: str = RUNBOOKS) -> str:
    """
    Return the rule file, as YAML.

    Args:
        scale: By what to divide all durations, for rehearsals; 1 for production.
        runbooks: The address of the runbooks; the name of one takes the place of `*`.

    Raises:
        ValueError: *scale* is not above 0, or it leaves durations below a millisecond; *runbooks* has no `*`.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be a number above 0, not {scale!r}")
    if "*" not in runbooks:
        raise ValueError(f"the address of the runbooks must have a * where their names belong: {runbooks!r}")
    groups: list[Mapping[str, Plain]] = [
        {"name": "sse-alerts", "rules": [_alert(alert, scale, runbooks) for alert in ALERTS]}
    ]
    for suffix, window, every in WINDOWS:
        rules = [rule for slo in SLOS for rule in _recording(slo, suffix, window / scale)]
        groups.append({"name": f"sse-slo-{suffix}", "interval": duration(every / scale), "rules": rules})
    return "\n".join((_HEAD, *_written({"groups": groups}), ""))


def _alert(alert: Alert, scale: float, runbooks: str) -> Mapping[str, Plain]:
    return {
        "alert": alert.name,
        "expr": expression(alert, scale),
        "for": duration(alert.hold / scale),
        "labels": alert_labels(alert),
        "annotations": alert_annotations(
            alert, f'{{{{ $value | printf "%.{alert.unit.decimals}f" }}}}', runbooks
        ),
    }


def expression(alert: Alert, scale: float = 1.0) -> str:
    """Return the expression of a rule, threshold included."""
    window = alert.measure.window
    scope = Scope(window=duration(window / scale) if window else "", pause=duration(PAUSE / scale))
    measured = promql(alert.measure, scope)
    if isinstance(alert.measure, Rise):
        measured = f"({measured})"
    line = "\n" if "\n" in measured else " "
    return f"{measured}{line}{alert.relation} {alert.threshold:g}"


def alert_labels(alert: Alert) -> dict[str, str]:
    """Return the labels of a rule: how urgent it is, and until when somebody must have reacted."""
    severity = alert.severity
    return {"severity": severity.word, severity.promise: severity.due}


def alert_annotations(alert: Alert, value: str, runbooks: str) -> dict[str, str]:
    """Return what is told to people, with *value* as the number that was measured."""
    return {
        "summary": alert.summary.format(value=f"{value}{alert.unit.suffix}"),
        "description": alert.description,
        "condition": alert.condition,
        "response": alert.severity.response,
        "runbook_url": runbooks.replace("*", alert.runbook),
    }


def recorded(slo: Slo, suffix: str) -> str:
    """Return the name of the recording rule of a measure; `:met` is added for whether the target is met."""
    return f"job:{slo.name}:{suffix}"


def _recording(slo: Slo, suffix: str, window: float) -> list[Mapping[str, Plain]]:
    scope = Scope(window=duration(window), across=_PROCESS)
    name = recorded(slo, suffix)
    met = f"{name} {slo.relation} bool {slo.target:g}"
    return [
        {"record": name, "expr": promql(slo.measure, scope)},
        {"record": f"{name}:met", "expr": met},
        {"record": f"{name}:target", "expr": f"vector({slo.target:g})"},
    ]


# --- Measures as PromQL

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def duration(seconds: float) -> str:
    """Return a duration as Prometheus writes it: `5m`, `90s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1:
        raise ValueError(
            f"Prometheus knows no duration below 1 ms, such as {seconds!r} s; use a smaller scale"
        )
    return next(f"{milliseconds // size}{unit}" for unit, size in _UNITS if milliseconds % size == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """
    Which series are read, and what is summed up.

    Attributes:
        selector: Matchers for every series, such as `{job="api"}`.
        window: The window of rates as Prometheus writes it.
        pause: For how long Prometheus may not have seen a process and still knows its counters.
        across: Labels to sum over.
        total: Whether to sum over all labels.
    """

    selector: str = ""
    window: str
    pause: str = ""
    across: Sequence[str] = ()
    total: bool = False

    def rise(self, metric: Metric) -> str:
        """Return by how much a counter has risen in the window, its own labels summed up."""
        return self._summed(metric, f"increase({metric.name}{self.selector}[{self.window}])")

    def rate(self, metric: Metric, part: str) -> str:
        """Return the rate of a part of a histogram."""
        rate = f"rate({metric.name}_{part}{self.selector}[{self.window}])"
        if self.total and part == "bucket":
            return f"sum by (le) ({rate})"
        return self._summed(metric, rate)

    def before(self, metric: Metric, values: Sequence[str] = ()) -> str:
        """Return what a metric last showed before the window, summed up over its own labels, or *values* of it."""
        series = f"{metric.name}{self._matching(metric, values)}"
        return self._summed(metric, f"last_over_time({series}[{self.pause}] offset {self.window})")

    def counted(self, metric: Metric, standing: Metric, values: Sequence[str] = ()) -> str:
        """
        Return what a counter has counted in the window, and what a gauge showed when the window began.

        Both are read from the same samples: `increase` begins with the first sample within the window, so what
        happened between it and the one before would for a moment be part of neither.

        There may be nothing from before: a process is younger than the window, has begun to count anew, or was
        not watched.  Then all that the counter shows is taken for the whole; for a part it is what it has risen
        by since it was first seen, or what the gauge shows now if that is more.
        """
        now = self.now(metric)
        risen = f"({now} - {self.before(metric)} >= 0)"
        known = f"{risen}\n  + {self.before(standing, values)}\n  or\n  "
        if not values:
            return f"(\n  {known}{now}\n)"
        shown = self.now(standing, values)
        seen = self._summed(metric, f"min_over_time({metric.name}{self.selector}[{self.window}])")
        return f"(\n  {known}({now} - {seen} >= {shown})\n  or\n  {shown}\n)"

    def new(self, metric: Metric) -> str:
        """
        Return what a counter shows that was not there when the window began.

        After a pause of Prometheus nothing was there; what still shows its last value is known all the same.
        """
        series = f"{metric.name}{self.selector}"
        known = f"{series} == last_over_time({series}[{self.pause}] offset {self.window})"
        return self._summed(metric, f"{series} unless {series} offset {self.window}\nunless {known}")

    def now(self, metric: Metric, values: Sequence[str] = ()) -> str:
        """Return what a metric shows, summed up over its own labels, or *values* of it."""
        return self._summed(metric, f"{metric.name}{self._matching(metric, values)}")

    def _matching(self, metric: Metric, values: Sequence[str]) -> str:
        if not values:
            return self.selector
        (label,) = metric.labels
        return "{" + ", ".join(filter(None, (self.selector[1:-1], f'{label}=~"{"|".join(values)}"'))) + "}"

    def _summed(self, metric: Metric, expression: str) -> str:
        labels = ", ".join((*metric.labels, *self.across))
        if self.total:
            return f"sum({expression})"
        if labels:
            return f"sum without ({labels}) ({expression})"
        return f"({expression})" if " unless " in expression else expression


def promql(measure: Measure, scope: Scope) -> str:
    """Return *measure* as an expression, several lines long if need be."""
    match measure:
        case Value():
            return scope.now(measure.metric)
        case Rise():
            # What a series shows the first time that it is seen is no rise to Prometheus, but it is one to us:
            # the first event of a process' life may be the one that is lost.
            return f"{scope.rise(measure.metric)} > 0\nor\n{scope.new(measure.metric)}"
        case Mean():
            count = scope.rate(measure.metric, "count")
            return f"{scope.rate(measure.metric, 'sum')}\n/\n({count} > 0)"
        case Quantile():
            return f"histogram_quantile({measure.share}, {scope.rate(measure.metric, 'bucket')})"
        case Ratio():
            part, whole = scope.rise(measure.part), scope.rise(measure.whole)
            if measure.standing is not None:
                part = scope.counted(measure.part, measure.standing, measure.affected)
                whole = scope.counted(measure.whole, measure.standing)
            return f"100 * {part}\n/\n({whole} > 0)"


# --- YAML, the little of it that rule files need

Plain: TypeAlias = "str | Mapping[str, Plain] | Sequence[Mapping[str, Plain]]"
"""What can be written; nothing is empty."""


def _written(data: Mapping[str, Plain], indent: str = "") -> Iterator[str]:
    """Yield the lines of *data*: text of several lines as a block, other text in quotes, which JSON's are."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _written(value, f"{indent}  ")
        elif not isinstance(value, str):
            yield f"{indent}{key}:"
            for item in value:
                first, *rest = _written(item, f"{indent}    ")
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
        elif "\n" in value:
            yield f"{indent}{key}: |-"
            yield from (f"{indent}  {line}" for line in value.split("\n"))
        else:
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}"
