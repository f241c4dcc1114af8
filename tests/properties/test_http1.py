"""Our reading of HTTP/1.1 beside h11's: the same bytes out of any answer, however it is cut, or both refuse it."""

import os

import h11
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_sse._client.transport.body import CHUNK_LINE_BYTES, Chunked, body_of
from resilient_sse._client.transport.http1 import (
    HEAD_BYTES,
    Asked,
    HeaderWait,
    ResponseStream,
    _head,
    _Sent,
)
from resilient_sse._client.transport.sockets import Arrived
from tests.properties.sse_grammar import PROFILE

EXAMPLES = int(os.environ.get("HTTP1_EXAMPLES", "0")) or PROFILE.max_examples


class Arriving(Arrived):
    """A socket on which one piece after the other arrives, and then the end."""

    wake = abort = None  # nobody asks for them

    def __init__(self, pieces):
        super().__init__(lambda: 0.0)
        self._pieces = list(pieces)

    async def wait(self):
        if self._pieces:
            self.parts.append(self._pieces.pop(0))
        else:
            self.ended = True
        return True


def client(method):
    """Return h11's side of a request that was sent."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    return connection


def run(coroutine):
    """Run a coroutine that never waits for anybody."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def read_head(socket, method):
    """Read a head as our transport does; return it, and what reads the body."""
    asked = Asked(method, httpx.URL("http://h/"), [(b"Host", b"h")])
    sent = _Sent(asked, socket, client(method), 0.0, None)
    head = run(_head(sent, HeaderWait()))
    return head, ResponseStream(socket, body_of(head, method.encode()), sent.connection.trailing_data[0])


def facts(status_code, version, reason, headers):
    """Return what a head says."""
    return status_code, version, reason, dict(httpx.Headers(headers).items())


def read_by_us(pieces, method):
    """Return what the head says, the body, and whether the answer was whole."""
    socket, said, got = Arriving(pieces), None, b""
    try:
        head, stream = read_head(socket, method)
        said = facts(head.status_code, head.http_version, head.reason, head.headers.raw_items())
        while (data := run(stream.read(float("inf")))) is not None:
            got += data
    except httpx.RemoteProtocolError:
        return said, got, False
    return said, got, True


def read_by_h11(pieces, method):
    """Return the same as h11 sees it."""
    connection, said, got = client(method), None, b""
    pieces = [*pieces, b""]
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(pieces.pop(0))
            elif isinstance(event, h11.Response):
                said = facts(event.status_code, event.http_version, event.reason, event.headers.raw_items())
            elif isinstance(event, h11.Data):
                got += event.data
            elif isinstance(event, h11.EndOfMessage):
                return said, got, True
            elif isinstance(event, h11.ConnectionClosed):
                return said, got, False
    except (h11.RemoteProtocolError, IndexError):
        return said, got, False


# --- Answers that are nearly HTTP

crlf = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
text = st.binary(max_size=12)
words = st.sampled_from([b"", b"a", b"a b", b"\xff", b"\x00", b" x ", b"x" * 3000])
size = st.one_of(
    st.integers(0, 40).map(lambda n: b"%x" % n),
    st.sampled_from(b"0x5 +5 -1 5_0 G 005 A a".split()),
    st.sampled_from([b"", b" 5", b"5 ", b"5\t", b"0" * 20 + b"1", b"f" * 20]),
)
extension = st.one_of(
    st.just(b""),
    st.just(b""),
    words.map(lambda w: b";" + w),
    st.sampled_from([b" ;a=b", b";\n", b";\r", b"; " * 40]),
)


@st.composite
def chunk(draw):
    """Make a chunk, mostly a right one."""
    data = draw(st.binary(max_size=30))
    announced = b"%x" % len(data) if draw(st.integers(0, 9)) else draw(size)
    line_end = b"\r\n" if draw(st.integers(0, 14)) else draw(crlf)
    footer = b"\r\n" if draw(st.integers(0, 14)) else draw(crlf)
    return announced + draw(extension) + line_end + data + footer


trailer = st.one_of(
    st.just(b"\r\n"),
    st.lists(
        st.sampled_from([b"A: b", b"A:b\r\n c", b" folded", b"no colon", b": x", b"a" * 200 + b": y"]),
        max_size=3,
    ).map(lambda lines: b"".join(line + b"\r\n" for line in lines) + b"\r\n"),
    st.sampled_from([b"\n", b"\r", b"", b"A: b\n\n", b"\r\nmore", b"\x00\r\n\r\n"]),
)
chunked_body = st.tuples(
    st.lists(chunk(), max_size=6), st.sampled_from([b"0\r\n", b"000\r\n", b"0;x\r\n", b""]), trailer
).map(lambda parts: b"".join(parts[0]) + parts[1] + parts[2])
field = st.one_of(
    st.sampled_from(
        [
            b"Transfer-Encoding: chunked",
            b"transfer-encoding:  CHUNKED ",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding\t: chunked",
            b"Transfer-Encoding: \x0bchunked",
            b"Content-Length: 5",
            b"Content-Length: 5, 5",
            b"Content-Length: 5, 6",
            b"Content-Length: +5",
            b"Content-Length: 0x5",
            b"Content-Length: -1",
            b"Content-Length: " + b"9" * 30,
            b"Content-Length: 0",
            b"X: y\r\n folded",
            b" folded at the start",
            b"X: " + b"z" * 20_000,
            b"Connection: close",
            b"nonsense",
        ]
    ),
    st.tuples(words, words).map(lambda pair: pair[0] + b": " + pair[1]),
)
status_line = st.sampled_from(
    [b"HTTP/1.1 200 OK"] * 6
    + [
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 204 No",
        b"HTTP/1.1 304 Not",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 101 Switching",
        b"ICY 200 OK",
        b"HTTP/1.1 200 \xff",
    ]
)
interim = st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"])


