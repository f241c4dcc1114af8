"""
A dashboard for Grafana, as JSON: `Dashboards > New > Import`, Grafana 10 and newer.

It has variables for the data source, the job, the process and each label of the program's own.  The lines in its
panels are the thresholds of the alerts and the targets of the objectives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import Metric
from resilient_sse.monitoring.alerts import ALERTS, SLOS, Mean, Quantile, Ratio
from resilient_sse.monitoring.prometheus_rules import Scope, promql, recorded

__all__ = ["grafana_dashboard"]

_Panel: TypeAlias = dict[str, object]
"""A panel, without its place, or a part of one."""
_Lines: TypeAlias = "Sequence[tuple[str, float | None]]"
"""Thresholds: each colour counts from its value upwards; `None` stands for the lowest value."""

_WINDOW: Final = "$__rate_interval"
_ANY: Final = 0.0  # a measure's own window gives way to that of the scope
_ALARM: Final = {alert.name: alert.threshold for alert in ALERTS}
_SLO: Final = {slo.name: slo for slo in SLOS}
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_GREEN: Final = ("green", None)
_COLUMNS: Final = 24
_SIZES: Final = {"stat": (6, 4), "state-timeline": (24, 6), "timeseries": (12, 8)}
"""Width and height of panels by type, in the units of Grafana's grid."""


def grafana_dashboard(labels: Sequence[str] = ()) -> str:
    """Return the dashboard, with a variable for each of the program's own *labels*."""
    variables = ["job", "instance", *labels]
    selector = "{" + ", ".join(f'{name}=~"${name}"' for name in variables) + "}"
    dashboard: dict[str, object] = {
        "title": "Event streams",
        "uid": "resilient-sse",
        "description": "Made by `resilient-sse rules grafana`.",
        "tags": ["sse"],
        "schemaVersion": 38,  # of Grafana 10; newer ones migrate it when they load it
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
                *map(_variable, variables),
            ]
        },
        "annotations": {"list": []},
        "panels": _placed([*_objectives(), *_details(selector)]),
    }
    return json.dumps(dashboard, indent=2) + "\n"


def _variable(label: str) -> dict[str, object]:
    query = f"label_values({catalogue.STREAMS_STARTED.name}, {label})"
    variable: _Panel = {"name": label, "label": label, "type": "query", "datasource": _SOURCE}
    variable |= {"query": {"query": query, "refId": label}, "refresh": 2, "sort": 1}
    variable |= {"multi": True, "includeAll": True, "allValue": ".*"}
    return variable | {"current": {"text": "All", "value": "$__all"}}


def _objectives() -> list[_Panel]:
    """Return whether the day's targets are met: green where they are; from recording rules, so not by process."""
    options: _Panel = {"colorMode": "background", "graphMode": "none"}
    options |= dict.fromkeys(("justifyMode", "orientation", "textMode"), "auto")
    options["reduceOptions"] = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    panels: list[_Panel] = []
    for name, title, unit in (
        ("sse_stream_completion_rate", "Completion, 1 day", "percent"),
        ("sse_message_loss_rate", "Loss, 1 day", "percent"),
        ("sse_duplicate_rate", "Duplicates, 1 day", "percent"),
        ("sse_reconnect_time_p95_ms", "Reconnect p95, 1 day", "ms"),
    ):
        slo = _SLO[name]
        # A threshold belongs to the colour above it; objectives that include their target begin there.
        below, above = ("red", "green") if slo.relation == ">=" else ("green", "red")
        limit = slo.target if slo.relation != "<=" else slo.target + 1e-9
        queries = {"{{job}}": f'{recorded(slo, "1d")}{{job=~"$job"}}'}
        panel = _panel("stat", title, unit, queries, ((below, None), (above, limit)), options, {})
        panels.append({**panel, "description": f"Promised: {slo.condition}"})
    return panels


