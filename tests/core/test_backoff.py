from __future__ import annotations

import math
from random import Random

import pytest

from resilient_sse._core.backoff import Backoff, Pacing


def pacing(backoff=None, *, random=None, max_server_delay=60.0) -> Pacing:
    """Make the delays of one stream, with the defaults of a stream."""
    return Pacing(
        backoff or Backoff(),
        max_server_delay=max_server_delay,
        random=random or Random(4).random,
    )


def draws(attempt: int, count: int, backoff=None) -> list[float]:
    """Draw *count* delays before the same attempt, as one stream would."""
    delays = pacing(backoff)
    return [delays.delay(attempt) for _ in range(count)]


def band(attempt: int, *, backoff=None, retry=None, retry_after=None, max_server_delay=60.0):
    """Find the shortest and the longest delay that can be drawn before *attempt*."""
    edges = []
    for random in (0.0, math.nextafter(1.0, 0.0)):
        delays = pacing(backoff, random=lambda random=random: random, max_server_delay=max_server_delay)
        if retry is not None:
            delays.retry(retry)
        if retry_after is not None:
            delays.retry_after(retry_after)
        edges.append(delays.delay(attempt))
    return tuple(edges)


# Growth


@pytest.mark.parametrize("attempt, seconds", [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0), (50, 5.0)])
def test_nominal_delays(attempt, seconds):
    """One second, doubled, never more than five (R53, R54, R55, R147)."""
    assert Backoff().nominal(attempt) == seconds


@pytest.mark.parametrize("attempt", [1, 2, 1024, 1025, 1026, 10_000])
def test_zero_does_not_grow(attempt):
    """Nothing doubled stays nothing, in the longest outage too (R55)."""
    assert Backoff(initial=0).nominal(attempt) == 0


def test_other_series():
    """Base, factor and cap are settings (R27, R193)."""
    assert [Backoff(initial=2).nominal(n) for n in range(1, 5)] == [2, 4, 5, 5]
    assert [Backoff(factor=1).nominal(n) for n in range(1, 5)] == [1, 1, 1, 1]
    assert [Backoff(0.5, 3, 30).nominal(n) for n in range(1, 7)] == [0.5, 1.5, 4.5, 13.5, 30, 30]
    assert Backoff(5, 2, 5).nominal(1) == 5


# Jitter


def test_the_bands():
    """A tenth around the nominal delay, never above the cap, and below it at the cap (R56, X6)."""
    bands = [Backoff().band(attempt) for attempt in (1, 2, 3, 4, 50)]
    expected = [(0.9, 1.1), (1.8, 2.2), (3.6, 4.4), (4.5, 5.0), (4.5, 5.0)]
    assert bands == [pytest.approx(edges) for edges in expected]


def test_wider_jitter_spreads_further():
    """Full jitter draws from nothing to the double, and at the cap from nothing to the cap (R60, X5)."""
    full = Backoff(jitter=1)
    assert full.band(1) == (0, 2)
    assert full.band(7) == (0, 5)


# Wrong arguments


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"initial": -0.1}, "initial"),
        ({"initial": math.nan}, "initial"),
        ({"initial": math.inf}, "initial"),
        ({"factor": 0.99}, "factor"),
        ({"factor": math.nan}, "factor"),
        ({"factor": math.inf}, "factor"),
        ({"maximum": 0.9}, "maximum"),
        ({"maximum": math.nan}, "maximum"),
        ({"maximum": math.inf}, "maximum"),
        ({"initial": 6}, "maximum"),
        ({"jitter": -0.01}, "jitter"),
        ({"jitter": 1.01}, "jitter"),
        ({"jitter": math.nan}, "jitter"),
    ],
)
def test_values_out_of_range(arguments, name):
    """A backoff that cannot work is refused when it is made, with the name of the argument."""
    with pytest.raises(ValueError, match=f"Backoff: {name} must"):
        Backoff(**arguments)


@pytest.mark.parametrize("name", ["initial", "factor", "maximum", "jitter"])
@pytest.mark.parametrize("value", ["1", None, [1]], ids=repr)
def test_values_of_another_type(name, value):
    """What is no number is refused with the name of the argument, too."""
    with pytest.raises((TypeError, ValueError), match=f"{name} must"):
        Backoff(**{name: value})


def test_the_edges_are_allowed():
    """Zero, no growth, no jitter and full jitter are choices."""
    Backoff(initial=0, factor=1, maximum=0, jitter=0)
    Backoff(jitter=1)


# Randomness of the caller's


