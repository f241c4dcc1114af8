"""What OpenTelemetry is given as metrics: names, units, values; and that no provider harms a stream."""

import gc
import re
import subprocess
import sys
import time
import weakref
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
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
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    NumberDataPoint,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracerProvider

from resilient_sse import Backoff, StreamStats
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import CONTRACT, METRICS, Kind
from resilient_sse.metrics.opentelemetry import EXPORTED, OpenTelemetryMetrics, instrument_name
from resilient_sse.testing import Script, pause
from tests.client.support import URL, make, numbered
from tests.metrics.torment import given_up, tormented

ROOT = Path(__file__).parents[2]
SPANLESS = NoOpTracerProvider()


class Collector:
    """A meter provider with a reader, and the instrument that feeds it."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def make(self, **options):
        return OpenTelemetryMetrics(self.provider, SPANLESS, **options)

    def value(self, name, **attributes):
        metric = by_name(self.reader.get_metrics_data()).get(name)
        for point in metric.data.data_points if metric else ():
            if dict(point.attributes) == attributes:
                return point.value if isinstance(point, NumberDataPoint) else (point.count, point.sum)
        return None


def by_name(data):
    """Return each metric of a collection by its name."""
    resources = data.resource_metrics if data else []
    scopes = [scope for resource in resources for scope in resource.scope_metrics]
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


@pytest.fixture
def collector():
    """Give a provider of its own to each test."""
    return Collector()


def in_prometheus(metric):
    """Name a metric as OpenTelemetry's exporters to Prometheus do: with its unit, and `_total` if it counts."""
    name = instrument_name(metric).replace(".", "_")
    unit = {"s": "_seconds", "By": "_bytes", "%": "_percent"}.get(metric.unit, "")
    return name + unit + ("_total" if metric.kind is Kind.COUNTER else "")


def test_names_follow_the_conventions_and_lead_back():
    """Neither unit nor kind in them; an exporter to Prometheus makes the companions' names again (R125)."""
    assert set(METRICS) - set(EXPORTED) == {catalogue.RECONNECT_TIME_MS}, "the one in seconds once more"
    names = [instrument_name(metric) for metric in EXPORTED]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"sse\.client(\.[a-z_]+)+", name)
        assert not re.search(r"_(total|seconds|bytes|ms)$", name), name
    for metric in set(EXPORTED) - set(CONTRACT):
        assert in_prometheus(metric) == metric.name


async def test_every_metric_arrives(script, collector):
    """After every fault at least once, with unit, help and bounds (P28)."""
    metrics = collector.make()
    await tormented(script, metrics)
    await given_up(metrics)
    found = by_name(collector.reader.get_metrics_data())
    assert set(found) == {instrument_name(metric) for metric in EXPORTED}
    for metric in EXPORTED:
        got = found[instrument_name(metric)]
        assert (got.unit, got.description) == (metric.unit, metric.help)
        if metric.kind is Kind.HISTOGRAM:
            assert got.data.data_points[0].explicit_bounds == metric.buckets
        elif metric is catalogue.STREAM_COMPLETION_RATE:
            assert type(got.data).__name__ == "Gauge"
        else:
            assert got.data.is_monotonic == (metric.kind is Kind.COUNTER)


def test_one_collection_is_one_reading():
    """However many instruments ask, they agree; collections in two threads do not mix."""
    callbacks = {}

    class Meter(NoOpMeter):
        def create_observable_counter(self, name, callbacks_, *args):
            callbacks[name.rpartition(".")[2]] = callbacks_[0]

    class Provider(NoOpMeterProvider):
        def get_meter(self, *args, **kwargs):
            return Meter("test")

    def ask(name):
        return callbacks[name](None)[0].value

    stats = StreamStats(started_at=0.0, delivered=1)
    observer = OpenTelemetryMetrics(Provider(), SPANLESS).attach(stats, URL)
    assert ask("events_delivered") == 1
    stats.delivered = 2
    with ThreadPoolExecutor(1) as other:
        assert other.submit(ask, "events_delivered").result() == 2
        assert ask("events_received") == 1
        assert other.submit(ask, "events_received").result() == 2
    assert ask("events_delivered") == 2
    del observer


async def test_what_a_view_drops_disturbs_nothing(script):
    """The first instrument may never ask."""
    reader = InMemoryMetricReader()
    views = [View(instrument_name="sse.client.stream*", aggregation=DropAggregation())]
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    script.respond(*numbered(1, 2)).hang()
    async with make(script, observers=[OpenTelemetryMetrics(provider, SPANLESS)]) as stream:
        for number in (1, 2):
            await anext(stream)
            found = by_name(reader.get_metrics_data())
            assert found["sse.client.events_delivered"].data.data_points[0].value == number
            assert "sse.client.streams" not in found


def test_what_is_no_provider_is_refused_at_once():
    """By the name of the argument (bad input)."""
    with pytest.raises(TypeError, match="meter_provider must be a provider with get_meter"):
        OpenTelemetryMetrics("http://127.0.0.1:4318")
    with pytest.raises(TypeError, match="meter_provider must be a provider with get_meter"):
        OpenTelemetryMetrics(NoOpMeterProvider)
    with pytest.raises(TypeError, match="tracer_provider must be a provider with get_tracer"):
        OpenTelemetryMetrics(None, "x")


def test_a_provider_is_not_kept_alive():
    """Tests and plugins make many."""
    collector = Collector()
    collector.make()
    gone = weakref.ref(collector.provider)
    collector.provider.shutdown()
    del collector
    gc.collect()
    assert gone() is None


GLOBAL = """
import anyio
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from resilient_sse.metrics.opentelemetry import OpenTelemetryMetrics
from resilient_sse.testing import Script, event, run_in_virtual_time
import resilient_sse

reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()

def follow(metrics):
    async def main():
        script = Script()
        script.respond(event("x", id="1"))
        stream = resilient_sse.ResilientStream(
            "https://host/", client=script.client(), observers=[metrics], on_eof="complete")
        async for _ in stream: pass
        assert stream.stats.callback_errors == 0
    run_in_virtual_time(main)

early = OpenTelemetryMetrics()
follow(early)
provider = MeterProvider([reader])
metrics.set_meter_provider(provider)
spans = TracerProvider()
spans.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(spans)
for each in (early, OpenTelemetryMetrics(), OpenTelemetryMetrics(provider)):
    follow(each)
(resource,) = reader.get_metrics_data().resource_metrics
found = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
print([point.value for point in found["sse.client.events_delivered"].data.data_points])
spans.force_flush()
print(len(exporter.get_finished_spans()))
"""


@pytest.mark.e2e
def test_the_global_providers_are_the_default():
    """`OpenTelemetryMetrics()` is all there is to write, even before they are set; the process ends by itself."""
    run = [sys.executable, "-W", "error", "-c", GLOBAL]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert (done.stdout.split(), done.stderr) == (["[4]", "3"], "")


# --- Over a socket, in the protocol that collectors speak


KINDS = {
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
}


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


@pytest.mark.e2e
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
