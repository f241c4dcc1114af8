"""A scripted server: what goes over the wire, how a connection behaves, and how a script is judged (P24)."""

import gc
import math
import re
import traceback
import weakref
import zlib
from contextlib import suppress
from functools import partial

import anyio
import httpx
import pytest

from resilient_sse.testing import (
    Ending,
    Refusal,
    ReplayServer,
    Reply,
    Script,
    UnexpectedRequestError,
    comment,
    event,
    gzipped,
    pause,
    sliced,
)

URL = "https://host/stream"


@pytest.fixture
async def client(script):
    """Give a client that leads to the script and never times out."""
    async with script.client(timeout=None) as client:
        yield client


async def converse(client, requests):
    """Send so many requests and return what each came to: a status and a body, or the type of an error."""
    outcomes = []
    for _ in range(requests):
        try:
            response = await client.get(URL)
        except httpx.HTTPError as error:
            outcomes.append(type(error))
        else:
            outcomes.append((response.status_code, response.content))
    return outcomes


# --- What goes over the wire


def test_bytes_as_written():
    """A comment may have several lines; slices keep every byte; a compressed chunk gives its text at once."""
    assert (comment(), comment("a\nb")) == (b":\n\n", b": a\n: b\n\n")
    assert (sliced(b"abcdefg", 3), sliced(b"", 3)) == ([b"abc", b"def", b"g"], [])
    decoder = zlib.decompressobj(wbits=31)
    assert [decoder.decompress(chunk) for chunk in gzipped(b"one", b"two")] == [b"one", b"two"]
    assert not decoder.eof


MISUSES = {
    TypeError: [
        (lambda script: comment(5), "text must be a string, not 5"),
        (lambda script: pause("1"), "seconds must be a number of seconds, 0 or more, not '1'"),
        (lambda script: script.respond("str"), r"parts must be bytes, as event\(\) makes .*'str'"),
        (lambda script: script.respond(status="200"), "status must be a whole number such as 503"),
        (lambda script: script.respond(after="1"), "after must be a number of seconds, 0 or more, not '1'"),
        (lambda script: script.respond(close_takes="1"), "close_takes must be a number of seconds"),
        (lambda script: script.reject(503, body="text"), "body must be bytes, not 'text'"),
        (lambda script: script.reject(503, times="2"), "times must be a whole number, at least 1, not '2'"),
        (lambda script: script.refuse(error="reset"), "error must be an exception such as"),
        (lambda script: ReplayServer([("1", "a")]), "an id in events must be a whole number, .* not '1'"),
        (lambda script: script.play(5), "steps must be a Reply, a Refusal, or a function"),
        (lambda script: script.always("x"), "step must be a Reply, .* or a function .* not 'x'"),
    ],
    ValueError: [
        (lambda script: pause(-1), "seconds must be a number of seconds, 0 or more, not -1"),
        (lambda script: pause(math.inf), "seconds must be a number of seconds"),
        (lambda script: script.respond(after=-1), "after must be a number of seconds, 0 or more, not -1"),
        (lambda script: script.respond(close_takes=math.nan), "close_takes must be a number of seconds"),
        (lambda script: Refusal(after=math.nan), "after must be a number of seconds, 0 or more, not nan"),
        (lambda script: sliced(b"abc", 0), "size must be a whole number, at least 1"),
        (lambda script: script.refuse(times=0), "times must be a whole number, at least 1, not 0"),
        (lambda script: Script(max_requests=0), "max_requests must be 1 or more or None for no limit"),
        (lambda script: ReplayServer([(2, "a"), (2, "b")]), "rising"),
        (lambda script: ReplayServer([], overlap=-1), "overlap"),
        (lambda script: ReplayServer([], drop_after=-1), "drop_after"),
        (lambda script: ReplayServer([], every=-1), "seconds"),
    ],
}


@pytest.mark.parametrize("error", MISUSES)
def test_what_cannot_be_is_refused(script, error):
    """Bad input: the error names the argument, where it was given, and the script is as it was."""
    for misuse, complaint in MISUSES[error]:
        with pytest.raises(error, match=complaint):
            misuse(script)
    script.assert_exhausted()


