"""
Figures for Prometheus: `ResilientStream(url, observers=[PrometheusMetrics()])`.

It needs the extra `prometheus`: `pip install 'resilient-sse[prometheus]'`.

Theory of operation.  The figures are metrics of prometheus-client, fed with what has changed: at each scrape, or
once a second in its multi-process mode, where each value lies in a file of the process, and no collector is asked.
"""

from __future__ import annotations

import os
import threading
from itertools import product
from typing import TYPE_CHECKING, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from resilient_sse._core.checks import check
from resilient_sse.metrics.catalogue import (
    METRICS,
    RECENT_EXPECTED_EVENTS,
    RECENT_EXPECTED_EVENTS_RECEIVED,
    STREAM_COMPLETION_RATE,
    Kind,
)
from resilient_sse.metrics.feeding import Feeder
from resilient_sse.metrics.figures import Faulty, ignore
from resilient_sse.metrics.labels import Labelled

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample
    from prometheus_client.values import MutexValue, ValueClass
except ModuleNotFoundError as _exc:
    _text = f"metrics for Prometheus need {_exc.name}: pip install 'resilient-sse[prometheus]'"
    raise ModuleNotFoundError(_text, name=_exc.name) from None

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric as Family

    from resilient_sse._core.ports import Observer
    from resilient_sse._core.stats import StreamStats
    from resilient_sse.metrics.catalogue import Metric
    from resilient_sse.metrics.figures import Sums, Values
    from resilient_sse.metrics.labels import Labels, LabelValues

__all__ = ["PrometheusMetrics", "merged_registry"]

INTERVAL: Final = 1.0
"""Seconds between two writings in multi-process mode."""

MULTIPROCESS = ValueClass is not MutexValue
"""Whether prometheus-client writes its values to files; it decides so when it is imported."""


class PrometheusMetrics(Labelled):
    """
    An instrument for `observers=`: shows the figures of its streams in a registry of prometheus-client.

    One object serves any number of streams, in any threads and event loops.  Several objects with one registry
    share their figures, so it may as well be made anew for each stream.  If the registry refuses the metrics, the
    first stream counts and logs that, and the streams go on without them.

    With `PROMETHEUS_MULTIPROC_DIR` in the environment the figures go to that directory instead, once a second and
    when the process ends; scrape `merged_registry()`.

    Args:
        registry: Where to register; by default prometheus-client's `REGISTRY`.
        labels: At most three labels of your own with the values they may take, such as
            `{"network": ["4g", "wifi"]}`.  They are set by `labelled`; what is not declared is `other`.

    Raises:
        TypeError: *registry* is none, or *labels* is not a mapping of strings to collections of strings.
        ValueError: There are too many labels or values, one of them is not allowed, or the registry has these
            metrics with other labels.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, labels: LabelValues | None = None
    ) -> None:
        wanted = "a CollectorRegistry of prometheus_client, or None for its own"
        check("registry", registry, (CollectorRegistry, type(None)), wanted)
        super().__init__(labels)
        # The files of multi-process mode are the process', whatever the registry; two writers would spoil them.
        shared = REGISTRY if registry is None or MULTIPROCESS else registry
        with _registering:
            if shared not in _registries:
                _registries[shared] = _Shown(shared, self._labels)
            self._shown = _registries[shared]
        if self._shown.labels != self._labels:
            raise ValueError(
                f"this registry has the metrics of streams with {self._shown.labels!r} already: "
                "make one PrometheusMetrics and share it, or give another registry"
            )

    @property
    def failures(self) -> int:
        """How many times writing to the directory of multi-process mode has failed; it is tried again."""
        return self._shown.failures

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream; labels that were not set are `other`."""
        if self._shown.faults:
            return Faulty("PrometheusMetrics", self._shown.faults.pop(), ignore)
        return ignore if self._shown.refused else self._shown.attach(stats, self._values)

    def flush(self) -> None:
        """Write the figures to the directory of multi-process mode now; in the usual mode there is none."""
        if not self._shown.refused:
            self._shown.flush()


_registries: WeakKeyDictionary[CollectorRegistry, _Shown] = WeakKeyDictionary()
_registering = threading.Lock()

# Nobody feeds during a fork: prometheus-client has a lock of its own, which a child would find held for ever by a
# thread that it has not got.
_writing: Final = threading.Lock()
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_writing.acquire, after_in_parent=_writing.release, after_in_child=_writing.release
    )


