"""Limits on silence, to the tick."""

import math
import time
import zlib

import anyio
import anyio.lowlevel
import pytest

from resilient_sse import (
    CONSERVATIVE,
    ConnectionLostError,
    Reason,
    ResilientStream,
    RetriesExhaustedError,
    StreamState,
)
from resilient_sse.testing import Script, comment, event, pause, sliced
from tests.client.support import Record, drain, make, numbered, read, take


async def silent_after(script, *parts, **options):
    """Receive one event, keep silent after *parts*, and return what was announced until the second event."""
    script.respond(*numbered(1), *parts).hang()
    script.respond(*numbered(2)).hang()
    record = Record()
    await read(script, 2, on_state_change=record, **options)
    return record


RECOVERED = [(0, "connected", "opened"), (25, "waiting", "stall"), (30, "reconnecting", "stall")]


async def test_a_stall_to_the_tick(script):
    """Silence is announced after 25.0 s and ended after 30.0 s; one second later the stream is back (R20-R24)."""
    record = await silent_after(script)
    assert record.timetable[:4] == [*RECOVERED, (31, "connected", "opened")]
    assert record.texts[1:4] == [
        "Waiting for server response...",
        "Connection lost - attempting to reconnect...",
        "Connection restored - resuming stream...",
    ]
    assert script.requests[1].at == 31
    assert script.max_live == 1


@pytest.mark.parametrize("byte", [b":\n", b"\n", b"d", event("x"), event("", event="heartbeat")], ids=repr)
async def test_a_byte_in_time_is_enough(script, byte, record):
    """After 29.9 s of silence any byte keeps the connection, and the next limit is at 59.9 s (R157, R158)."""
    script.respond(*numbered(1), pause(29.9), byte).hang()
    script.respond(*numbered(2)).hang()
    async with make(script, on_state_change=record) as stream:
        while (await anext(stream)).id != "2":
            pass
    assert record.timetable[:6] == [
        (0, "connected", "opened"),
        (25, "waiting", "stall"),
        (29.9, "connected", "opened"),
        (54.9, "waiting", "stall"),
        (59.9, "reconnecting", "stall"),
        (60.9, "connected", "opened"),
    ]
    assert record.texts[2] == "Connected"
    assert record.changes[2].attempt == 0


async def test_a_byte_before_the_notice_changes_nothing(script, record):
    """After 24.9 s there is nothing to announce (R30)."""
    script.respond(*numbered(1), pause(24.9), *numbered(2)).hang()
    async with make(script, on_state_change=record) as stream:
        await take(stream, 2)
        assert record.path == ["connected"]


async def test_heartbeats_prevent_false_stalls(script, record):
    """Ten minutes of heartbeats every 10 s: no stall, no notice, no reconnect (R26, R174)."""
    script.respond(*[part for _ in range(60) for part in (pause(10), comment("ping"))], *numbered(1)).hang()
    async with make(script, on_state_change=record) as stream:
        await anext(stream)
        assert anyio.current_time() == 600
        assert record.path == ["connected"]
        assert stream.stats.stalls == 0


async def test_a_slow_consumer_is_not_a_stalled_server(script, record):
    """An hour in the consumer's hands does not count as silence (section 3.3)."""
    script.respond(*numbered(1), pause(10), *numbered(2), pause(3610), *numbered(3)).hang()
    async with make(script, on_state_change=record) as stream:
        await anext(stream)
        await anyio.sleep(3600)
        assert (await anext(stream)).id == "2"
        await anyio.sleep(3600)
        assert (await anext(stream)).id == "3"
        assert record.path == ["connected"]


async def test_the_limit_is_whole_again_for_a_slow_consumer(script, record):
    """The timer begins when the consumer waits, not when the last byte came (section 3.3)."""
    script.respond(*numbered(1)).hang()
    script.respond(*numbered(2)).hang()
    async with make(script, on_state_change=record) as stream:
        await anext(stream)
        await anyio.sleep(100)
        await anext(stream)
    assert [(at, state) for at, state, _ in record.timetable][1:3] == [
        (125, "waiting"),
        (130, "reconnecting"),
    ]


# --- Other limits


@pytest.mark.parametrize(
    "options, notice, stall",
    [
        (CONSERVATIVE, 25, 35),
        ({"stall_timeout": 6.0}, 5, 6),
        ({"stall_timeout": 0.6}, 0.5, 0.6),
        ({"stall_timeout": 3600.0}, 3000, 3600),
        ({"waiting_after": 0}, 0, 30),
        ({"waiting_after": math.inf}, None, 30),
    ],
    ids=str,
)
async def test_other_limits(script, options, notice, stall):
    """A preset, a limit with its notice after five sixths, and a notice of its own or none (R29, R31)."""
    record = await silent_after(script, **options)
    told = [] if notice is None else [(notice, "waiting", "stall")]
    assert record.timetable[1 : len(told) + 2] == [*told, (stall, "reconnecting", "stall")]


