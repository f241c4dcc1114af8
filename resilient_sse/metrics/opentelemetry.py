"""
Figures and spans for OpenTelemetry: `ResilientStream(url, observers=[OpenTelemetryMetrics()])`.

It needs the extra `otel`: `pip install 'resilient-sse[otel]'`.  That is OpenTelemetry's API; what the program does
with the figures is up to the SDK that it sets up.

Theory of operation.  Counters and gauges are observable: OpenTelemetry asks for them when it collects, one
instrument after the other, and all are answered from one reading of the figures, so that they agree.  Durations
are recorded as they come.  A span covers an attempt to connect up to the accepted response or its failure, and no
longer: a stream may last for days.  The change of state that ends an attempt says when it began and how long it
took, so spans are made then, with their times given.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from types import NoneType
from typing import Final, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from resilient_sse._client.log import DEFAULT_PORTS
from resilient_sse._core.checks import check
from resilient_sse._core.events import Opened, ServerSentEvent
from resilient_sse._core.ports import Fact, Observer
from resilient_sse._core.states import Reason, StateChange, StreamState
from resilient_sse._core.stats import StreamStats
from resilient_sse.metrics.catalogue import METRICS, RECONNECT_TIME_MS, Kind, Metric
from resilient_sse.metrics.figures import Exporter, Figures, Values, ignore, lost_by
from resilient_sse.metrics.labels import Labels, LabelValues

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider
    from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, TracerProvider, get_tracer_provider
except ModuleNotFoundError as _exc:
    _text = f"metrics for OpenTelemetry need {_exc.name}: pip install 'resilient-sse[otel]'"
    raise ModuleNotFoundError(_text, name=_exc.name) from None

__all__ = ["OpenTelemetryMetrics", "instrument_name"]

_SCOPE: Final = "resilient_sse"

EXPORTED: Final = tuple(metric for metric in METRICS if metric is not RECONNECT_TIME_MS)
"""Everything but one: OpenTelemetry counts in base units, and `sse.client.recovery` has the same in seconds."""


class OpenTelemetryMetrics(Exporter["_Instruments"]):
    """
    An instrument for `observers=`: gives the figures of its streams to OpenTelemetry, and a span for each attempt.

    One object serves any number of streams, in any threads and event loops.  Several objects with one meter
    provider share their figures, so it may as well be made anew for each stream.

    Args:
        meter_provider: Takes the figures; by default the global one, which may be set later.
        tracer_provider: Takes the spans; likewise.
        labels: At most three labels of your own with the values they may take, such as
            `{"network": ["4g", "wifi"]}`.  They are set by `labelled`; what is not declared is `other`.

    Raises:
        TypeError: A provider is none, or *labels* is not a mapping of strings to collections of strings.
        ValueError: There are too many labels or values, one of them is not allowed, or the provider has these
            metrics with other labels.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        *,
        labels: LabelValues | None = None,
    ) -> None:
        wanted = "a provider with {}(), or None for the global one"
        check("meter_provider", meter_provider, (MeterProvider, NoneType), wanted.format("get_meter"))
        check("tracer_provider", tracer_provider, (TracerProvider, NoneType), wanted.format("get_tracer"))
        key = _GLOBAL if meter_provider is None or meter_provider is get_meter_provider() else meter_provider
        super().__init__(labels, _providers, lambda _: key, lambda made: _Instruments(meter_provider, made))
        tracers = get_tracer_provider() if tracer_provider is None else tracer_provider
        self._tracer = tracers.get_tracer(_SCOPE, version("resilient-sse"))

    def attach(self, stats: StreamStats, url: str, /) -> Observer:
        """Return the observer of a new stream; labels that were not set are `other`."""
        figures = super().attach(stats, url)
        if figures is ignore:  # the stream has such an observer already
            return ignore
        attributes: _Attributes = dict(zip(self._labels.names, self._values, strict=True))
        address = urlsplit(url)
        attributes |= {"url.full": url, "server.address": address.hostname or ""}
        attributes["server.port"] = address.port or DEFAULT_PORTS[address.scheme]
        return _StreamObserver(figures, stats, self._tracer, attributes)


class _Global:
    """Stands for the global provider, whichever that is, or will be: it takes what was made before it was set."""


def instrument_name(metric: Metric) -> str:
    """
    Return the name of *metric* in OpenTelemetry.

    There a name has neither unit nor kind in it.  Exporters to Prometheus add both, which leads back to the name
    in the catalogue for all but the contract's.
    """
    stem = metric.name.removeprefix("sse_").removeprefix("client_").removesuffix("_total")
    return "sse.client." + stem.removesuffix({"s": "_seconds", "By": "_bytes"}.get(metric.unit, ""))


