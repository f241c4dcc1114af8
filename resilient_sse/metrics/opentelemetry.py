"""
Figures and spans for OpenTelemetry: `ResilientStream(url, observers=[OpenTelemetryMetrics()])`.

It needs the extra `otel`: `pip install 'resilient-sse[otel]'`.  That is OpenTelemetry's API; what the program does
with the figures is up to the SDK that it sets up.
"""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from resilient_sse._core.events import ServerSentEvent
from resilient_sse.metrics.faults import Faulty
from resilient_sse.metrics.figures import StreamObserver
from resilient_sse.metrics.labels import Labels

try:
    from opentelemetry.metrics import get_meter_provider
    from opentelemetry.trace import NoOpTracer, get_tracer_provider
except ModuleNotFoundError as _exc:
    _text = f"metrics for OpenTelemetry need {_exc.name}: pip install 'resilient-sse[otel]'"
    raise ModuleNotFoundError(_text, name=_exc.name) from None

from resilient_sse.metrics.opentelemetry_instruments import Instruments, instrument_name
from resilient_sse.metrics.opentelemetry_spans import Attempts, address_attributes

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from resilient_sse._core.ports import Fact, Instrument, Observer
    from resilient_sse._core.stats import StreamStats
    from resilient_sse.metrics.labels import LabelValues

__all__ = ["OpenTelemetryMetrics", "instrument_name"]

_SCOPE = "resilient_sse"


class OpenTelemetryMetrics:
    """
    An instrument for `observers=`: gives the figures of its streams to OpenTelemetry, and a span for each attempt.

    One object serves any number of streams, in any threads and event loops.  Several objects with one meter
    provider share their figures, so it may as well be made anew for each stream.  If a provider fails, the first
    stream counts and logs that, and the streams go on without it.

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
        _check("meter_provider", meter_provider, "get_meter")
        _check("tracer_provider", tracer_provider, "get_tracer")
        self._labels = Labels(labels)
        self._observers = _Observers(_shared_by(meter_provider, self._labels), tracer_provider)

    def attach(self, stats: StreamStats, url: str, /) -> Observer:
        """Return the observer of a new stream; the labels, if there are any, are `other`."""
        return self._observers.make(stats, url, self._labels.unset)

    def labelled(self, **values: str) -> Instrument:
        """
        Return the instrument for streams with these values.

        Args:
            values: By the names of the labels; a value that was not declared becomes `other`.

        Raises:
            ValueError: A name was not declared.
        """
        return _Labelled(self._observers, self._labels.chosen(values))


def _check(name: str, provider: object, method: str) -> None:
    lacks = isinstance(provider, type) or not callable(getattr(provider, method, None))
    if provider is not None and lacks:
        raise TypeError(
            f"{name} must be a provider with {method}(), or None for the global one, not {provider!r}"
        )


class _Labelled:
    """An instrument whose streams have certain labels."""

    def __init__(self, observers: _Observers, labels: tuple[str, ...]) -> None:
        self._observers = observers
        self._labels = labels

    def attach(self, stats: StreamStats, url: str, /) -> Observer:
        """Return the observer of a new stream."""
        return self._observers.make(stats, url, self._labels)


class _Observers:
    """Makes the observers of streams."""

    def __init__(self, shared: _Shared, provider: TracerProvider | None) -> None:
        self._shared = shared
        self._tracer: Tracer = NoOpTracer()
        self._fault: Exception | None = None
        try:
            provider = get_tracer_provider() if provider is None else provider
            self._tracer = provider.get_tracer(_SCOPE, version("resilient-sse"))
        except Exception as exc:  # noqa: BLE001 - whatever the provider has against it
            self._fault = exc

    def make(self, stats: StreamStats, url: str, labels: tuple[str, ...]) -> Observer:
        """Return the observer of one stream; the first one raises what the providers raised."""
        figures = self._shared.instruments.figures.attach(stats, labels)
        if not isinstance(figures, StreamObserver):
            return figures  # the stream has such an observer already
        own = dict(zip(self._shared.labels.names, labels, strict=True))
        attempts = Attempts(stats, self._tracer, {**own, **address_attributes(url)})
        observer: Observer = _StreamObserver(figures, attempts)
        fault = self._shared.take_fault()
        if fault is None:
            fault, self._fault = self._fault, None
        return observer if fault is None else Faulty("OpenTelemetryMetrics", fault, observer)


class _StreamObserver:
    """Tells the figures and the spans of one stream."""

    __slots__ = ("_attempts", "_figures")

    def __init__(self, figures: StreamObserver, attempts: Attempts) -> None:
        self._figures = figures
        self._attempts = attempts

    def __call__(self, fact: Fact, /) -> None:
        """Take note of *fact*; spans do not depend on the figures, nor the other way round."""
        if isinstance(fact, ServerSentEvent):
            self._attempts.last_event_id = fact.last_event_id
            self._figures(fact)
            return
        try:
            self._figures(fact)
        finally:
            self._attempts.take(fact)


class _Shared:
    """What all objects with one meter provider share."""

    def __init__(self, provider: MeterProvider | None, labels: Labels) -> None:
        self.labels = labels
        self.instruments = Instruments(labels)
        self._fault: Exception | None = None
        try:
            provider = get_meter_provider() if provider is None else provider
            self.instruments.register(provider.get_meter(_SCOPE, version("resilient-sse")))
        except Exception as exc:  # noqa: BLE001 - whatever the provider has against it
            self._fault = exc

    def take_fault(self) -> Exception | None:
        """Return what is wrong, once."""
        fault, self._fault = self._fault, None
        return fault


class _Global:
    """Stands for the global provider, whichever that is, or will be: it takes what was made before it was set."""


_GLOBAL = _Global()
_providers: WeakKeyDictionary[MeterProvider | _Global, _Shared] = WeakKeyDictionary()
_registering = threading.Lock()


def _shared_by(provider: MeterProvider | None, labels: Labels) -> _Shared:
    with _registering:
        key = _GLOBAL if provider is None or provider is get_meter_provider() else provider
        shared = _providers.get(key)
        if shared is None:
            shared = _providers[key] = _Shared(provider, labels)
    if shared.labels != labels:
        raise ValueError(
            f"this meter provider has the metrics of streams with {shared.labels!r} already: "
            "make one OpenTelemetryMetrics and share it, or give another provider"
        )
    return shared
