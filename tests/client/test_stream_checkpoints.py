"""The position in a store: when it moves, what comes again after a crash, and what a failing store does."""

import logging
from contextlib import suppress
from unittest.mock import AsyncMock, Mock

import anyio
import pytest

from resilient_sse import CheckpointError, StreamState, integers
from resilient_sse.checkpoints import Checkpoint, MemoryCheckpoint
from resilient_sse.testing import ReplayServer, Reply, event, pause
from tests.client.support import (
    URL,
    Store,
    at_once,
    drain,
    dropped,
    gives_up,
    hanging,
    make,
    numbered,
    one_loop,
    read,
    take,
)


def stored_at(event_id):
    """Return a store that holds a position."""
    store = Store()
    store._positions[URL] = Checkpoint(event_id, version=1)
    return store


# --- When it moves


async def test_when_an_event_is_committed(script, store):
    """When the next one is asked for, or the block is left cleanly; closing alone tells nothing (3.5, 3.10)."""
    script.play(dropped(1), hanging(2, 3), hanging(3))
    async with make(script, checkpoint=store) as stream:
        async for item in stream:
            assert (store.position, stream.last_event_id) == (None if item.id == "1" else "1", item.id)
            if item.id == "2":
                break
    assert (store.saved, store.loads) == (["1", "2"], 1)  # a reconnect does not ask the store
    stream = make(script, checkpoint=store)
    await anext(stream)
    await stream.aclose()
    assert store.saved == ["1", "2"]
    script.closed_all()


SAVES = [
    # Events without an id share the position of the event before; before the first there is nothing to save.
    ([event("a"), *numbered(1), event("b"), event("c"), *numbered(2)], {}, ["1"], ["1", "2"]),
    # What no header can carry could not resume anything: the last good one stays until the next; P7, R175.
    *(
        ([*numbered(1), event("a", id=poison), event("b"), *numbered(3)], {}, ["1"], ["1", "3"])
        for poison in ("2 ", "2\x01", "x" * 5000)
    ),
    # With `ack="manual"` neither asking for more nor leaving the block moves it; 3.5.
    (numbered(1, 2, 3), {"ack": "manual"}, [], []),
    # Every third, and the last at the end of the block, in one read or several; P21, P55.
    *(
        (parts, {"commit_every": 3}, ["3", "6"], ["3", "6", "8"])
        for parts in (numbered(*range(1, 9)), [at_once(*range(1, 9))])
    ),
]


@pytest.mark.parametrize("parts, options, inside, behind", SAVES, ids=range(len(SAVES)))
async def test_what_is_saved(script, store, parts, options, inside, behind):  # noqa: PLR0917 - columns
    """What is in the store when all events were taken, and when the block was left; why stands with each."""
    script.respond(*parts).hang()
    async with make(script, checkpoint=store, **options) as stream:
        await take(stream, b"".join(parts).count(b"data:"))
        assert store.saved == inside
    assert store.saved == behind


# --- After a restart


async def crash(stream, *, at):
    """Fail while an event is processed."""
    async with stream:
        async for item in stream:
            if item.id == at:
                raise ZeroDivisionError


@pytest.mark.parametrize(
    "options, at, saved", [({}, "3", ["1", "2"]), ({"commit_every": 3}, "6", ["3"])], ids=["each", "third"]
)
async def test_a_crash_in_the_handler_delivers_again(script, store, options, at, saved):
    """The event that was being processed, and what was not saved, come again, and nothing else (R152, P55)."""
    script.always(ReplayServer([(number, "x") for number in range(1, 9)]))
    with pytest.raises(ZeroDivisionError):
        await crash(make(script, checkpoint=store, **options), at=at)
    assert store.saved == saved
    assert [item.id for item in await read(script, 2, checkpoint=store)] == [
        str(int(saved[-1]) + number) for number in (1, 2)
    ]
    assert [request.last_event_id for request in script.requests] == [None, saved[-1]]


async def test_the_stored_position_comes_before_the_given_one(script, store):
    """`last_event_id` is for the case that nothing is stored (section 1)."""
    script.play(hanging(6), hanging(7))
    for _ in range(2):
        await read(script, 1, checkpoint=store, last_event_id="5")
    assert [request.last_event_id for request in script.requests] == ["5", "6"]


