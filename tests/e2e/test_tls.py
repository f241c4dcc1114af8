"""TLS: the right certificate works, a wrong one is a typed failure that says what is wrong."""

import asyncio
import contextlib
import gc
import math
import random
import re
import ssl
import time
import tracemalloc

import anyio
import anyio.lowlevel
import httpx
import pytest

from resilient_sse import ConnectionLostError, Reason, ResilientStream, RetriesExhaustedError
from resilient_sse._client.transport import sockets
from resilient_sse._client.transport.clients import tls_context
from resilient_sse._client.transport.sockets import _connect_asyncio
from resilient_sse.testing import event
from tests.client.support import traced
from tests.e2e.raw_server import CHUNKED, EVENT_STREAM, Peer, hello
from tests.e2e.watching import QUICK, causes, collect, eventually


async def test_right_certificate(serve, trust):
    """P4, P25: an injected client's own trust is used, and the client is not closed with the stream."""
    server = serve(hello, tls=trust.server("127.0.0.1"))
    async with httpx.AsyncClient(verify=trust.client) as client:
        assert await collect(ResilientStream(server.url, client=client, max_retries=0), 1) == ["hello"]
        assert not client.is_closed


@pytest.mark.parametrize(
    "name,trusted,words",
    [
        pytest.param("127.0.0.1", False, "the certificate is not trusted", id="unknown-authority"),
        pytest.param("other.example", True, "not valid for '127.0.0.1'", id="another-name"),
    ],
)
async def test_wrong_certificate(serve, trust, record, name, trusted, words):  # noqa: PLR0917 - columns
    """P25, P42: a certificate that cannot be trusted fails typed, within the budget, and says why."""
    server = serve(hello, tls=trust.server(name))
    async with httpx.AsyncClient(verify=trust.client if trusted else True) as client:
        stream = ResilientStream(
            server.url,
            client=client if trusted else None,
            backoff=QUICK,
            max_retries=1,
            on_state_change=record,
        )
        started = time.monotonic()
        with pytest.raises(RetriesExhaustedError) as raised:
            await collect(stream, 1)
    assert time.monotonic() - started < 5
    lost = raised.value.__cause__
    assert isinstance(lost, ConnectionLostError)
    assert lost.reason is Reason.CONNECT
    assert words in str(lost)
    assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(raised.value))
    assert record.losses == [Reason.CONNECT]
    assert server.requests == []


@pytest.fixture
def trusted(trust, monkeypatch):
    """Have our own transport believe the authority."""
    tls_context.cache_clear()
    monkeypatch.setattr("httpx.create_ssl_context", lambda: trust.client)
    yield
    tls_context.cache_clear()


RECORD = b"\x16\x03\x03\x00\x7a\x02" + bytes(120)  # the beginning of a ServerHello
CUT = "closed in the TLS handshake"
NO_TLS = "no TLS there: the port speaks something else, such as plain HTTP"


def hanging_up_after(size):
    """Return a behaviour that hears the client, and hangs up amid its own first words."""
    return lambda peer: (peer._sock.recv(65536), peer.send(RECORD[:size]))


def speak_first(peer):
    """Say what is no TLS, without being asked."""
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    peer.hold()


NO_HANDSHAKES = {
    **{f"cut after {size}": (hanging_up_after(size), None, CUT) for size in (0, 1, 5, 100)},
    "silence": (Peer.hold, None, "no TLS handshake in 0.2 s"),
    # What is said before the handshake is no TLS, though it came before the handshake began.
    "another protocol": (speak_first, None, NO_TLS),
    "another protocol, at hand": (speak_first, lambda socket: socket.parts, NO_TLS),
    # uvloop refuses a write to what it has closed, with an error that is none of the network's.
    "left already": (lambda peer: None, lambda socket: socket.ended, CUT),
}


@pytest.mark.own
@pytest.mark.parametrize("behave, awaited, words", NO_HANDSHAKES.values(), ids=NO_HANDSHAKES)
async def test_a_handshake_that_comes_to_nothing(serve, monkeypatch, behave, awaited, words):
    """P25, P42, P52, P54: it is one more failed attempt, typed and in words, on both loops."""

    async def connected(*given):
        socket = await _connect_asyncio(*given)
        while awaited and not awaited(socket):  # noqa: ASYNC110 - no event tells
            await anyio.sleep(0.01)
        return socket

    monkeypatch.setattr(sockets, "_connect_asyncio", connected)
    server = serve(behave, unread=True)
    limits = {"max_retries": 1, "connect_timeout": 0.2 if behave is Peer.hold else 10}
    stream = ResilientStream(server.origin.replace("http:", "https:"), backoff=QUICK, **limits)
    with pytest.raises(RetriesExhaustedError) as raised:
        await collect(stream, 1)
    lost = raised.value.__cause__
    assert (lost.reason, str(lost)) == (Reason.CONNECT, f"connection lost: connect ({words})")
    assert await eventually(lambda: len(server.peers) == 2, within=10)


