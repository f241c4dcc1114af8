"""TLS: the right certificate works, a wrong one is a typed failure that says what is wrong."""

import ssl
import time

import httpx
import pytest

from resilient_sse import ConnectionLostError, Reason, ResilientStream, RetriesExhaustedError
from resilient_sse._client.transport.clients import tls_context
from resilient_sse.testing import event
from tests.e2e.raw_server import CHUNKED, EVENT_STREAM, hello
from tests.e2e.watching import QUICK, Diary, causes, collect


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
async def test_wrong_certificate(serve, trust, name, trusted, words):
    """P25, P42: a certificate that cannot be trusted fails typed, within the budget, and says why."""
    server = serve(hello, tls=trust.server(name))
    diary = Diary()
    async with httpx.AsyncClient(verify=trust.client if trusted else True) as client:
        stream = ResilientStream(
            server.url,
            client=client if trusted else None,
            backoff=QUICK,
            max_retries=1,
            on_state_change=diary,
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
    assert diary.losses == [Reason.CONNECT]
    assert server.requests == []


@pytest.fixture
def trusted(trust, monkeypatch):
    """Have our own transport believe the authority."""
    tls_context.cache_clear()
    monkeypatch.setattr("httpx.create_ssl_context", lambda: trust.client)
    yield
    tls_context.cache_clear()


@pytest.mark.own
@pytest.mark.parametrize("hello_bytes", [0, 1, 5, 100])
async def test_a_handshake_that_the_server_cuts(serve, hello_bytes):
    """P25, P52: a server that closes in the handshake is one more failed attempt, in words, on both loops."""
    record = b"\x16\x03\x03\x00\x7a\x02" + bytes(120)  # the beginning of a ServerHello

    def behave(peer):
        peer._sock.recv(65536)
        peer.send(record[:hello_bytes])

    server = serve(behave, unread=True)
    stream = ResilientStream(server.origin.replace("http:", "https:"), backoff=QUICK, max_retries=1)
    with pytest.raises(RetriesExhaustedError) as raised:
        await collect(stream, 1)
    assert str(raised.value.__cause__) == "connection lost: connect (closed in the TLS handshake)"
    assert len(server.peers) == 2


@pytest.mark.own
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("framing, whole", [("Connection: close", False), (CHUNKED, True)])
async def test_an_answer_that_ends_without_the_end_of_tls(serve, trust, framing, whole):
    """R71, R74: whoever cuts the wire cannot make a body of unknown length look complete (RFC 9112, section 8)."""

    def cut(peer):
        peer.head(EVENT_STREAM, framing)
        (peer.chunk if whole else peer.send)(event("first", id="1"))
        if whole:
            peer.end()

    def end(peer):
        peer.head(EVENT_STREAM, "Connection: close")
        peer.send(event("second", id="2"))
        peer._sock.unwrap()

    server, diary = serve(cut, end, tls=trust.server("127.0.0.1")), Diary()
    stream = ResilientStream(server.url, on_eof="complete", backoff=QUICK, on_state_change=diary)
    async with stream:
        got = [each.data async for each in stream]
    assert got == (["first"] if whole else ["first", "second"])
    assert diary.losses == ([] if whole else [Reason.RESET])
