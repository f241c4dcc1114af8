"""The link: when does what leave?  All of it exact, without a clock."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_sse.testing.proxy import (
    PROFILES,
    Bandwidth,
    Latency,
    Link,
    Profile,
    SegmentLoss,
    Slicer,
    profile,
    shape,
)

KBIT = 125
"""Bytes."""


def link(line="clean", *toxics, seed=1, direction="down"):
    """Make a link."""
    return Link(profile(line), Random(seed).random, toxics=toxics, direction=direction)


def delays(made, *, count, apart, size=100):
    """Send segments one by one and tell by how much each is late, its time on the line left out."""
    rate = made.shape.rate
    on_line = size / rate if rate else 0
    late = []
    for number in range(count):
        now = number * apart
        ((at, sent),) = made.schedule(size, now)
        assert sent == size
        late.append(at - now - on_line)
    return late


def last(made, size, now=0.0):
    """Tell when the last of *size* bytes arrives."""
    return made.schedule(size, now)[-1][0]


def test_bandwidth_is_exact_over_five_seconds():
    """R10: at 100 kbps, 62,500 bytes take 5 s, and in no second do more than 12,500 and a segment arrive."""
    made = link(Profile(name="narrow", down_kbps=100))
    arrivals = made.schedule(62_500, 0.0)
    assert arrivals[-1][0] == pytest.approx(5.0)
    for second in range(5):
        within = sum(size for at, size in arrivals if second < at <= second + 1)
        assert within == pytest.approx(100 * KBIT, abs=1460)


@pytest.mark.parametrize("name", ["slow-3g", "3g", "4g", "mobile-4g", "wifi", "5g"])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_each_profile_carries_what_it_says(name, direction):
    """R10, R44, R45, R167: one second's worth of bytes takes one second, and the latency on the way down."""
    line = PROFILES[name]
    kbps = line.down_kbps if direction == "down" else line.up_kbps
    late = line.latency * (1 + line.jitter) if direction == "down" else 0
    early = line.latency * (1 - line.jitter) if direction == "down" else 0
    at = last(link(name, direction=direction), int(kbps * KBIT))
    assert 1 + early <= at + 1e-9
    assert at <= 1 + late + 1e-9


def test_jitter_fills_its_band():
    """R11: 200 delays of slow-3g lie in 120 to 180 ms, and their spread covers 80 % of the band or more."""
    late = delays(link("slow-3g"), count=200, apart=1.0)
    assert min(late) + 1e-9 >= 0.120
    assert max(late) <= 0.180 + 1e-9
    assert max(late) - min(late) >= 0.8 * 0.060


def test_segments_that_are_lost_come_late_and_whole():
    """R32: 10 % of the segments are late by the time of a retransmission; none is missing, none overtakes."""
    made = link("clean", SegmentLoss(share=0.1, delay=0.3))
    arrivals = [pair for number in range(1000) for pair in made.schedule(100, number * 1.0)]
    late = [at - number for number, (at, _) in enumerate(arrivals)]
    assert sum(size for _, size in arrivals) == 100_000
    assert {round(delay, 6) for delay in late} == {0.0, 0.3}
    assert sum(delay > 0 for delay in late) == made.dropped
    assert 70 <= made.dropped <= 130


def test_those_behind_a_lost_segment_wait_for_it():
    """R32, X18: under TCP a lost segment holds up what was sent after it."""
    made = Link(profile("clean"), iter([0.0, 0.9, 0.9]).__next__, toxics=[SegmentLoss(share=0.5, delay=0.3)])
    arrivals = [made.schedule(100, now)[0][0] for now in (0.0, 0.1, 0.5)]
    assert arrivals == [0.3, 0.3, 0.5]


def test_pieces_leave_apart():
    """P25: a slicer cuts what comes and spaces the pieces, also from one chunk to the next."""
    made = link("clean", Slicer(size=4, delay=0.5))
    assert made.schedule(10, 0.0) == [(0.0, 4), (0.5, 4), (1.0, 2)]
    assert made.schedule(1, 1.2) == [(1.5, 1)]


def test_latencies_add_up_and_the_narrowest_limit_counts():
    """P25: several toxics act together with the profile."""
    line = Profile(name="line", down_kbps=80, latency=0.1)
    made = Link(line, Random(1).random, toxics=[Latency(delay=0.2), Bandwidth(kbps=8), Bandwidth(kbps=16)])
    assert last(made, 1000) == pytest.approx(0.1 + 0.2 + 1.0)


@pytest.mark.parametrize("toxic", [Latency(delay=1), Bandwidth(kbps=1), Slicer(size=1), SegmentLoss(share=1)])
def test_a_toxic_acts_in_its_direction_only(toxic):
    """P25: what is said of the way down leaves the way up alone, unless it says both."""
    kind = type(toxic)
    values = {
        field: getattr(toxic, field) for field in ("delay", "kbps", "size", "share") if hasattr(toxic, field)
    }
    for said, touched in (("down", {"down"}), ("up", {"up"}), ("both", {"down", "up"})):
        made = kind(**values, direction=said)
        ways = {way for way in ("down", "up") if not shape(profile("clean"), [made], direction=way).is_clear}
        assert ways == touched


def test_a_new_shape_does_not_overtake_the_old():
    """R42: what was sent over a slow line arrives before what is sent over the fast one after it."""
    made = link("slow-3g")
    slow = last(made, 5000)
    made.shape = shape(profile("wifi"))
    assert made.schedule(100, 0.1)[0][0] >= slow


def test_what_may_be_under_way_is_bounded():
    """R10: a line holds what fills it twice and lasts for 50 ms more, and never less than a window of TCP."""
    assert shape(profile("slow-3g")).queue_bytes == 16_384
    assert shape(profile("wifi")).queue_bytes == pytest.approx(50_000 * KBIT * (0.02 + 0.05), abs=1)
    assert (
        shape(profile("wifi"), direction="up").queue_bytes
        > 2 * shape(profile("wifi"), direction="up").segment
    )
    assert shape(profile("clean")).queue_bytes < 1_000_000


@given(
    st.lists(st.tuples(st.integers(1, 20_000), st.floats(0, 0.2)), min_size=1, max_size=20),
    st.sampled_from(sorted(PROFILES)),
    st.lists(
        st.sampled_from(
            [
                Latency(delay=0.1, jitter=1),
                Bandwidth(kbps=64),
                SegmentLoss(share=0.3),
                Slicer(size=333, delay=0.01),
            ]
        ),
        max_size=3,
    ),
    st.integers(0, 1000),
)
def test_whatever_the_line_nothing_is_lost_early_or_overtaken(chunks, name, toxics, seed):
    """P25, R32: bytes are conserved, none arrives before it was sent, and order is kept."""
    made = link(name, *toxics, seed=seed)
    now, before = 0.0, 0.0
    for size, pause in chunks:
        now += pause
        arrivals = made.schedule(size, now)
        assert sum(part for _, part in arrivals) == size
        assert all(part > 0 for _, part in arrivals)
        times = [before, *(at for at, _ in arrivals)]
        assert all(earlier <= later for earlier, later in itertools.pairwise(times))
        assert times[1] >= now
        before = times[-1]