class InMemory:
    """The server's end of TLS, whose records go over the wire in pieces."""

    def __init__(self, peer, context, size):
        self.peer, self.size = peer, size
        self.received, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.received, self.to_send, server_side=True)
        self.do(self.tls.do_handshake)
        self.request = self.do(self.tls.read)

    def do(self, step, *given):
        while True:
            try:
                return step(*given)
            except ssl.SSLWantReadError:
                self.flush()
                self.received.write(self.peer._sock.recv(65536))
            finally:
                self.flush()

    def flush(self):
        data = self.to_send.read()
        for begin in range(0, len(data), self.size):
            self.peer.send(data[begin : begin + self.size])

    def end(self):
        """Send `close_notify`."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def record(self, data):
        """Return *data* as one record."""
        self.tls.write(data)
        return self.to_send.read()

    def answer(self, *data, framing="Connection: close"):
        """Write the whole before any of it is sent."""
        for part in (f"HTTP/1.1 200 OK\r\n{EVENT_STREAM}\r\n{framing}\r\n\r\n".encode(), *data):
            for begin in range(0, len(part), 16384):
                self.tls.write(part[begin : begin + 16384])
        self.flush()


@pytest.fixture
def serve_tls(serve, trust, trusted):
    """Give a function that starts a server whose behaviours are told of their `InMemory`, and gives its URL."""
    context = trust.server("127.0.0.1")

    def start(*behaviours, size=10_000_000):
        on_peers = [lambda peer, behave=each: behave(InMemory(peer, context, size)) for each in behaviours]
        return serve(*on_peers, unread=True).origin.replace("http:", "https:")

    return start


def sending(*texts, then):
    """Return a behaviour that sends events, and then does something."""
    return lambda wire: (wire.answer(*(event(text, id=text[0]) for text in texts)), then(wire))


def end(wire):
    """End as TLS should end, and leave the hanging up to the client."""
    wire.end()
    wire.peer.hold()


def tamper(wire):
    """Send a record that is none of this connection's."""
    wire.peer.send(b"\x17\x03\x03\x00\x40" + bytes(64))
    wire.peer.hold()


def chunks(wire):
    """Send a whole body in chunks, and hang up without the end of TLS."""
    block = event("whole", id="w")
    wire.answer(b"%x\r\n%b\r\n0\r\n\r\n" % (len(block), block), framing=CHUNKED)


def letters(length):
    """Return three texts of so many letters."""
    return [letter * length for letter in "abc"]


SECOND = sending("second", then=end)
BODIES = {
    # However the network cuts the records of TLS; `close_notify` is the end, though nobody hangs up.
    **{
        f"records in pieces of {size}": (size, [sending(*letters(length), then=end)], letters(length), [])
        for size, length in ((1, 10), (7, 10), (1400, 300_000), (10_000_000, 300_000))
    },
    # Whoever cuts the wire cannot make a body of unknown length look complete: RFC 9112, section 8.
    "cut": (
        1400,
        [sending("first", then=lambda wire: None), SECOND],
        ["first", "second"],
        [Reason.RESET],
    ),
    "cut behind the last chunk": (1400, [chunks, SECOND], ["whole"], []),
    # What is not what the server has sent ends the connection, and the stream goes on from its last id.
    "tampered with": (1400, [sending("first", then=tamper), SECOND], ["first", "second"], [Reason.RESET]),
}


@pytest.mark.own
@pytest.mark.parametrize("size, behaviours, texts, losses", BODIES.values(), ids=BODIES)
async def test_where_a_body_ends(serve_tls, record, size, behaviours, texts, losses):  # noqa: PLR0917 - columns
    """R71, R74: at `close_notify`, or where its framing says so, and nowhere else; why stands with each."""
    url = serve_tls(*behaviours, size=size)
    stream = ResilientStream(url, on_eof="complete", backoff=QUICK, on_state_change=record)
    async with stream:
        assert [each.data async for each in stream] == texts
    assert record.losses == losses


FAULTS = ("handshake", "cut", "half", "spoil", "double", "drop", "inject", "silence")
EVENTS = [str(number) for number in range(1, 31)]


