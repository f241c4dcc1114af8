"""One stream's record: messages counted once, connections and reconnects timed."""

import pytest

from resilient_sse import Comment, Gap, Reason, Recovery, ServerSentEvent, StateChange, StreamState
from resilient_sse.testing.load.tally import END, Tally

C, W, R, E, X = (
    StreamState.CONNECTED,
    StreamState.WAITING,
    StreamState.RECONNECTING,
    StreamState.ERROR,
    StreamState.CLOSED,
)


def message(number):
    """Make a message."""
    return ServerSentEvent(id=str(number), data="x")


def change(new, at):
    """Make a change of state."""
    return StateChange(old=C, new=new, reason=Reason.RESET, at=at)


async def tally_of(*numbers, **options):
    """Make a tally that has received these messages."""
    tally = Tally(started=0.0, **options)
    for number in numbers:
        tally.event(message(number))
    return tally


def figures(tally):
    """Give what was counted."""
    return tally.unique, tally.duplicates, tally.disorder


@pytest.mark.parametrize(
    "numbers,expected",
    [
        ([1, 2, 3], (3, 0, 0)),
        ([1, 2, 2, 3, 1], (3, 2, 0)),
        ([1, 3, 2], (3, 0, 1)),
        ([1, 3, 2, 2], (3, 1, 1)),
        ([1, 5], (2, 0, 0)),
        ([3], (1, 0, 0)),
        ([3, 1, 2], (3, 0, 2)),
    ],
)
async def test_numbers(numbers, expected):
    """R5, R14: each number counts once; what comes again, or late, is told apart."""
    assert figures(await tally_of(*numbers)) == expected


async def test_opaque_ids():
    """A server of the user's own may number as it likes, or not at all."""
    assert figures(await tally_of(500, 400, 500, numbered=False)) == (3, 0, 0)


async def test_notices():
    """What has no number is no message: the reference server says so when history is gone."""
    tally = await tally_of(1, 2)
    tally.event(ServerSentEvent(event="truncated", data="{}"))
    tally.event(ServerSentEvent(event="odd", id="x", data="{}"))
    assert figures(tally) == (2, 0, 0)


async def test_new_numbering():
    """R40, P23: after a reset that the client reports, low numbers are new messages; without it they are not."""
    tally = await tally_of(1, 2, 5)
    tally.gap(Gap(kind="reset", after_id="5", before_id="1"))
    for number in (1, 2, 2, 3):
        tally.event(message(number))
    assert figures(tally) == (6, 1, 0)
    assert tally.gaps == 1
    tally = await tally_of(1, 2)
    tally.gap(Gap(kind="unresumable", after_id="2"))
    tally.event(message(1))
    assert figures(tally) == (2, 1, 0)


async def test_flood_of_holes():
    """A server that skips a billion numbers does not take the memory for them."""
    tally = await tally_of(1, 1_000_000_000, 2)
    assert tally.unique == 3
    assert len(tally._holes) < 20_000


@pytest.mark.parametrize(
    "data,declared",
    [('{"total": 50}', 50), ("{}", None), ("", None), ("[1]", None), ('{"total": "x"}', None)],
)
async def test_end(data, declared):
    """The end is no message; it tells how many there were."""
    tally = await tally_of(1)
    tally.event(ServerSentEvent(event=END, id="2", data=data))
    assert tally.complete
    assert tally.declared == declared
    assert tally.unique == 1


async def test_availability():
    """R170: connected time counts from the first connection; waiting is connected, reconnecting is not."""
    tally = Tally(started=10.0)
    tally.change(change(C, 12.0))
    tally.change(change(W, 20.0))
    tally.change(change(C, 21.0))
    assert tally.open
    tally.change(change(R, 32.0))
    assert tally.reconnecting
    assert not tally.open
    tally.change(change(R, 33.0))
    tally.change(change(C, 37.0))
    tally.change(change(X, 52.0))
    assert tally.opened_after == 2.0
    assert tally.connected == 35.0
    assert tally.lifetime == 40.0
    assert not tally.open
    assert not tally.reconnecting


async def test_stream_that_never_opened():
    """R170: it was unavailable for all of its time."""
    tally = Tally(started=10.0)
    tally.change(change(R, 11.0))
    tally.change(change(E, 30.0))
    assert (tally.connected, tally.lifetime) == (0.0, 20.0)
    assert tally.recoveries == []
    tally.end(99.0)
    assert tally.lifetime == 20.0


def recovery(silent_since, lost_at, opened_at, recovered_at):
    """Make the record of an outage that is over."""
    return Recovery(
        reason=Reason.RESET,
        attempts=1,
        silent_since=silent_since,
        lost_at=lost_at,
        opened_at=opened_at,
        recovered_at=recovered_at,
    )


async def test_reconnect_is_timed():
    """R86, R98, R101: from the loss to the first event on the new connection; attempts each, delay included."""
    tally = Tally(started=0.0)
    tally.change(change(C, 0.0))
    tally.event(message(1))
    tally.change(change(R, 10.0))
    tally.change(change(R, 11.5))
    tally.change(change(C, 14.0))
    tally.fact(Comment("still here"))
    assert tally.recoveries == []
    tally.fact(recovery(8.0, 10.0, 14.0, 15.0))
    tally.event(message(2))
    assert (tally.recoveries, tally.reopenings, tally.silences) == ([5.0], [4.0], [7.0])
    assert tally.attempts == [1.5, 2.5]
    assert tally.connections == 2
    tally.end(40.0)
    assert tally.recoveries == [5.0]


async def test_late_opening():
    """What it took to open the first connection is no reconnect; it has a figure of its own."""
    tally = Tally(started=0.0)
    tally.change(change(R, 1.0))
    tally.change(change(C, 2.0))
    tally.fact(recovery(0.0, 1.0, 2.0, 3.0))
    assert tally.recoveries == []
    assert tally.opened_after == 2.0


async def test_outage_without_end():
    """R88: an outage that nothing ended counts with the time it lasted, so that a maximum cannot look better."""
    tally = Tally(started=0.0)
    tally.change(change(C, 0.0))
    tally.change(change(R, 5.0))
    tally.end(40.0)
    tally.end(50.0)
    assert tally.recoveries == [35.0]
    assert tally.ended


async def test_first_connection_is_told():
    """The fleet is told once when a stream has its first connection."""
    told = []
    tally = Tally(started=0.0, first_opened=lambda: told.append(1))
    for at, state in enumerate((C, R, C, R, C)):
        tally.change(change(state, float(at)))
    assert told == [1]
