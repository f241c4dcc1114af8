"""What OpenTelemetry is given as metrics: names, units, values; and that no provider harms a stream."""

import gc
import logging
import re
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.trace import NoOpTracerProvider

from resilient_sse import StreamStats
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import BY_NAME, CONTRACT, METRICS, Kind
from resilient_sse.metrics.opentelemetry import EXPORTED, OpenTelemetryMetrics, instrument_name
from resilient_sse.testing import Script, pause
from tests.client.support import URL, drain, make, numbered, take
from tests.metrics.torment import SUMS, crowded, given_up, sums, tormented

ROOT = Path(__file__).parents[2]
SPANLESS = NoOpTracerProvider()


class Collector:
    """A meter provider with a reader, and the instrument that feeds it."""

    def __init__(self, **options):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.metrics = OpenTelemetryMetrics(self.provider, SPANLESS, **options)

    def collected(self):
        """Collect; return each metric by its name."""
        return by_name(self.reader.get_metrics_data())

    def value(self, name, **attributes):
        """Collect; return one value."""
        for point in self.collected()[name].data.data_points:
            if dict(point.attributes) == attributes:
                return point.value if isinstance(point, NumberDataPoint) else (point.count, point.sum)
        return None


def by_name(data):
    """Return each metric of a collection by its name."""
    if data is None:
        return {}
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


@pytest.fixture
def collector():
    """Give a provider of its own to each test."""
    return Collector()


# --- Names


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


async def test_a_tormented_run(script, collector):
    """
    After every fault at least once each metric arrives, with unit, help, bounds, and the streams' figures.

    P28, R93, R101, R104, R106, R109 to R112.
    """
    ended = await tormented(script, collector.metrics)
    failed = await given_up(collector.metrics)
    found = collector.collected()
    assert set(found) == {instrument_name(metric) for metric in EXPORTED}
    for metric in EXPORTED:
        got = found[instrument_name(metric)]
        assert (got.unit, got.description) == (metric.unit, metric.help)
        kind = type(got.data).__name__
        if metric.kind is Kind.HISTOGRAM:
            assert kind == "Histogram"
            assert got.data.data_points[0].explicit_bounds == metric.buckets
        elif metric is catalogue.STREAM_COMPLETION_RATE:
            assert kind == "Gauge"
        else:
            assert kind == "Sum"
            assert got.data.is_monotonic == (metric.kind is Kind.COUNTER)
    told = {name: collector.value(instrument_name(BY_NAME[name])) for name in SUMS}
    assert told == sums(ended.stats, failed.stats)
    assert collector.value("sse.client.streams_started") == 2
    assert collector.value("sse.client.stream_completion_rate") == ended.stats.completion
    assert collector.value("sse.client.reconnects", reason="stall") == 3
    assert collector.value("sse.client.user_visible_errors", category="max_retries_exceeded") == 1
    assert collector.value("sse.client.gaps", kind="hole") == 1


async def test_a_recovery_from_a_stall(script, collector):
    """Recovery is t4 - t2, silence t4 - t1, in seconds (R98, R101, X8)."""
    script.respond(pause(2), *numbered(1)).hang()
    script.respond(pause(0.5), *numbered(2)).hang()
    async with make(script, observers=[collector.metrics]) as stream:
        await take(stream, 2)
        assert collector.value("sse.client.streams", state="connected") == 1
    assert collector.value("sse.client.recovery") == (1, pytest.approx(1.5))
    assert collector.value("sse.client.stall_recovery") == (1, pytest.approx(1.5))
    assert collector.value("sse.client.silence") == (1, pytest.approx(31.5))
    assert collector.value("sse.client.time_to_first_event") == (1, pytest.approx(2))
    assert collector.value("sse.client.streams", state="connected") == 0


async def test_an_unknown_completion_is_not_told(script, collector):
    """No number is better than a guess (X12)."""
    script.respond(*numbered(1, 2))
    await drain(make(script, observers=[collector.metrics], on_eof="complete"))
    assert "sse.client.stream_completion_rate" not in collector.collected()
    assert collector.value("sse.client.total_events_received") == 2


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


def test_many_threads_and_both_kinds_of_event_loops(collector):
    """Streams of several loops at once, asyncio's and trio's, while it is collected: nothing is lost."""
    seen = []

    def collect(over):
        while not over.is_set():
            found = collector.collected()
            names = (
                "events_received",
                "events_delivered",
                "events_filtered",
                "duplicate_events",
                "heartbeats",
            )
            parts = [found[f"sse.client.{name}"].data.data_points[0].value for name in names]
            seen.append(parts)

    streams = crowded(collector.metrics, collect)
    assert collector.value("sse.client.streams_started") == streams
    assert collector.value("sse.client.events_delivered") == streams * 21
    assert collector.value("sse.client.recovery")[0] == streams
    assert len(seen) > 3
    for received, *parts in seen:
        assert received == sum(parts)