class _Shown(Feeder, Collector):
    """The figures of one process as metrics of prometheus-client, and their collector."""

    def __init__(self, registry: CollectorRegistry, labels: Labels) -> None:
        self.refused: bool = False
        """Whether nothing can be shown, for reasons that the first stream tells."""
        try:
            super().__init__("PrometheusMetrics", labels, INTERVAL if MULTIPROCESS else None)
            if not MULTIPROCESS:
                registry.register(self)
        except Exception as exc:  # noqa: BLE001 - whatever the registry or the disk has against it
            self.faults.append(exc)
            self.refused = True

    def _start_over(self) -> None:
        super()._start_over()
        self._counters: dict[Metric, Counter | Gauge] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for metric in METRICS:
            name, text, labels = metric.name, metric.help, (*metric.labels, *self.labels.names)
            if metric.kind is Kind.HISTOGRAM:
                self._histograms[metric] = Histogram(
                    name, text, labels, registry=None, buckets=metric.buckets
                )
            elif metric.kind is Kind.COUNTER and name.endswith("_total"):
                self._counters[metric] = Counter(name, text, labels, registry=None)
            elif metric.kind is Kind.COUNTER:  # prometheus-client would add `_total` to the name
                self._counters[metric] = Gauge(name, text, labels, registry=None, multiprocess_mode="sum")
            elif metric is not STREAM_COMPLETION_RATE:  # absent while it is not known: made at each scrape
                self._gauges[metric] = Gauge(name, text, labels, registry=None, multiprocess_mode="livesum")
        self._known: set[Values] = set()
        self._rates: dict[Values, float] = {}

    def observe(self, metric: Metric, labels: Values, value: float) -> None:
        """Record a duration."""
        self._own()
        _series(self._histograms[metric], labels).observe(value)

    def _feed(self, sums: Sums) -> None:
        with _writing:
            for labels in sums.keys() - self._known:  # as zero, so that the first increase is seen
                for metric, family in (self._counters | self._histograms).items():
                    for own in product(*metric.labels.values()):
                        _series(family, (*own, *labels))
                self._known.add(labels)
            for metric, own, labels, rise in self._rises(sums):
                _series(self._counters[metric], (*own, *labels)).inc(rise)
            self._rates = {}
            for labels, known in sums.items():
                for (metric, own), value in known.items():
                    if metric is STREAM_COMPLETION_RATE:
                        self._rates[labels] = value
                    elif metric.kind is Kind.GAUGE:
                        _series(self._gauges[metric], (*own, *labels)).set(value)

    def describe(self) -> Iterable[Family]:
        """Name the metrics, for the registry to see whether the names are free."""
        return self._families()

    def collect(self) -> Iterable[Family]:
        """Read everything."""
        self._own()
        with self._feeding:
            self._feed(self.sums())
            families = self._families()
        for family in families:  # when a series was made tells nothing
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        return [family for family in families if family.samples]

    def _families(self) -> list[Family]:
        rate = _rate(
            {tuple(zip(self.labels.names, at, strict=True)): rate for at, rate in self._rates.items()}
        )
        native = self._counters | self._gauges | self._histograms
        return [
            rate,
            *(family for metric in METRICS if metric in native for family in native[metric].collect()),
        ]


_NativeT = TypeVar("_NativeT", Counter, Gauge, Counter | Gauge, Histogram, Counter | Gauge | Histogram)


def _series(metric: _NativeT, values: Values) -> _NativeT:
    return metric.labels(*values) if values else metric


def _rate(rates: dict[tuple[tuple[str, str], ...], float]) -> Family:
    """Return the completion rate, in percent, by the program's labels."""
    family = GaugeMetricFamily(STREAM_COMPLETION_RATE.name, STREAM_COMPLETION_RATE.help)
    family.samples = [Sample(family.name, dict(labels), rate) for labels, rate in rates.items()]
    return family


def merged_registry(path: str | None = None) -> CollectorRegistry:
    """
    Return a registry that shows the figures of all processes of multi-process mode, added up.

    It shows whatever else is in the directory, too, as `MultiProcessCollector` does.  What that one cannot do is
    divide: this registry has `sse_stream_completion_rate`, over all processes that live.

    Args:
        path: The directory, by default `PROMETHEUS_MULTIPROC_DIR`.

    Raises:
        ValueError: It is no directory.
    """
    registry = CollectorRegistry()
    registry.register(_Merged(None, path))  # type: ignore[no-untyped-call]
    return registry


class _Merged(MultiProcessCollector):
    """Adds up, and divides."""

    def collect(self) -> list[Family]:
        """Read all files."""
        added_up = cast("Iterable[Family]", super().collect())  # type: ignore[no-untyped-call]
        families = {family.name: family for family in added_up}
        sent, arrived = (
            {tuple(sample.labels.items()): sample.value for sample in families[metric.name].samples}
            if metric.name in families
            else {}
            for metric in (RECENT_EXPECTED_EVENTS, RECENT_EXPECTED_EVENTS_RECEIVED)
        )
        # Files are read while they are written: a process may not have come to the second of the two.
        rates = {
            labels: min(arrived[labels] / many, 1.0) * 100
            for labels, many in sent.items()
            if many and labels in arrived
        }
        return [*families.values(), *([_rate(rates)] if rates else [])]
