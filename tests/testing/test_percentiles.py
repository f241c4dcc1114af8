"""Percentiles against figures worked out by hand."""

from resilient_sse.testing.scenarios.gates import percentile


def test_percentiles_are_exact():
    """R86-R88: 7 % of 100 is the seventh, although 0.07 * 100 is a little more than 7 in floating point."""
    assert [percentile(range(1, 101), percent) for percent in range(1, 101)] == list(range(1, 101))


def test_percentiles_of_little():
    """One value is every percentile of itself, and nothing has none."""
    assert [percentile([4.0], percent) for percent in (0, 50, 100)] == [4.0] * 3
    assert percentile([], 50) is None