@pytest.mark.parametrize("stored", ["", "opaque"], ids=["cleared", "opaque"])
@pytest.mark.parametrize("sequence", [None, integers], ids=["opaque", "numbered"])
async def test_a_given_id_that_the_store_overrules_is_forgotten(script, stored, sequence):
    """Its event comes like any other: it is neither taken for a repeat nor for a reset (section 3.2, P8)."""
    store = stored_at(stored)
    script.respond(*numbered(4, 5, 6)).hang()
    gaps = []
    stream = make(script, checkpoint=store, last_event_id="5", sequence=sequence, on_gap=gaps.append)
    async with stream:
        assert [item.id for item in await take(stream, 3)] == ["4", "5", "6"]
    assert gaps == []
    assert script.requests[0].last_event_id == (stored or None)


async def test_a_live_start_ignores_the_position_and_goes_on_storing(script):
    """`start="live"` sends no stored id, and saves over what is stored without a conflict (section 1)."""
    store = stored_at("7")
    script.respond(*numbered(90, 91)).hang()
    await read(script, 2, checkpoint=store, start="live")
    assert script.requests[0].last_event_id is None
    assert store.saved == ["90", "91"]


async def test_a_cleared_id_is_stored_as_cleared(script, store):
    """After an empty `id:` a restart sends no id, as the connection would not (P8, R175)."""
    script.play(Reply(*numbered(1), event("fresh start", id="")).hang(), hanging(1))
    await read(script, 2, checkpoint=store)
    assert store.saved == ["1", ""]
    await read(script, 1, checkpoint=store)
    assert script.requests[1].last_event_id is None


# --- Manual acknowledgement


async def test_a_batch_can_be_taken_back(script, store):
    """`commit` saves what it is given, whatever was saved before, but not twice in a row (section 3.5)."""
    script.respond(*numbered(1, 2, 3)).hang()
    async with make(script, checkpoint=store, ack="manual") as stream:
        first, second, third = await take(stream, 3)
        for item in (second, third, first, first):
            await stream.commit(item)
    assert store.saved == ["2", "3", "1"]


@pytest.mark.parametrize("slow", [{"before": 1}, {"after": 1}, {"before": 1, "after": 1}], ids=str)
async def test_commits_of_several_tasks_wait_for_each_other(script, slow):
    """Workers that commit at once over a slow store are one consumer, not two in conflict (section 3.5)."""
    script.respond(*numbered(1, 2, 3)).hang()
    store = Store(**slow)
    async with make(script, checkpoint=store, ack="manual") as stream:
        items = await take(stream, 3)
        async with anyio.create_task_group() as group:
            for item in items:
                group.start_soon(stream.commit, item)
                await anyio.sleep(0.1)
    assert store.saved == ["1", "2", "3"]


async def test_commit_says_what_is_wrong(script):
    """It needs a store, `ack="manual"`, and the event itself."""
    with pytest.raises(RuntimeError, match="checkpoint="):
        await make(script).commit("1")
    script.respond(*numbered(1)).hang()
    async with make(script, checkpoint=Store()) as stream:
        item = await anext(stream)
        with pytest.raises(RuntimeError, match='ack="manual"'):
            await stream.commit(item)
    with pytest.raises(TypeError, match="event itself"):
        await make(script, checkpoint=Store(), ack="manual").commit("1")


# --- Keys


async def test_streams_share_a_store_by_their_keys(script):
    """Method, scheme, host and path name a stream, or a name of the program's; no key has a secret (P30, P55)."""
    store = MemoryCheckpoint()
    keys = {
        URL: (URL, {}),
        f"POST {URL}": (URL, {"method": "post", "json": {"ask": "s3cret"}}),
        "https://host/other": ("https://me:s3cret@host/other?q=s3cret", {}),
        "http://host:443/stream": ("http://host:443/stream", {}),
        "mailer": (URL, {"checkpoint_key": "mailer"}),
    }
    for number, (url, options) in enumerate(keys.values()):
        script.respond(*numbered(number)).hang()
        await read(script, 1, url=url, checkpoint=store, **options)
    assert [request.last_event_id for request in script.requests] == [None] * 5
    stored = {key: position.last_event_id for key, position in store._positions.items()}
    assert stored == {key: str(number) for number, key in enumerate(keys)}


@pytest.mark.parametrize("key", [None, "mailer"])
async def test_what_may_change_keeps_the_position(script, caplog, key):
    """A rotated token in query, header or user information, or another page size, begins nowhere else (P55)."""
    caplog.set_level(logging.INFO, "resilient_sse")
    store = MemoryCheckpoint()
    for number, secret in enumerate(("old", "new")):
        script.respond(*numbered(number)).hang()
        options = {"params": {"token": secret, "size": number}, "headers": {"Authorization": secret}}
        url = f"https://me:{secret}@host/stream?key={secret}"
        async with make(script, url, checkpoint=store, checkpoint_key=key, **options) as stream:
            await anext(stream)
    assert [request.last_event_id for request in script.requests] == [None, "0"]
    told = [text for record in caplog.records if "under the key" in (text := record.getMessage())]
    begins = "the stream begins at last_event_id if it was given, else where the server begins"
    assert told == [
        f"no position is stored under the key {key or URL!r}: {begins}",
        f"the stream goes on behind the position stored under the key {key or URL!r}",
    ]


