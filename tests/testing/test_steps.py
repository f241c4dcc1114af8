"""The steps of a script, each on its own: what is sent, what fails, and how it is described."""

import math
import zlib
from contextlib import suppress

import anyio
import httpx
import pytest

from resilient_sse.testing import Ending, RecordedRequest, Refusal, Reply, event, pause

URL = "https://host/stream"


def recorded(*headers):
    """Make a request with these headers."""
    return RecordedRequest(method="GET", url=URL, headers=httpx.Headers(headers), content=b"", at=1.5)


@pytest.mark.parametrize(
    "arguments,expected",
    [
        pytest.param({}, "text/event-stream", id="default"),
        pytest.param({"content_type": "text/html"}, "text/html", id="other"),
        pytest.param({"content_type": None}, None, id="none"),
        pytest.param({"headers": {"content-type": "a/b"}}, "a/b", id="headers-win"),
    ],
)
async def test_media_type(script, arguments, expected):
    """A reply is an event stream unless told otherwise."""
    script.play(Reply(b"", **arguments))
    async with script.client() as client:
        response = await client.get(URL)
    assert response.headers.get("Content-Type") == expected


async def test_repeated_headers_survive(script):
    """Headers given as pairs are sent as given."""
    script.respond(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    async with script.client() as client:
        response = await client.get(URL)
    assert response.headers.get_list("Set-Cookie") == ["a=1", "b=2"]


async def test_gzip_is_decoded_chunk_by_chunk(script):
    """A compressed stream says so, differs on the wire, and gives each event when its chunk arrives."""
    events = [event("a" * 50, id="1"), event("b" * 50, id="2")]
    script.respond(events[0], pause(5), events[1], gzip=True).end()
    async with script.client(timeout=9) as client, client.stream("GET", URL) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        seen = [(anyio.current_time(), chunk) async for chunk in response.aiter_bytes()]
    assert seen == [(0, events[0]), (5, events[1])]
    assert response.num_bytes_downloaded < len(b"".join(events))


@pytest.mark.parametrize("ending", [Reply.end, Reply.hang])
async def test_only_a_clean_end_completes_gzip(script, ending):
    """A body that ends has its trailer, one that stays open has none yet."""
    ending(script.respond(b"one", b"two", gzip=True))
    decoder = zlib.decompressobj(wbits=31)
    text = b""
    async with script.client(timeout=9) as client, client.stream("GET", URL) as response:
        with suppress(httpx.ReadTimeout):
            async for chunk in response.aiter_raw():
                text += decoder.decompress(chunk)
    assert text == b"onetwo"
    assert decoder.eof is (ending is Reply.end)


@pytest.mark.parametrize("limit,delay", [(None, 8), (10, 8), (3, 3)])
async def test_late_headers(script, limit, delay):
    """Headers take the time they are told to, within the read timeout."""
    script.respond(b"a", after=8).end()
    async with script.client(timeout=httpx.Timeout(1, read=limit)) as client:
        if delay == 8:
            assert (await client.get(URL)).content == b"a"
        else:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(URL)
    assert anyio.current_time() == delay
    assert script.live == 0


@pytest.mark.parametrize(
    "refusal,limit,error,moment",
    [
        pytest.param(Refusal(), None, httpx.ConnectError, 0, id="closed-port"),
        pytest.param(Refusal(httpx.PoolTimeout("full")), None, httpx.PoolTimeout, 0, id="given-error"),
        pytest.param(Refusal(after=3), 9, httpx.ConnectError, 3, id="late"),
        pytest.param(Refusal(after=3), 2, httpx.ConnectTimeout, 2, id="too-late"),
        pytest.param(Refusal(after=math.inf), 10, httpx.ConnectTimeout, 10, id="never"),
    ],
)
async def test_refusals(script, refusal, limit, error, moment):
    """No connection comes about, and the connect timeout of the request counts."""
    script.play(refusal)
    async with script.client(timeout=limit) as client:
        with pytest.raises(error) as caught:
            await client.get(URL)
    assert type(caught.value) is error
    assert anyio.current_time() == moment
    assert script.max_live == 0


def test_last_event_id_is_read_as_utf_8():
    """The header is UTF-8 whatever else is in the request; none is not the same as an empty one."""
    assert recorded().last_event_id is None
    assert recorded((b"Last-Event-ID", b"")).last_event_id == ""
    assert recorded((b"last-event-id", "é€".encode()), (b"x", b"\xff")).last_event_id == "é€"


@pytest.mark.parametrize(
    "step,text",
    [
        (Reply(b"abc", pause(1), b"d").drop(), "200, 2 chunks (4 bytes), then a drop"),
        (Reply(status=503), "503, 0 chunks (0 bytes), then a clean end"),
        (Reply(b"a").cut(), "200, 1 chunk (1 byte), then a cut"),
        (Reply(b"a").hang(), "200, 1 chunk (1 byte), then silence"),
        (Reply(after=math.inf), "no answer"),
        (Refusal(), "no connection"),
        (Refusal(httpx.ConnectError("down")), "no connection: ConnectError('down')"),
        (recorded(), "GET https://host/stream at 1.5 s"),
        (recorded((b"Last-Event-ID", b"7")), "GET https://host/stream at 1.5 s (Last-Event-ID: 7)"),
    ],
    ids=str,
)
def test_descriptions(step, text):
    """What stands in the transcript."""
    assert str(step) == text


def test_the_last_ending_counts():
    """An ending said later replaces the one before, its error included."""
    reply = Reply(b"a").drop()
    assert reply.ending is Ending.DROP
    assert reply.end() is reply
    assert reply.ending is Ending.END
