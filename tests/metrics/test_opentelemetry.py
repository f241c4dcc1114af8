"""What OpenTelemetry is given as metrics: names, units, values; and that no provider harms a stream."""

import gc
import re
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    NumberDataPoint,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.trace import NoOpTracerProvider

from resilient_sse import StreamStats
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import CONTRACT, METRICS, Kind
from resilient_sse.metrics.opentelemetry import EXPORTED, OpenTelemetryMetrics, instrument_name
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
