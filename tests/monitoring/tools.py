"""The programs of Prometheus, and which metrics an expression names."""

import re
import shutil

from resilient_sse.metrics.catalogue import METRICS, Kind
from resilient_sse.monitoring import SLOS
from resilient_sse.monitoring.prometheus_rules import WINDOWS, recorded
from tests.skipping import skip_aloud

NAME = re.compile(r"\b(?:job:)?sse_[a-z0-9_:]+")

SERIES = {
    metric.name + end
    for metric in METRICS
    for end in (("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",))
}
"""What Prometheus stores."""

RECORDED = {recorded(slo, suffix) for slo in SLOS for suffix, _, _ in WINDOWS}
"""What our recording rules add to it."""


def names(expression):
    """Return all names of ours in an expression."""
    return set(NAME.findall(expression))


def need(name):
    """Return the path of a program; where it is missing skip aloud, or fail in CI."""
    return shutil.which(name) or skip_aloud(
        f"{name} is not installed: the Debian package `prometheus` has it"
    )