@pytest.mark.parametrize("notice", [None, 60])
async def test_no_limit(script, notice, record):
    """`None` switches the limit off: a day of silence is nothing, announced or not (R20, R31)."""
    script.respond(*numbered(1), pause(86_400), *numbered(2)).hang()
    async with make(script, stall_timeout=None, waiting_after=notice, on_state_change=record) as stream:
        await take(stream, 2)
        told = [(60, "waiting", "stall"), (86_400, "connected", "opened")] if notice else []
        assert record.timetable[1:] == told


async def test_a_restart_while_waiting(script, record):
    """The program may lose patience earlier than the limit does."""
    script.respond(*numbered(1)).hang()
    script.respond(*numbered(2)).hang()
    async with make(script, on_state_change=record) as stream:

        @stream.on_state_change
        def _(change):
            if change.new is StreamState.WAITING:
                stream.restart()

        await take(stream, 2)
    assert record.timetable[1:4] == [
        (25, "waiting", "stall"),
        (25, "reconnecting", "restart"),
        (25, "connected", "opened"),
    ]


# --- What counts as life


@pytest.mark.parametrize("mode, stalls", [("bytes", 0), ("frames", 1), ("events", 1)])
async def test_a_trickle(script, mode, stalls, record):
    """One byte every few seconds for over a minute: life for some, silence for the stricter modes (P26)."""
    trickle = [part for byte in sliced(b"data: abcdef", 1) for part in (pause(7), byte)]
    script.respond(*numbered(1), *trickle, b"\n\n").hang()
    script.respond(*numbered(2)).hang()
    async with make(script, stall_on=mode, on_state_change=record) as stream:
        await take(stream, 2)
        assert stream.stats.stalls == stalls
        if stalls:
            assert record.timetable[1:3] == RECOVERED[1:]
        else:
            assert record.path == ["connected"]


@pytest.mark.parametrize("mode, stalls", [("bytes", 0), ("frames", 0), ("events", 1)])
async def test_comments_only(script, mode, stalls):
    """Complete comments are life, except where only events are (P26)."""
    beats = [part for _ in range(6) for part in (pause(7), comment())]
    script.respond(*numbered(1), *beats, *numbered(2)).hang()
    script.respond(*numbered(2)).hang()
    async with make(script, stall_on=mode) as stream:
        await take(stream, 2)
        assert stream.stats.stalls == stalls


async def test_heartbeat_events_are_events(script):
    """A heartbeat that is an event counts for the strictest mode, too (R158)."""
    beats = [part for _ in range(6) for part in (pause(10), event("", event="heartbeat"))]
    script.respond(*beats, *numbered(1)).hang()
    async with make(script, stall_on="events") as stream:
        await anext(stream)
        assert (stream.stats.stalls, stream.stats.heartbeats) == (0, 6)


async def test_event_timeout(script, record):
    """Comments keep the connection, but not for longer than `event_timeout` without an event (section 3.3)."""
    beats = [part for _ in range(20) for part in (pause(10), comment())]
    script.respond(*numbered(1), *beats).hang()
    script.respond(*numbered(2)).hang()
    async with make(script, event_timeout=95, on_state_change=record) as stream:
        await take(stream, 2)
        assert stream.stats.stalls == 1
        assert record.timetable[1:] == [(95, "reconnecting", "event_timeout"), (96, "connected", "opened")]


async def test_the_head_of_a_compressed_body_is_life(script, record):
    """The first bytes of gzip, a header that decodes to nothing, come late and count (section 3.3)."""
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    parts = [part for byte in sliced(head, 2) for part in (pause(20), byte)]
    script.respond(*parts, headers={"Content-Encoding": "gzip"}).hang()
    script.respond(*numbered(1)).hang()
    await read(script, 1, on_state_change=record)
    assert record.timetable[:3] == [
        (0, "connected", "opened"),
        (125, "waiting", "stall"),
        (130, "reconnecting", "stall"),
    ]


# --- Before the response


