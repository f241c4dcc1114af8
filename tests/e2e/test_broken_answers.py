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
    StreamState,
)
from resilient_sse.testing import event, sliced
from tests.e2e.raw_server import CHUNKED, EVENT_STREAM
from tests.e2e.watching import QUICK, causes, collect, eventually


def whole(peer):
    """Resume as a good server does: send the second event, whole."""
    peer.open()
    peer.chunk(event("second half and all", id="2"))
    peer.hold()


class Breaker:
    """Sends one event and the half of another, waits until the first was seen, and breaks off."""

    def __init__(self):
        self.seen = threading.Event()

    def begin(self, peer):
        peer.open()
        peer.chunk(event("first", id="1") + b"id: 2\ndata: second ha")
        assert self.seen.wait(10)

    def reset(self, peer):
        self.begin(peer)
        peer.reset()

    def half_close(self, peer):
        self.begin(peer)
        peer.half_close()
        peer.hold()

    def truncated_chunk(self, peer):
        self.begin(peer)
        peer.send(b"40\r\nlf, but not")

    def broken_chunk(self, peer):
        self.begin(peer)
        peer.send(b"no chunk size\r\n")
        peer.hold()

    def clean_end(self, peer):
        self.begin(peer)
        peer.end()
        peer.hold()

    def short_content_length(self, peer):
        peer.head(EVENT_STREAM, "Content-Length: 1000")
        peer.send(event("first", id="1") + b"id: 2\ndata: second ha")
        assert self.seen.wait(10)

    def http_1_0(self, peer):
        peer.head(EVENT_STREAM, version="1.0")
        peer.send(event("first", id="1") + b"id: 2\ndata: second ha")
        assert self.seen.wait(10)


@pytest.mark.both
@pytest.mark.parametrize(
    "how,reason",
    [
        ("reset", Reason.RESET),
        ("half_close", Reason.RESET),
        ("truncated_chunk", Reason.RESET),
        ("short_content_length", Reason.RESET),
        ("broken_chunk", Reason.PROTOCOL),
        ("clean_end", Reason.EOF),
        ("http_1_0", Reason.EOF),
    ],
)
async def test_half_an_event_is_dropped_and_comes_whole_after_resuming(serve, diary, how, reason):
    """R41, R37, F18, F19: however a connection breaks, half an event and its id are dropped and resumed."""
    breaker = Breaker()
    server = serve(getattr(breaker, how), whole)
    taken = []
    stream = ResilientStream(server.url, backoff=QUICK, on_state_change=diary)
    async with stream:
        async for item in stream:
            taken.append((item.id, item.data, item.connection))
            breaker.seen.set()
            if len(taken) == 2:
                break
    assert taken == [("1", "first", 1), ("2", "second half and all", 2)]
    assert diary.losses == [reason]
    assert diary.states[:3] == [StreamState.CONNECTED, StreamState.RECONNECTING, StreamState.CONNECTED]
    assert [request.cursor for request in server.requests] == [None, "1"]
    assert (stream.stats.partial, stream.stats.reconnects, stream.stats.failed_attempts) == (1, 1, 0)
    assert await eventually(lambda: all(not peer.is_live() for peer in server.peers), within=2)


BOM = b"\xef\xbb\xbf"
DRIPPED = (
    BOM + "id: ü\r\nevent: große\r\ndata: €uro 😀\r\ndata: zwei\r\n\r\ndata: one\r\rdata: two\n\n".encode()
)


@pytest.mark.parametrize("size", [1, 3])
async def test_slow_drip(serve, size):
    """P1, P25: bytes that come one at a time, in mid-character and between CR and LF, make the same events."""

    def drip(peer):
        peer.head(EVENT_STREAM)
        for part in sliced(DRIPPED, size):
            peer.send(part)
            time.sleep(0.002)
        peer.hold()

    taken = []
    async with ResilientStream(serve(drip).url, max_retries=0) as stream:
        async for item in stream:
            taken.append((item.event, item.data, item.last_event_id))
            if len(taken) == 3:
                break
    assert taken == [("große", "€uro 😀\nzwei", "ü"), ("message", "one", "ü"), ("message", "two", "ü")]


def greeting(peer):
    """Speak another protocol, and hang up because nobody answers in it."""
    peer.send(b"220 mail.example ESMTP\r\n221 bye\r\n")


def binary(peer):
    """Answer with what is no text, and wait."""
    peer.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03")
    peer.hold()


def silence(peer):
    """Take the request and say nothing."""
    peer.hold()


def endless_header_line(peer):
    """Send one header that never ends."""
    peer.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(1024):
        peer.send(b"x" * 65536)


def endless_headers(peer):
    """Send headers that never end."""
    peer.send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1024):
        peer.send(b"X-Again: and again\r\n" * 1024)


def hang_up(peer):
    """Close without a word."""


def reset_at_once(peer):
    """Reset without a word."""
    peer.reset()


def slow_headers(peer):
    """Send one header now and then."""
    peer.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(400):
        peer.send(b"X-%d: still coming\r\n" % number)
        time.sleep(0.05)


def early_hints(peer):
    """Promise an answer for ever."""
    for _ in range(200_000):
        peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")


@pytest.mark.parametrize(
    "behaviour,reason",
    [
        pytest.param(greeting, Reason.CONNECT, id="greeting"),
        pytest.param(binary, Reason.PROTOCOL, id="binary"),
        pytest.param(silence, Reason.CONNECT, id="silence"),
        pytest.param(endless_header_line, Reason.PROTOCOL, id="endless-header-line"),
        pytest.param(endless_headers, Reason.PROTOCOL, id="endless-headers"),
        pytest.param(hang_up, Reason.CONNECT, id="hang-up"),
        pytest.param(reset_at_once, Reason.CONNECT, id="reset"),
        pytest.param(slow_headers, Reason.CONNECT, id="slow-headers"),
        pytest.param(early_hints, Reason.CONNECT, id="early-hints"),
    ],
)
async def test_no_answer_at_all(serve, diary, behaviour, reason):
    """P42, R8, R110: what is no HTTP answer, or never ends to be one, is a bounded and typed failure."""
    server = serve(behaviour)
    stream = ResilientStream(
        server.url, backoff=QUICK, max_retries=1, stall_timeout=0.5, on_state_change=diary
    )
    started = time.monotonic()
    with pytest.raises(RetriesExhaustedError) as raised:
        await collect(stream, 1)
    assert time.monotonic() - started < 5
    assert isinstance(raised.value.__cause__, ConnectionLostError)
    assert raised.value.__cause__.reason is reason
    assert diary.losses == [reason]
    failures = [state for state in diary.states if state is not StreamState.WAITING]
    assert failures == [StreamState.RECONNECTING, StreamState.ERROR]
    assert stream.stats.failed_attempts == 2


async def test_nobody_listens(diary):
    """R110: a refused connection is a failure to connect, and the chain of causes leads to the system's error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/stream"
    with pytest.raises(RetriesExhaustedError) as raised:
        await collect(ResilientStream(url, backoff=QUICK, max_retries=2, on_state_change=diary), 1)
    assert raised.value.attempts == 3
    assert diary.losses == [Reason.CONNECT] * 2
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