@pytest.mark.parametrize("ending", [Reply.end, Reply.hang])
async def test_gzip_is_decoded_chunk_by_chunk(script, ending):
    """A compressed stream says so and gives each event when its chunk arrives; a clean end has its trailer."""
    ending(script.respond(event("a"), b"", pause(5), event("b"), gzip=True))
    decoder, seen = zlib.decompressobj(wbits=31), []
    async with script.client(timeout=9) as client, client.stream("GET", URL) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        with suppress(httpx.ReadTimeout):
            async for chunk in response.aiter_raw():
                seen += [(anyio.current_time(), decoder.decompress(chunk))]
    assert seen[:2] == [(0, event("a")), (5, event("b"))]
    assert decoder.eof is (ending is Reply.end)


# --- How a connection behaves


async def test_a_broken_body_closes_the_connection(script, client):
    """A break comes after the last part; its error may be one of the test's own."""
    script.respond(b"a", pause(3)).drop(httpx.DecodingError("bad"))
    async with client.stream("GET", URL) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"a"
        with pytest.raises(httpx.DecodingError, match="bad"):
            await anext(chunks)
        assert (script.live, anyio.current_time()) == (0, 3)


async def test_the_timeouts_of_the_request_strike(script):
    """Reads, headers and connecting are measured against the timeouts that httpx sends along."""
    script.respond(b"a", pause(4), b"b", pause(10), b"c").end()
    script.respond(after=8)
    script.play(Refusal(after=3), Refusal(after=math.inf), Refusal(httpx.PoolTimeout("full")))
    moments = []
    async with script.client(timeout=httpx.Timeout(5, connect=4)) as client:
        for error in (
            httpx.ReadTimeout,
            httpx.ReadTimeout,
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
        ):
            with pytest.raises(error) as caught:
                await client.get(URL)
            assert type(caught.value) is error
            moments.append(anyio.current_time())
    assert moments == [9, 14, 17, 21, 21]
    assert (script.live, script.max_live) == (0, 1)


async def test_reads_are_checkpoints_and_end_with_the_connection(script, client):
    """Cancellation reaches a reader that never waits, and a closed response cannot be read on."""
    script.respond(*[b"x"] * 10).end()
    seen = []
    with anyio.CancelScope() as scope:
        async with client.stream("GET", URL) as response:
            async for chunk in response.aiter_raw():
                seen.append(chunk)
                scope.cancel()
    assert seen == [b"x"]
    script.respond(b"a", b"b").end()
    async with client.stream("GET", URL) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"a"
        await response.aclose()
        with pytest.raises(httpx.ReadError):
            await anext(chunks)
    script.respond(b"a", b"b").hang()
    response = await script.transport().handle_async_request(httpx.Request("GET", URL))
    body = aiter(response.stream)
    assert await anext(body) == b"a"
    await body.aclose()  # abandoned in mid-body
    assert script.live == 0


async def test_connections_are_counted(script):
    """However often and in whatever way a response is closed, it was open once; a client closes its own only."""
    script.respond(b"a").hang()
    script.respond(b"b").hang()
    ours, theirs = script.client(), script.client()
    first = await ours.send(ours.build_request("GET", URL), stream=True)
    second = await theirs.send(theirs.build_request("GET", URL), stream=True)
    assert (script.live, script.max_live) == (2, 2)
    with pytest.raises(AssertionError, match=r"connections left open:\n +GET https://host/stream at 0 s"):
        script.closed_all()
    for _ in range(2):
        await first.aclose()
        await first.stream.aclose()
        assert script.live == 1
    await ours.aclose()
    assert script.live == 1
    await theirs.aclose()
    assert (script.live, script.max_live) == (0, 2)
    await second.aclose()
    script.closed_all()


