"""What a read brought is judged at once and handed over piece by piece: figures, positions, turns, costs."""

import anyio
import pytest

from resilient_sse import Comment, ServerSentEvent
from resilient_sse._core.session import Step
from resilient_sse.testing import Reply, event
from tests.client.support import at_once, calls_counted, drain, make, numbered, one_loop, read, take

# --- Figures and positions


async def test_closing_in_the_middle_of_a_batch(script):
    """What was not handed over was not received, as far as anybody can see."""
    script.respond(at_once(*range(1, 251))).hang()
    stream = make(script)
    await take(stream, 3)
    await stream.aclose()
    assert await drain(stream) == []
    assert (stream.stats.received, stream.stats.delivered, stream.last_event_id) == (3, 3, "3")


async def test_the_rest_of_a_batch_waits_for_who_asks(script):
    """Leaving the loop, asking again, and asking by activity(): each takes up where the other stopped."""
    script.respond(at_once(1, 2) + b": said\n\n: again\n" + at_once(3, 4)).hang()
    async with make(script) as stream:
        async for item in stream:
            if item.id == "2":
                break
        activity = stream.activity()
        items = await take(activity, 3)
        assert [getattr(item, "text", getattr(item, "id", "")) for item in items] == ["said", "again", "3"]
        assert (await anext(stream)).id == "4"


async def test_activity_sees_every_comment_in_its_place(script):
    """Comments inside a run of events are kept as text, and made when somebody asks."""
    body = b"".join(b": c%d\n\n" % at + at_once(at) for at in range(1, 121))
    script.respond(body).hang()
    async with make(script) as stream:
        items = (await take(stream.activity(), 241))[1:]
    assert [item.text for item in items if isinstance(item, Comment)] == [f"c{at}" for at in range(1, 121)]
    assert [type(item) for item in items] == [Comment, ServerSentEvent] * 120


# --- Others get their turn


@pytest.mark.parametrize(
    "tiny", [b"\n", b":\n", b"id\n\n", b"data\n\n", b"data:\n\n", b"retry:1\n", b"x\n\n"]
)
@pytest.mark.parametrize("lane", [{}, {"until": "done"}], ids=["batches", "one-by-one"])
@one_loop
async def test_a_chunk_of_tiny_blocks_holds_nobody(script, tiny, lane):
    """A megabyte of them is judged in parts, and cancellation comes through in between (3.8)."""
    script.respond(tiny * (2**20 // len(tiny))).hang()
    async with make(script, **lane) as stream:
        turns = 0

        async def other():
            nonlocal turns
            while turns < 10:
                await anyio.lowlevel.checkpoint()
                turns += stream.stats.bytes_received > 0
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            await drain(stream)
        assert tasks.cancel_scope.cancelled_caught
        assert turns == 10
        assert stream._session.next_step() is Step.GO_ON  # ten turns came before it was judged to its end


# --- What is dropped by default


async def test_tokens_under_one_id_all_arrive(script, caplog):
    """Servers put a message's id on each of its tokens: nothing is lost, and one warning says so (3.2)."""
    tokens = ["the ", "cat ", "and ", "the ", "dog ", "and ", "the ", "end"]
    script.respond(*[event(token, id="42") for token in tokens]).hang()
    async with make(script) as stream:
        assert [item.data for item in await take(stream, 8)] == tokens
        assert stream.stats.duplicates == 0
        assert stream.stats.id_conflicts > 0
    told = [record.getMessage() for record in caplog.records if "id came again" in record.getMessage()]
    assert len([text for text in told if "ids do not name events here" in text]) == 1
    assert len(told) == 1


async def test_a_switch_is_on_again(script):
    """The id of a thing is no id of an event: on, off, on are three events (3.2)."""
    script.respond(*[event(state, id="lamp") for state in ("on", "off", "on", "on")]).hang()
    assert [item.data for item in await read(script, 4)] == ["on", "off", "on", "on"]


@pytest.mark.parametrize("length", [1000, 1001, 3000])
async def test_a_backlog_that_is_replayed_at_every_reconnect(script, length):
    """There is no cliff behind the window of 1,000 events (3.2)."""
    backlog = at_once(*range(1, length + 1))
    script.play(Reply(backlog).drop(), Reply(backlog).drop())
    script.respond(backlog, *numbered(length + 1)).hang()
    async with make(script) as stream:
        items = await take(stream, length + 1)
        assert [int(item.id) for item in items] == [*range(1, length + 2)]
        assert stream.stats.duplicates == 2 * length


# --- Complexity, where time is not asserted


async def test_an_event_costs_few_calls_and_walks_few_files(script):
    """In bulk, everything on: at most 4 calls of ours an event and 6 files; it was 50 and 20 (section 2)."""
    body = b"".join(
        b'id: %d\nevent: message\ndata: {"n": "%s"}\n\n' % (n, b"x" * 100) for n in range(1, 4001)
    )
    script.respond(*[body[at : at + 65536] for at in range(0, len(body), 65536)]).hang()
    async with make(script) as stream:
        await take(stream, 500)
        with calls_counted() as calls:
            for _ in range(3000):
                await anext(stream)
    assert sum(calls.values()) / 3000 <= 4
    assert len([path for path, count in calls.items() if count >= 300]) <= 6
