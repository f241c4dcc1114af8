"""
Figures for Prometheus: `ResilientStream(url, observers=[PrometheusMetrics()])`.

It needs the extra `prometheus`: `pip install 'resilient-sse[prometheus]'`.

Theory of operation.  The figures are metrics of prometheus-client, fed with what has changed: at each scrape, or
once a second in its multi-process mode, where each value lies in a file of the process, and no collector is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from resilient_sse._client.locks import free_in_forks
from resilient_sse._core.checks import check
from resilient_sse.metrics.catalogue import (
    METRICS,
    RECENT_EXPECTED_EVENTS,
    RECENT_EXPECTED_EVENTS_RECEIVED,
    STREAM_COMPLETION_RATE,
    Kind,
    Metric,
)
from resilient_sse.metrics.feeding import FedExporter, Feeder
from resilient_sse.metrics.figures import Sums, Values
from resilient_sse.metrics.labels import Labels, LabelValues

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.core import Metric as Family
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample
    from prometheus_client.values import MutexValue, ValueClass
except ModuleNotFoundError as _exc:
    _text = f"metrics for Prometheus need {_exc.name}: pip install 'resilient-sse[prometheus]'"
    raise ModuleNotFoundError(_text, name=_exc.name) from None

__all__ = ["PrometheusMetrics", "merged_registry"]

INTERVAL: Final = 1.0
"""Seconds between two writings in multi-process mode."""

MULTIPROCESS = ValueClass is not MutexValue
"""Whether prometheus-client writes its values to files; it decides so when it is imported."""

_HISTOGRAMS: Final = tuple(metric for metric in METRICS if metric.kind is Kind.HISTOGRAM)

# Nobody feeds during a fork: prometheus-client has a lock of its own.
_writing: Final = free_in_forks()


class _Shown(Feeder, Collector):
    """The figures of one process as metrics of prometheus-client, and their collector."""

    def __init__(self, registry: CollectorRegistry, labels: Labels) -> None:
        super().__init__("PrometheusMetrics", labels, INTERVAL if MULTIPROCESS else None)
        if not MULTIPROCESS:
            registry.register(self)

    def _start_over(self) -> None:
        super()._start_over()
        # The completion rate is absent while it is not known, and is made at each scrape.
        self._native = {
            metric: _native(metric, self.labels.names)
            for metric in METRICS
            if metric is not STREAM_COMPLETION_RATE
        }
        self._rates: dict[Values, float] = {}
        self._others = MULTIPROCESS and os.name == "posix"  # whether some may have died

    def observe(self, metric: Metric, labels: Values, value: float) -> None:
        """Record a duration."""
        self._own()
        self._series(metric, labels).observe(value)

    def _series(self, metric: Metric, values: Values) -> Any:  # noqa: ANN401 - as the metric is
        native = self._native[metric]
        return native.labels(*values) if values else native

    def _feed(self, sums: Sums) -> None:
        with _writing:
            for metric, own, labels, rise in self._rises(sums):
                self._series(metric, (*own, *labels)).inc(rise)
            self._rates = {}
            for labels, known in sums.items():
                for metric in _HISTOGRAMS:  # as zero, so that the first increase is seen
                    self._series(metric, labels)
                for (metric, own), value in known.items():
                    if metric is STREAM_COMPLETION_RATE:
                        self._rates[labels] = value
                    elif metric.kind is Kind.GAUGE:
                        self._series(metric, (*own, *labels)).set(value)
                    else:
                        self._series(metric, (*own, *labels))
        if self._others:
            _forget_the_dead()
            self._others = False

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
        return [rate, *(family for native in self._native.values() for family in native.collect())]


_registries: WeakKeyDictionary[CollectorRegistry, _Shown] = WeakKeyDictionary()


class PrometheusMetrics(FedExporter[_Shown]):
    """
    An instrument for `observers=`: shows the figures of its streams in a registry of prometheus-client.

    One object serves any number of streams, in any threads and event loops.  Several objects with one registry
    share their figures, so it may as well be made anew for each stream.

    With `PROMETHEUS_MULTIPROC_DIR` in the environment the figures go to that directory instead, once a second and
    when the process ends; scrape `merged_registry()`.  `failures` and `flush` are about that directory.

    Args:
        registry: Where to register; by default prometheus-client's `REGISTRY`.
        labels: At most three labels of your own with the values they may take, such as
            `{"network": ["4g", "wifi"]}`.  They are set by `labelled`; what is not declared is `other`.

    Raises:
        TypeError: *registry* is none, or *labels* is not a mapping of strings to collections of strings.
        ValueError: There are too many labels or values, one of them is not allowed, or the registry has metrics
            of these names already.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, labels: LabelValues | None = None
    ) -> None:
        wanted = "a CollectorRegistry of prometheus_client, or None for its own"
        check("registry", registry, (CollectorRegistry, type(None)), wanted)
        # The files of multi-process mode are the process', whatever the registry; two writers would spoil them.
        shared = REGISTRY if registry is None or MULTIPROCESS else registry
        super().__init__(labels, _registries, lambda _: shared, lambda made: _Shown(shared, made))


def _forget_the_dead() -> None:
    """Take away the gauges of processes that were killed: not every server tells when a worker has gone."""
    directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    if not (directory / f"gauge_livesum_{os.getpid()}.db").exists():
        return  # the program has given processes other names than their ids
    for path in directory.glob("gauge_live*_*.db"):
        with suppress(OSError, OverflowError, ValueError):  # another user's, or not named by an id
            try:
                os.kill(int(path.stem.rpartition("_")[2]), 0)
            except ProcessLookupError:
                path.unlink()


def _native(metric: Metric, names: Values) -> Any:  # noqa: ANN401 - of one of three types
    """Make a metric of prometheus-client."""
    given = metric.name, metric.help, (*metric.labels, *names)
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(*given, registry=None, buckets=metric.buckets)
    if metric.kind is Kind.COUNTER and metric.name.endswith("_total"):
        return Counter(*given, registry=None)
    # One of another name is a gauge: prometheus-client would add `_total` to it.
    return Gauge(*given, registry=None, multiprocess_mode="sum" if metric.kind is Kind.COUNTER else "livesum")


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