async def test_closing_a_client_closes_also_what_overlapped(script):
    """A client closes the connections of all its requests, in whatever order they were answered."""

    async def slow(request):
        await anyio.sleep(1)
        return Reply().hang()

    script.play(slow, Reply().hang())
    client = script.client()
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(partial(client.send, client.build_request("GET", URL), stream=True))
    assert script.live == 2
    await client.aclose()
    script.closed_all()


# --- A conversation


async def test_handlers_see_the_request(script, client):
    """A step may be a function of the request, sync or async, once or for ever; it may raise httpx's errors."""

    def refused(request):
        raise httpx.ProxyError("no way")

    async def slow(request):
        await anyio.sleep(3)
        return Reply(b"slow")

    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    script.play(lambda request: Reply(request.content, headers=cookies), slow, refused)
    script.always(lambda request: Refusal())
    response = await client.post(URL, content=b"hello")
    assert (response.content, response.headers.get_list("Set-Cookie")) == (b"hello", ["a=1", "b=2"])
    assert await converse(client, 4) == [(200, b"slow"), httpx.ProxyError, *[httpx.ConnectError] * 2]
    assert anyio.current_time() == 3
    assert script.transcript.splitlines()[2] == "GET https://host/stream at 3 s: ProxyError('no way')"
    script.assert_exhausted()


@pytest.mark.parametrize(
    "answer, error, complaint",
    [
        (lambda request: 5, TypeError, "what .* says must be a Reply or a Refusal, not 5"),
        (None, UnexpectedRequestError, r"unexpected request: GET .* at 0 s; before it:\n +\(nothing\)"),
    ],
)
async def test_swallowed_failures_come_out_at_the_end(answer, error, complaint):
    """A client that catches everything hides neither a request too many nor what a handler raised."""
    script = Script()
    script.play(*[answer] if answer else [])
    async with script.client() as client:
        with pytest.raises(error, match=complaint):
            await client.get(URL)
    with pytest.raises(error, match=complaint):
        script.verify()
    assert script.transcript.startswith("GET https://host/stream at 0 s: TypeError(") is bool(answer)


@pytest.mark.parametrize("step", [Reply(b"a").drop(), Reply(b"a").cut(), Refusal(httpx.ConnectError(""))])
async def test_an_error_that_strikes_again_has_come_one_way(script, client, step):
    """A step that fails for the hundredth time fails as the first time: nothing adds up in its error."""
    script.always(step)
    lengths = []
    for _ in range(3):
        with pytest.raises(httpx.TransportError) as caught:
            await client.get(URL)
        lengths.append(len([*traceback.walk_tb(caught.tb)]))
    assert lengths == lengths[:1] * 3


async def test_a_client_that_swallows_all_takes_no_memory():
    """Of the errors that a client has swallowed, the first is kept."""
    script, seen = Script(), []
    async with script.client() as client:
        for _ in range(3):
            try:
                await client.get(URL)
            except UnexpectedRequestError as error:
                seen.append(weakref.ref(error))
    gc.collect()
    assert [error() is None for error in seen] == [False, True, True]


async def test_a_request_beyond_the_script_shows_the_conversation():
    """The error says what was asked and what went before; a long conversation is shortened."""
    script = Script(max_requests=100)
    script.respond(event("a")).end()
    script.expect_no_more()
    async with script.client() as client:
        await client.get(URL)
        await anyio.sleep(2)
        with pytest.raises(UnexpectedRequestError) as caught:
            await client.get("https://host/again", headers={"Last-Event-ID": "1"})
    assert str(caught.value) == (
        "unexpected request: GET https://host/again at 2 s (Last-Event-ID: 1); before it:\n"
        "    GET https://host/stream at 0 s: 200, 1 chunk (9 bytes), then a clean end"
    )
    assert isinstance(caught.value, AssertionError)
    endless = Script(max_requests=100)
    endless.always(Refusal())
    async with endless.client() as client:
        assert await converse(client, 100) == [httpx.ConnectError] * 100
        with pytest.raises(UnexpectedRequestError) as caught:
            await client.get(URL)
        endless.max_requests = None
        assert await converse(client, 1) == [httpx.ConnectError]
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("more than 100 requests (max_requests), does something retry for ever?")
    assert lines[11] == "    ... 60 more"
    assert len(lines) == 42


