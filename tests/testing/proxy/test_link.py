"""Profiles, toxics and timelines as values and as text, and the link: when does what leave?"""

import itertools
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_sse.testing.proxy import (
    PROFILES,
    TOXICS,
    Bandwidth,
    BlackHole,
    Latency,
    LimitBytes,
    Link,
    Profile,
    Refuse,
    Reset,
    SegmentLoss,
    Slicer,
    SlowClose,
    Timeline,
    TLSFailure,
    parse_action,
    parse_toxic,
    profile,
    shape,
)
from tests.docs.pages import table, text_of


@pytest.mark.parametrize(
    "values,complaint",
    [
        ({"down_kbps": 0}, "down_kbps must be a number of kbps above 0"),
        ({"up_kbps": -1}, "up_kbps must be a number of kbps above 0"),
        ({"down_kbps": math.nan}, "down_kbps must be"),
        ({"up_kbps": math.inf}, "up_kbps must be"),
        ({"latency": -0.1}, "latency must be a number of seconds, 0 or more"),
        ({"latency": math.nan}, "latency must be"),
        ({"jitter": 20}, r"jitter must be a share between 0 and 1 \(20 % is 0.2\), not 20"),
        ({"jitter": -0.1}, "jitter must be"),
        ({"loss": 1.1}, "loss must be a share"),
        ({"loss": math.nan}, "loss must be a share"),
        ({"loss_delay": -1}, "loss_delay must be"),
    ],
)
def test_impossible_figures_are_refused(values, complaint):
    """Impossible rates and times get an error that names the argument and what it may be."""
    with pytest.raises(ValueError, match=complaint):
        Profile(name="impossible", **values)


def test_the_named_profiles():
    """R10, R11, R44, R45, R167, R19: the page has each by its name, with its figures; none loses anything."""

    def rate(kbps):
        return "no limit" if kbps is None else f"{kbps:,}"

    header = ("profile", "down, kbps", "up, kbps", "latency, ms", "jitter")
    assert table(text_of("lab/network-profiles.md"), *header) == [
        [
            f"`{made.name}`",
            rate(made.down_kbps),
            rate(made.up_kbps),
            f"{made.latency * 1000:g}",
            f"±{made.jitter:.0%}".replace("%", " %") if made.jitter else "none",
        ]
        for made in PROFILES.values()
    ]
    names = {"slow-3g", "3g", "4g", "mobile-4g", "wifi", "5g", "clean"}
    assert {(name, made.name, made.loss) for name, made in PROFILES.items()} == {(it, it, 0) for it in names}
    own = Profile(name="own", down_kbps=7)
    assert profile(own) is own


@pytest.mark.parametrize(
    "text,toxic",
    [
        ("latency:delay=0.2", Latency(delay=0.2)),
        ("latency:delay=0.2,jitter=0.5,direction=both", Latency(delay=0.2, jitter=0.5, direction="both")),
        ("bandwidth:kbps=64", Bandwidth(kbps=64)),
        ("black-hole", BlackHole()),
        ("black-hole:direction=up", BlackHole(direction="up")),
        ("loss:share=0.1", SegmentLoss(share=0.1)),
        ("slicer:size=3,delay=0.01", Slicer(size=3, delay=0.01)),
        ("reset", Reset()),
        ("reset:after=500,times=1", Reset(after=500, times=1)),
        ("limit-bytes:after=500,times=none", LimitBytes(after=500)),
        ("slow-close:delay=3", SlowClose(delay=3)),
        ("refuse:times=2", Refuse(times=2)),
        ("tls-failure", TLSFailure()),
        (" latency: delay = 1 ", Latency(delay=1)),
    ],
)
def test_a_toxic_is_read(text, toxic):
    """P25: every toxic can be written down."""
    assert parse_toxic(text) == toxic
    assert TOXICS[text.partition(":")[0].strip()] is type(toxic)


@pytest.mark.parametrize(
    "text,complaint",
    [
        ("rain", "unknown toxic 'rain'; choose one of latency, bandwidth, black-hole, loss, .*tls-failure"),
        (
            "latency",
            r"'latency' needs delay; write latency:delay=... \(optional: jitter=0.0, direction=down\)",
        ),
        ("slicer:delay=1", "needs size; write slicer:size=..."),
        ("latency:delay=soon", "'delay=soon' is no number in the toxic 'latency'; write latency:delay="),
        ("slicer:size=1.5", "'size=1.5' is no number"),
        ("latency:delay", "'delay' is not understood"),
        ("latency:delay=1,delay=2", "'delay=2' is not understood"),
        ("latency:speed=1", "'speed=1' is not understood in the toxic 'latency'; write latency:delay="),
        ("bandwidth:kbps=0", "the toxic 'bandwidth': kbps must be a number of kbps above 0"),
        ("latency:delay=-1", "delay must be a number of seconds, 0 or more"),
        ("latency:delay=1,jitter=2", "jitter must be a share"),
        ("loss:share=10", r"share must be a share between 0 and 1 \(20 % is 0.2\), not 10.0"),
        ("slicer:size=0", "size must be a whole number, at least 1"),
        ("reset:after=-1", "after must be a whole number, at least 0"),
        ("refuse:times=0", "times must be a whole number, at least 1"),
        ("black-hole:direction=left", "direction must be 'down', 'up' or 'both', not 'left'"),
    ],
)
def test_a_toxic_that_makes_no_sense_is_answered_with_what_would(text, complaint):
    """Unknown toxics and impossible figures get one line that names the fix."""
    with pytest.raises(ValueError, match=complaint) as raised:
        parse_toxic(text)
    assert "\n" not in str(raised.value)


def test_actions_at_their_moments():
    """R46, R51: an action is a word, a profile or a toxic; they are in order of time, then as they were given."""
    timeline = Timeline().at(9, " flow ", "3g").at(2, "black-hole", "loss:share=0.1").at(9, "reset")
    late = [(9, "flow"), (9, PROFILES["3g"]), (9, "reset")]
    assert timeline.moments == ((2, "black-hole"), (2, SegmentLoss(share=0.1)), *late)
    for text in ("explode", "", "8g"):
        told = f"unknown action '{text}'; choose one of refuse, .*slow-3g.*latency"
        with pytest.raises(ValueError, match=told):
            parse_action(text)
    for seconds in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="the time of a moment must be a number of seconds"):
            Timeline().at(seconds, "flow")
    with pytest.raises(TypeError, match="an action must be a word, a Profile or a toxic, not None"):
        Timeline().at(41, None)


KBIT = 125
"""Bytes."""


def link(line="clean", *toxics, seed=1, direction="down"):
    """Make a link."""
    return Link(profile(line), Random(seed).random, toxics=toxics, direction=direction)


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
    made = link("slow-3g")
    late = [last(made, 100, float(number)) - number - 100 / (100 * KBIT) for number in range(200)]
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


@pytest.mark.parametrize(
    "kind,values",
    [(Latency, {"delay": 1}), (Bandwidth, {"kbps": 1}), (Slicer, {"size": 1}), (SegmentLoss, {"share": 1})],
)
def test_a_toxic_acts_in_its_direction_only(kind, values):
    """P25: what is said of the way down leaves the way up alone, unless it says both."""
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
