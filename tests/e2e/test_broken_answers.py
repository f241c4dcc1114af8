"""Connections that end badly, and answers that are no answers: what the stream makes of each."""

import socket
import threading
import time

import pytest

from resilient_sse import (
    ConnectionLostError,
    HandshakeError,
    Reason,
    ResilientStream,
    RetriesExhaustedError,
)
from resilient_sse.testing import event
from tests.e2e.raw_server import CHUNKED, EVENT_STREAM
from tests.e2e.watching import QUICK, causes, collect, eventually


def whole(peer):
    """Resume as a good server does: send the second event, whole."""
    peer.open()
    peer.chunk(event("second half and all", id="2"))
    peer.hold()


HALF = event("first", id="1") + b"id: 2\ndata: second ha"


def chunked(peer):
    """Send one event and the half of another, as servers do."""
    peer.open()
    peer.chunk(HALF)


def of_length(peer):
    """Send it as the beginning of something longer."""
    peer.head(EVENT_STREAM, "Content-Length: 1000")
    peer.send(HALF)


def http_1_0(peer):
    """Send it as a body that ends with its connection."""
    peer.head(EVENT_STREAM, version="1.0")
    peer.send(HALF)


BREAKS = {
    "reset": (chunked, lambda peer: peer.reset(), Reason.RESET),
    "half-close": (chunked, lambda peer: (peer.half_close(), peer.hold()), Reason.RESET),
    "truncated-chunk": (chunked, lambda peer: peer.send(b"40\r\nlf, but not"), Reason.RESET),
    "broken-chunk": (chunked, lambda peer: (peer.send(b"no size\r\n"), peer.hold()), Reason.PROTOCOL),
    "clean-end": (chunked, lambda peer: (peer.end(), peer.hold()), Reason.EOF),
    "short-content-length": (of_length, lambda peer: None, Reason.RESET),
    "http-1.0": (http_1_0, lambda peer: None, Reason.EOF),
}


@pytest.mark.both
@pytest.mark.parametrize("begin, end, reason", BREAKS.values(), ids=BREAKS)
async def test_half_an_event_is_dropped_and_comes_whole_after_resuming(serve, record, begin, end, reason):
    """R41, R37, F18, F19: however a connection breaks, half an event and its id are dropped and resumed."""
    seen = threading.Event()

    def breaks(peer):
        begin(peer)
        assert seen.wait(10)
        end(peer)

    server = serve(breaks, whole)
    taken = []
    stream = ResilientStream(server.url, backoff=QUICK, on_state_change=record)
    async with stream:
        async for item in stream:
            taken.append((item.id, item.data, item.connection))
            seen.set()
            if len(taken) == 2:
                break
    assert taken == [("1", "first", 1), ("2", "second half and all", 2)]
    assert record.losses == [reason]
    assert record.states[:4] == ["connecting", "connected", "reconnecting", "connected"]
    assert [request.cursor for request in server.requests] == [None, "1"]
    assert (stream.stats.partial, stream.stats.reconnects, stream.stats.failed_attempts) == (1, 1, 0)
    assert await eventually(lambda: all(not peer.is_live() for peer in server.peers), within=2)


SLOWLY = [part for n in range(400) for part in (b"X-%d: still coming\r\n" % n, 0.05)]
NO_ANSWERS = {
    "another protocol": ([b"220 mail.example ESMTP\r\n221 bye\r\n"], Reason.CONNECT),
    "binary": ([b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", "hold"], Reason.PROTOCOL),
    "silence": (["hold"], Reason.CONNECT),
    "hang-up": ([], Reason.CONNECT),
    "reset": (["reset"], Reason.CONNECT),
    "endless-line": ([b"HTTP/1.1 200 OK\r\nX-Long: ", *[b"x" * 65536] * 1024], Reason.PROTOCOL),
    "endless-headers": ([b"HTTP/1.1 200 OK\r\n", *[b"X-A: and again\r\n" * 1024] * 1024], Reason.PROTOCOL),
    "slow-headers": ([b"HTTP/1.1 200 OK\r\n", *SLOWLY], Reason.CONNECT),
    "early-hints": ([b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 200_000, Reason.CONNECT),
}


@pytest.mark.parametrize("parts, reason", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_no_answer_at_all(serve, record, parts, reason):
    """P42, R8, R110: what is no HTTP answer, or never ends to be one, is a bounded and typed failure."""

    def answer(peer):
        for part in parts:
            if isinstance(part, bytes):
                peer.send(part)
            elif isinstance(part, float):
                time.sleep(part)
            else:
                getattr(peer, part)()

    stream = ResilientStream(
        serve(answer).url, backoff=QUICK, max_retries=1, stall_timeout=0.5, on_state_change=record
    )
    started = time.monotonic()
    with pytest.raises(RetriesExhaustedError) as raised:
        await collect(stream, 1)
    assert time.monotonic() - started < 5
    assert isinstance(raised.value.__cause__, ConnectionLostError)
    assert raised.value.__cause__.reason is reason
    assert record.losses == [reason]
    failures = [state for state in record.states if state != "waiting"]
    assert failures == ["connecting", "reconnecting", "error"]
    assert stream.stats.failed_attempts == 2


async def test_nobody_listens(record):
    """R110: a refused connection is a failure to connect, and the chain of causes leads to the system's error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/stream"
    with pytest.raises(RetriesExhaustedError) as raised:
        await collect(ResilientStream(url, backoff=QUICK, max_retries=2, on_state_change=record), 1)
    assert raised.value.attempts == 3
    assert record.losses == [Reason.CONNECT] * 2
    assert any(isinstance(cause, OSError) for cause in causes(raised.value))


async def test_an_endless_error_page_is_cut(serve):
    """F24, P42: the body of an error is read for a moment only, however long it goes on."""

    def babble(peer):
        peer.head("Content-Type: text/plain", CHUNKED, status="403 Forbidden")
        for _ in range(200):
            peer.chunk(b"no")
            time.sleep(0.05)

    started = time.monotonic()
    with pytest.raises(HandshakeError) as raised:
        await collect(ResilientStream(serve(babble).url), 1)
    assert time.monotonic() - started < 5
    assert raised.value.status == 403
    assert raised.value.body_excerpt.startswith("nono")
