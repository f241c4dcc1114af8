"""
The figures of one process of several: written to its own files, which `merged_registry` adds up.

Theory of operation.  In its multi-process mode prometheus-client keeps every value in a file of the process, and
asks no collector; so a thread reads the figures once a second and writes what has changed.  It lives as long as
there are streams, and belongs to one process: after a fork the child starts afresh.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import Counter, Gauge, Histogram

from resilient_sse._client.log import logger
from resilient_sse.metrics import catalogue
from resilient_sse.metrics.catalogue import METRICS, Kind, Metric
from resilient_sse.metrics.figures import Figures, Increments
from resilient_sse.metrics.histograms import HISTOGRAMS
from resilient_sse.metrics.prometheus_families import is_plain_counter

if TYPE_CHECKING:
    from resilient_sse.metrics.labels import Labels

__all__ = ["FigureFiles"]

INTERVAL: Final = 1.0
"""Seconds between two writings."""

_RATIO: Final = catalogue.STREAM_COMPLETION_RATE

# One writer at a time, and none during a fork: prometheus-client has a lock of its own, which a child would find
# held for ever by a thread that it has not got.
_writing: Final = threading.Lock()
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_writing.acquire, after_in_parent=_writing.release, after_in_child=_writing.release
    )


class FigureFiles:
    """
    Writes figures to the files of this process.

    Args:
        labels: The program's labels.

    Raises:
        OSError: The directory cannot be written.
    """

    def __init__(self, labels: Labels) -> None:
        self._names = labels.names
        self._counters = {metric: self._counter(metric) for metric in METRICS if metric.kind is Kind.COUNTER}
        # Ratios cannot be added up: `merged_registry` divides the sums.
        gauges = [metric for metric in METRICS if metric.kind is Kind.GAUGE and metric is not _RATIO]
        self._gauges = {metric: self._gauge(metric) for metric in gauges}
        self._histograms = {metric: self._histogram(metric) for metric in HISTOGRAMS}
        self.figures: Figures = Figures(self._observe, known=labels.known)
        """Where streams are attached."""
        self.failures: int = 0
        """How many writings have failed."""
        self._start_over()
        atexit.register(_write, weakref.ref(self))

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._increments = Increments()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = False

    def keep_up(self) -> None:
        """Have the figures written from now on, by this process."""
        self._own()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_writing, daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """
        Write what has changed; what could not be written is tried again the next time.

        Raises:
            OSError: The files cannot be written.
        """
        self._own()
        with _writing:
            sums = self.figures.sums()
            for metric, own, labels, increment in self._increments.of(sums):
                _child(self._counters[metric], (*own, *labels)).inc(increment)
            for labels, known in sums.items():
                for (metric, own), value in known.items():
                    if metric in self._gauges:
                        _child(self._gauges[metric], (*own, *labels)).set(value)

    def write(self) -> bool:
        """Flush, count a fault, log it once until it is well again, and tell whether there is more to come."""
        try:
            self.flush()
        except Exception:  # noqa: BLE001 - a full disk, a directory that is gone: the streams go on
            self.failures += 1
            if not self._failing:
                logger.exception("figures cannot be written to PROMETHEUS_MULTIPROC_DIR")
            self._failing = True
        else:
            self._failing = False
        with self._starting:
            over = not self.figures.attached
            if over:
                self._thread = None
        return not over

    def _keep_writing(self) -> None:
        while self.write():
            time.sleep(INTERVAL)

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._start_over()

    def _counter(self, metric: Metric) -> Counter | Gauge:
        names = (*metric.labels, *self._names)
        if is_plain_counter(metric):
            return Counter(metric.name, metric.help, names, registry=None)
        return Gauge(metric.name, metric.help, names, registry=None, multiprocess_mode="sum")

    def _gauge(self, metric: Metric) -> Gauge:
        names = (*metric.labels, *self._names)
        return Gauge(metric.name, metric.help, names, registry=None, multiprocess_mode="livesum")

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, self._names, registry=None, buckets=metric.buckets)

    def _observe(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        _child(self._histograms[metric], labels).observe(value)


_ChildT = TypeVar("_ChildT", Counter, Gauge, Counter | Gauge, Histogram)


def _child(metric: _ChildT, labels: tuple[str, ...]) -> _ChildT:
    return metric.labels(*labels) if labels else metric


def _write(files: weakref.ref[FigureFiles]) -> None:
    alive = files()
    if alive is not None:
        alive.write()
