"""Numbered streams: holes are healed or reported, order holds, and nothing comes twice."""

import anyio
import pytest

from resilient_sse import BadStatusError, Gap, Reason, RetriesExhaustedError, StreamState, integers
from resilient_sse.checkpoints import MemoryCheckpoint
from resilient_sse.testing import Reply, comment, event, pause
from tests.client.support import Record, When, at_once, drain, hanging, make, numbered, one_loop, take


class Watched:
    """A numbered stream, what it delivered, and the gaps in their places."""

    def __init__(self, script, **options):
        self.record = Record()
        self.gaps = []
        self.seen = []
        options = {"sequence": integers, "until": "done", **options}
        self.stream = make(script, on_state_change=self.record, on_gap=self._on_gap, **options)

    def _on_gap(self, gap):
        self.gaps.append(gap)
        self.seen.append((gap.kind, gap.missing))

    async def run(self):
        """Go to the end of the stream and return numbers and gaps in order."""
        async with self.stream:
            async for item in self.stream:
                if item.event != "done":
                    self.seen.append(int(item.id))
        return self.seen

    @property
    def reasons(self):
        """Why connections were left."""
        return [change.reason for change in self.record.changes if change.new is StreamState.RECONNECTING]


DONE = event("", event="done")


# --- Holes that are filled


async def test_a_hole_is_healed_by_a_reconnect(script):
    """The connection is replaced, resumed from the last contiguous id, and order holds (R36, P22)."""
    script.play(hanging(1, 2, 5, 6), Reply(*numbered(3, 4, 5, 6, 7), DONE).hang())
    watched = Watched(script)
    assert await watched.run() == [1, 2, 3, 4, 5, 6, 7]
    assert [request.last_event_id for request in script.requests] == [None, "2"]
    assert watched.reasons == [Reason.GAP]
    assert watched.record.times[:3] == [0, 0, 1]
    assert (watched.stream.stats.gaps, watched.stream.stats.lost) == (0, 0)
    assert script.max_live == 1


async def test_what_was_held_back_is_not_lost_if_the_replay_stops_before_it(script):
    """The replay fills the hole and goes quiet: what was held back follows at once, without another (P22)."""
    script.respond(at_once(1, 4, 5)).hang()
    script.respond(*numbered(2, 3), pause(10), *numbered(6), DONE).hang()
    async with make(script, sequence=integers) as stream:
        assert [item.id for item in await take(stream, 5)] == ["1", "2", "3", "4", "5"]
        assert anyio.current_time() == 1
        assert (await anext(stream)).id == "6"
        assert stream.stats.gaps == 0


# --- Holes that stay


async def test_a_hole_that_is_not_replayed_is_one_gap(script):
    """One `Gap` with what is missing, before the event behind it; the stream goes on (R16, R104, P22)."""
    script.play(hanging(*range(1, 7), 9, 10), Reply(*numbered(9, 10), DONE).hang())
    watched = Watched(script)
    assert await watched.run() == [1, 2, 3, 4, 5, 6, ("hole", 2), 9, 10]
    assert watched.gaps == [Gap(kind="hole", after_id="6", before_id="9", missing=2)]
    assert len(script.requests) == 2
    figures = watched.stream.stats
    assert (figures.gaps, figures.lost, figures.delivered, figures.numbered) == (1, 2, 9, 8)


async def test_a_gap_stands_in_activity_and_among_the_facts(script):
    """The loss is told in every place where the program may look, once in each (section 3.6)."""
    script.play(hanging(1, 3), Reply(*numbered(3), DONE).hang())
    facts, told = [], []
    stream = make(script, sequence=integers, until="done", observers=[facts.append], on_gap=told.append)
    seen = [item for item in await drain(stream.activity()) if isinstance(item, Gap)]
    assert seen == told == [fact for fact in facts if isinstance(fact, Gap)]
    assert [gap.missing for gap in seen] == [1]


@pytest.mark.parametrize("parts", [[], [comment(), pause(10)] * 100], ids=["quiet", "chatting"])
async def test_a_server_that_says_nothing_of_a_hole(script, parts):
    """What was held back is not held for ever: the hole is reported after a silence, and it comes (P22)."""
    script.respond(*numbered(1, 3)).hang()
    script.always(Reply(*parts).hang())
    watched = Watched(script, until=lambda item: item.id == "3")
    assert await watched.run() == [1, ("hole", 1), 3]
    assert watched.record.times[-1] < 600 if not parts else 60


