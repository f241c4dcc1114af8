"""Numbered streams: holes are healed or reported, order holds, and nothing comes twice."""

import anyio
import pytest

from resilient_sse import BadStatusError, RetriesExhaustedError, integers
from resilient_sse.checkpoints import MemoryCheckpoint
from resilient_sse.testing import Refusal, Reply, comment, event, pause
from tests.client.support import END, at_once, drain, dropped, hanging, make, numbered, one_loop, take


async def watch(script, *, seen=None, **options):
    """Go to the end of a stream; return the numbers and the gaps, in order, and the figures."""
    seen = [] if seen is None else seen
    options = {"sequence": integers, "until": "end"} | options
    async with make(script, on_gap=lambda gap: seen.append((gap.kind, gap.missing)), **options) as stream:
        async for item in stream:
            if item.event != "end":
                seen.append(int(item.id))
    return seen, stream.stats


def once(*ids, data="new"):
    """Write such events."""
    return [event(data, id=str(number)) for number in ids]


def renumbered(length, alike):
    """Write a numbering that begins anew, and of which so many events read like the old ones."""
    return [*numbered(*range(1, alike + 1)), *once(*range(alike + 1, length + 1))][:length]


TO_50 = [*range(1, 51)]
LONG = numbered(*TO_50)
BEATING = [event("", event="beat", id=str(n)) if n % 5 == 0 else numbered(n)[0] for n in range(1, 52)]
HOLE, RESET = ("hole", 2), ("reset", None)
SEQUENCES = {
    # The connection is replaced, resumed from the last contiguous id, and order holds: R36, P22.
    "a hole is healed by a reconnect": (
        [hanging(1, 2, 5, 6), Reply(*numbered(3, 4, 5, 6, 7), END)],
        [*range(1, 8)],
    ),
    # One `Gap` with what is missing, before the event behind it; the stream goes on: R16, R104, P22.
    "a hole is not replayed": ([hanging(1, 2, 5), Reply(*numbered(5, 6), END)], [1, 2, HOLE, 5, 6]),
    # The server has restarted at 1: one reset, and every event comes: P23, R40.
    "a reset": ([dropped(498, 499, 500), Reply(*once(1, 2, 3), END)], [498, 499, 500, RESET, 1, 2, 3]),
    # What began like the stream, or lies before it, is no new numbering, whatever its length: 3.2, 3.6, P23.
    "a replay from before the first event": (
        [dropped(100, 101), Reply(*numbered(*range(98, 104)), END)],
        [*range(100, 104)],
    ),
    "a replay from long before it": (
        [dropped(100, 101), Reply(*numbered(*range(1, 104)), END)],
        [*range(100, 104)],
    ),
    "a replay of a backlog that was empty": (
        [dropped(5, 6), Reply(at_once(*range(1, 9))).drop(), Reply(at_once(*range(1, 11)), END)],
        [*range(5, 11)],
    ),
    **{
        f"a replay that is cut after {cut}": (
            [dropped(*TO_50), Reply(*LONG[:cut]).drop(), Reply(*numbered(*range(1, 52)), END)],
            [*range(1, 52)],
        )
        for cut in (5, 30)
    },
    "a replay that is slow": (
        [dropped(*TO_50), Reply(*(x for n in range(1, 52) for x in (*numbered(n), pause(2))), END)],
        [*range(1, 52)],
    ),
    "a replay with beats": (
        [Reply(*BEATING[:50]).drop(), Reply(*BEATING, END)],
        [n for n in range(1, 52) if n % 5],
    ),
    "a replay with a hole that was reported": (
        [
            Reply(at_once(*range(1, 21), *range(23, 51))).hang(),
            Reply(at_once(*range(23, 51))).drop(),
            Reply(at_once(*range(18, 21), *range(23, 52)), END),
        ],
        [*range(1, 21), HOLE, *range(23, 52)],
    ),
    "no replay, all alike": (
        [
            Reply(*once(*TO_50, data="x")).drop(),
            Reply(*once(*range(1, 11), data="x")).drop(),
            Reply(*once(11, data="x"), END),
        ],
        [*TO_50, RESET, *range(1, 12)],
    ),
    "no replay, met in its middle": (
        [dropped(*TO_50), Reply(*once(20, 21, 22), pause(20), *once(23), END)],
        [*TO_50, RESET, 20, 21, 22, 23],
    ),
    # One reset, and every event comes, though the first ones read like the old or it outgrows them: P23.
    **{
        f"a new numbering of {length} of which {alike} are alike": (
            [
                Reply(at_once(*TO_50)).drop(),
                *[Reply(*renumbered(length, alike), END).hang()] * (1 + (alike > 0)),
            ],
            [*TO_50, RESET, *range(1, length + 1)],
        )
        for length in (20, 55)
        for alike in (0, 15)
    },
    # It is delivered, takes no part in the checks, and the numbers go on behind it: 3.6.
    **{
        f"one absurd id: {absurd}": ([Reply(*numbered(1, 2, absurd, 3, 4), END)], [1, 2, absurd, 3, 4])
        for absurd in (10**12, 10**30)
    },
}