# --- Labels


async def test_streams_have_labels():
    """The program's labels are attributes; what is not declared is `other` (R97)."""
    collector = Collector(labels={"network": ["4g", "wifi"], "device": ["phone"]})
    for chosen in ({"network": "4g", "device": "phone"}, {"network": "5g"}):
        script = Script()
        script.respond(*numbered(1))
        observers = [collector.metrics.labelled(**chosen)]
        await drain(make(script, observers=observers, on_eof="complete"))
    await given_up(collector.metrics)
    assert collector.value("sse.client.streams_started", network="4g", device="phone") == 1
    assert collector.value("sse.client.streams_started", network="other", device="other") == 2
    first_event = collector.value("sse.client.time_to_first_event", network="4g", device="phone")
    assert first_event == (1, 0)
    category = {"category": "max_retries_exceeded", "network": "other", "device": "other"}
    assert collector.value("sse.client.user_visible_errors", **category) == 1


def test_labels_are_checked_at_once(collector):
    """A mistake is told where it is made (R97)."""
    with pytest.raises(ValueError, match="at most 3"):
        OpenTelemetryMetrics(NoOpMeterProvider(), labels={name: ["x"] for name in "abcd"})
    with pytest.raises(ValueError, match="'network' was not declared"):
        collector.metrics.labelled(network="4g")
    with pytest.raises(ValueError, match="make one OpenTelemetryMetrics and share it"):
        OpenTelemetryMetrics(collector.provider, labels={"network": ["4g"]})


def test_what_is_no_provider_is_refused_at_once():
    """By the name of the argument (bad input)."""
    with pytest.raises(TypeError, match="meter_provider must be a provider with get_meter"):
        OpenTelemetryMetrics("http://127.0.0.1:4318")
    with pytest.raises(TypeError, match="meter_provider must be a provider with get_meter"):
        OpenTelemetryMetrics(NoOpMeterProvider)
    with pytest.raises(TypeError, match="tracer_provider must be a provider with get_tracer"):
        OpenTelemetryMetrics(None, "x")


# --- One provider


async def test_made_anew_for_each_stream(collector, caplog):
    """Objects of one provider share their figures, register nothing twice, and count one stream once."""
    for _ in range(3):
        script = Script()
        script.respond(*numbered(1, 2))
        observers = [OpenTelemetryMetrics(collector.provider, SPANLESS), collector.metrics]
        await drain(make(script, observers=observers, on_eof="complete"))
    gc.collect()
    assert collector.value("sse.client.events_delivered") == 6
    assert caplog.records == []


def test_a_provider_is_not_kept_alive():
    """Tests and plugins make many."""
    collector = Collector()
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


def test_a_missing_package_is_named():
    """The text says what to install."""
    code = "import sys; sys.modules['opentelemetry'] = None; import resilient_sse.metrics.opentelemetry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'resilient-sse[otel]'" in done.stderr


# --- Faults


class RefusesMeters(MeterProvider):
    """A provider that has no meter for us."""

    def get_meter(self, *args, **kwargs):
        """Refuse."""
        raise OSError("no meter")


class RefusesInstruments(MeterProvider):
    """A provider whose meter is full."""

    def get_meter(self, *args, **kwargs):
        """Give a meter that makes two instruments and no more."""
        meter = super().get_meter(*args, **kwargs)
        make_counter, made = meter.create_observable_counter, []

        def create(*args, **kwargs):
            made.append(args)
            if len(made) > 2:
                raise MemoryError("full")
            return make_counter(*args, **kwargs)

        meter.create_observable_counter = create
        return meter


class RefusesTracers(NoOpTracerProvider):
    """A provider that has no tracer for us."""

    def get_tracer(self, *args, **kwargs):
        """Refuse."""
        raise OSError("no tracer")


@pytest.mark.parametrize(
    "meters, tracers",
    [
        (RefusesMeters, NoOpTracerProvider),
        (RefusesInstruments, NoOpTracerProvider),
        (NoOpMeterProvider, RefusesTracers),
    ],
)
async def test_a_provider_that_refuses(meters, tracers, caplog):
    """The streams go on; it is counted, and logged once, however many streams there are (bad input)."""
    metrics = OpenTelemetryMetrics(meters(), tracers())
    errors = 0
    for _ in range(3):
        script = Script()
        script.respond(*numbered(1, 2)).drop()
        script.respond(*numbered(3))
        stream = make(script, observers=[metrics], until=lambda item: item.id == "3")
        assert [item.id for item in await drain(stream)] == ["1", "2", "3"]
        errors += stream.stats.callback_errors
    assert errors == 1
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 1
    assert logged[0].exc_info is not None
