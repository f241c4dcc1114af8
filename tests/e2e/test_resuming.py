"""Drops in real time: everything arrives, once, over one connection at a time."""

import time

import anyio
import pytest

from resilient_sse import Backoff, Reason, ResilientStream, StreamState
from resilient_sse.testing import comment, event
from tests.e2e.watching import QUICK, each, eventually


@pytest.mark.parametrize("ending", ["reset", "end", "half_close"])
@pytest.mark.slow
async def test_two_hundred_drops(serve, record, ending):
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
    stream = ResilientStream(server.url, backoff=Backoff(initial=0.001), on_state_change=record)
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
    assert len(record.losses) == drops


@pytest.mark.parametrize(
    "ending,restarting,reason",
    [
        pytest.param(lambda peer: peer.end(), False, Reason.EOF, id="clean-end"),
        pytest.param(lambda peer: peer.send(b"no chunk size\r\n"), False, Reason.PROTOCOL, id="protocol"),
        pytest.param(lambda peer: None, True, Reason.RESTART, id="restart"),
        pytest.param(lambda peer: None, False, Reason.STALL, id="stall"),
    ],
)
async def test_one_connection_at_a_time(serve, record, ending, restarting, reason):
    """R149, F14, F15, F27: over many reconnects the server never sees a second connection beside the first."""
    overlaps = []

    def brief(peer):
        overlaps.append(any(earlier.is_live() for earlier in server.peers[: peer.number - 1]))
        peer.open()
        peer.chunk(event("hello", id=str(peer.number)))
        ending(peer)
        peer.hold()

    server = serve(brief)
    most = 4 if reason is Reason.STALL else 21
    stream = ResilientStream(server.url, stall_timeout=0.5, backoff=QUICK, on_state_change=record)
    count = 0
    async with stream:
        async for _ in stream:
            count += 1
            if count == most:
                break
            if restarting:
                stream.restart()
    assert record.losses == [reason] * (most - 1)
    assert overlaps == [False] * most


# --- Connections cut by the client while bytes are arriving: told as what they are, and cost nothing


def chatter(peer):
    """Send comments at a quick pace."""
    peer.open()
    for _ in range(10_000):
        peer.chunk(comment())
        time.sleep(0.001)


@pytest.mark.parametrize("limits", [{"event_timeout": 0.05}, {"stall_timeout": 0.3, "stall_on": "events"}])
@pytest.mark.slow
async def test_giving_up_on_a_talkative_connection(serve, record, limits):
    """P26, F2: a connection that talks without saying anything is given up for that reason and no other."""
    reason = Reason.EVENT_TIMEOUT if "event_timeout" in limits else Reason.STALL
    stream = ResilientStream(
        serve(chatter).url,
        backoff=QUICK,
        max_retries=None,
        on_eof="complete",
        on_state_change=record,
        **limits,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(each, stream, lambda _: None)
        assert await eventually(
            lambda: len(record.losses) >= 8 or stream.state is StreamState.CLOSED, within=20
        )
        await stream.aclose()
    assert len(record.losses) >= 8
    assert set(record.losses) == {reason}
    assert stream.stats.stalls >= 8
