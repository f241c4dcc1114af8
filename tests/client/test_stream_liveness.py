"""Limits on silence, to the tick; where they meet, what happens in the same moment, and what the notice may do."""

import asyncio
import math
from collections import Counter

import anyio
import pytest
import trio

from resilient_sse import CONSERVATIVE, Reason, RetriesExhaustedError, integers
from resilient_sse.testing import (
    ReplayServer,
    Reply,
    Script,
    comment,
    event,
    pause,
    run_in_virtual_time,
    sliced,
)
from tests.client.support import Store, When, at_once, gives_up, hanging, later, make, numbered, read, take


def told(record):
    """Write down when which state was entered, and for a lost connection why."""
    return ", ".join(
        f"{at:g} {reason if state == 'reconnecting' else state}" for at, state, reason in record.timetable[1:]
    )


def beats(count, seconds, beat):
    """Let something come every so many seconds."""
    return [part for _ in range(count) for part in (pause(seconds), beat)]


HEARTBEAT = event("", event="heartbeat")
TRICKLE = [part for byte in sliced(b"data: abcdef", 1) for part in (pause(7), byte)]
STALL = "25 waiting, 30 stall, 31 connected"
LATER = "39 event_timeout, 40 connected"
LATE = "25 waiting, 29.9 connected, 54.9 waiting, 59.9 stall, 60.9 connected"

LIMITS = [
    # by default: R20-R24, R26, R30, R157, R158, R174
    ([], {}, STALL),
    *(([pause(29.9), byte], {}, LATE) for byte in (b":\n", b"\n", b"d", event("x"), HEARTBEAT)),
    ([pause(24.9), comment()], {}, "49.9 waiting, 54.9 stall, 55.9 connected"),
    (beats(60, 10, comment("ping")), {}, "625 waiting, 630 stall, 631 connected"),
    # a preset, a limit with its notice after five sixths, and a notice of its own or none: R29, R31
    ([], CONSERVATIVE, "25 waiting, 35 stall, 36 connected"),
    ([], {"stall_timeout": 6.0}, "5 waiting, 6 stall, 7 connected"),
    ([], {"stall_timeout": 0.6}, "0.5 waiting, 0.6 stall, 1.6 connected"),
    ([], {"stall_timeout": 3600.0}, "3000 waiting, 3600 stall, 3601 connected"),
    ([], {"waiting_after": 0}, "0 waiting, 30 stall, 31 connected"),
    ([], {"waiting_after": math.inf}, "30 stall, 31 connected"),
    # what counts as life: P26, R158
    (TRICKLE, {}, "109 waiting, 114 stall, 115 connected"),
    (TRICKLE, {"stall_on": "frames"}, STALL),
    (TRICKLE, {"stall_on": "events"}, STALL),
    (beats(6, 7, comment()), {"stall_on": "frames"}, "67 waiting, 72 stall, 73 connected"),
    (beats(6, 7, comment()), {"stall_on": "events"}, STALL),
    (beats(6, 10, HEARTBEAT), {"stall_on": "events"}, "85 waiting, 90 stall, 91 connected"),
    ([pause(26), comment("1"), pause(2), comment("2")], {"stall_on": "events"}, STALL),
    (
        [pause(26), b": he", pause(1), b"re\n"],
        {"stall_on": "frames"},
        "25 waiting, 27 connected, 52 waiting, 57 stall, 58 connected",
    ),
    # the earlier limit counts and gives the reason; silence is no event either: 3.3
    ([], {"event_timeout": 20}, "20 event_timeout, 21 connected"),
    ([], {"event_timeout": 25}, "25 event_timeout, 26 connected"),
    ([], {"event_timeout": 25.1}, "25 waiting, 25.1 event_timeout, 26.1 connected"),
    ([], {"event_timeout": 30}, STALL),
    ([], {"event_timeout": 31}, STALL),
    (beats(20, 10, comment()), {"event_timeout": 95}, "95 event_timeout, 96 connected"),
    *(
        ([pause(19), at_once(*range(5, 5 + count)) + last], {"event_timeout": 20}, LATER)
        for count in (1, 200)
        for last in (b"", b"\n", b": c\n\n", b"id: 1\n\n", b"data: x\nfoo\n\n")
    ),
    (
        beats(10, 25, HEARTBEAT),
        {"event_timeout": 26, "waiting_after": 26},
        "276 event_timeout, 277 connected",
    ),
]


@pytest.mark.parametrize("parts, options, expected", LIMITS, ids=range(len(LIMITS)))
async def test_limits_on_silence(script, parts, options, expected, record):
    """When silence behind *parts* is announced and ended, and one second later the stream is back."""
    script.play(Reply(*numbered(1), *parts).hang(), hanging(2))
    async with make(script, on_state_change=record, **options) as stream:
        while (await anext(stream)).id != "2":
            pass
        assert told(record).startswith(expected)
        assert stream.stats.stalls == 1
    assert script.max_live == 1