def test_steps_left_over_are_named():
    """A script that was not played to its end says what is missing; a complete one takes no more."""
    script = Script()
    script.respond(b"a").hang()
    script.refuse()
    script.play(test_steps_left_over_are_named)
    with pytest.raises(AssertionError) as caught:
        script.assert_exhausted()
    lines = str(caught.value).splitlines()
    assert lines[:2] == ["steps that no request came for:", "    200, 1 chunk (1 byte), then silence"]
    assert "test_steps_left_over_are_named" in lines[3]
    script.expect_no_more()
    for more in (script.respond, lambda: script.always(Refusal())):
        with pytest.raises(ValueError, match="expect_no_more"):
            more()
    endless = Script()
    endless.always(Refusal())
    with pytest.raises(ValueError, match="always"):
        endless.expect_no_more()


def test_descriptions():
    """What stands in the transcript; an ending said later replaces the one before."""
    for step, text in (
        (Reply(b"abc", pause(1), b"d").end().drop(), "200, 2 chunks (4 bytes), then a drop"),
        (Reply(status=503), "503, 0 chunks (0 bytes), then a clean end"),
        (Reply(b"a").cut(), "200, 1 chunk (1 byte), then a cut"),
        (Reply(after=math.inf), "no answer"),
        (Refusal(), "no connection"),
        (Refusal(httpx.ConnectError("down")), "no connection: ConnectError('down')"),
    ):
        assert str(step) == text
    assert Reply().drop().end().ending is Ending.END


# --- A server that replays

EVENTS = [(1, "a"), (2, "b"), (5, "c"), (6, "d")]


async def connect(script, url=URL, last_event_id=None):
    """Return the ids that one connection gives, and how it ended."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    ids, ending = [], "end"
    async with script.client() as client, client.stream("GET", url, headers=headers) as response:
        try:
            async for line in response.aiter_lines():
                ids += [int(number) for number in re.findall(r"^id: (.+)", line)]
        except httpx.ReadTimeout:
            ending = "silence"
        except httpx.ReadError:
            ending = "drop"
    return ids, ending


@pytest.mark.parametrize(
    "options, cursor, expected",
    [
        ({}, None, ([1, 2, 5, 6], "silence")),
        ({}, "", ([1, 2, 5, 6], "silence")),
        ({}, "2", ([5, 6], "silence")),
        ({}, "3", ([5, 6], "silence")),
        ({}, "6", ([], "silence")),
        ({"live": False}, "5", ([6], "end")),
        ({"overlap": 2}, "5", ([2, 5, 6], "silence")),
        ({"overlap": 9}, "2", ([1, 2, 5, 6], "silence")),
        ({"overlap": 2}, None, ([1, 2, 5, 6], "silence")),
        ({"drop_after": 3}, None, ([1, 2, 5], "drop")),
        ({"drop_after": 3}, "2", ([5, 6], "silence")),
        ({"drop_after": 2, "live": False}, "2", ([5, 6], "drop")),
        ({"drop_after": 0}, None, ([], "drop")),
    ],
)
async def test_what_one_connection_of_a_replaying_server_gives(script, options, cursor, expected):
    """Each option changes what it says it does."""
    script.always(ReplayServer(EVENTS, **options))
    assert await connect(script, last_event_id=cursor) == expected


async def test_resuming_at_a_replaying_server(script):
    """The header wins over the query; events come at intervals; an id that is no number is refused."""
    script.always(ReplayServer(EVENTS, param="since", every=2, live=False))
    assert await connect(script) == ([1, 2, 5, 6], "end")
    assert anyio.current_time() == 6
    assert await connect(script, URL + "?since=2") == ([5, 6], "end")
    assert await connect(script, URL + "?since=2", "5") == ([6], "end")
    async with script.client() as client:
        assert (await client.get(URL, headers={"Last-Event-ID": "abc"})).status_code == 400