@pytest.mark.parametrize(
    "former, later",
    [
        ("https://host/stream", "HTTPS://HOST:443/stream"),
        ("http://host:80/stream", "http://host/stream"),
        ("https://host", "https://host/"),
    ],
)
async def test_a_url_that_is_written_otherwise_keeps_the_position(script, former, later):
    """The scheme's own port, the case of the host and an empty path make no other stream (P55)."""
    store = MemoryCheckpoint()
    for number, url in enumerate((former, later)):
        script.respond(*numbered(number)).hang()
        await read(script, 1, url=url, checkpoint=store)
    assert [request.last_event_id for request in script.requests] == [None, "0"]


async def test_events_that_a_filter_holds_back_move_the_position(script, store):
    """A restart does not ask for a day of what nobody wants; a save a second is enough for them (P55)."""
    script.respond(*numbered(1), *(event("x", event="other", id=str(n)) for n in range(2, 50))).hang()
    async with make(script, checkpoint=store, events=["message"]) as stream:
        await anext(stream)
        with anyio.move_on_after(1):
            await anext(stream)
        assert store.saved[-1] != "1"
    assert store.saved[-1] == "49"
    assert len(store.saved) <= 3


async def test_events_behind_one_that_was_not_committed_do_not_move_the_position(script, store):
    """With `ack="manual"` the position waits for the program, and goes on behind what it commits (P55)."""
    script.respond(
        *numbered(1),
        event("same id"),
        event("x", event="other", id="2"),
        pause(5),
        event("x", event="other", id="3"),
    ).hang()
    script.respond().hang()
    async with make(script, checkpoint=store, events=["message"], ack="manual") as stream:
        first, second = await take(stream, 2)
        with anyio.move_on_after(10):
            await anext(stream)
        assert store.saved == []
        await stream.commit(first)
        with anyio.move_on_after(10):
            await anext(stream)
        assert store.saved == ["1"]
        await stream.commit(second)
    assert store.saved == ["1", "3"]


# --- A store in trouble


@pytest.mark.parametrize("trouble", [CheckpointError("down", key="k"), OSError("disk"), None], ids=repr)
async def test_a_store_that_cannot_be_read_is_no_fresh_start(script, trouble):
    """An error, or a cancelled load, comes before any request; asking again reads again (section 3.5)."""
    store = stored_at("7")
    store.before = 1
    script.respond(*numbered(8)).hang()
    async with make(script, checkpoint=store) as stream:
        if trouble is None:
            with anyio.move_on_after(0.5):
                await anext(stream)
        else:
            store.failures.append(trouble)
            with pytest.raises(type(trouble)):
                await anext(stream)
        assert (len(script.requests), stream.state) == (0, StreamState.CONNECTING)
        assert (await anext(stream)).id == "8"
    assert script.requests[0].last_event_id == "7"


@pytest.mark.parametrize("stored", ["5\n", " 5", "5\x00", "5" * 5000], ids=["line", "edge", "nul", "long"])
@one_loop
async def test_a_stored_id_that_cannot_be_sent_is_no_fresh_start(script, stored):
    """A spoilt position is an error and not a stream that begins anywhere, unless that is asked for (P20)."""
    store = stored_at(stored)
    stream = make(script, checkpoint=store)
    error = await gives_up(stream, CheckpointError)
    await stream.aclose()
    assert (error.key, "header can carry" in str(error)) == (URL, True)
    assert script.requests == []
    script.respond(*numbered(9)).hang()
    await read(script, 1, checkpoint=store, start="live")
    assert store.position == "9"


@pytest.mark.parametrize(
    "trouble",
    [
        ("failures", CheckpointError("down", key="k")),
        ("failures", OSError("disk")),
        ("lost", OSError("answer")),
        0.5,
        1.5,
    ],
    ids=["ours", "theirs", "answer lost", "cut before the deed", "cut behind the deed"],
)
async def test_a_save_that_fails_is_tried_again(script, trouble, store):
    """An error comes out of the loop, connection and events stay, the next call saves without a conflict (3.5)."""
    script.respond(*numbered(1, 2, 3)).hang()
    async with make(script, checkpoint=store) as stream:
        await anext(stream)
        if isinstance(trouble, float):
            store.before = store.after = 1
            with anyio.move_on_after(trouble):
                await anext(stream)
        else:
            when, error = trouble
            getattr(store, when).append(error)
            with pytest.raises(type(error)):
                await anext(stream)
        assert stream.state is StreamState.CONNECTED
        assert (await anext(stream)).id == "2"
        assert store.position == "1"
        assert (await anext(stream)).id == "3"
    assert store.position == "3"
    assert len(script.requests) == 1


