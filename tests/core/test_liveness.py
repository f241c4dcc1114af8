from __future__ import annotations

import math

import pytest

from resilient_sse._core.events import Comment
from resilient_sse._core.liveness import Silence
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.parser import Block, Item, RetryHint
from resilient_sse._core.states import Reason

EVENT = [Block(data="a")]
HEARTBEAT = [Block(event="heartbeat", data="{}")]
ID_ONLY = [Block(id="7")]
COMMENT = [Comment("")]
HINT = [RetryHint(100)]


def silence(*waits: float, **limits) -> Silence:
    """Make the clocks of one connection and let *waits* pass with nothing to show for it."""
    clocks = Silence(StreamOptions(**limits))
    clocks.start()
    for waited in waits:
        heard(clocks, [], raw_size=0, waited=waited)
    return clocks


def heard(clocks: Silence, items: list[Item], *, raw_size: int, waited: float) -> bool:
    """Count a read that brought *items*."""
    event = any(isinstance(item, Block) and item.data is not None for item in items)
    return clocks.heard(raw_size, waited, frames=bool(items), event=event)


def test_a_fresh_connection():
    """25 s until the notice and 30 s until the stall (R20, R30)."""
    clocks = silence()
    assert clocks.until_notice == pytest.approx(25.0)
    assert clocks.left == (30.0, Reason.STALL)


def test_silence_adds_up():
    """Waits without a sign of life count together, not below zero."""
    clocks = silence(10.0, 12.0)
    assert clocks.until_notice == pytest.approx(3.0)
    assert clocks.left == (8.0, Reason.STALL)
    clocks = silence(31.0)
    assert (clocks.until_notice, clocks.left) == (0.0, (0.0, Reason.STALL))


def test_time_between_reads_does_not_count():
    """Only the time somebody waited is silence: a slow consumer is not a stalled server."""
    clocks = silence()
    for _ in range(1000):
        heard(clocks, EVENT, raw_size=9, waited=0.0)
    assert clocks.left == (30.0, Reason.STALL)


@pytest.mark.parametrize("items", [EVENT, HEARTBEAT, ID_ONLY, COMMENT, HINT, []])
def test_any_byte_proves_life(items):
    """By default events, heartbeats, comments and half a line all reset the timer (R157, R158, R174)."""
    clocks = silence(29.9)
    assert heard(clocks, items, raw_size=1, waited=0.0)
    assert clocks.left == (30.0, Reason.STALL)
    assert clocks.until_notice == pytest.approx(25.0)


def test_bytes_that_decode_to_nothing_prove_life():
    """What arrives counts, not what it decompresses to; nothing at all proves nothing."""
    clocks = silence(20.0)
    assert heard(clocks, [], raw_size=10, waited=5.0)
    assert clocks.left[0] == 30.0
    assert not heard(clocks, [], raw_size=0, waited=5.0)
    assert clocks.left[0] == 25.0


@pytest.mark.parametrize(
    "stall_on, items, alive",
    [
        pytest.param("bytes", [], True, id="bytes-half-a-line"),
        pytest.param("frames", [], False, id="frames-half-a-line"),
        pytest.param("frames", COMMENT, True, id="frames-comment"),
        pytest.param("frames", ID_ONLY, True, id="frames-id-only"),
        pytest.param("frames", EVENT, True, id="frames-event"),
        pytest.param("events", COMMENT, False, id="events-comment"),
        pytest.param("events", ID_ONLY, False, id="events-id-only"),
        pytest.param("events", HINT, False, id="events-hint"),
        pytest.param("events", HEARTBEAT, True, id="events-heartbeat"),
        pytest.param("events", [*COMMENT, *EVENT], True, id="events-event"),
    ],
)
def test_what_ends_a_silence(stall_on, items, alive):
    """Bytes, complete frames or dispatched events, as the caller chooses (P26)."""
    clocks = silence(20.0, stall_on=stall_on)
    assert heard(clocks, items, raw_size=1, waited=0.0) is alive
    assert clocks.left[0] == (30.0 if alive else 10.0)


def test_a_trickle():
    """A byte every 10 s is life by bytes and a stall at 30 s by frames (P26)."""
    by_bytes, by_frames = silence(), silence(stall_on="frames")
    for _ in range(3):
        heard(by_bytes, [], raw_size=1, waited=10.0)
        heard(by_frames, [], raw_size=1, waited=10.0)
    assert by_bytes.left[0] == 30.0
    assert by_frames.left[0] == 0.0


def test_comments_do_not_hold_off_the_event_timeout():
    """`event_timeout` is a second, longer limit that only events reset."""
    clocks = silence(event_timeout=60.0)
    for _ in range(4):
        heard(clocks, COMMENT, raw_size=2, waited=10.0)
    assert clocks.left == (20.0, Reason.EVENT_TIMEOUT)
    heard(clocks, EVENT, raw_size=9, waited=10.0)
    assert clocks.left == (30.0, Reason.STALL)
    heard(clocks, COMMENT, raw_size=2, waited=70.0)
    assert clocks.left == (0.0, Reason.EVENT_TIMEOUT)


def test_the_nearer_limit_is_told():
    """Each limit has its own reason; a tie is a stall."""
    assert silence(stall_timeout=30.0, event_timeout=20.0).left == (20.0, Reason.EVENT_TIMEOUT)
    assert silence(stall_timeout=20.0, event_timeout=30.0).left == (20.0, Reason.STALL)
    assert silence(stall_timeout=20.0, event_timeout=20.0).left == (20.0, Reason.STALL)


def test_without_limits():
    """No stall timeout means no notice either; the event timeout stands alone if it is given."""
    clocks = silence(1e6, stall_timeout=None)
    assert clocks.left[0] == math.inf
    assert clocks.until_notice == math.inf
    assert silence(5.0, stall_timeout=None, event_timeout=9.0).left == (4.0, Reason.EVENT_TIMEOUT)


def test_the_notice_may_stand_alone():
    """Without a stall timeout a given notice still comes."""
    assert silence(5.0, stall_timeout=None, waiting_after=9.0).until_notice == 4.0


def test_a_new_connection_starts_at_zero():
    """What was silent before the connection does not count."""
    clocks = silence(29.0, event_timeout=29.5)
    clocks.start()
    assert clocks.left == (29.5, Reason.EVENT_TIMEOUT)
    assert clocks.until_notice == pytest.approx(25.0)
