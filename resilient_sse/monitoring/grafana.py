"""
A dashboard for Grafana, as JSON: `Dashboards > New > Import`.

It has variables for the data source, the job, the process and each label of the program's own.  The lines in its
panels are the thresholds of the alerts and the targets of the objectives.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from resilient_sse.metrics import catalogue
from resilient_sse.monitoring.alerts import ALERTS, SLOS
from resilient_sse.monitoring.grafana_panels import Query, grid, line, stat, state_timeline, time_series
from resilient_sse.monitoring.measures import Mean, Measure, Quantile, Share
from resilient_sse.monitoring.prometheus_rules import recorded
from resilient_sse.monitoring.promql import Scope, promql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_sse.metrics.catalogue import Metric
    from resilient_sse.monitoring.grafana_panels import Panel

__all__ = ["grafana_dashboard"]

_WINDOW: Final = "$__rate_interval"
_ANY: Final = 0.0  # a measure's own window gives way to that of the scope
_ALARM: Final = {alert.name: alert.threshold for alert in ALERTS}
_SLO: Final = {slo.name: slo for slo in SLOS}
_SCHEMA: Final = 38  # of Grafana 10; newer ones migrate it when they load it
"""The version of the dashboard's format."""


def grafana_dashboard(labels: Sequence[str] = ()) -> str:
    """
    Return the dashboard.

    Args:
        labels: The program's own labels, each of which gets a variable.
    """
    variables = ["job", "instance", *labels]
    matchers = ", ".join(f'{name}=~"${name}"' for name in variables)
    panels = _Panels(f"{{{matchers}}}")
    dashboard: dict[str, object] = {
        "title": "Event streams",
        "uid": "resilient-sse",
        "description": "Made by `resilient-sse rules grafana`.",
        "tags": ["sse"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *map(_variable, variables)]},
        "annotations": {"list": []},
        "panels": grid(panels.all()),
    }
    return json.dumps(dashboard, indent=2) + "\n"


def _datasource() -> dict[str, object]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _variable(label: str) -> dict[str, object]:
    query = f"label_values({catalogue.STREAMS_STARTED.name}, {label})"
    return {
        "name": label,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


class _Panels:
    """Makes the panels; *selector* chooses the series of all of them."""

    def __init__(self, selector: str) -> None:
        self._selector = selector
        self._scope = Scope(selector=selector, window=_WINDOW, total=True)

    def all(self) -> list[Panel]:
        """Return them in their order."""
        return [
            *self._objectives(),
            *self._health(),
            *self._reconnecting(),
            *self._faults(),
            *self._traffic(),
        ]

    def _objectives(self) -> list[Panel]:
        """Whether the day's targets are met; from recording rules, so not by process."""
        job = '{job=~"$job"}'
        shown = [
            ("sse_stream_completion_rate", "Completion, 1 day", "percent"),
            ("sse_message_loss_rate", "Loss, 1 day", "percent"),
            ("sse_duplicate_rate", "Duplicates, 1 day", "percent"),
            ("sse_reconnect_time_p95_ms", "Reconnect p95, 1 day", "ms"),
        ]
        return [
            stat(title, unit, Query(f"{recorded(_SLO[name], '1d')}{job}", "{{job}}"), _SLO[name])
            for name, title, unit in shown
        ]

    def _health(self) -> list[Panel]:
        states = f"sum by (state) ({catalogue.STREAMS.name}{self._selector})"
        received = self._total(catalogue.RECENT_EXPECTED_EVENTS_RECEIVED)
        sent = self._total(catalogue.RECENT_EXPECTED_EVENTS)
        worst = f"min({catalogue.STREAM_COMPLETION_RATE.name}{self._selector})"
        return [
            state_timeline("State of streams", Query(states, "{{state}}")),
            time_series("Streams", "short", Query(states, "{{state}}"), stacked=True),
            time_series(
                "Completion",
                "percent",
                Query(f"100 * {received} / ({sent} > 0)", "all"),
                Query(worst, "worst process"),
                lines=[
                    line("red", None),
                    line("orange", _ALARM["SSECompletionRateLow"]),
                    line("green", _SLO["sse_stream_completion_rate"].target),
                ],
            ),
        ]

    def _reconnecting(self) -> list[Panel]:
        of = catalogue.RECONNECT_TIME_MS
        limits = [
            line("green", None),
            line("yellow", _SLO["sse_reconnect_time_p95_ms"].target),
            line("orange", _SLO["sse_reconnect_time_p99_ms"].target),
            line("red", _ALARM["SSEReconnectLatencyHigh"]),
        ]
        quantiles = [
            Query(self._measured(Quantile(of, _ANY, share)), f"p{share * 100:g}")
            for share in (0.5, 0.95, 0.99)
        ]
        mean = Query(self._measured(Mean(of, _ANY)), "mean")
        reasons = f"sum by (reason) (increase({catalogue.RECONNECTS.name}{self._selector}[{_WINDOW}]))"
        return [
            time_series("Reconnect time", "ms", *quantiles, mean, lines=limits),
            time_series("Reconnects by reason", "short", Query(reasons, "{{reason}}"), stacked=True),
        ]

    def _faults(self) -> list[Panel]:
        duplicates = Share(catalogue.DUPLICATE_EVENTS, catalogue.TOTAL_EVENTS_RECEIVED, _ANY)
        category = (
            f"sum by (category) (increase({catalogue.USER_VISIBLE_ERRORS.name}{self._selector}[{_WINDOW}]))"
        )
        stalls = [catalogue.STALLS, catalogue.REPEATED_STALLS]
        return [
            time_series(
                "Loss",
                "short",
                Query(self._risen(catalogue.MESSAGE_LOSS), "events lost"),
                Query(self._risen(catalogue.UNKNOWN_LOSSES), "losses of unknown size"),
                lines=[line("green", None), line("red", _ALARM["SSEMessageLoss"])],
            ),
            time_series(
                "Duplicates",
                "percent",
                Query(self._measured(duplicates), "of the events received"),
                lines=[line("green", None), line("orange", _ALARM["SSEDuplicateRateHigh"])],
            ),
            time_series("Errors by category", "short", Query(category, "{{category}}"), stacked=True),
            time_series(
                "Stalls",
                "short",
                *(
                    Query(self._risen(metric), name)
                    for metric, name in zip(stalls, ("all", "repeated"), strict=True)
                ),
            ),
        ]

    def _traffic(self) -> list[Panel]:
        kinds = {
            "delivered": catalogue.EVENTS_DELIVERED,
            "duplicates": catalogue.DUPLICATE_EVENTS,
            "filtered": catalogue.EVENTS_FILTERED,
            "heartbeats": catalogue.HEARTBEATS,
        }
        events = [Query(self._rate(metric), name) for name, metric in kinds.items()]
        started = [
            Query(self._risen(catalogue.STREAMS_STARTED), "streams started"),
            Query(self._risen(catalogue.FAILED_ATTEMPTS), "failed attempts"),
        ]
        return [
            time_series("Events", "eps", *events, stacked=True),
            time_series("Bytes", "Bps", Query(self._rate(catalogue.RECEIVED_BYTES), "received")),
            time_series("Starts and attempts", "short", *started),
        ]

    def _total(self, metric: Metric) -> str:
        return self._scope.now(metric)

    def _risen(self, metric: Metric) -> str:
        return self._scope.rise(metric)

    def _rate(self, metric: Metric) -> str:
        return f"sum(rate({metric.name}{self._selector}[{_WINDOW}]))"

    def _measured(self, measure: Measure) -> str:
        return promql(measure, self._scope)