async def test_a_hole_behind_the_stored_position(script):
    """A checkpoint is the last contiguous number of the next process (R37, R152)."""
    store = MemoryCheckpoint()
    script.respond(*numbered(1, 2), DONE).hang()
    await Watched(script, checkpoint=store).run()
    script.play(hanging(4), Reply(*numbered(3, 4), DONE).hang())
    assert await Watched(script, checkpoint=store).run() == [3, 4]
    assert [request.last_event_id for request in script.requests] == [None, "2", "2"]


async def test_without_a_sequence_numbers_are_names(script):
    """Ids are opaque by default: holes and falling numbers mean nothing (X14)."""
    script.respond(*numbered(1, 9, 4), DONE).hang()
    assert await Watched(script, sequence=None).run() == [1, 9, 4]


# --- The end of the retry budget


async def test_a_hole_when_there_are_no_retries(script):
    """Better a gap than the end of the stream: the connection goes on (R36)."""
    script.respond(*numbered(1, 3, 4, 7), DONE).hang()
    script.expect_no_more()
    watched = Watched(script, max_retries=0)
    assert await watched.run() == [1, ("hole", 1), 3, 4, ("hole", 2), 7]


@pytest.mark.parametrize("error", [RetriesExhaustedError, BadStatusError])
async def test_giving_up_while_healing_delivers_what_was_held_first(script, error):
    """Events that arrived are not lost by the end of the stream: gap, events, and then the error (P5, R25)."""
    script.respond(at_once(1, 3, 4)).hang()
    script.refuse(times=2) if error is RetriesExhaustedError else script.reject(403)
    script.expect_no_more()
    watched = Watched(script, max_retries=2)
    with pytest.raises(error):
        await watched.run()
    assert watched.seen == [1, ("hole", 1), 3, 4]
    assert watched.record.path[-1] == "error"


async def test_a_post_that_cannot_be_sent_again_reports_its_hole(script):
    """No second request is made for a hole where none is allowed (P12)."""

    async def body():
        yield b"once"

    script.respond(*numbered(1, 3), DONE).hang()
    script.expect_no_more()
    watched = Watched(script, method="POST", content=body())
    assert await watched.run() == [1, ("hole", 1), 3]


async def test_closing_while_healing(script):
    """The program's own end delivers nothing more (section 1)."""
    script.respond(*numbered(1, 3)).hang()
    script.expect_no_more()
    watched = Watched(script)
    watched.stream.on_state_change(When("reconnecting", watched.stream.aclose))
    assert await watched.run() == [1]
    assert watched.stream.state is StreamState.CLOSED


# --- A numbering that starts anew


async def test_a_reset_is_one_notice_and_suppresses_nothing(script):
    """The server has restarted at 1: one `Gap` of kind reset, and every event comes (P23, R40)."""
    script.respond(*numbered(498, 499, 500)).drop()
    script.respond(event("new", id="1"), event("new", id="2"), event("new", id="3"), DONE).hang()
    watched = Watched(script)
    assert await watched.run() == [498, 499, 500, ("reset", None), 1, 2, 3]
    assert watched.gaps == [Gap(kind="reset", after_id="500", before_id="1", missing=None)]
    assert (watched.stream.stats.gaps, watched.stream.stats.lost) == (1, 0)
    assert watched.stream.stats.unknown_losses == 1


# --- Repeats, and what comes late


async def test_a_number_of_ones_own(script):
    """Any function of the id serves; an id without a number takes no part (section 3.6)."""

    def number(event_id):
        return int(event_id.removeprefix("item-"))

    script.respond(
        event("a", id="item-1"), event("x", id="other"), event("d", id="item-4"), event("", event="done")
    ).hang()
    script.respond(event("d", id="item-4"), DONE).hang()
    async with make(script, sequence=number, until="done") as stream:
        gaps = []
        stream.on_gap(gaps.append)
        assert [item.data for item in await drain(stream)] == ["a", "x", "d", ""]
    assert [(gap.after_id, gap.before_id, gap.missing) for gap in gaps] == [("item-1", "item-4", 2)]


# --- Replays and new numberings that are longer than the window


LONG = numbered(*range(1, 51))
BEATING = [event("", event="beat", id=str(n)) if n % 5 == 0 else numbered(n)[0] for n in range(1, 52)]


def once(*ids, data):
    """Write such events."""
    return [event(data, id=str(number)) for number in ids]


