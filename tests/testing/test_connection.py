"""A scripted connection behaves like a socket behind httpcore: how it delivers, fails and is closed."""

import anyio
import httpx
import pytest
from resilient_sse.testing.connection import CUT_SHORT, Connection

from resilient_sse.testing import Reply, event, pause

URL = "https://host/stream"


@pytest.fixture
async def client(script):
    """Give a client that leads to the script and never times out."""
    async with script.client(timeout=None) as client:
        yield client


async def arrivals(response):
    """Return the chunks of a response with the moments they came at."""
    return [(anyio.current_time(), chunk) async for chunk in response.aiter_raw()]


async def test_chunks_arrive_one_by_one_at_their_moments(script, client):
    """Each chunk is one read, and a pause lies between the chunks around it."""
    script.respond(b"a", b"b", pause(29.9), b"c", pause(1), pause(2), b"d").end()
    async with client.stream("GET", URL) as response:
        assert await arrivals(response) == [(0, b"a"), (0, b"b"), (29.9, b"c"), (32.9, b"d")]
    assert script.live == 0


async def test_the_server_does_not_wait_for_a_slow_reader(script, client):
    """What was due while the client was busy is there when it asks."""
    script.respond(b"a", pause(15), b"b", pause(15), b"c", pause(15), b"d").end()
    async with client.stream("GET", URL) as response:
        seen = []
        async for chunk in response.aiter_raw():
            seen.append((anyio.current_time(), chunk))
            if chunk == b"a":
                await anyio.sleep(40)
    assert seen == [(0, b"a"), (40, b"b"), (40, b"c"), (45, b"d")]


@pytest.mark.parametrize(
    "ending,error,text",
    [
        pytest.param(Reply.drop, httpx.ReadError, "", id="drop"),
        pytest.param(Reply.cut, httpx.RemoteProtocolError, CUT_SHORT, id="cut"),
    ],
)
async def test_broken_bodies_raise_what_httpcore_raises(script, client, ending, error, text):
    """A break comes after the last part, with httpcore's own error, and closes the connection."""
    ending(script.respond(b"a", pause(3)))
    async with client.stream("GET", URL) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"a"
        with pytest.raises(error) as caught:
            await anext(chunks)
        assert script.live == 0
    assert str(caught.value) == text
    assert caught.value.request.url == URL
    assert anyio.current_time() == 3


async def test_a_drop_may_raise_anything(script, client):
    """Other failures of a read can be played."""
    script.respond(b"a").drop(httpx.DecodingError("bad"))
    async with client.stream("GET", URL) as response:
        with pytest.raises(httpx.DecodingError, match="bad"):
            await response.aread()


@pytest.mark.parametrize(
    "limit,outcome", [pytest.param(20, "end", id="patient"), pytest.param(5, "timeout", id="impatient")]
)
async def test_read_timeouts_of_the_request_strike(script, limit, outcome):
    """The silence between two reads is measured against the read timeout that httpx sends along."""
    script.respond(b"a", pause(10), b"b", pause(10), b"c").end()
    async with (
        script.client(timeout=httpx.Timeout(1, read=limit)) as client,
        client.stream("GET", URL) as response,
    ):
        if outcome == "end":
            assert [chunk for _, chunk in await arrivals(response)] == [b"a", b"b", b"c"]
        else:
            with pytest.raises(httpx.ReadTimeout):
                await arrivals(response)
            assert anyio.current_time() == 5
            assert script.live == 0


async def test_hanging_lasts_until_the_client_is_cancelled(script, client):
    """Silence after the last chunk has no end of its own, and cancellation closes the connection."""
    script.respond(b"a").hang()
    async with client.stream("GET", URL) as response:
        with anyio.move_on_after(1_000_000) as scope:
            await arrivals(response)
        assert scope.cancelled_caught
        assert script.live == 0
    assert anyio.current_time() == 1_000_000


async def test_closing_wakes_a_pending_read(script, client):
    """A read on a connection that another task closes fails at once, as it does in httpcore."""
    script.respond(b"a").hang()

    async def close_later(response):
        await anyio.sleep(7)
        await response.aclose()

    async with client.stream("GET", URL) as response, anyio.create_task_group() as group:
        group.start_soon(close_later, response)
        with pytest.raises(httpx.ReadError):
            await arrivals(response)
    assert anyio.current_time() == 7


async def test_reading_after_a_close_fails(script, client):
    """Whoever closes a response in the middle of a loop gets an error from the loop, not its end."""
    script.respond(b"a", b"b").end()
    async with client.stream("GET", URL) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"a"
        await response.aclose()
        with pytest.raises(httpx.ReadError):
            await anext(chunks)


async def test_cancellation_reaches_a_reader_that_never_waits(script, client):
    """Every read is a checkpoint, whether its bytes are there already or not."""
    script.respond(*[b"x"] * 10).end()
    seen = []
    with anyio.CancelScope() as scope:
        async with client.stream("GET", URL) as response:
            async for chunk in response.aiter_raw():
                seen.append(chunk)
                scope.cancel()
    assert seen == [b"x"]
    assert script.live == 0


async def test_closing_is_counted_once(script, client):
    """However often and in whatever way a response is closed, it was open once."""
    script.respond(b"a").hang()
    script.respond(b"b").hang()
    request = client.build_request("GET", URL)
    first = await client.send(request, stream=True)
    second = await client.send(request, stream=True)
    assert (script.live, script.max_live) == (2, 2)
    for _ in range(2):
        await first.aclose()
        await first.stream.aclose()
        assert script.live == 1
    with anyio.move_on_after(1):
        await arrivals(second)
    await second.aclose()
    assert (script.live, script.max_live) == (0, 2)


async def test_closing_may_take_time(script, client):
    """A slow close holds the connection until it is over or cancelled."""
    script.respond(b"a", close_takes=60).hang()
    script.respond(b"b", close_takes=60).hang()
    async with client.stream("GET", URL):
        pass
    assert anyio.current_time() == 60
    response = await client.send(client.build_request("GET", URL), stream=True)
    with anyio.move_on_after(2) as scope:
        await response.aclose()
    await response.stream.aclose()
    assert scope.cancelled_caught
    assert anyio.current_time() == 62
    assert script.live == 0


async def test_closing_the_client_closes_its_connections_only(script):
    """Each transport lets go of what was opened through it."""
    script.respond(b"a").hang()
    script.respond(b"b").hang()
    ours, theirs = script.client(), script.client()
    await ours.send(ours.build_request("GET", URL), stream=True)
    kept = await theirs.send(theirs.build_request("GET", URL), stream=True)
    await ours.aclose()
    assert script.live == 1
    await kept.aclose()
    await theirs.aclose()
    assert script.live == 0


async def test_an_abandoned_body_is_closed(script):
    """Closing the iterator in mid-body lets go of the connection, as httpcore does."""
    script.respond(b"a", b"b").hang()
    response = await script.transport().handle_async_request(httpx.Request("GET", URL))
    body = aiter(response.stream)
    assert await anext(body) == b"a"
    await body.aclose()
    assert script.live == 0


async def test_events_can_be_read_as_lines(script, client):
    """The response is an ordinary one, for every way of reading that httpx has."""
    script.respond(event("a", id="1")).end()
    async with client.stream("GET", URL) as response:
        assert [line async for line in response.aiter_lines()] == ["id: 1", "data: a", ""]


async def test_a_connection_reports_its_close_once():
    """The callback hears of the first close only."""
    closed = []
    connection = Connection("c", {}, closed.append)
    connection.close()
    connection.close()
    assert closed == [connection]
