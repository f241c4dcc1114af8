"""One stream of a run: messages counted once, connections and reconnects timed; and what is made of durations."""

import random

import anyio
import pytest

from resilient_sse import Gap, Reason, Recovery, ServerSentEvent, StateChange, StreamState
from resilient_sse.testing.load import LoadPlan, Spread
from resilient_sse.testing.load.fleet import END, Fleet, Follower

C, W, R, E, X = (
    StreamState.CONNECTED,
    StreamState.WAITING,
    StreamState.RECONNECTING,
    StreamState.ERROR,
    StreamState.CLOSED,
)


def follower(*numbers, **options):
    """Make one that has been handed these messages."""
    made = Follower(Fleet(LoadPlan(), ["http://host/"]), **options)
    for number in numbers:
        made.event(ServerSentEvent(id=str(number), data="x"))
    return made


def figures(made):
    """Return what was counted."""
    return made.unique, made.duplicates, made.disorder


@pytest.mark.parametrize(
    "numbers,expected",
    [
        ([1, 2, 3], (3, 0, 0)),
        ([1, 2, 2, 3, 1], (3, 2, 0)),
        ([1, 3, 2, 2], (3, 1, 1)),
        ([3, 1, 2], (3, 0, 2)),
        ([1, 1_000_000_000, 2], (3, 0, 1)),
    ],
)
async def test_numbers(numbers, expected):
    """R5, R14: each number counts once; what comes again, or late, is told apart, whatever is missing."""
    assert figures(follower(*numbers)) == expected


async def test_what_is_no_number():
    """A server of the user's own may number as it likes; a notice and the end are no messages."""
    assert figures(follower(500, 400, 500, numbered=False)) == (3, 0, 0)
    made = follower(1, 2)
    made.event(ServerSentEvent(event="truncated", data="{}"))
    made.event(ServerSentEvent(event="odd", id="x", data="{}"))
    assert not made.complete
    made.event(ServerSentEvent(event=END, id="3", data="{}"))
    assert figures(made) == (2, 0, 0)
    assert made.complete


async def test_new_numbering():
    """R40, P23: after a reset that the client reports, low numbers are new messages; without it they are not."""
    made = follower(1, 2, 5)
    made.gap(Gap(kind="unresumable", after_id="5"))
    made.event(ServerSentEvent(id="1", data="x"))
    made.gap(Gap(kind="reset", after_id="5", before_id="1"))
    for number in (1, 2, 2):
        made.event(ServerSentEvent(id=str(number), data="x"))
    assert figures(made) == (5, 2, 0)


def play(*changes):
    """Play changes of state, in seconds from now, and return the follower and its fleet's durations."""
    fleet = Fleet(LoadPlan(), ["http://host/"])
    made, began = Follower(fleet), anyio.current_time()
    for new, at in changes:
        made.change(StateChange(old=C, new=new, reason=Reason.RESET, at=began + at))
    return made, fleet.times


async def test_availability():
    """R170: connected time counts from the first connection; waiting is connected, reconnecting is not."""
    made, times = play((C, 2), (W, 10), (C, 11), (R, 22), (R, 23), (C, 27), (X, 42))
    assert list(times["opening"]) == pytest.approx([2])
    assert list(times["attempt"]) == pytest.approx([1, 4])
    assert (made.connected, made.lifetime) == (pytest.approx(35), pytest.approx(40))
    assert (made.open, made.reconnecting, made.ended) == (False, False, True)
    never, times = play((R, 1), (E, 20))
    assert (never.connected, never.lifetime) == (0, pytest.approx(20))
    assert list(times["recovery"]) == []


async def test_a_reconnect_is_timed():
    """R86, R98, R101: from the loss to the first event on the new connection, as the client has recorded it."""
    recovery = Recovery(
        reason=Reason.RESET, attempts=1, silent_since=8.0, lost_at=10.0, opened_at=14.0, recovered_at=15.0
    )
    made, times = play((R, 1), (C, 2))
    made.fact(recovery)  # it belongs to the opening
    assert list(times["recovery"]) == []
    made, times = play((C, 0), (R, 10))
    assert made.reconnecting
    made.fact(recovery)
    made.end(anyio.current_time() + 40)
    assert [list(times[name]) for name in ("recovery", "reopening", "silence")] == [[5], [4], [7]]


async def test_an_outage_without_an_end():
    """R88: an outage that nothing ended counts with the time it lasted, so that a maximum cannot look better."""
    made, times = play((C, 0), (R, 5))
    made.end(anyio.current_time() + 40)
    made.end(anyio.current_time() + 50)
    assert list(times["recovery"]) == pytest.approx([35])


def test_spread():
    """R85-R88: mean, percentiles and maximum of the same values; of nothing there is none."""
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(count=3, mean=2.0, p50=2.0, p95=3.0, p99=3.0, maximum=3.0)
    assert Spread.of([]) == Spread()


async def test_samples_are_bounded_and_never_flatter():
    """R206: of a million durations a bounded number is kept; percentiles stay, and the longest is the longest."""
    draw = random.Random(3)
    values = [draw.lognormvariate(-7, 2) for _ in range(65_000)]
    fleet = Fleet(LoadPlan(), ["http://host/"])
    for value in values:
        fleet._sample(value)
    kept, exact = Spread.of(fleet.times["handling"]), Spread.of(values)
    assert 10_000 <= kept.count < 20_000
    assert kept.maximum == exact.maximum
    for ours, true in ((kept.p50, exact.p50), (kept.p95, exact.p95), (kept.p99, exact.p99)):
        assert ours == pytest.approx(true, rel=0.15)