@pytest.mark.parametrize("options", [{}, {"stall_on": "events"}, {"event_timeout": 35}], ids=str)
@pytest.mark.parametrize("who", ["consumer", "callback", "store"])
async def test_an_hour_of_the_program_is_not_a_silent_server(script, who, options, record):
    """What the consumer, a callback or a save takes is the program's own: no notice, no stall (section 3.3)."""
    script.respond(*numbered(1), pause(10), comment("ping"), pause(3595), *numbered(2)).hang()
    store = Store(before=1800, after=1800) if who == "store" else None
    async with make(script, checkpoint=store, on_state_change=record, **options) as stream:
        if who == "callback":
            stream.on_state_change(When("connected", takes=3600))
        await anext(stream)
        if who == "consumer":
            await anyio.sleep(3600)
        await anext(stream)
        assert record.states == ["connecting", "connected"]


async def test_the_limit_is_whole_again_for_a_slow_consumer(script, record):
    """The timer begins when the consumer waits, not when the last byte came (section 3.3)."""
    script.play(hanging(1), hanging(2))
    async with make(script, on_state_change=record) as stream:
        await anext(stream)
        await anyio.sleep(100)
        await anext(stream)
        assert told(record) == "125 waiting, 130 stall, 131 connected"


@pytest.mark.parametrize("notice", [None, 60])
async def test_no_limit(script, notice, record):
    """`None` switches the limit off: a day of silence is nothing, announced or not (R20, R31)."""
    script.respond(*numbered(1), pause(86_400), *numbered(2)).hang()
    async with make(script, stall_timeout=None, waiting_after=notice, on_state_change=record) as stream:
        await take(stream, 2)
        told = [(60, "waiting", "stall"), (86_400, "connected", "opened")] if notice else []
        assert record.timetable[1:] == told


async def test_the_head_of_a_compressed_body_is_life(script, record):
    """The first bytes of gzip, a header that decodes to nothing, come late and count (section 3.3)."""
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    parts = [part for byte in sliced(head, 2) for part in (pause(20), byte)]
    script.play(Reply(*parts, headers={"Content-Encoding": "gzip"}).hang(), hanging(1))
    await read(script, 1, on_state_change=record)
    assert told(record).startswith("125 waiting, 130 stall, ")


# --- Before the response


async def test_headers_that_never_come(script, record):
    """Silence before the response headers is told of and bounded, with a reason of its own (section 3.3)."""
    script.stall_headers(times=2)
    script.expect_no_more()
    stream = make(script, max_retries=1, connect_timeout=10, on_state_change=record)
    error = await gives_up(stream, RetriesExhaustedError)
    assert error.__cause__.reason is Reason.CONNECT
    assert (stream.stats.stalls, stream.stats.failed_attempts) == (0, 2)
    assert record.timetable[0] == (25, "waiting", "stall")
    assert told(record) == "50 connect, 76 waiting, 101 error"
    texts = [text for text in record.messages if "Waiting" in text]
    assert texts == ["Waiting for server response...", "Waiting for server response... (retry 1/1)"]


async def test_the_notice_before_the_headers_takes_no_time_of_theirs(script, record):
    """A callback of it runs in the consumer's task, and is not cut short by the limit (sections 3.3, 3.7)."""
    script.stall_headers()
    script.respond(*numbered(1)).hang()
    tasks = []
    slow = When("waiting", lambda: tasks.append(anyio.get_current_task().id), takes=100)
    async with make(script, on_state_change=slow, connect_timeout=10) as stream:
        stream.on_state_change(record)
        await anext(stream)
    assert (tasks, slow.ended) == ([anyio.get_current_task().id], [125])
    assert record.timetable[:2] == [(25, "waiting", "stall"), (125 + 25, "reconnecting", "connect")]
    assert stream.stats.stalls == 0


async def test_headers_that_come_behind_the_notice(script, record):
    """The answer counts, and is kept while a callback of the notice runs; texts tell a return (section 3.3)."""
    script.play(Reply(*numbered(1), after=26).drop(), Reply(*numbered(2), after=26).hang())
    async with make(script, on_state_change=record) as stream:
        stream.on_state_change(When("waiting", takes=5))
        await take(stream, 2)
        assert len(script.requests) == 2
        assert record.times == [25, 30, 30, 56, 61]
        again = "Waiting for server response... (retry 1/5)"
        assert record.messages[3:] == [again, "Connection restored - resuming stream..."]


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


# --- Where limits meet