@pytest.mark.parametrize("steps, seen", SEQUENCES.values(), ids=SEQUENCES)
async def test_sequences(script, steps, seen):
    """Numbers and gaps in their order, and figures that agree; which rule decides stands with each."""
    script.play(*steps)
    found, figures = await watch(script, dedup_window=10, heartbeat_events=["beat"])
    assert found == seen
    script.assert_exhausted()
    gaps = [item for item in seen if isinstance(item, tuple)]
    assert figures.delivered == len(seen) - len(gaps) + 1
    assert (figures.gaps, figures.lost) == (len(gaps), 2 * gaps.count(HOLE))
    assert figures.unknown_losses == gaps.count(RESET)
    assert gaps or figures.completion == 100
    assert script.max_live == 1


# --- Holes


async def test_what_was_held_back_is_not_lost_if_the_replay_stops_before_it(script):
    """The replay fills the hole and goes quiet: what was held back follows at once, without another (P22)."""
    script.respond(at_once(1, 4, 5)).hang()
    script.respond(*numbered(2, 3), pause(10), *numbered(6)).hang()
    async with make(script, sequence=integers) as stream:
        assert [item.id for item in await take(stream, 5)] == ["1", "2", "3", "4", "5"]
        assert anyio.current_time() == 1
        assert (await anext(stream)).id == "6"
        assert stream.stats.gaps == 0
    assert [request.last_event_id for request in script.requests] == [None, "1"]


@pytest.mark.parametrize("parts", [[], [comment(), pause(10)] * 100], ids=["quiet", "chatting"])
async def test_a_server_that_says_nothing_of_a_hole(script, parts):
    """What was held back is not held for ever: the hole is reported after a silence, and it comes (P22)."""
    script.play(hanging(1, 4))
    script.always(Reply(*parts).hang())
    assert (await watch(script, until=lambda item: item.id == "4"))[0] == [1, HOLE, 4]
    assert anyio.current_time() < 600 if not parts else 60


async def test_a_hole_behind_the_stored_position(script):
    """A checkpoint is the last contiguous number of the next process (R37, R152)."""
    store = MemoryCheckpoint()
    script.play(Reply(*numbered(1, 2), END).hang(), hanging(4), Reply(*numbered(3, 4), END))
    await watch(script, checkpoint=store)
    assert (await watch(script, checkpoint=store))[0] == [3, 4]
    assert [request.last_event_id for request in script.requests] == [None, "2", "2"]


async def test_without_a_sequence_numbers_are_names(script):
    """Ids are opaque by default: holes and falling numbers mean nothing (X14)."""
    script.respond(*numbered(1, 9, 4), END)
    assert (await watch(script, sequence=None))[0] == [1, 9, 4]


@pytest.mark.parametrize("why", ["no retries", "spent body"])
async def test_a_hole_that_cannot_be_asked_for(script, why):
    """Better a gap than the end of the stream: the connection goes on, and no request is made (R36, P12)."""

    async def body():
        yield b"once"

    script.respond(*numbered(1, 4, 5, 8), END).hang()
    script.expect_no_more()
    options = {"max_retries": 0} if why == "no retries" else {"method": "POST", "content": body()}
    assert (await watch(script, **options))[0] == [1, HOLE, 4, 5, HOLE, 8]


@pytest.mark.parametrize(
    "error, steps", [(RetriesExhaustedError, [Refusal()] * 2), (BadStatusError, [Reply(status=403)])]
)
async def test_giving_up_while_healing_delivers_what_was_held_first(script, record, error, steps):
    """Events that arrived are not lost by the end of the stream: gap, events, and then the error (P5, R25)."""
    script.play(Reply(at_once(1, 4, 5)).hang(), *steps)
    script.expect_no_more()
    seen = []
    with pytest.raises(error):
        await watch(script, seen=seen, max_retries=2, on_state_change=record)
    assert seen == [1, HOLE, 4, 5]
    assert record.states[-1] == "error"


async def test_a_number_of_ones_own(script):
    """Any function of the id serves; an id without a number takes no part (section 3.6)."""
    script.play(*[Reply(event("a", id="n-1"), event("x", id="x"), event("d", id="n-4"), END).hang()] * 2)
    gaps = []
    numbering = {"sequence": lambda event_id: int(event_id.removeprefix("n-")), "on_gap": gaps.append}
    async with make(script, until="end", **numbering) as stream:
        assert [item.data for item in await drain(stream)] == ["a", "x", "d", ""]
    assert [(gap.after_id, gap.before_id, gap.missing) for gap in gaps] == [("n-1", "n-4", 2)]


# --- Longer than the window


@pytest.mark.parametrize("window", [1, 10, 49])
@pytest.mark.parametrize("first", [1, 20])
@one_loop
async def test_a_backlog_longer_than_the_window(script, window, first):
    """It is replayed at every reconnect, from the first event or one in the middle: nothing comes twice (3.2)."""
    script.respond(at_once(*TO_50)).drop()
    for last in (51, 52):
        script.respond(at_once(*range(first, last + 1))).drop()
    script.respond(at_once(*range(first, 54)), END).hang()
    seen, figures = await watch(script, dedup_window=window)
    assert seen == [*range(1, 54)]
    assert figures.duplicates == 51 + 52 + 53 - 3 * first
    assert [request.last_event_id for request in script.requests] == [None, "50", "51", "52"]


async def test_a_numbering_that_leaps_and_stays(script):
    """From counting to milliseconds: one gap of unknown size, no loss of billions, and the checks go on (3.6)."""
    high = 10**12
    script.play(hanging(1, high, high + 1), Reply(*numbered(high + 1, high + 2), END))
    seen, figures = await watch(script)
    assert [item for item in seen if isinstance(item, int)] == [1, high, high + 1, high + 2]
    assert (figures.gaps, figures.lost) == (1, 0)
