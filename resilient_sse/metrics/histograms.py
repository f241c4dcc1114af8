"""Histograms that are kept in memory until someone asks for them."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from resilient_sse.metrics.catalogue import METRICS, Kind

if TYPE_CHECKING:
    from resilient_sse.metrics.catalogue import Metric

__all__ = ["HISTOGRAMS", "Histograms"]


class Histograms:
    """
    Every histogram of the catalogue, for each combination of the program's labels.

    After a fork the child begins anew: what is there is the parent's, which shows it, and so may be the lock.
    """

    def __init__(self) -> None:
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        # Held for a few additions at a time, so an event loop may wait for it.
        self._lock = threading.Lock()
        self._counts: dict[tuple[Metric, tuple[str, ...]], list[int]] = {}
        self._totals: dict[tuple[Metric, tuple[str, ...]], float] = {}

    def observe(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        """Add *value*, in the unit of *metric*."""
        self._own()
        key = metric, labels
        bucket = bisect_left(metric.buckets, value)
        with self._lock:
            counts = self._counts.setdefault(key, [0] * (len(metric.buckets) + 1))
            counts[bucket] += 1
            self._totals[key] = self._totals.get(key, 0.0) + value

    def cumulated(self, metric: Metric, labels: tuple[str, ...]) -> tuple[list[int], float]:
        """Return how many values lie at or below each bound, `+Inf` last, and the sum of all values."""
        self._own()
        with self._lock:
            counts = self._counts.get((metric, labels)) or [0] * (len(metric.buckets) + 1)
            return list(accumulate(counts)), self._totals.get((metric, labels), 0.0)

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._start_over()


HISTOGRAMS = tuple(metric for metric in METRICS if metric.kind is Kind.HISTOGRAM)
"""All histograms of the catalogue."""