REPLAYS = {
    "before the first event": ([numbered(100, 101), numbered(*range(98, 104))], [*range(100, 104)]),
    "long before it": ([numbered(100, 101), numbered(*range(1, 104))], [*range(100, 104)]),
    "of a backlog that was empty": (
        [numbered(5, 6), [at_once(*range(1, 9))], [at_once(*range(1, 11))]],
        [*range(5, 11)],
    ),
    "cut early": ([LONG, LONG[:5], numbered(*range(1, 52))], [*range(1, 52)]),
    "cut late": ([LONG, LONG[:30], numbered(*range(1, 52))], [*range(1, 52)]),
    "slowly": ([LONG, [x for n in range(1, 52) for x in (*numbered(n), pause(2))]], [*range(1, 52)]),
    "with beats": ([BEATING[:50], BEATING], [n for n in range(1, 52) if n % 5]),
    "no replay, all alike": (
        [once(*range(1, 51), data="x"), once(*range(1, 11), data="x"), once(11, data="x")],
        [*range(1, 51), ("reset", None), *range(1, 12)],
    ),
    "no replay, met in its middle": (
        [LONG, [*once(20, 21, 22, data="new"), pause(20), *once(23, data="new")]],
        [*range(1, 51), ("reset", None), 20, 21, 22, 23],
    ),
}


@pytest.mark.parametrize("answers, seen", REPLAYS.values(), ids=REPLAYS)
async def test_what_is_a_replay(script, answers, seen):
    """What began like the stream, or lies before it, is no new numbering, whatever its length (3.2, 3.6, P23)."""
    *cut, last = answers
    for answer in cut:
        script.respond(*answer).drop()
    script.respond(*last, DONE).hang()
    assert await Watched(script, dedup_window=10, heartbeat_events=["beat"]).run() == seen


@pytest.mark.parametrize("window", [1, 10, 49])
@pytest.mark.parametrize("first", [1, 20])
@one_loop
async def test_a_backlog_longer_than_the_window(script, window, first):
    """It is replayed at every reconnect, from the first event or one in the middle: nothing comes twice (3.2)."""
    script.respond(at_once(*range(1, 51))).drop()
    for last in (51, 52):
        script.respond(at_once(*range(first, last + 1))).drop()
    script.respond(at_once(*range(first, 54)), DONE).hang()
    watched = Watched(script, dedup_window=window)
    assert await watched.run() == [*range(1, 54)]
    assert watched.gaps == []
    assert watched.stream.stats.duplicates == 51 + 52 + 53 - 3 * first
    assert [request.last_event_id for request in script.requests] == [None, "50", "51", "52"]


async def test_a_long_replay_with_a_hole_that_was_reported(script):
    """What the server has lost is no break in it (3.2)."""
    script.respond(at_once(*range(1, 21), *range(24, 51))).hang()
    script.respond(at_once(*range(24, 51))).drop()
    script.respond(at_once(*range(18, 21), *range(24, 52)), DONE).hang()
    watched = Watched(script, dedup_window=10)
    assert await watched.run() == [*range(1, 21), ("hole", 3), *range(24, 52)]


@pytest.mark.parametrize("alike", [0, 15])
@pytest.mark.parametrize("length", [20, 55])
@one_loop
async def test_a_new_numbering_behind_a_long_stream(script, alike, length):
    """One reset, and every event comes, though the first ones read like the old or it outgrows them (P23)."""
    script.respond(at_once(*range(1, 51))).drop()
    new = [event(str(n) if n <= alike else "new", id=str(n)) for n in range(1, length + 1)]
    script.always(Reply(*new, DONE).hang())
    seen = await Watched(script, dedup_window=10).run()
    assert seen == [*range(1, 51), ("reset", None), *range(1, length + 1)]


@pytest.mark.parametrize("absurd", [10**12, 10**30])
async def test_one_absurd_id_spoils_no_figure(script, absurd):
    """It is delivered, takes no part in the checks, and the numbers go on behind it (3.6)."""
    script.respond(*numbered(1, 2, absurd, 3, 4), DONE).hang()
    watched = Watched(script)
    assert await watched.run() == [1, 2, absurd, 3, 4]
    figures = watched.stream.stats
    assert (figures.gaps, figures.lost, figures.unknown_losses, figures.completion) == (0, 0, 0, 100)


async def test_a_numbering_that_leaps_and_stays(script):
    """From counting to milliseconds: one gap of unknown size, no loss of billions, and the checks go on (3.6)."""
    high = 10**12
    script.play(hanging(1, high, high + 1), Reply(*numbered(high + 1, high + 2), DONE).hang())
    watched = Watched(script)
    seen = await watched.run()
    assert [item for item in seen if isinstance(item, int)] == [1, high, high + 1, high + 2]
    assert (watched.stream.stats.gaps, watched.stream.stats.lost) == (1, 0)