@st.composite
def answer(draw):
    """Make a response, in pieces."""
    framing = draw(st.sampled_from([[b"Transfer-Encoding: chunked"]] * 3 + [[b"Content-Length: 5"], []]))
    fields = framing + (draw(st.lists(field, max_size=3)) if draw(st.booleans()) else [])
    end = b"\r\n" if draw(st.integers(0, 9)) else b"\n"
    head = b"".join(draw(st.lists(interim, max_size=2))) + end.join([draw(status_line), *fields, b"", b""])
    body = draw(st.one_of(chunked_body, chunked_body, st.binary(max_size=20)))
    whole = head + body
    if not draw(st.integers(0, 4)):
        whole = whole[: draw(st.integers(0, len(whole)))]
    if draw(st.booleans()):
        cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    else:
        cuts = list(range(len(head), len(whole)))  # the body byte by byte
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return [piece for piece in pieces if piece]


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@PROFILE
@given(answer(), st.sampled_from(["GET", "GET", "POST", "HEAD"]))
@example([HEAD + b"5;" + b" " * 3000, b"\nx\r\nhello\r\n0\r\n\r\n"], "GET")
@example([HEAD + b"5\r\nhello\r", b"\n0\r\n", b"\r\n"], "GET")
@example([HEAD + b"5\r\nhello", b"\rX0\r\n\r\n"], "GET")
@example([HEAD + b"5\r\nhelloX\n0\r\n\r\n"], "GET")
@example([HEAD + b"0\r\nA: b\r\n", b"\r\n"], "GET")
@example(
    [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"], "GET"
)
def test_the_same_as_h11(pieces, method):
    """Same bytes, same verdict, for heads, lengths, chunks and trailers right and wrong, cut anywhere (3.8)."""
    assert read_by_us(pieces, method) == read_by_h11(pieces, method)


@pytest.mark.parametrize(
    "start, unit",
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 103 Hints\r\n\r\n"),
        (HEAD, b"0"),
        (HEAD + b"5;", b"x"),
        (HEAD + b"0\r\n", b"X: y\r\n"),
        (HEAD + b"0\r\nX: ", b"y"),
    ],
    ids=["header line", "headers", "interim", "chunk size", "chunk extension", "trailers", "trailer line"],
)
def test_what_does_not_end_is_refused(start, unit):
    """An endless head, line, size or trailer is refused after a bounded number of bytes."""
    taken = 0

    class Endless(Arriving):
        async def wait(self):
            nonlocal taken
            taken += 1000
            assert taken < 4 * HEAD_BYTES, "it takes for ever"
            self.parts.append(unit * (1000 // len(unit)))
            return True

    def read():
        _, stream = read_head(socket, "GET")
        while run(stream.read(float("inf"))) is not None:
            pass

    socket = Endless([])
    socket.parts.append(start or unit)
    with pytest.raises(httpx.RemoteProtocolError):
        read()


def test_a_chunk_line_may_be_long_but_not_endless():
    """Stricter than h11 by choice: 4 KiB of extensions are enough."""
    line = b"5;" + b"x" * (CHUNK_LINE_BYTES + 10)
    assert read_by_us([HEAD + line, b"\r\nhello\r\n0\r\n\r\n"], "GET")[1:] == (b"", False)
    assert read_by_us([HEAD + line + b"\r\nhello\r\n0\r\n\r\n"], "GET")[1:] == (b"hello", True)


def test_a_large_chunk_is_not_copied():
    """A piece out of the middle of a chunk is handed on as the object it is: no byte is copied (section 5)."""
    body = Chunked()
    assert body.feed(b"%x\r\n" % 14_000_000) == b""
    piece = b"x" * 65536
    assert all(body.feed(piece) is piece for _ in range(200))


@pytest.mark.parametrize("size", [10_000, 1])
def test_what_is_kept_between_reads_does_not_grow(size):
    """A large event in chunks of 10 KB, or of one byte, costs its bytes once: a cut line waits (section 5)."""
    body, got = Chunked(), 0
    whole = (b"%x\r\n%b\r\n" % (size, b"x" * size)) * (700_000 // size)
    for at in range(0, len(whole), 1000):
        got += len(body.feed(whole[at : at + 1000]))
        assert len(body._line) < 8
    assert got == 700_000