async def test_a_save_that_fails_at_the_end_of_the_block_is_told(script, store):
    """The error comes out of `async with`, and the connection is closed all the same (section 3.5)."""
    script.respond(*numbered(1)).hang()
    stream = make(script, checkpoint=store)
    await anext(stream)
    store.failures.append(OSError("disk"))
    with pytest.raises(OSError, match="disk"):
        async with stream:
            pass
    assert stream.state is StreamState.CLOSED
    script.closed_all()


async def test_a_cancelled_commit_can_be_taken_back(script, store):
    """It may have been saved, so committing the position before it is no empty deed (section 3.5)."""
    script.respond(*numbered(1, 2)).hang()
    async with make(script, checkpoint=store, ack="manual") as stream:
        first, second = await take(stream, 2)
        await stream.commit(first)
        store.after = 1
        with anyio.move_on_after(0.5):
            await stream.commit(second)
        assert store.position == "2"
        await stream.commit(first)
    assert store.position == "1"


async def test_a_conflict_stays_one(script, store):
    """Asking again after a conflict does not take over what another consumer has moved (section 3.5)."""
    for _ in range(2):
        script.respond(*numbered(1, 2, 3, 4)).hang()
    ahead, behind = (make(script, checkpoint=store) for _ in range(2))
    await anext(behind)
    await take(ahead, 4)
    for _ in range(3):
        with pytest.raises(CheckpointError, match="another consumer") as caught:
            await anext(behind)
        assert (caught.value.key, caught.value.__cause__) == (URL, None)
    assert store.position == "3"
    await ahead.aclose()
    await behind.aclose()


@pytest.mark.parametrize("theirs", ["99", "1"])
async def test_a_position_that_was_moved_during_a_cancelled_save_is_a_conflict(script, theirs, store):
    """Looking before the save shows the other consumer, too, even if the id is the same again (section 3.5)."""
    script.respond(*numbered(1, 2, 3)).hang()
    async with make(script, checkpoint=store, ack="manual") as stream:
        first, second, third = await take(stream, 3)
        await stream.commit(first)
        store.before = 1
        with anyio.move_on_after(0.5):
            await stream.commit(second)
        store._positions[URL] = Checkpoint(theirs, version=3)
        with pytest.raises(CheckpointError, match="another consumer"):
            await stream.commit(third)
    assert store.position == theirs


FAULTS = [Mock(return_value=None), AsyncMock(return_value="1"), AsyncMock(side_effect=StopAsyncIteration)]


@pytest.mark.parametrize("method", ["load", "save"])
@pytest.mark.parametrize("fault", FAULTS, ids=["not async", "wrong type", "stop"])
async def test_a_store_that_breaks_its_contract_is_named(script, method, fault, store):
    """A method that is not async, returns no `Checkpoint`, or raises what would end the loop (R152)."""
    script.respond(*numbered(1)).hang()
    setattr(store, method, fault)
    words = rf"{method}.* raised StopAsyncIteration|checkpoint: {method}\(\) must"
    error = RuntimeError if fault.side_effect else TypeError
    with pytest.raises(error, match=words):
        async with make(script, checkpoint=store) as stream:
            await anext(stream)
    with suppress(error):
        await stream.aclose()


# --- A position saved now and then


async def test_the_end_of_the_stream_saves_the_rest(script, store):
    """Also without a block."""
    script.play(dropped(1, 2, 3, 4), Reply(status=204, content_type=None))
    assert len(await drain(make(script, checkpoint=store, commit_every=100))) == 4
    assert store.saved == ["4"]


@pytest.mark.parametrize("within", [True, False], ids=["one read", "a read each"])
async def test_a_save_after_so_many_seconds(script, within, store):
    """After them the next question saves, also where one read has brought all events."""
    pieces = (
        [at_once(*range(1, 7))] if within else [x for one in numbered(*range(1, 7)) for x in (one, pause(4))]
    )
    script.respond(*pieces).hang()
    stream = make(script, checkpoint=store, commit_every=1000, commit_interval=10)
    for _ in range(6):
        await anext(stream)
        await anyio.sleep(4 if within else 0)
    assert store.saved == ["4"]
    await stream.aclose()
