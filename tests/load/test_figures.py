"""Slopes and spreads against figures worked out by hand."""

import random

import pytest

from resilient_sse.testing.load.figures import (
    Histogram,
    Spread,
    mean,
    share,
    slope,
    slope_percent,
)


def test_spread():
    """R85-R88: mean, percentiles and maximum of the same values."""
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(count=3, mean=2.0, p50=2.0, p95=3.0, p99=3.0, maximum=3.0)
    assert Spread.of([]) == Spread()


def test_mean_and_share_of_nothing():
    """What cannot be told is no number, so that no gate can take it for one."""
    assert mean([]) is None
    assert share(0, 0) is None
    assert share(1, 4) == 0.25


def test_slope():
    """P40: the least-squares line through points that lie on one is that line, whatever the order."""
    points = [(x, 5.0 + 0.25 * x) for x in (3.0, 0.0, 10.0, 4.0)]
    assert slope(points) == pytest.approx(0.25)
    assert slope([]) is None
    assert slope([(1.0, 2.0), (1.0, 4.0)]) is None


def test_growth_in_ten_minutes():
    """P40, R172: 100 MB that become 101 MB within ten minutes have grown by about 1 % of their mean."""
    points = [(second, 100e6 + 1e6 * second / 600) for second in range(0, 601, 5)]
    assert slope_percent(points) == pytest.approx(100 * 1e6 / 100.5e6)
    assert slope_percent(points[:20]) == pytest.approx(1.0, abs=0.01)  # whatever the time that was watched
    assert slope_percent([(at, -level + 300e6) for at, level in points]) < 0
    assert slope_percent([(0.0, 0.0), (1.0, 0.0)]) is None


def test_histogram_never_flatters():
    """R206: a percentile out of buckets is at most 2 % above the true one, and never below."""
    draw = random.Random(3)
    values = [draw.lognormvariate(-7, 2) for _ in range(5000)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    found, exact = histogram.spread(), Spread.of(values)
    assert found.count == 5000
    assert found.mean == pytest.approx(exact.mean)
    assert found.maximum == exact.maximum
    for ours, true in ((found.p50, exact.p50), (found.p95, exact.p95), (found.p99, exact.p99)):
        assert true <= ours <= true * 1.0201


def test_histogram_at_its_ends():
    """Nothing, almost nothing, and an hour are counted, too."""
    assert Histogram().spread() == Spread()
    histogram = Histogram()
    for value in (0.0, 1e-9, 1e-6):
        histogram.add(value)
    assert histogram.spread().p99 == 1e-6
    histogram.add(3600.0)
    assert histogram.spread().maximum == 3600.0
    assert histogram.spread().p99 > 2500