async def test_headers_that_never_come(script, record):
    """Silence before the response headers is told of and bounded, with a reason of its own (section 3.3)."""
    script.stall_headers(times=2)
    script.expect_no_more()
    stream = make(script, max_retries=1, connect_timeout=10, on_state_change=record)
    with pytest.raises(RetriesExhaustedError) as caught:
        await drain(stream)
    assert isinstance(caught.value.__cause__, ConnectionLostError)
    assert caught.value.__cause__.reason is Reason.CONNECT
    assert record.timetable == [
        (25, "waiting", "stall"),
        (50, "reconnecting", "connect"),
        (76, "waiting", "stall"),
        (101, "error", "retries"),
    ]
    assert [record.texts[0], record.texts[2]] == [
        "Waiting for server response...",
        "Waiting for server response... (retry 1/1)",
    ]


async def test_the_notice_before_the_headers_takes_no_time_of_theirs(script):
    """A callback of it runs in the consumer's task, and is not cut short by the limit (sections 3.3, 3.7)."""
    script.stall_headers()
    script.respond(*numbered(1)).hang()
    told = []

    async def slow(change):
        await anyio.sleep(100)
        told.append((change.new.value, anyio.get_current_task().id, anyio.current_time()))

    async with make(script, on_state_change=slow, connect_timeout=10) as stream:
        await anext(stream)
    here = anyio.get_current_task().id
    assert told[:2] == [("waiting", here, 125), ("reconnecting", here, 250)]
    assert stream.stats.stalls == 0


async def test_headers_that_come_behind_the_notice(script, record):
    """The answer counts, and is kept while a callback of the notice runs (section 3.3)."""
    script.respond(*numbered(1), after=26).hang()

    async def slow(change):
        await anyio.sleep(5)

    async with make(script, on_state_change=record) as stream:
        stream.on_state_change(slow)
        await anext(stream)
        assert len(script.requests) == 1
    assert record.timetable[:2] == [(25, "waiting", "stall"), (30, "connected", "opened")]
    assert record.texts[1] == "Connected"


async def test_connecting_is_bounded(script, record):
    """A host that swallows packets costs `connect_timeout`, not the kernel's minutes (section 1)."""
    script.stall_connect()
    script.respond(*numbered(1)).hang()
    await read(script, 1, connect_timeout=3, on_state_change=record)
    assert record.timetable[:2] == [(3, "reconnecting", "connect"), (4, "connected", "opened")]


async def test_the_timeouts_of_an_injected_client_do_not_count(script):
    """The client's own read timeout would cut a quiet stream after seconds; ours count (section 3.8)."""
    script.respond(*numbered(1), pause(29), *numbered(2)).hang()
    client = script.client(timeout=0.001)
    await read(script, 2, client=client)
    assert len(script.requests) == 1


async def test_an_hour_in_the_consumer_is_no_time_without_an_event(script):
    """The limit on events runs only while the stream is asked for one (section 3.3)."""
    script.respond(event("1", id="1"), pause(3600), comment("here"), pause(5), event("2", id="2")).hang()
    script.expect_no_more()
    client = script.client()
    async with client, ResilientStream("https://host/stream", client=client, event_timeout=10) as stream:
        assert (await anext(stream)).id == "1"
        await anyio.sleep(3600)
        assert (await anext(stream)).id == "2"
    assert stream.stats.stalls == 0


async def test_a_callback_about_waiting_is_not_cut_short_by_the_stall(script, record):
    """An async callback of WAITING comes to its end even if it takes longer than the silence may last (R82)."""
    script.respond(*numbered(1)).hang()
    script.respond(*numbered(2)).hang()
    ended = []

    async def slow(change):
        if change.new is StreamState.WAITING:
            await anyio.sleep(20)
            ended.append(anyio.current_time())

    async with make(script, on_state_change=record) as stream:
        stream.on_state_change(slow)
        await take(stream, 2)
    assert ended == [45]
    assert record.path[:4] == ["connected", "waiting", "reconnecting", "connected"]


@pytest.mark.parametrize("unit", [b":\n", b"\n", b"id: 1\n\n"], ids=["comments", "blank-lines", "ids"])
@pytest.mark.slow
async def test_a_flood_of_nothing_leaves_the_event_loop_alive(unit):
    """A small compressed body of endless comments does not keep other tasks from running (threat: bomb)."""
    script = Script()
    flood = zlib.compress(unit * 500_000 + event("at last"))
    script.respond(flood, headers={"Content-Encoding": "deflate"}).hang()
    pauses = []

    async def heartbeat() -> None:
        last = time.perf_counter()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.perf_counter()
            pauses.append(now - last)
            last = now

    async with anyio.create_task_group() as group:
        group.start_soon(heartbeat)
        async with make(script) as stream:
            assert (await anext(stream)).data == "at last"
        group.cancel_scope.cancel()
    assert len(pauses) > 10
