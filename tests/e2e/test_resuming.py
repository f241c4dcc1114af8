"""Drops and restarts in real time: everything arrives, once, over one connection at a time."""

import anyio
import pytest

from resilient_sse import Backoff, Gap, Reason, ResilientStream, StreamState, integers
from resilient_sse.testing import event
from tests.e2e.watching import QUICK, collect, each, eventually


@pytest.mark.parametrize("ending", ["reset", "end", "half_close"])
@pytest.mark.slow
async def test_two_hundred_drops(serve, diary, ending):
    """R6, R7, P5: of 200 drops with the server back at once, all are resumed, with nothing lost or repeated."""
    drops = 200
    recoveries = []

    def drop(peer):
        number = int(peer.request.cursor or 0) + 1
        peer.open()
        peer.chunk(event(f"event {number}", id=str(number)))
        getattr(peer, ending)()
        if ending != "reset":
            peer.hold()

    server = serve(drop)
    stream = ResilientStream(server.url, backoff=Backoff(initial=0.001), on_state_change=diary)
    taken = []
    async with stream:
        async for item in stream:
            taken.append(item.data)
            if item.connection > 1:
                recoveries.append(stream.stats.last_recovery)
            if len(taken) == drops + 1:
                break
    assert taken == [f"event {number}" for number in range(1, drops + 2)]
    assert len(recoveries) == drops
    assert max(recoveries) < 5
    assert stream.stats.reconnects == drops
    assert (stream.stats.duplicates, stream.stats.lost, stream.stats.failed_attempts) == (0, 0, 0)
    assert diary.states.count(StreamState.RECONNECTING) == drops


def end(peer):
    """End the answer and keep the connection open."""
    peer.end()


def break_protocol(peer):
    """Break the rules and keep the connection open."""
    peer.send(b"no chunk size\r\n")


def say_nothing(_):
    """Leave it to the client."""


@pytest.mark.parametrize(
    "ending,restarting,reason",
    [
        pytest.param(end, False, Reason.EOF, id="clean-end"),
        pytest.param(break_protocol, False, Reason.PROTOCOL, id="protocol"),
        pytest.param(say_nothing, True, Reason.RESTART, id="restart"),
    ],
)
async def test_one_connection_at_a_time(serve, diary, ending, restarting, reason):
    """R149, F14, F27: over 20 quick reconnects the server never sees a second connection beside the first."""

    def brief(peer):
        peer.open()
        peer.chunk(event("hello", id=str(peer.number)))
        ending(peer)
        peer.hold()

    server = serve(brief)
    server.watch_overlaps = True
    stream = ResilientStream(server.url, backoff=QUICK, on_state_change=diary)
    count = 0
    async with stream:
        async for _ in stream:
            count += 1
            if count == 21:
                break
            if restarting:
                stream.restart()
    assert diary.losses == [reason] * 20
    assert len(server.peers) == 21
    assert server.overlaps == 0


async def test_a_silent_connection_is_closed_before_the_next(serve):
    """R149, F27: a stalled connection is closed, too, before its successor is made."""

    def stall(peer):
        peer.open()
        peer.chunk(event("hello", id=str(peer.number)))
        peer.hold()

    server = serve(stall)
    server.watch_overlaps = True
    stream = ResilientStream(server.url, stall_timeout=0.5, backoff=QUICK)
    assert await collect(stream, 4) == ["hello"] * 4
    assert stream.stats.stalls == 3
    assert len(server.peers) == 4
    assert server.overlaps == 0


async def test_restarted_server_without_its_store(open_site, diary):
    """R40, P23: a server that restarts with an empty store makes one notice of loss, and the stream goes on."""
    first = open_site()
    first.publish(*((number, f"before {number}") for number in range(1, 6)))
    gaps = []
    taken = []
    stream = ResilientStream(
        f"{first.origin}/events",
        sequence=integers,
        backoff=QUICK,
        max_retries=None,
        on_state_change=diary,
        on_gap=gaps.append,
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(each, stream, taken.append)
        assert await eventually(lambda: len(taken) == 5, within=5)
        await anyio.to_thread.run_sync(first.stop)
        assert await eventually(lambda: Reason.CONNECT in diary.losses, within=5)
        second = open_site(port=first.port)
        assert await eventually(lambda: second.live == 1, within=5)
        for number in range(1, 4):
            second.publish((number, f"after {number}"))
        assert await eventually(lambda: len(taken) == 8, within=5)
        await stream.aclose()
    assert taken == [*(f"before {n}" for n in range(1, 6)), *(f"after {n}" for n in range(1, 4))]
    assert gaps == [Gap(kind="reset", after_id="5", before_id="1")]
    assert second.cursors == ["5"]
    assert diary.losses[0] in (Reason.EOF, Reason.RESET)
    assert set(diary.losses[1:]) <= {Reason.SERVER, Reason.CONNECT}
    assert (stream.stats.gaps, stream.stats.duplicates) == (1, 0)


async def test_restarted_server_with_its_store(open_site):
    """R48, R62: what was published while the server was down arrives after the restart, once and in order."""
    first = open_site()
    first.publish((1, "one"), (2, "two"))
    taken = []
    stream = ResilientStream(f"{first.origin}/events", sequence=integers, backoff=QUICK, max_retries=None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(each, stream, taken.append)
        assert await eventually(lambda: len(taken) == 2, within=5)
        await anyio.to_thread.run_sync(first.stop)
        second = open_site(port=first.port)
        second.publish((1, "one"), (2, "two"), (3, "three"), (4, "four"))
        assert await eventually(lambda: len(taken) == 4, within=5)
        await stream.aclose()
    assert taken == ["one", "two", "three", "four"]
    assert (stream.stats.gaps, stream.stats.lost, stream.stats.duplicates) == (0, 0, 0)
