"""Reading PromQL: which metrics an expression names."""

import re

from resilient_sse.metrics.catalogue import METRICS, Kind
from resilient_sse.monitoring import SLOS
from resilient_sse.monitoring.prometheus_rules import WINDOWS, recorded

NAME = re.compile(r"\b(?:job:)?sse_[a-z0-9_:]+")

SERIES = {
    name
    for metric in METRICS
    for name in (
        (f"{metric.name}_bucket", f"{metric.name}_sum", f"{metric.name}_count")
        if metric.kind is Kind.HISTOGRAM
        else (metric.name,)
    )
}
"""What Prometheus stores."""

RECORDED = {recorded(slo, suffix) for slo in SLOS for suffix, _, _ in WINDOWS}
"""What our recording rules add to it."""


def names(expression):
    """Return all names of ours in an expression."""
    return set(NAME.findall(expression))
