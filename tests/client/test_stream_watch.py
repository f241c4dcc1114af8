"""
The watch over a read: where limits meet, what happens in the same moment, and what the notice may do.

The limits one by one are in `test_stream_liveness`.
"""

import asyncio
import contextvars

import anyio
import pytest
import trio

from resilient_sse import Reason, StreamState, integers
from resilient_sse.testing import ReplayServer, Reply, Script, comment, pause, run_in_virtual_time
from tests.client.support import When, drain, hanging, make, numbered, read, take

who = contextvars.ContextVar("who", default="nobody")


def suspend(seconds):
    """Let time pass for everybody at once, as for a process that was stopped."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        trio.lowlevel.current_clock().jump(seconds)
    else:
        loop._clock.now += seconds


def times(record):
    """Return when which state was entered, without the first."""
    return [(at, state) for at, state, _ in record.timetable[1:]]


async def test_each_connection_has_the_whole_limit(script, record):
    """Silence before a loss is not held against the next connection; each stall counts (R106)."""
    script.respond(*numbered(1), pause(29)).drop()
    for number in (2, 3):
        script.respond(*numbered(number)).hang()
    script.respond(*numbered(4)).hang()
    async with make(script, on_state_change=record) as stream:
        await take(stream, 4)
        assert (stream.stats.stalls, stream.stats.reconnects) == (2, 3)
    assert [at for at, state in times(record) if state == "waiting"] == [25, 55, 86]


# --- While waiting


@pytest.mark.parametrize("ending, reason", [("drop", "reset"), ("end", "eof"), ("cut", "reset")])
async def test_a_connection_that_ends_while_waiting(script, ending, reason, record):
    """It ends for its own reason and is no stall (R78)."""
    getattr(script.respond(*numbered(1), pause(27)), ending)()
    script.respond(*numbered(2)).hang()
    async with make(script, on_state_change=record) as stream:
        await take(stream, 2)
        assert stream.stats.stalls == 0
    assert record.timetable[1:3] == [(25, "waiting", "stall"), (27, "reconnecting", reason)]


async def test_an_event_that_ends_the_waiting_comes_behind_the_notice_of_it(script):
    """WAITING, CONNECTED, event: the program never gets an event from a stream that says it waits (R30)."""
    script.respond(*numbered(1), pause(26), *numbered(2)).hang()
    said = []
    stream = make(script)
    stream.on_state_change(lambda change: said.append(change.new.value))
    async with stream:
        for _ in range(2):
            said.append((await anext(stream)).id)
            assert stream.state is StreamState.CONNECTED
    assert said == ["connected", "1", "waiting", "connected", "2", "closed"]


async def test_a_stalled_connection_that_is_slow_to_close(script):
    """The new one is opened only when the old one is closed, which takes 2 s at most (section 3.8)."""
    script.play(Reply(*numbered(1), close_takes=100).hang(), hanging(2))
    await read(script, 2)
    assert 30 < script.requests[1].at <= 33
    assert script.max_live == 1


# --- In the same moment


@pytest.mark.parametrize("moment", [25, 30])
@pytest.mark.parametrize("deed", ["aclose", "restart", "cancel"])
async def test_a_limit_in_the_very_moment_of_another_deed(script, moment, deed):
    """The program closes, restarts or cancels just when a limit strikes: nothing is left open (P15)."""
    script.always(ReplayServer([(1, "a")]))
    stream = make(script)
    scope = anyio.CancelScope()

    async def consume() -> None:
        with scope:
            await drain(stream)

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await anyio.sleep(moment)
        if deed == "cancel":
            scope.cancel()
        elif deed == "restart":
            stream.restart()
            await anyio.sleep(5)
        await stream.aclose()
    assert stream.state is StreamState.CLOSED
    assert (script.live, script.max_live) == (0, 1)


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
    stream = make(script, sequence=integers)
    got = []

    async def consume() -> None:
        got.extend([item.id for item in await take(stream, 7)])

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await anyio.sleep(at)
        suspend(3600)
    assert got == [str(number) for number in range(1, 8)]
    assert stream.stats.reconnects <= 1
    assert stream.stats.lost == 0
    await stream.aclose()


# --- The notice itself


@pytest.mark.parametrize(
    "meanwhile, ending, then",
    [([], "hang", Reason.STALL), ([], "drop", Reason.RESET), (numbered(2), "hang", Reason.OPENED)],
    ids=["silence", "a loss", "an event"],
)
async def test_a_slow_notice_comes_to_its_end(script, meanwhile, ending, then, record):
    """A callback of WAITING may take longer than the silence; what happens meanwhile is told behind it (R82)."""
    getattr(script.respond(*numbered(1), pause(26), *meanwhile), ending)()
    script.respond(*numbered(2)).hang()
    slow = When("waiting", takes=20)
    async with make(script, on_state_change=slow) as stream:
        stream.on_state_change(record)
        await take(stream, 2)
    assert slow.ended == [45]
    assert record.changes[2].reason is then
    assert record.times[2] >= 45


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
