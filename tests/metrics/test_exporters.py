"""What holds for every exporter: the figures of the streams, labels, sharing, and what is missing or refused."""

import gc
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
from datadog.dogstatsd.base import DogStatsd
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as NativeCounter

from resilient_sse import CircuitBreaker
from resilient_sse.metrics.catalogue import METRICS
from resilient_sse.metrics.datadog import DatadogMetrics
from resilient_sse.metrics.opentelemetry import OpenTelemetryMetrics, instrument_name
from resilient_sse.metrics.prometheus import PrometheusMetrics
from resilient_sse.testing import Script, pause
from tests.client.support import drain, make, numbered, take
from tests.metrics.test_opentelemetry import Collector
from tests.metrics.torment import SUMS, given_up, settle, sums, tormented


class Prometheus:
    """A registry."""

    def __init__(self):
        self.registry = CollectorRegistry()

    def make(self, **options):
        return PrometheusMetrics(self.registry, **options)

    def value(self, name, **labels):
        values = [self.registry.get_sample_value(name + end, labels) for end in ("", "_count", "_sum")]
        return values[0] if values[1] is None else tuple(values[1:])


class OpenTelemetry(Collector):
    """A meter provider and its reader."""

    def value(self, name, **labels):
        (metric,) = [metric for metric in METRICS if metric.name == name]
        return super().value(instrument_name(metric), **labels)


class Datadog(DogStatsd):
    """A client that adds up what it is given."""

    def __init__(self):
        super().__init__("127.0.0.1", 9, disable_telemetry=True)
        self.counts, self.gauges, self.durations = Counter(), {}, defaultdict(list)
        self.made = None

    def make(self, **options):
        self.made = DatadogMetrics(self, interval=3600, **options)
        return self.made

    def count(self, name, value, tags=None):
        self.counts[name, *sorted(tags or ())] += value

    def gauge(self, name, value, tags=None):
        self.gauges[name, *sorted(tags or ())] = value

    def distribution(self, name, value, tags=None):
        self.durations[name, *sorted(tags or ())].append(value)

    def value(self, name, **labels):
        self.made.flush()
        key = (name, *sorted(f"{label}:{value}" for label, value in labels.items()))
        if key in self.durations:
            return len(self.durations[key]), sum(self.durations[key])
        return self.gauges.get(key, None if name == "sse_stream_completion_rate" else self.counts[key])


@pytest.fixture(params=[Prometheus, OpenTelemetry, Datadog])
def exporter(request):
    """Give each exporter, and what it exports to."""
    yield request.param()
    settle()


async def test_the_figures_are_those_of_the_streams(script, exporter):
    """After every fault at least once (P28, R93, R101, R104, R106, R109 to R112)."""
    metrics = exporter.make()
    ended = await tormented(script, metrics)
    failed = await given_up(metrics)
    assert {name: exporter.value(name) for name in SUMS} == sums(ended.stats, failed.stats)
    assert exporter.value("sse_streams_started_total") == 2
    assert exporter.value("sse_stream_completion_rate") == ended.stats.completion
    assert exporter.value("sse_client_reconnects_total", reason="stall") == 3
    assert exporter.value("sse_user_visible_errors_total", category="max_retries_exceeded") == 1
    assert exporter.value("sse_client_gaps_total", kind="hole") == 1


async def test_a_recovery_from_a_stall(script, exporter):
    """
    t2 is 30 s after t1, the reconnect 1 s later, its event 0.5 s after that; a reset is no stall.

    R98, R101, R106, R108, R127, X8: recovery is t4 - t2, silence t4 - t1, reopening t3 - t2.
    """
    metrics = exporter.make()
    script.respond(pause(2), *numbered(1)).hang()
    script.respond(pause(0.5), *numbered(2)).hang()
    async with make(script, observers=[metrics]) as stream:
        await take(stream, 2)
        assert exporter.value("sse_client_streams", state="connected") == 1
    assert exporter.value("sse_client_streams", state="connected") == 0
    assert exporter.value("sse_client_stall_recovery_seconds") == (1, pytest.approx(1.5))
    assert exporter.value("sse_client_silence_seconds") == (1, pytest.approx(31.5))
    assert exporter.value("sse_client_reopening_seconds") == (1, pytest.approx(1))
    assert exporter.value("sse_client_time_to_first_event_seconds") == (1, pytest.approx(2))
    assert exporter.value("sse_client_connection_lifetime_seconds") == (2, pytest.approx(32.5))
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    async with make(script, observers=[metrics]) as stream:
        await take(stream, 2)
    assert exporter.value("sse_client_silence_seconds")[0] == 2
    assert exporter.value("sse_client_stall_recovery_seconds")[0] == 1


