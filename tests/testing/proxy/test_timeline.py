"""Timelines and toxics as values and as text: what is understood, and what is answered when it is not."""

import math

import pytest

from resilient_sse.testing.proxy import (
    PROFILES,
    TOXICS,
    Bandwidth,
    BlackHole,
    Latency,
    LimitBytes,
    Refuse,
    Reset,
    SegmentLoss,
    Slicer,
    SlowClose,
    Timeline,
    TLSFailure,
    parse_action,
    parse_toxic,
)


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


def test_an_action_is_a_word_a_profile_or_a_toxic():
    """R46, R51: a timeline can be written in words."""
    assert parse_action("flow") == "flow"
    assert parse_action(" black-hole ") == "black-hole"
    assert parse_action("3g") is PROFILES["3g"]
    assert parse_action("loss:share=0.1") == SegmentLoss(share=0.1)


@pytest.mark.parametrize("text", ["explode", "", "8g"])
def test_an_unknown_action_is_answered_with_those_there_are(text):
    """An error names the fix."""
    with pytest.raises(
        ValueError, match=f"unknown action '{text}'; choose one of refuse, .*slow-3g.*latency"
    ):
        parse_action(text)


def test_moments_are_put_in_order():
    """Actions are played in order of time; those of one moment in the order in which they were given."""
    timeline = Timeline().at(9, "flow", "3g").at(2, "black-hole").at(9, "reset")
    assert timeline.moments == ((2, "black-hole"), (9, "flow"), (9, PROFILES["3g"]), (9, "reset"))


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_a_moment_needs_a_time(seconds):
    """A time is a number of seconds from the beginning on."""
    with pytest.raises(ValueError, match="the time of a moment must be a number of seconds"):
        Timeline().at(seconds, "flow")
