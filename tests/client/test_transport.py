"""The edge to httpx: its exceptions, its pools, and what it decodes."""

import asyncio
import gzip
import zlib

import anyio
import httpx
import httpx2
import pytest

from resilient_sse import LimitExceededError, ResilientSSEError, ResilientStream
from resilient_sse._client.transport import clients
from resilient_sse._client.transport.errors import translated
from resilient_sse._client.transport.reads import WOKEN, Held
from resilient_sse.testing import gzipped, run_in_virtual_time
from tests.client.support import at_once, drain, gives_up, make, numbered, read


def exceptions_of(library):
    """Return every class of exception that httpx, or httpx2, raises about requests."""
    found = {value for value in vars(library).values() if isinstance(value, type)}
    return sorted(
        (kind for kind in found if issubclass(kind, (library.HTTPError, library.InvalidURL))),
        key=lambda kind: kind.__name__,
    )


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("kind", exceptions_of(httpx), ids=lambda kind: kind.__name__)
def test_every_exception_is_translated(kind, opened):
    """Whatever httpx raises becomes one of ours, and so does httpx2's twin, alike by name only (P5, P58)."""
    twin = getattr(httpx2, kind.__name__)
    for words in (
        "words",
        "peer closed connection",
        "without sending a response",
        "Invalid URL in location header",
    ):
        seen = []
        for library, each in ((httpx, kind), (httpx2, twin)):
            error = each.__new__(each, words)
            error.response = library.Response(503, headers={"Retry-After": "3"})
            found = translated(error, opened=opened)
            assert isinstance(found, ResilientSSEError) or kind in (httpx.HTTPError, httpx.RequestError)
            facts = {name: value for name, value in vars(found).items() if name != "response"}
            seen.append((type(found).__name__, str(found), facts))
        assert seen[0] == seen[1]


def test_a_connection_that_breaks_in_a_send_has_words():
    """On trio, a server that refuses the client in TLS, and hangs up before the request has come (P54)."""
    failed = httpx.ReadError("")
    failed.__cause__ = anyio.BrokenResourceError()
    assert str(translated(failed, opened=False)) == "connection lost: connect (reset by the server)"


def test_one_tls_context_for_all_streams(monkeypatch):
    """Two hundred streams without a client of their own share one TLS context (P4)."""
    made = []
    original = httpx.create_ssl_context

    def create():
        made.append(1)
        return original()

    clients.tls_context.cache_clear()
    monkeypatch.setattr(httpx, "create_ssl_context", create)
    streams = [ResilientStream("https://host/") for _ in range(200)]
    for stream in streams:
        stream._pump._transport._client()._transport._context()
    assert made == [1]


async def test_a_bomb_stops_at_the_limit(script):
    """A small compressed body cannot become a large event (P13)."""
    bomb = gzipped(b"data: " + b"x" * 50_000_000)
    script.respond(*numbered(1), headers={"Content-Type": "text/event-stream"}).drop()
    script.respond(*bomb, headers={"Content-Encoding": "gzip"}).hang()
    stream = make(script, max_event_bytes=1_000_000)
    await anext(stream)
    assert (await gives_up(stream, LimitExceededError)).limit_bytes == 1_000_000
    script.closed_all()


RAW = zlib.compressobj(wbits=-15)  # what some servers mean by "deflate"; one byte does not tell yet
CODED = {
    "x-gzip": b"".join(gzipped(*numbered(*range(20)))),
    "deflate": RAW.compress(at_once(*range(20))) + RAW.flush(),
}


@pytest.mark.parametrize("coding", CODED)
async def test_one_byte_at_a_time_from_a_compressed_body(script, coding):
    """Any cut of a compressed body gives the same events (sections 3.1, 3.10)."""
    parts = [bytes([byte]) for byte in CODED[coding]]
    script.respond(*parts, headers={"Content-Encoding": coding}).hang()
    assert [item.id for item in await read(script, 20)] == [str(number) for number in range(20)]


@pytest.mark.parametrize("cut", [1, 9, 30])
async def test_a_compressed_body_that_is_cut_short_is_a_loss(script, cut, record):
    """A clean end of the response is none of a gzip body in the middle of it (section 3.1)."""
    script.respond(gzip.compress(at_once(1))[:-cut], headers={"Content-Encoding": "gzip"}).end()
    script.respond(*numbered(2)).end()
    await drain(make(script, on_eof="complete", on_state_change=record))
    assert [reason for _, state, reason in record.timetable if state == "reconnecting"] == ["reset"]


async def test_a_compressed_body_that_is_whole_is_complete(script):
    """Two members one behind the other, as gzip allows, and an empty body."""
    body = gzip.compress(at_once(1)) + gzip.compress(at_once(2))
    for whole in (body, b""):
        script.respond(whole, headers={"Content-Encoding": "gzip"}).end()
        ids = [item.id for item in await drain(make(script, on_eof="complete"))]
        assert ids == (["1", "2"] if whole else [])


def test_a_limit_is_not_lost_to_what_comes_as_it_ends():
    """P50, P51: what was not enough for a read, such as another stream's frame, begins no wait without an end."""

    async def reads():
        loop = asyncio.get_running_loop()

        async def work():
            first = loop.create_future()
            loop.call_at(1.0, first.set_result, None)
            await first
            await loop.create_future()

        held = Held(work)
        assert await asyncio.wait_for(held.read(1.0 - loop.time()), 10) is WOKEN
        await held.end()

    run_in_virtual_time(reads, backend="asyncio")
