"""Figures out of measurements: pure functions and records of numbers, without clocks or I/O."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_sse.testing.percentiles import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Histogram", "Spread", "mean", "share", "slope", "slope_percent"]


def mean(values: Sequence[float]) -> float | None:
    """Return the arithmetic mean, or `None` of nothing."""
    return math.fsum(values) / len(values) if values else None


def share(part: float, whole: float) -> float | None:
    """Return *part* / *whole*, or `None` where there is no whole."""
    return part / whole if whole > 0 else None


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope of the least-squares line through (x, y) points, or `None` if they span no x."""
    if not points:
        return None
    x_mean = math.fsum(x for x, _ in points) / len(points)
    y_mean = math.fsum(y for _, y in points) / len(points)
    spread = math.fsum((x - x_mean) ** 2 for x, _ in points)
    if spread == 0:
        return None
    return math.fsum((x - x_mean) * (y - y_mean) for x, y in points) / spread


def slope_percent(points: Sequence[tuple[float, float]], *, per: float = 600.0) -> float | None:
    """
    Return the growth along the least-squares line in per cent of the mean level.

    Args:
        points: (seconds, level) pairs.
        per: The time that the growth is stated for, in seconds; ten minutes by default.

    Returns:
        Per cent for each *per* seconds, negative for a fall, or `None` if the points do not tell.
    """
    steepness = slope(points)
    level = mean([y for _, y in points])
    if steepness is None or not level:
        return None
    return 100 * steepness * per / level


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """
    How durations are spread; all but `count` are seconds, and `None` if there was nothing to measure.

    Attributes:
        count: How many there were.
        mean: The arithmetic mean.
        p50: Half of them took no longer.
        p95: 95 % took no longer.
        p99: 99 % took no longer.
        maximum: The longest.
    """

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    maximum: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Describe *values*."""
        return cls(
            count=len(values),
            mean=mean(values),
            p50=percentile(values, 50),
            p95=percentile(values, 95),
            p99=percentile(values, 99),
            maximum=max(values, default=None),
        )


class Histogram:
    """
    Durations in buckets, so that millions of them take no more memory than one.

    Buckets are 2 % wide and begin at a microsecond; a percentile is the upper edge of its bucket, so that it never
    flatters.  The mean and the maximum are exact.
    """

    _SHORTEST = 1e-6
    _STEP = math.log(1.02)
    _BUCKETS = 1100  # up to some 2,900 s

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * self._BUCKETS))
        self._count = 0
        self._total = 0.0
        self._maximum = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        bucket = math.ceil(math.log(seconds / self._SHORTEST) / self._STEP) if seconds > self._SHORTEST else 0
        self._counts[min(bucket, self._BUCKETS - 1)] += 1
        self._count += 1
        self._total += seconds
        self._maximum = max(self._maximum, seconds)

    def spread(self) -> Spread:
        """Describe what was counted."""
        if not self._count:
            return Spread()
        return Spread(
            count=self._count,
            mean=self._total / self._count,
            p50=self._percentile(50),
            p95=self._percentile(95),
            p99=self._percentile(99),
            maximum=self._maximum,
        )

    def _percentile(self, percent: int) -> float:
        rank = -(-percent * self._count // 100)
        bucket = passed = 0
        while (passed := passed + self._counts[bucket]) < rank:
            bucket += 1
        return min(self._SHORTEST * math.exp(bucket * self._STEP), self._maximum)
