"""Percentiles against figures worked out by hand."""

import random

import pytest

from resilient_sse.testing.percentiles import percentile


@pytest.mark.parametrize(
    "percent,expected",
    [(0, 1), (50, 100), (95, 190), (99, 198), (99.5, 199), (100, 200)],
)
def test_nearest_rank(percent, expected):
    """R86-R88: a percentile is a value that happened; 99 % of 200 is the 198th, without an error of rounding."""
    values = list(range(1, 201))
    random.Random(7).shuffle(values)
    assert percentile(values, percent) == expected


def test_percentiles_are_exact():
    """7 % of 100 is the seventh, although 0.07 * 100 is a little more than 7 in floating point."""
    assert [percentile(range(1, 101), percent) for percent in range(1, 101)] == list(range(1, 101))


def test_percentiles_of_little():
    """One value is every percentile of itself, and nothing has none."""
    assert [percentile([4.0], percent) for percent in (0, 50, 100)] == [4.0] * 3
    assert percentile([], 50) is None
    with pytest.raises(ValueError, match="percent must be from 0 to 100"):
        percentile([1.0], 101)
