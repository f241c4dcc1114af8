"""Over a socket, in the protocol that collectors speak: what a real receiver of OTLP is sent."""

import time
from collections import defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import anyio
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from resilient_sse import Backoff
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.opentelemetry import EXPORTED, OpenTelemetryMetrics, instrument_name
from resilient_sse.testing import Script, pause
from tests.client.support import make, numbered

KINDS = {
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
}

pytestmark = pytest.mark.e2e


class Handler(BaseHTTPRequestHandler):
    """Keeps what is posted, decoded."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind, answer = KINDS[self.path]
        assert self.headers["Content-Type"] == "application/x-protobuf"
        self.server.got[self.path].append(kind.FromString(body))
        reply = answer().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def receiving():
    """Run a receiver; give its address, and what it got by path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as receiver:
        receiver.daemon_threads = True
        receiver.got = defaultdict(list)
        thread = Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{receiver.server_port}", receiver.got
        finally:
            receiver.shutdown()
            thread.join()


def metrics_in(requests):
    """Return the last of each metric, by its name."""
    scopes = [scope for one in requests for each in one.resource_metrics for scope in each.scope_metrics]
    assert {scope.scope.name for scope in scopes} == {"resilient_sse"}
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def attributes(span):
    """Return the attributes of a span as a mapping."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def test_a_real_receiver():
    """Metrics and spans of a stream that goes on while they are sent, and of its end (P29)."""
    with receiving() as (url, got):
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(url + "/v1/metrics"), export_interval_millis=100
        )
        meters = MeterProvider([reader], shutdown_on_exit=False)
        tracers = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(url + "/v1/traces")
        tracers.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
        metrics = OpenTelemetryMetrics(meters, tracers, labels={"network": ["4g"]})
        script = Script()
        script.respond(*numbered(1, 2)).drop()
        script.reject(503)
        script.respond(*numbered(2, 3), pause(0.5), *numbered(4)).hang()
        began = time.time_ns()
        async with make(
            script,
            "https://host/stream?key=1",
            observers=[metrics.labelled(network="4g")],
            backoff=Backoff(initial=0.05, jitter=0),
        ) as stream:
            async for event in stream:
                if event.id == "4":
                    break
            sent_before = len(got["/v1/metrics"])
            await anyio.to_thread.run_sync(meters.force_flush)
            live = metrics_in(got["/v1/metrics"])["sse.client.streams"].sum.data_points
        await anyio.to_thread.run_sync(meters.shutdown)
        await anyio.to_thread.run_sync(tracers.shutdown)
        took = time.time_ns() - began
    found = metrics_in(got["/v1/metrics"])
    scopes = [scope for one in got["/v1/traces"] for each in one.resource_spans for scope in each.scope_spans]
    spans = [span for scope in scopes for span in scope.spans]
    assert sent_before > 1, "figures are sent while the stream lives"
    assert sum(point.as_int for point in live) == 1
    # The one is unknown without `sequence`; of the other there was none.
    left_out = {catalogue.STREAM_COMPLETION_RATE, catalogue.STALL_RECOVERY}
    assert set(found) == {instrument_name(metric) for metric in EXPORTED if metric not in left_out}
    assert found["sse.client.events_delivered"].sum.data_points[0].as_int == 4
    assert found["sse.client.events_delivered"].sum.is_monotonic
    assert found["sse.client.duplicate_events"].sum.data_points[0].as_int == 1
    assert found["sse.client.received"].unit == "By"
    recovery = found["sse.client.recovery"]
    assert (recovery.unit, recovery.histogram.data_points[0].count) == ("s", 1)
    assert tuple(recovery.histogram.data_points[0].explicit_bounds) == catalogue.RECOVERY.buckets
    assert recovery.histogram.data_points[0].attributes[0].value.string_value == "4g"
    assert [attributes(span)["sse.client.outcome"] for span in spans] == ["accepted", "failed", "accepted"]
    assert [attributes(span).get("error.type") for span in spans] == [None, "503", None]
    assert attributes(spans[2])["sse.client.resume"] is True
    assert attributes(spans[2])["url.full"] == "https://host/stream"
    assert {span.kind for span in spans} == {Span.SPAN_KIND_CLIENT}
    assert spans[1].status.code == Status.STATUS_CODE_ERROR
    for span in spans:
        assert began <= span.start_time_unix_nano <= span.end_time_unix_nano <= began + took
    assert spans[1].start_time_unix_nano - spans[0].end_time_unix_nano > 0.04e9, "the delay is in no span"
