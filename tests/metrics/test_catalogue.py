"""The catalogue: the names that may never change, and rules that hold for all of them."""

import re
import subprocess
import sys
from pathlib import Path

from resilient_sse import StreamState
from resilient_sse._core.session import TRANSITIONS
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import CONTRACT, METRICS, Kind
from resilient_sse.metrics.labels import OURS

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"


def test_the_contract_has_the_seven_names_of_the_report():
    """Exactly these names, kinds and units (R126, R127, R128, R129, R130, R131, R132)."""
    assert [(metric.name, metric.kind.value, metric.unit) for metric in CONTRACT] == [
        ("sse_stream_completion_rate", "gauge", "%"),
        ("sse_reconnect_time_ms", "histogram", "ms"),
        ("sse_duplicate_events_total", "counter", "{event}"),
        ("sse_total_events_received", "counter", "{event}"),
        ("sse_user_visible_errors_total", "counter", "{error}"),
        ("sse_streams_started_total", "counter", "{stream}"),
        ("sse_message_loss_total", "counter", "{event}"),
    ]


def test_the_reconnect_time_has_a_bucket_for_each_target():
    """The SLO rules need bounds at their thresholds (R99, R127), and the companion the same in seconds (X11)."""
    assert {1000, 2000, 2500, 4200, 4800, 5000} <= set(catalogue.RECONNECT_TIME_MS.buckets)
    assert [bound * 1000 for bound in catalogue.RECOVERY.buckets] == list(catalogue.RECONNECT_TIME_MS.buckets)


def test_metrics_obey_the_rules():
    """Names follow Prometheus, but for the contract; histograms have rising bounds; labels are closed (R97)."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"sse_[a-z0-9_]*[a-z]", metric.name)
        assert metric.help.endswith(".")
        assert set(metric.labels) <= OURS
        assert all(metric.labels.values())
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
    for metric in set(METRICS) - set(CONTRACT):
        assert metric.name.startswith("sse_client_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.name.endswith("_seconds") == (metric.unit == "s")
        assert ("_bytes" in metric.name) == (metric.unit == "By")


def test_labels_hold_what_can_happen():
    """Three categories (R110 to R112, R130), each reason of a loss (P28), each state but the last."""
    assert catalogue.USER_VISIBLE_ERRORS.labels == {
        "category": ("connection_lost", "server_error", "max_retries_exceeded")
    }
    lost = TRANSITIONS[StreamState.CONNECTED, StreamState.RECONNECTING]
    assert set(catalogue.RECONNECTS.labels["reason"]) == {reason.value for reason in lost}
    assert set(catalogue.STREAMS.labels["state"]) == {state.value for state in StreamState} - {"closed"}


def test_the_page_lists_every_metric():
    """The reference page has one row for each metric, with its text and its labels, and no other row."""
    rows = re.findall(
        r"^\| `(sse_\w+)` \| (\w+) \| (.*?) \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [
        (
            metric.name,
            metric.kind.value,
            f"`{metric.unit}`",
            ", ".join(f"`{label}`" for label in metric.labels) or "-",
            metric.help,
        )
        for metric in METRICS
    ]


def test_the_core_imports_no_metric_library():
    """Neither the package nor the catalogue brings an exporter's library along (P28, R185)."""
    program = (
        "import sys, resilient_sse, resilient_sse.metrics.feeding\n"
        "print([name for name in sys.modules "
        "if name.partition('.')[0] in ('prometheus_client', 'opentelemetry', 'datadog')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
