"""
The rules as monitors for Datadog, as JSON for its API: `POST /api/v1/monitor` takes one of them at a time.

The names are those that `resilient_sse.metrics.datadog` sends, which are the catalogue's.

What Prometheus calls a duration is here the window of the query: a gauge must have been bad in all of it.
Counters and ratios are summed up over the window.  Reconnect times must be distributions, with percentiles
switched on.  A query that sums up counters cannot add what a gauge showed before, so the error rate is that of the
gauge alone: the streams that are in an outage, of those that are there.
"""

from __future__ import annotations

import json
from typing import Final

from resilient_sse.metrics.catalogue import Metric
from resilient_sse.monitoring.alerts import ALERTS, Alert, Mean, Quantile, Ratio, Rise, Severity, Value
from resilient_sse.monitoring.prometheus_rules import RUNBOOKS, alert_annotations, duration

__all__ = ["datadog_monitors"]

_PRIORITY: Final = {Severity.CRITICAL: 1, Severity.HIGH: 2, Severity.MEDIUM: 3}
_BY: Final = "service,host"


def datadog_monitors(*, runbooks: str = RUNBOOKS) -> str:
    """
    Return a list of monitors, as JSON.

    Args:
        runbooks: The address of the runbooks; the name of one takes the place of `*`.

    Raises:
        ValueError: *runbooks* has no `*`.
    """
    return json.dumps([_monitor(alert, runbooks) for alert in ALERTS], indent=2) + "\n"


def _monitor(alert: Alert, runbooks: str) -> dict[str, object]:
    told = alert_annotations(alert, "{{value}}", runbooks)
    due = f"{alert.severity.promise} within {alert.severity.due}"
    return {
        "name": alert.name,
        "type": "query alert",
        "query": f"{_query(alert)} {alert.relation} {alert.threshold:g}",
        "message": (
            f"{told['summary']}\n{told['description']}\n\n"
            f"{alert.severity.response.capitalize()}; {due}.\nRunbook: {told['runbook_url']}"
        ),
        "tags": [f"severity:{alert.severity.word}", f"{alert.severity.promise}:{alert.severity.due}"],
        "priority": _PRIORITY[alert.severity],
        "options": {
            "thresholds": {"critical": alert.threshold},
            "notify_no_data": False,
            "require_full_window": False,
            "include_tags": True,
        },
    }


def _query(alert: Alert) -> str:
    measure = alert.measure
    match measure:
        case Value():
            # Of several processes on one host the worst counts, or the others would hide it.
            worst = "min" if alert.relation == "<" else "max"
            return f"{_all_along(alert)}:{worst}:{_series(measure.metric)}"
        case Rise():
            return f"sum(last_{duration(measure.window)}):{_count(measure.metric)}"
        case Mean():
            return f"avg(last_{duration(measure.window)}):avg:{_series(measure.metric)}"
        case Quantile():
            share = f"p{measure.share * 100:g}"
            return f"percentile(last_{duration(measure.window)}):{share}:{_series(measure.metric)}"
        case Ratio(standing=Metric() as gauge):
            (label,) = gauge.labels
            affected = f"{label} IN ({','.join(measure.affected)})"
            return f"{_all_along(alert)}:100 * sum:{_series(gauge, affected)} / sum:{_series(gauge)}"
        case Ratio():
            part, whole = _count(measure.part), _count(measure.whole)
            return f"sum(last_{duration(measure.window)}):100 * {part} / {whole}"


def _all_along(alert: Alert) -> str:
    """Begin a query of gauges: where the best value of the window is bad, it was bad in all of it."""
    best = "max" if alert.relation == "<" else "min"
    return f"{best}(last_{duration(alert.hold)})"


def _series(metric: Metric, which: str = "*") -> str:
    return f"{metric.name}{{{which}}} by {{{_BY}}}"


def _count(metric: Metric) -> str:
    return f"sum:{_series(metric)}.as_count()"