def _details(selector: str) -> list[_Panel]:
    """Return the health of the streams, their faults and their traffic, as far as the *selector* chooses them."""
    scope = Scope(selector=selector, window=_WINDOW, total=True)

    def by(label: str, metric: Metric) -> dict[str, str]:
        return {f"{{{{{label}}}}}": f"sum by ({label}) (increase({metric.name}{selector}[{_WINDOW}]))"}

    def rate(metric: Metric) -> str:
        return f"sum(rate({metric.name}{selector}[{_WINDOW}]))"

    states = {"{{state}}": f"sum by (state) ({catalogue.STREAMS.name}{selector})"}
    sent, arrived = catalogue.RECENT_EXPECTED_EVENTS, catalogue.RECENT_EXPECTED_EVENTS_RECEIVED
    completion = {
        "all": f"100 * {scope.now(arrived)} / ({scope.now(sent)} > 0)",
        "worst process": f"min({catalogue.STREAM_COMPLETION_RATE.name}{selector})",
    }
    promised, alarm = _SLO["sse_stream_completion_rate"].target, _ALARM["SSECompletionRateLow"]
    times = {
        f"p{share * 100:g}": promql(Quantile(catalogue.RECONNECT_TIME_MS, _ANY, share), scope)
        for share in (0.5, 0.95, 0.99)
    }
    times["mean"] = promql(Mean(catalogue.RECONNECT_TIME_MS, _ANY), scope)
    limits = (
        _GREEN,
        ("yellow", _SLO["sse_reconnect_time_p95_ms"].target),
        ("orange", _SLO["sse_reconnect_time_p99_ms"].target),
        ("red", _ALARM["SSEReconnectLatencyHigh"]),
    )
    loss = {
        "events lost": scope.rise(catalogue.MESSAGE_LOSS),
        "losses of unknown size": scope.rise(catalogue.UNKNOWN_LOSSES),
    }
    duplicates = Ratio(catalogue.DUPLICATE_EVENTS, catalogue.TOTAL_EVENTS_RECEIVED, _ANY)
    repeated = {"of the events received": promql(duplicates, scope)}
    events = {
        "delivered": rate(catalogue.EVENTS_DELIVERED),
        "duplicates": rate(catalogue.DUPLICATE_EVENTS),
        "filtered": rate(catalogue.EVENTS_FILTERED),
        "heartbeats": rate(catalogue.HEARTBEATS),
    }
    started = {
        "streams started": scope.rise(catalogue.STREAMS_STARTED),
        "failed attempts": scope.rise(catalogue.FAILED_ATTEMPTS),
    }
    timeline = {"showValue": "auto", "rowHeight": 0.9, "mergeValues": True, **_shown("single", "none")}
    filled: _Panel = {"fillOpacity": 70, "lineWidth": 0}
    present = ("transparent", None), ("blue", 1)
    by_reason, by_category = by("reason", catalogue.RECONNECTS), by("category", catalogue.USER_VISIBLE_ERRORS)
    stalls = {"all": scope.rise(catalogue.STALLS), "repeated": scope.rise(catalogue.REPEATED_STALLS)}
    return [
        _panel("state-timeline", "State of streams", "short", states, present, timeline, filled),
        _curves("Streams", "short", states, stacked=True),
        _curves("Completion", "percent", completion, (("red", None), ("orange", alarm), ("green", promised))),
        _curves("Reconnect time", "ms", times, limits),
        _curves("Reconnects by reason", "short", by_reason, stacked=True),
        _curves("Loss", "short", loss, (_GREEN, ("red", _ALARM["SSEMessageLoss"]))),
        _curves("Duplicates", "percent", repeated, (_GREEN, ("orange", _ALARM["SSEDuplicateRateHigh"]))),
        _curves("Errors by category", "short", by_category, stacked=True),
        _curves("Stalls", "short", stalls),
        _curves("Events", "eps", events, stacked=True),
        _curves("Bytes", "Bps", {"received": rate(catalogue.RECEIVED_BYTES)}),
        _curves("Starts and attempts", "short", started),
    ]


def _curves(
    title: str, unit: str, queries: Mapping[str, str], lines: _Lines = (), *, stacked: bool = False
) -> _Panel:
    """Return curves over time, with dashed lines at the thresholds."""
    custom: _Panel = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if stacked else 5,
        "showPoints": "auto",
    }
    custom["stacking"] = {"mode": "normal" if stacked else "none", "group": "A"}
    custom["thresholdsStyle"] = {"mode": "dashed" if lines else "off"}
    return _panel("timeseries", title, unit, queries, lines or (_GREEN,), _shown("multi", "desc"), custom)


def _shown(mode: str, sort: str) -> _Panel:
    """Return where the legend is, and what the tooltip tells."""
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {"legend": legend, "tooltip": {"mode": mode, "sort": sort}}


def _panel(  # noqa: PLR0917 - the parts that differ
    kind: str,
    title: str,
    unit: str,
    queries: Mapping[str, str],
    lines: _Lines,
    options: dict[str, object],
    custom: dict[str, object],
) -> _Panel:
    """Return a panel of *queries* by the names of their curves, in which `{{label}}` stands for its value."""
    steps = [{"color": color, "value": at} for color, at in lines]
    defaults = {"unit": unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend,
                "range": True,
            }
            for number, (legend, expression) in enumerate(queries.items())
        ],
    }


def _placed(panels: Sequence[_Panel]) -> list[_Panel]:
    """Number *panels* and give them their places, from left to right and from top to bottom."""
    placed: list[_Panel] = []
    x = y = row = 0
    for number, panel in enumerate(panels, 1):
        width, height = _SIZES[str(panel["type"])]
        if x + width > _COLUMNS or (x and height != row):
            x, y = 0, y + row
        placed.append({"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}, **panel})
        x, row = x + width, height
    return placed