async def test_streams_that_a_circuit_breaker_holds_back(script, exporter):
    """They are told of as long as it is open (R196)."""
    metrics, breaker = exporter.make(), CircuitBreaker(failures=2, reset_after=60.0)
    script.refuse(times=2)
    script.respond(*numbered(1)).hang()
    async with make(script, observers=[metrics], breaker=breaker, max_retries=None) as stream:
        shown = []
        stream.on_state_change(lambda _: shown.append(exporter.value("sse_client_streams_held_back")))
        await take(stream, 1)
        assert exporter.value("sse_client_streams_held_back") == 0
    assert max(shown) == 1


async def test_the_completion_rate_is_absent_while_it_is_unknown(script, exporter):
    """Ids that count up tell nothing without `sequence`: no number is better than a guess (R126, X12)."""
    metrics = exporter.make()
    script.respond(*numbered(1, 2))
    await drain(make(script, observers=[metrics], on_eof="complete"))
    assert exporter.value("sse_stream_completion_rate") is None
    assert exporter.value("sse_total_events_received") == 2


async def test_streams_have_labels(exporter):
    """Each combination is a series of its own; what is not declared is `other` (R97)."""
    metrics = exporter.make(labels={"network": ["4g", "wifi"], "device": ["phone"]})
    for chosen in ({"network": "4g", "device": "phone"}, {"network": "4g"}, {"network": "5g"}):
        script = Script()
        script.respond(*numbered(1))
        await drain(make(script, observers=[metrics.labelled(**chosen)], on_eof="complete"))
    await given_up(metrics)
    other = {"network": "other", "device": "other"}
    started = "sse_streams_started_total"
    assert exporter.value(started, network="4g", device="phone") == 1
    assert exporter.value(started, network="4g", device="other") == 1
    assert exporter.value(started, **other) == 2
    assert exporter.value("sse_user_visible_errors_total", category="max_retries_exceeded", **other) == 1
    assert exporter.value("sse_client_time_to_first_event_seconds", network="4g", device="phone") == (1, 0)


def test_labels_are_checked_at_once(exporter):
    """A mistake is told where it is made, not at the first stream (R97)."""
    with pytest.raises(ValueError, match="at most 3"):
        exporter.make(labels={name: ["x"] for name in "abcd"})
    with pytest.raises(ValueError, match="'network' was not declared"):
        exporter.make().labelled(network="4g")
    if not isinstance(exporter, Datadog):  # whose client takes any tags
        with pytest.raises(ValueError, match=r"make one \w+Metrics and share it"):
            exporter.make(labels={"network": ["4g"]})


async def test_made_anew_for_each_stream(exporter, caplog):
    """The one line may stand wherever streams are made: figures are shared, and one stream is counted once."""
    for _ in range(3):
        script = Script()
        script.respond(*numbered(1, 2))
        stream = make(script, observers=[exporter.make(), exporter.make()], on_eof="complete")
        await drain(stream)
        assert stream.stats.callback_errors == 0
    gc.collect()
    assert exporter.value("sse_streams_started_total") == 3
    assert exporter.value("sse_client_events_delivered_total") == 6
    assert exporter.value("sse_client_time_to_first_event_seconds") == (3, 0)
    assert caplog.records == []


MISSING = """
import sys
for package, module in (("prometheus_client", "prometheus"), ("opentelemetry", "opentelemetry"), ("datadog",) * 2):
    sys.modules[package] = None
    try:
        __import__(f"resilient_sse.metrics.{module}")
    except ModuleNotFoundError as error:
        print(error)
"""


def test_missing_packages_are_named():
    """The text says what to install."""
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    texts = done.stdout.splitlines()
    assert [text.rpartition(": ")[2] for text in texts] == [
        f"pip install 'resilient-sse[{extra}]'" for extra in ("prometheus", "otel", "datadog")
    ]


def taken():
    """Make an exporter for a registry in which another program has one of the names."""
    registry = CollectorRegistry()
    NativeCounter("sse_streams_started", "Mine.", registry=registry)
    return PrometheusMetrics(registry)


class Refuses(MeterProvider, NoOpTracerProvider):
    """A provider that has neither a meter nor a tracer for us."""

    def get_meter(self, *args, **kwargs):
        raise OSError("no meter")

    def get_tracer(self, *args, **kwargs):
        raise OSError("no tracer")


@pytest.mark.parametrize(
    "refused,text",
    [
        (taken, "Duplicated timeseries"),
        (lambda: OpenTelemetryMetrics(Refuses(), NoOpTracerProvider()), "no meter"),
        (lambda: OpenTelemetryMetrics(NoOpMeterProvider(), Refuses()), "no tracer"),
    ],
)
def test_an_exporter_that_is_refused(refused, text):
    """It is told where it is made, before there is a stream that would have no figures (bad input)."""
    with pytest.raises((ValueError, OSError), match=text):
        refused()
