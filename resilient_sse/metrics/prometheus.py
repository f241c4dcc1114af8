"""
Figures for Prometheus: `ResilientStream(url, observers=[PrometheusMetrics()])`.

It needs the extra `prometheus`: `pip install 'resilient-sse[prometheus]'`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from resilient_sse.metrics.faults import Faulty
from resilient_sse.metrics.figures import Figures
from resilient_sse.metrics.histograms import Histograms
from resilient_sse.metrics.labels import Labels

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.values import MutexValue, ValueClass
except ModuleNotFoundError as _exc:
    _text = f"metrics for Prometheus need {_exc.name}: pip install 'resilient-sse[prometheus]'"
    raise ModuleNotFoundError(_text, name=_exc.name) from None

from resilient_sse.metrics.prometheus_families import FiguresCollector
from resilient_sse.metrics.prometheus_merged import merged_registry
from resilient_sse.metrics.prometheus_processes import FigureFiles

if TYPE_CHECKING:
    from resilient_sse._core.ports import Instrument, Observer
    from resilient_sse._core.stats import StreamStats
    from resilient_sse.metrics.labels import LabelValues

__all__ = ["PrometheusMetrics", "merged_registry"]

MULTIPROCESS = ValueClass is not MutexValue
"""Whether prometheus-client writes its values to files; it decides so when it is imported."""


class PrometheusMetrics:
    """
    An instrument for `observers=`: shows the figures of its streams in a registry of prometheus-client.

    One object serves any number of streams, in any threads and event loops.  Several objects with one registry
    share their figures, so it may as well be made anew for each stream.  If the registry refuses the metrics, the
    first stream counts and logs that, and the streams go on without them.

    With `PROMETHEUS_MULTIPROC_DIR` in the environment the figures go to that directory instead, once a second;
    scrape `merged_registry()`.

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
        if not isinstance(registry, CollectorRegistry | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"registry must be a CollectorRegistry of prometheus_client, or None for its own, not {registry!r}"
            )
        self._labels = Labels(labels)
        # The files of multi-process mode are the process', whatever the registry; two writers would spoil them.
        shared = REGISTRY if registry is None or MULTIPROCESS else registry
        self._shared = _shared_by(shared, self._labels)

    @property
    def failures(self) -> int:
        """How many times writing to the directory of multi-process mode has failed; it is tried again."""
        return self._shared.failures

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream; the labels, if there are any, are `other`."""
        return self._shared.attach(stats, self._labels.unset)

    def labelled(self, **values: str) -> Instrument:
        """
        Return the instrument for streams with these values.

        Args:
            values: By the names of the labels; a value that was not declared becomes `other`.

        Raises:
            ValueError: A name was not declared.
        """
        return _Labelled(self._shared, self._labels.chosen(values))

    def flush(self) -> None:
        """Write the figures to the directory of multi-process mode now; in the usual mode there is none."""
        self._shared.flush()


class _Labelled:
    """An instrument whose streams have certain labels."""

    def __init__(self, shared: _Shared, labels: tuple[str, ...]) -> None:
        self._shared = shared
        self._labels = labels

    def attach(self, stats: StreamStats, _url: str, /) -> Observer:
        """Return the observer of a new stream."""
        return self._shared.attach(stats, self._labels)


class _Shared:
    """What all instruments of one registry share."""

    def __init__(self, registry: CollectorRegistry, labels: Labels) -> None:
        self.labels = labels
        self._fault: Exception | None = None
        self._files: FigureFiles | None = None
        try:
            if MULTIPROCESS:
                self._files = FigureFiles(labels)
                self._figures = self._files.figures
            else:
                histograms = Histograms()
                self._figures = Figures(histograms.observe, known=labels.known)
                registry.register(FiguresCollector(self._figures, histograms, labels.names))
        except Exception as exc:  # noqa: BLE001 - whatever the registry or the disk has against it
            self._fault = exc

    def attach(self, stats: StreamStats, labels: tuple[str, ...]) -> Observer:
        """Return an observer; the first one raises what the registry raised, for the stream to count and log."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            return Faulty("PrometheusMetrics", fault)
        observer = self._figures.attach(stats, labels)
        if self._files is not None:
            self._files.keep_up()
        return observer

    @property
    def failures(self) -> int:
        """How many writings have failed."""
        return 0 if self._files is None else self._files.failures

    def flush(self) -> None:
        """Write to the files, if there are any."""
        if self._files is not None:
            self._files.flush()


_registries: WeakKeyDictionary[CollectorRegistry, _Shared] = WeakKeyDictionary()
_registering = threading.Lock()


def _shared_by(registry: CollectorRegistry, labels: Labels) -> _Shared:
    with _registering:
        shared = _registries.get(registry)
        if shared is None:
            shared = _registries[registry] = _Shared(registry, labels)
    if shared.labels != labels:
        raise ValueError(
            f"this registry has the metrics of streams with {shared.labels!r} already: "
            "make one PrometheusMetrics and share it, or give another registry"
        )
    return shared
