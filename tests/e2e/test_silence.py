"""Silence on a real connection: noticed, bounded, and mended."""

import time

import anyio
import pytest

from resilient_sse import Reason, ResilientStream, RetriesExhaustedError, StreamState
from resilient_sse.testing import comment, event, gzipped
from tests.e2e.watching import QUICK, collect, eventually


def healthy(peer):
    """Send one event."""
    peer.open()
    peer.chunk(event("at last", id="1"))
    peer.hold()


async def test_black_hole(serve, diary):
    """R20, R22, R23, R24: a connection that opens and falls silent is noticed, given up, and replaced."""

    def black_hole(peer):
        peer.open()
        peer.hold()

    server = serve(black_hole, healthy)
    stream = ResilientStream(server.url, stall_timeout=1.0, backoff=QUICK, on_state_change=diary)
    assert await collect(stream, 1) == ["at last"]
    connected, waiting, reconnecting, restored, _ = diary.changes
    assert [connected.new, waiting.new, reconnecting.new, restored.new] == [
        StreamState.CONNECTED,
        StreamState.WAITING,
        StreamState.RECONNECTING,
        StreamState.CONNECTED,
    ]
    assert waiting.reason is reconnecting.reason is Reason.STALL
    assert waiting.message == "Waiting for server response..."
    assert restored.message == "Connection restored - resuming stream..."
    assert 0.8 <= waiting.at - connected.at < reconnecting.at - connected.at < 2.5
    assert reconnecting.at - connected.at >= 0.99
    assert stream.stats.stalls == 1
    assert stream.stats.last_recovery < 5
    assert server.peers[0].left_at is not None


async def test_comments_are_a_sign_of_life(serve, diary):
    """R26, R158: comments alone keep a quiet stream connected for longer than its stall timeout."""

    def quiet(peer):
        peer.open()
        for _ in range(12):
            time.sleep(0.1)
            peer.chunk(comment("still here"))
        peer.chunk(event("after a while", id="1"))
        peer.hold()

    stream = ResilientStream(serve(quiet).url, stall_timeout=1.0, max_retries=0, on_state_change=diary)
    assert await collect(stream, 1) == ["after a while"]
    assert diary.states == [StreamState.CONNECTED, StreamState.CLOSED]


async def test_event_timeout_sees_through_comments(serve, diary):
    """R110, F2: comments do not hide that no event comes, if a limit on that was set."""

    def babble(peer):
        peer.open()
        for _ in range(200):
            peer.chunk(comment())
            time.sleep(0.05)

    server = serve(babble, healthy)
    stream = ResilientStream(server.url, event_timeout=0.5, backoff=QUICK, on_state_change=diary)
    assert await collect(stream, 1) == ["at last"]
    assert diary.losses == [Reason.EVENT_TIMEOUT]
    assert stream.stats.stalls == 1


async def test_a_slow_consumer_is_not_a_silent_server(serve, diary):
    """R155, P14, F1: time the consumer spends on an event counts as nobody's silence."""

    def steady(peer):
        peer.open()
        for number in range(3):
            peer.chunk(event(str(number), id=str(number)))
            time.sleep(0.01)
        peer.hold()

    stream = ResilientStream(serve(steady).url, stall_timeout=1.0, max_retries=0, on_state_change=diary)
    taken = []
    async with stream:
        async for item in stream:
            taken.append(item.data)
            if len(taken) == 3:
                break
            if len(taken) == 1:
                time.sleep(1.3)  # noqa: ASYNC251 - the whole program is busy
    assert taken == ["0", "1", "2"]
    assert diary.states == [StreamState.CONNECTED, StreamState.CLOSED]


async def test_silence_instead_of_tls(serve, diary):
    """P25, R110: a server that takes the connection and never makes TLS is given up after `connect_timeout`."""
    server = serve(lambda peer: peer.hold(), unread=True)
    stream = ResilientStream(
        server.url.replace("http:", "https:"), connect_timeout=0.4, max_retries=0, on_state_change=diary
    )
    started = time.monotonic()
    with pytest.raises(RetriesExhaustedError) as raised:
        await collect(stream, 1)
    assert time.monotonic() - started < 3
    assert raised.value.__cause__.reason is Reason.CONNECT
    assert await eventually(lambda: server.peers[0].left_at is not None, within=2)


@pytest.mark.both
async def test_the_notice_before_the_headers(serve):
    """3.3: silence before the response headers is told of, in the consumer's task, and it is bounded."""
    told = []

    def tell(change):
        told.append((change.new.value, anyio.get_current_task().id))

    stream = ResilientStream(
        serve(lambda peer: peer.hold()).url,
        max_retries=0,
        waiting_after=0.1,
        stall_timeout=0.3,
        on_state_change=tell,
    )
    with pytest.raises(RetriesExhaustedError) as caught:
        await anext(stream)
    here = anyio.get_current_task().id
    assert told == [("waiting", here), ("error", here)]
    assert "stall_timeout" in str(caught.value.__cause__)


async def test_judging_what_one_read_has_brought_is_no_silence(serve):
    """A compressed read is decoded in slices; what a filter takes for them is the program's own time (3.3)."""
    body = b"".join(gzipped(*(event("x" * 40_000, id=str(number)) for number in range(1, 41))))

    def compressed(peer):
        peer.open("Content-Encoding: gzip")
        peer.chunk(body)
        peer.hold()

    def last(item):
        time.sleep(0.02)
        return item.id == "40"

    stream = ResilientStream(
        serve(compressed).url, compression=True, events=last, stall_timeout=0.4, max_retries=0
    )
    assert await collect(stream, 1) == ["x" * 40_000]
    assert stream.stats.stalls == 0
