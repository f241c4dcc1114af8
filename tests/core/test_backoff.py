"""The edges of delays: what is refused, series and sources of the caller's; formulas are in `tests/properties`."""

from __future__ import annotations

import math
from random import Random

import pytest

from resilient_sse._core.backoff import Backoff, Pacing

NAN, INF = math.nan, math.inf


def pacing(backoff, random=lambda: 0.5) -> Pacing:
    """Make the delays of one stream."""
    return Pacing(backoff, max_server_delay=60.0, random=random)


def band(backoff, **wishes: float):
    """Find the shortest and the longest first delay when the server asks for *wishes*."""
    edges = []
    for drawn in (0.0, math.nextafter(1.0, 0.0)):
        delays = pacing(backoff, lambda drawn=drawn: drawn)
        for name, wish in wishes.items():
            getattr(delays, name)(wish)
        edges.append(delays.delay(1))
    return tuple(edges)


@pytest.mark.parametrize("attempt", [1, 2, 1024, 1025, 1026, 10_000])
def test_zero_does_not_grow(attempt):
    """Nothing doubled stays nothing, in the longest outage too (R55)."""
    assert Backoff(initial=0).nominal(attempt) == 0


def test_the_bands():
    """A tenth around the nominal delay, never above the cap; full jitter from nothing on (R56, R60, X5, X6)."""
    bands = [Backoff().band(attempt) for attempt in (1, 2, 3, 4, 50)]
    expected = [(0.9, 1.1), (1.8, 2.2), (3.6, 4.4), (4.5, 5.0), (4.5, 5.0)]
    assert bands == [pytest.approx(edges) for edges in expected]
    assert [Backoff(jitter=1).band(attempt) for attempt in (1, 7)] == [(0, 2), (0, 5)]


@pytest.mark.parametrize(
    "name, values",
    [
        ("initial", [-0.1, NAN, INF, "1", None, [1]]),
        ("factor", [0.99, NAN, INF, "1", None, [1]]),
        ("maximum", [0.9, NAN, INF, "1", None, [1]]),
        ("jitter", [-0.01, 1.01, NAN, "1", None, [1]]),
    ],
)
def test_values_that_cannot_be(name, values):
    """A backoff that cannot work is refused when it is made, with the name of the argument."""
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"{name} must"):
            Backoff(**{name: value})


def test_a_source_of_the_callers_decides():
    """It takes the place of the stream's own, so delays can be repeated; two are equal by their numbers."""
    first, again, other = (pacing(Backoff(random=Random(seed).random)).delay(7) for seed in (7, 7, 8))
    assert first == again != other
    assert band(Backoff(random=lambda: 0.0)) == (0.9, 0.9)
    seeded = Backoff(random=Random(7).random)
    assert (seeded, hash(seeded), repr(seeded)) == (Backoff(), hash(Backoff()), repr(Backoff()))


@pytest.mark.parametrize("value", [7, Random(7), "random"], ids=["seed", "random", "text"])
def test_what_is_no_source(value):
    """The text shows what to give; a seed is no source."""
    with pytest.raises(TypeError, match=r"random must be a function such as random.Random\(7\).random"):
        Backoff(random=value)


@pytest.mark.parametrize("drawn", [-0.1, 1.1, NAN, INF, None])
def test_a_source_that_is_out_of_range(drawn):
    """It would make a wait that is longer than the longest, or none; it is said whose fault it is."""
    with pytest.raises((TypeError, ValueError), match=r"^Backoff: (random must return|what random returns)"):
        pacing(Backoff(random=lambda: drawn)).delay(1)


def test_an_own_series_that_is_empty():
    """A series without delays cannot pace anything, not even after another one."""
    series = iter([iter([1.0]), iter([])])
    delays = pacing(lambda: next(series))
    delays.delay(1)
    delays.reset()
    with pytest.raises(ValueError, match=r"^backoff: "):
        delays.delay(1)


@pytest.mark.parametrize(
    "series", [5, None, Backoff(), *([bad] for bad in (-1, NAN, INF, "1", None, [1]))], ids=repr
)
def test_an_own_series_of_nonsense(series):
    """What is no series, or no number of seconds, is refused with the name of the argument."""
    with pytest.raises((TypeError, ValueError), match=r"^backoff(:| must return) "):
        pacing(lambda: series).delay(1)


def test_a_server_may_lengthen_an_own_series():
    """The floors hold for a series of the user's too, with the usual jitter upwards (P6)."""
    assert band(lambda: iter([1.0]), retry_after=3) == pytest.approx((3.0, 3.3))
    assert band(lambda: iter([9.0]), retry=3000) == pytest.approx((9.0, 9.0))


@pytest.mark.parametrize(
    "backoff, seconds",
    [(Backoff(), 5), (Backoff(maximum=30), 5), (Backoff(0, 1, 0), 1), (lambda: iter([1.0]), 5)],
    ids=["default", "own-cap", "no-delay", "own-series"],
)
def test_settled_after_the_longest_delay(backoff, seconds):
    """A connection is well when it has held longer than the longest delay, between 1 s and 5 s (P48)."""
    delays = pacing(backoff)
    delays.retry(20_000)
    assert delays.settle_after == seconds
