"""The panels of which a Grafana dashboard is made, in the form that Grafana 10 and newer import."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_sse.monitoring.alerts import Slo

__all__ = ["Panel", "Query", "grid", "line", "stat", "state_timeline", "time_series"]

Panel: TypeAlias = dict[str, object]
"""A panel, without its place."""

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS: Final = 24
_SIZES: Final = {"stat": (6, 4), "state-timeline": (24, 6), "timeseries": (12, 8)}
"""Width and height of panels by type, in the units of Grafana's grid."""


@dataclass(frozen=True, slots=True)
class Query:
    """
    An expression and what its curves are called.

    Attributes:
        expression: The PromQL.
        legend: The name, in which `{{label}}` stands for a label's value.
    """

    expression: str
    legend: str


def line(color: str, at: float | None) -> dict[str, object]:
    """Return a threshold: *color* counts from *at* upwards; `None` stands for the lowest value."""
    return {"color": color, "value": at}


def time_series(
    title: str,
    unit: str,
    *queries: Query,
    lines: Sequence[dict[str, object]] = (),
    stacked: bool = False,
) -> Panel:
    """Return curves over time, with dashed lines at the thresholds."""
    custom: dict[str, object] = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if stacked else 5,
        "showPoints": "auto",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if lines else "off"},
    }
    options: dict[str, object] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, unit, queries, lines, options, custom)


def state_timeline(title: str, query: Query) -> Panel:
    """Return one row for each state, coloured where there are any streams in it."""
    options: dict[str, object] = {
        "showValue": "auto",
        "rowHeight": 0.9,
        "mergeValues": True,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    lines = [line("transparent", None), line("blue", 1)]
    return _panel(
        "state-timeline", title, "short", [query], lines, options, {"fillOpacity": 70, "lineWidth": 0}
    )


def stat(title: str, unit: str, query: Query, slo: Slo) -> Panel:
    """Return a number that is green where it meets its objective."""
    # A threshold belongs to the colour above it; objectives that include their target begin there.
    good_above = slo.relation == ">="
    limit = slo.target if slo.relation != "<=" else slo.target + 1e-9
    lines = [line("red" if good_above else "green", None), line("green" if good_above else "red", limit)]
    options: dict[str, object] = {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    panel = _panel("stat", title, unit, [query], lines, options, {})
    return {**panel, "description": f"Promised: {slo.condition}"}


def _panel(  # noqa: PLR0917 - the parts that differ
    kind: str,
    title: str,
    unit: str,
    queries: Sequence[Query],
    lines: Sequence[dict[str, object]],
    options: dict[str, object],
    custom: dict[str, object],
) -> Panel:
    steps = list(lines) or [line("green", None)]
    defaults = {"unit": unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "type": kind,
        "title": title,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": True,
            }
            for number, query in enumerate(queries)
        ],
    }


def grid(panels: Sequence[Panel]) -> list[Panel]:
    """Number *panels* and give them their places, from left to right and from top to bottom."""
    placed: list[Panel] = []
    numbers = count(1)
    x = y = row = 0
    for panel in panels:
        width, height = _SIZES[str(panel["type"])]
        if x + width > _COLUMNS or (x and height != row):
            x, y = 0, y + row
        placed.append({"id": next(numbers), "gridPos": {"x": x, "y": y, "w": width, "h": height}, **panel})
        x, row = x + width, height
    return placed