def wild(seed, context):
    """Return a behaviour that spoils its first connections at random, and then gives the rest."""
    faults = random.Random(seed).choices(FAULTS, k=4)

    def behave(peer):
        rng = random.Random(f"{seed}/{peer.number}")
        fault = faults[peer.number - 1] if peer.number <= len(faults) else ""
        real, left = peer.send, rng.randrange(1500) if fault == "handshake" else math.inf

        def send(data):
            nonlocal left
            while data and left > 0:
                size = min(rng.choice((1, 7, 100, 1400, 100_000)), left)
                real(data[:size])
                data, left = data[size:], left - size
            if data:
                raise ConnectionError

        def leave():
            peer.reset() if rng.random() < 0.5 else peer.close()

        peer.send = send
        try:
            wire = InMemory(peer, context, 100_000)
        except ConnectionError:
            return leave()
        cursor = re.search(rb"last-event-id: (\d+)", wire.request, re.IGNORECASE)
        rest = EVENTS[int(cursor[1]) if cursor else 0 :]
        head = f"HTTP/1.1 200 OK\r\n{EVENT_STREAM}\r\n\r\n".encode()
        records = [wire.record(data) for data in (head, *(event(text * 20, id=text) for text in rest))]
        at = rng.randrange(len(records))
        record = bytearray(records[at])
        if fault == "half":
            record = record[: rng.randrange(len(record))]
        elif fault == "spoil":
            record[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
        elif fault == "double":
            record *= 2
        elif fault == "drop":
            record.clear()
        elif fault == "inject":
            record[:0] = b"\x17\x03\x03\x00\x20" + bytes(32)
        send(b"".join(records[:at]) + record)
        if fault in ("cut", "half", "handshake"):
            return leave()
        if fault != "silence":
            send(b"".join(records[at + 1 :]))
            wire.end()
        return peer.hold()

    return behave


@pytest.mark.own
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 100), marks=pytest.mark.proof)], ids=str)
async def test_whatever_befalls_the_records(serve, trust, seeds, anyio_backend_name):
    """R71, R74, P50: each event once and in order, within the limits, and nothing is left to the event loop."""
    context, told = trust.server("127.0.0.1"), []
    if anyio_backend_name == "asyncio":
        asyncio.get_running_loop().set_exception_handler(lambda _, given: told.append(given))
    for seed in seeds:
        server = serve(wild(seed, context), unread=True)
        url = server.origin.replace("http:", "https:")
        async with ResilientStream(
            url, on_eof="complete", backoff=QUICK, stall_timeout=0.5, connect_timeout=5, max_retries=20
        ) as stream:
            with anyio.fail_after(30):
                taken = [each.id async for each in stream]
        assert taken == EVENTS, seed
        server.stop()
    assert told == []


@pytest.mark.own
@pytest.mark.parametrize("how", ["junk", "reset"])
async def test_nothing_counts_behind_the_end_of_tls(serve_tls, record, how, anyio_backend_name):
    """R71, R74: the body ends with `close_notify`, whatever stands behind it, and the connection with it."""

    def behave(wire):
        wire.answer(event("whole", id="1"), event("gone", id="2"))
        send, sent = wire.peer.send, []
        wire.peer.send = sent.append
        wire.end()
        send(sent[0] + bytes(100_000) * (how == "junk"))
        if how == "reset":
            wire.peer.reset()
        else:
            wire.peer.hold()

    url = serve_tls(behave)
    async with ResilientStream(url, on_eof="complete", max_retries=0, on_state_change=record) as stream:
        assert (await anext(stream)).data == "whole"
        if anyio_backend_name == "asyncio":
            socket = stream._pump.connection.source._socket
            assert await eventually(socket._closed.done, within=5)
        assert [each.data async for each in stream] == ["gone"]
    assert record.losses == []


@pytest.mark.own
@pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": uvloop}) for uvloop in (False, True)],
    ids=["asyncio", "uvloop"],
)  # on trio, anyio's own TLS makes a circle
@pytest.mark.parametrize("refused", [True, False])
async def test_an_opening_that_fails_leaves_no_circle(serve, refused):
    """P16: what it has taken is free at once, though its error is kept."""

    def sockets_left():
        return sum(isinstance(each, sockets.AsyncioSocket) for each in gc.get_objects())

    server = serve(lambda peer: peer.hold(), unread=True)
    if refused:
        server.stop()
    gc.collect()
    gc.disable()
    try:
        before = sockets_left()
        with pytest.raises(
            RetriesExhaustedError, match="connection refused" if refused else "no TLS handshake"
        ):
            await anext(
                ResilientStream(f"https://127.0.0.1:{server.port}/", connect_timeout=0.05, max_retries=0)
            )
        await anyio.lowlevel.checkpoint()
        assert sockets_left() == before
    finally:
        gc.enable()


@pytest.mark.own
@pytest.mark.usefixtures("trusted")
async def test_a_long_body(serve, trust):
    """P25: a request goes out whole, over as many records as it takes."""
    body = b"x" * 1_000_000
    server = serve(hello, tls=trust.server("127.0.0.1"))
    stream = ResilientStream(server.url, method="POST", content=body, max_retries=0)
    assert await collect(stream, 1) == ["hello"]
    assert server.requests[0].body == body


@pytest.mark.own
@pytest.mark.usefixtures("trusted")
async def test_memory_of_a_connection(serve, trust):
    """R209: TLS takes no more of Python's memory than the rest; that of asyncio takes 256 KiB a connection."""
    server = serve(hello, tls=trust.server("127.0.0.1"))
    streams = [ResilientStream(server.url, max_retries=0) for _ in range(11)]
    await anext(streams[0])
    with traced():
        for stream in streams[1:]:
            await anext(stream)
        size, _ = tracemalloc.get_traced_memory()
    for stream in streams:
        await stream.aclose()
    assert size / 10 < 100_000