def suspend(seconds):
    """Let time pass for everybody at once, as for a process that was stopped."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        trio.lowlevel.current_clock().jump(seconds)
    else:
        loop._clock.now += seconds


async def test_each_connection_has_the_whole_limit(script, record):
    """Silence before a loss is not held against the next connection; each stall counts (R106)."""
    script.play(Reply(*numbered(1), pause(29)).drop(), hanging(2), hanging(3), hanging(4))
    async with make(script, on_state_change=record) as stream:
        await take(stream, 4)
        assert (stream.stats.stalls, stream.stats.reconnects) == (2, 3)
    assert [at for at, state, _ in record.timetable if state == "waiting"] == [25, 55, 86]


async def test_others_have_their_turn_though_each_event_takes_long(script):
    """Portions of what one read has brought shrink until they take 5 ms, and not 100 events (3.8)."""
    script.respond(at_once(*range(1, 401))).hang()
    turns, between = 0, []

    async def other() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with make(script) as stream, anyio.create_task_group() as group:
        group.start_soon(other)
        for _ in range(400):
            await anext(stream)
            suspend(0.002)  # which the program takes for it, without a wait
            between.append(turns)
        group.cancel_scope.cancel()
    in_one_turn = Counter(between[150:])
    assert max(in_one_turn.values()) <= 10


# --- While waiting


@pytest.mark.parametrize(
    "meanwhile, ending, at, reason",
    [
        ([], "hang", 30, Reason.STALL),
        ([], "drop", 27, Reason.RESET),
        ([], "end", 27, Reason.EOF),
        ([], "cut", 27, Reason.RESET),
        (numbered(2), "hang", 27, Reason.OPENED),
    ],
)
@pytest.mark.parametrize("takes", [0, 20])
async def test_what_ends_the_waiting(script, record, meanwhile, ending, at, reason, takes):  # noqa: PLR0917
    """For its own reason; a callback of WAITING may take longer, and what came is told behind it (R78, R82)."""
    getattr(script.respond(*numbered(1), pause(27), *meanwhile), ending)()
    script.respond(*numbered(2)).hang()
    slow = When("waiting", takes=takes)
    async with make(script, on_state_change=slow) as stream:
        stream.on_state_change(record)
        await take(stream, 2)
        assert stream.stats.stalls == (reason is Reason.STALL)
    assert slow.ended == [25 + takes]
    assert record.changes[2].reason is reason
    assert record.times[2] >= 45 if takes else record.times[2] == at


async def test_a_stalled_connection_that_is_slow_to_close(script):
    """The new one is opened only when the old one is closed, which takes 2 s at most (section 3.8)."""
    script.play(Reply(*numbered(1), close_takes=100).hang(), hanging(2))
    await read(script, 2)
    assert script.requests[1].at == 30 + 2 + 1
    script.closed_all()
    assert script.max_live == 1


# --- In the same moment


@pytest.mark.parametrize("moment", [25, 30])
def test_an_event_in_the_very_moment_of_a_limit_is_in_time(moment):
    """What is at hand when the limit strikes has arrived: no connection is given up for it (R25, R106)."""

    async def consume() -> None:
        script = Script()
        script.respond(*numbered(1), pause(moment), *numbered(2)).hang()
        async with make(script) as stream:
            assert [item.id for item in await take(stream, 2)] == ["1", "2"]
            assert (stream.stats.stalls, len(script.requests)) == (0, 1)

    # On asyncio who has waited for longer wakes first, which the test needs; trio draws lots.
    run_in_virtual_time(consume)


@pytest.mark.parametrize("at", [5, 27])
async def test_a_process_that_was_suspended_loses_nothing(script, at):
    """After an hour's sleep limits and bytes are due at once: one reconnect at most, every event once (P15)."""
    script.always(ReplayServer([(number, "x") for number in range(1, 8)], every=28))
    async with make(script, sequence=integers) as stream, anyio.create_task_group() as group:
        group.start_soon(later, at, lambda: suspend(3600))
        assert [item.id for item in await take(stream, 7)] == [str(number) for number in range(1, 8)]
    assert stream.stats.reconnects <= 1
    assert stream.stats.lost == 0


# --- The notice itself


@pytest.mark.parametrize("parts", [[], [pause(26), comment()]], ids=["silence", "a byte meanwhile"])
async def test_cancelling_the_read_cancels_the_notice(script, parts):
    """A read with a timeout is over when its time is, also if a callback of WAITING is under way (P15)."""
    script.play(Reply(*numbered(1), *parts).hang(), hanging(2))
    slow = When("waiting", takes=100)
    stream = make(script, on_state_change=slow)
    await anext(stream)
    with anyio.move_on_after(27) as scope:
        await anext(stream)
    assert scope.cancelled_caught
    assert (anyio.current_time(), slow.ended) == (27, [])
    assert (await anext(stream)).id == "2"
    assert stream.stats.callback_errors == 0
    await stream.aclose()