class _Instruments(Figures):
    """All instruments of one meter provider."""

    def __init__(self, provider: MeterProvider | None, labels: Labels) -> None:
        super().__init__(labels)
        self._records: dict[Metric, Callable[[float, dict[str, str]], None]] = {}
        # Collections may run in several threads at once: each has a reading of its own.
        self._reading = threading.local()
        provider = get_meter_provider() if provider is None else provider
        meter = provider.get_meter(_SCOPE, version("resilient-sse"))
        for metric in EXPORTED:
            name, callbacks = instrument_name(metric), [self._callback(metric)]
            if metric.kind is Kind.HISTOGRAM:
                histogram = meter.create_histogram(
                    name,
                    unit=metric.unit,
                    description=metric.help,
                    explicit_bucket_boundaries_advisory=metric.buckets,
                )
                self._records[metric] = histogram.record
            elif metric.kind is Kind.COUNTER:
                meter.create_observable_counter(name, callbacks, metric.unit, metric.help)
            elif metric.unit == "%":
                meter.create_observable_gauge(name, callbacks, metric.unit, metric.help)
            else:  # what adds up over processes
                meter.create_observable_up_down_counter(name, callbacks, metric.unit, metric.help)

    def _callback(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        reading = self._reading

        def observe(_options: CallbackOptions) -> list[Observation]:
            if metric in getattr(reading, "told", (metric,)):  # asked again: this is a new collection
                reading.told, reading.sums = set[object](), self.sums()
            reading.told.add(metric)
            return [
                Observation(value, self._attributes(labels) | dict(zip(metric.labels, own, strict=True)))
                for labels, known in reading.sums.items()
                for (of, own), value in known.items()
                if of is metric
            ]

        return observe

    def observe(self, metric: Metric, labels: Values, value: float) -> None:
        """Record a duration."""
        if metric in self._records:
            self._records[metric](value, self._attributes(labels))

    def _attributes(self, labels: Values) -> dict[str, str]:
        return dict(zip(self.labels.names, labels, strict=True))


_GLOBAL: Final = _Global()
_providers: WeakKeyDictionary[MeterProvider | _Global, _Instruments] = WeakKeyDictionary()

_Attributes: TypeAlias = "dict[str, str | int | bool]"


class _StreamObserver:
    """Records the figures of one stream, and makes its spans, which tell *attributes* and more."""

    def __init__(
        self, figures: Observer, stats: StreamStats, tracer: Tracer, attributes: _Attributes
    ) -> None:
        self._figures = figures
        self._stats = stats
        self._tracer = tracer
        self._attributes = attributes
        self._last_event_id = ""  # in force after the last event, "" for none; never told to anyone
        self._number = 0
        self._reason: Reason | None = None
        # The span of a connection, its end and number: whether it resumed is told later.
        self._accepted: tuple[Span, int, int] | None = None

    def __call__(self, fact: Fact, /) -> None:
        """Record *fact*; spans do not depend on the figures, nor the other way round."""
        if isinstance(fact, ServerSentEvent):
            self._last_event_id = fact.last_event_id
            self._figures(fact)
            return
        try:
            self._figures(fact)
        finally:
            if isinstance(fact, StateChange):
                self._changed(fact)
            elif isinstance(fact, Opened) and self._accepted is not None:
                span, _, connection = self._accepted
                if connection == fact.connection:
                    span.set_attribute("sse.client.resume", fact.last_event_id is not None)
                    self._end_accepted()

    def _changed(self, change: StateChange) -> None:
        if change.attempted_at is not None:
            self._attempted(change, change.attempted_at)
        elif not change.is_up:
            self._end_accepted()  # without `resume`: the notice of the opening was discarded, or is held back
        if change.new in (StreamState.RECONNECTING, StreamState.ERROR):
            self._number = change.attempt if change.new is StreamState.RECONNECTING else 0
            self._reason = change.reason

    def _end_accepted(self) -> None:
        if self._accepted is not None:
            span, end, _ = self._accepted
            span.end(end)
            self._accepted = None

    def _attempted(self, change: StateChange, begun: float) -> None:
        """Record the end of an attempt."""
        attributes = {**self._attributes, "sse.client.attempt": self._number}
        if self._reason is not None:
            attributes["sse.client.reason"] = self._reason.value
        if change.status is not None:
            attributes["http.response.status_code"] = int(change.status)
        # Facts are timed by the clock of the event loop, spans by the calendar.  Observers are told at once,
        # before any callback is awaited: it is `change.at` now.
        begin = time.time_ns() - _nanoseconds(change.at - begun)
        end = begin + _nanoseconds(change.attempted_for or 0.0)
        if self._last_event_id and not change.is_up:
            attributes["sse.client.resume"] = True  # without one, only the notice of an opening can tell
        if change.is_up:
            attributes["sse.client.outcome"] = "accepted"
            attributes["sse.client.connection"] = self._stats.connections
        elif change.reason is Reason.COMPLETE:
            attributes["sse.client.outcome"] = "ended"
        elif change.reason in (Reason.CLOSED, Reason.RESTART):
            attributes["sse.client.outcome"] = "cut"
        else:
            attributes["sse.client.outcome"] = "failed"
            reason = lost_by(change)
            told = reason in (Reason.STATUS, Reason.SERVER) and change.status is not None
            attributes["error.type"] = str(attributes["http.response.status_code"]) if told else reason.value
        span = self._tracer.start_span(
            "SSE connect", kind=SpanKind.CLIENT, attributes=attributes, start_time=begin
        )
        if "error.type" in attributes:
            span.set_status(StatusCode.ERROR)
        if change.is_up:
            self._accepted = span, end, self._stats.connections
        else:
            span.end(end)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