def test_a_source_of_the_callers_decides():
    """It takes the place of the stream's own, so delays can be repeated."""
    first, again, other = (draws(7, 5, Backoff(random=Random(seed).random)) for seed in (7, 7, 8))
    assert first == again != other
    assert band(1, backoff=Backoff(random=lambda: 0.0)) == (0.9, 0.9)
    assert band(1, backoff=Backoff(random=lambda: 0.0), retry=3000) == (3.0, 3.0)


def test_a_source_is_no_part_of_comparisons():
    """Two backoffs are equal by their numbers, and the text shows only these."""
    seeded = Backoff(random=Random(7).random)
    assert (seeded, hash(seeded), repr(seeded)) == (Backoff(), hash(Backoff()), repr(Backoff()))
    with pytest.raises(TypeError):
        Backoff(1.0, 2.0, 5.0, 0.1, Random(7).random)


@pytest.mark.parametrize("value", [7, Random(7), "random"], ids=["seed", "random", "text"])
def test_what_is_no_source(value):
    """The text shows what to give; a seed is no source."""
    with pytest.raises(
        TypeError, match=r"^Backoff: random must be a function such as random.Random\(7\).random"
    ):
        Backoff(random=value)


@pytest.mark.parametrize("drawn", [-0.1, 1.1, math.nan, math.inf])
def test_a_source_that_is_out_of_range(drawn):
    """It would make a wait that is longer than the longest, or none."""
    delays = pacing(Backoff(random=lambda: drawn))
    with pytest.raises(ValueError, match=r"^Backoff: random must return numbers from 0 to 1"):
        delays.delay(1)


def test_a_source_of_something_else():
    """It is said whose fault it is."""
    with pytest.raises(TypeError, match=r"^Backoff: what random returns must be a number"):
        pacing(Backoff(random=lambda: None)).delay(1)


# What the server asks for: `retry:`


# What the server asks for: `Retry-After`


def test_a_wish_inside_the_band_only_raises_its_lower_end():
    """The band opens upwards from the wish."""
    assert band(1, backoff=Backoff(jitter=0.5), retry_after=1) == pytest.approx((1.0, 1.5))


# Own series


def test_an_own_series_that_is_empty():
    """A series without delays cannot pace anything, not even after another one."""
    series = iter([iter([1.0]), iter([])])
    delays = pacing(lambda: next(series))
    delays.delay(1)
    delays.reset()
    with pytest.raises(ValueError, match=r"^backoff: "):
        delays.delay(1)


def test_an_own_series_may_be_any_iterable():
    """A list of delays is as good as an iterator over it."""
    delays = pacing(lambda: [1.0, 3.0])
    assert [delays.delay(attempt) for attempt in (1, 2, 3)] == [1.0, 3.0, 3.0]


@pytest.mark.parametrize("nonsense", [5, None, Backoff()], ids=["number", "none", "backoff"])
def test_a_function_that_returns_no_series(nonsense):
    """What cannot be iterated over is refused, with the name of the argument."""
    with pytest.raises(TypeError, match=r"^backoff must return"):
        pacing(lambda: nonsense).delay(1)


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, "1", None, [1]], ids=repr)
def test_an_own_series_of_nonsense(bad):
    """What is no number of seconds is refused, with the name of the argument."""
    delays = pacing(lambda: iter([1.0, bad]))
    delays.delay(1)
    with pytest.raises((TypeError, ValueError), match=r"^backoff: "):
        delays.delay(2)


def test_a_server_may_lengthen_an_own_series():
    """The floors hold for a series of the user's too, with the usual jitter upwards."""
    assert band(1, backoff=lambda: iter([1.0]), retry_after=3) == pytest.approx((3.0, 3.3))
    assert band(1, backoff=lambda: iter([9.0]), retry=3000) == pytest.approx((9.0, 9.0))


# When a connection counts as settled


@pytest.mark.parametrize(
    "backoff, retry, seconds",
    [
        pytest.param(Backoff(), None, 5.0, id="default"),
        pytest.param(Backoff(maximum=30), None, 5.0, id="own-cap"),
        pytest.param(Backoff(0, 1, 0), None, 1.0, id="no-delay"),
        pytest.param(Backoff(), 20_000, 5.0, id="long-wish"),
        pytest.param(lambda: iter([1.0]), None, 5.0, id="own-series"),
    ],
)
def test_settled_after_the_longest_delay(backoff, retry, seconds):
    """A connection is well when it has held longer than the longest delay, between 1 s and 5 s (P48)."""
    delays = pacing(backoff)
    if retry is not None:
        delays.retry(retry)
    assert delays.settle_after == seconds
