"""A script is played step by step, remembers what it saw, and tells when the play went wrong."""

from contextlib import suppress

import anyio
import httpx
import pytest

from resilient_sse.testing import Refusal, Reply, Script, UnexpectedRequestError, event, pause

URL = "https://host/stream"


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


async def test_each_request_takes_the_next_step(script):
    """The steps are played in the order they were written in, repeated ones as often as they say."""
    script.respond(event("a")).drop()
    script.reject(503, headers={"Retry-After": "3"}, body=b"busy", times=2)
    script.refuse(times=2)
    script.stall_headers()
    script.stall_connect()
    script.respond(b"x").cut()
    script.respond(event("b")).end()
    script.expect_no_more()
    async with script.client() as client:
        outcomes = await converse(client, 9)
    assert outcomes == [
        httpx.ReadError,
        (503, b"busy"),
        (503, b"busy"),
        httpx.ConnectError,
        httpx.ConnectError,
        httpx.ReadTimeout,
        httpx.ConnectTimeout,
        httpx.RemoteProtocolError,
        (200, b"data: b\n\n"),
    ]
    script.assert_exhausted()
    script.closed_all()
    assert script.max_live == 1


async def test_rejections_carry_their_headers(script):
    """A rejection is an ordinary response."""
    script.reject(503, headers={"Retry-After": "3"}, body=b"busy")
    async with script.client() as client:
        response = await client.get(URL)
    assert response.headers["Retry-After"] == "3"
    assert response.headers["Content-Type"] == "text/plain"


async def test_redirects_lead_back_to_the_script(script):
    """The script answers on every origin, and records which one was asked."""
    script.redirect("https://other/elsewhere")
    script.respond(b"here").end()
    async with script.client(follow_redirects=True) as client:
        response = await client.get(URL)
    assert response.content == b"here"
    assert response.history[0].status_code == 307
    assert [request.url for request in script.requests] == [URL, "https://other/elsewhere"]


async def test_requests_are_recorded(script):
    """Everything a test may want to know of a request is kept."""
    script.respond(b"a")
    await anyio.sleep(12)
    async with script.client(headers={"X-Mine": "1"}) as client:
        await client.post(URL, params={"q": "x"}, content=b"body", headers={"Last-Event-ID": "7"})
    (request,) = script.requests
    assert (request.method, request.url, request.content) == ("POST", URL + "?q=x", b"body")
    assert (request.headers["x-mine"], request.last_event_id, request.at) == ("1", "7", 12)


async def test_a_request_in_waiting_is_a_live_connection(script):
    """A connection counts from its request, and cancelling the request ends it."""
    script.stall_headers()
    async with script.client(timeout=None) as client:
        with anyio.move_on_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, URL)
                await anyio.sleep(1)
                assert script.live == 1
        assert script.live == 0


async def test_overlapping_responses_show(script):
    """A client that opens a second response before it has closed the first one is found out."""
    script.respond(b"a").hang()
    script.respond(b"b").hang()
    async with script.client() as client:
        async with client.stream("GET", URL):
            pass
        async with client.stream("GET", URL):
            pass
        assert script.max_live == 1
    script.respond(b"a").hang()
    script.respond(b"b").hang()
    async with script.client() as client, client.stream("GET", URL), client.stream("GET", URL):
        pass
    assert script.max_live == 2


async def test_open_responses_are_named():
    """A forgotten response is told by its request."""
    script = Script()
    script.respond(b"a").hang()
    async with script.client() as client:
        response = await client.send(client.build_request("GET", URL), stream=True)
        with pytest.raises(AssertionError, match=r"connections left open:\n +GET https://host/stream at 0 s"):
            script.closed_all()
        await response.aclose()
        script.closed_all()


async def test_a_request_beyond_the_script_shows_the_conversation():
    """The error says what was asked and what went before."""
    script = Script()
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


async def test_swallowed_failures_come_out_at_the_end():
    """A client that catches everything cannot hide a request too many."""
    script = Script()
    async with script.client() as client:
        with suppress(Exception):
            await client.get(URL)
    with pytest.raises(UnexpectedRequestError, match="nothing"):
        script.verify()


async def test_handlers_see_the_request(script):
    """A step may be a function of the request, sync or async, once or for ever."""

    def echo(request):
        return Reply(request.content)

    async def slow(request):
        await anyio.sleep(3)
        return Reply(b"slow")

    script.play(echo, slow)
    script.always(lambda request: Refusal())
    async with script.client() as client:
        assert (await client.post(URL, content=b"hello")).content == b"hello"
        assert (await client.get(URL)).content == b"slow"
        assert anyio.current_time() == 3
        assert await converse(client, 2) == [httpx.ConnectError] * 2
    script.assert_exhausted()


async def test_a_step_may_serve_for_ever(script):
    """What `always` says need not be a function, and the steps before it come first."""
    script.always(Reply(b"again"))
    script.respond(b"first")
    async with script.client() as client:
        assert await converse(client, 3) == [(200, b"first"), (200, b"again"), (200, b"again")]


async def test_failing_handlers_come_out_at_the_end():
    """An assertion inside a handler fails the test even if the client swallows it."""
    script = Script()

    def handler(request):
        assert request.method == "POST", "not a POST"

    script.play(handler)
    async with script.client() as client:
        with pytest.raises(AssertionError, match="not a POST"):
            await client.get(URL)
    with pytest.raises(AssertionError, match="not a POST"):
        script.verify()


async def test_handlers_may_play_failures(script):
    """An httpx error raised by a handler belongs to the play."""

    def handler(request):
        raise httpx.ProxyError("no way")

    script.play(handler)
    async with script.client() as client:
        assert await converse(client, 1) == [httpx.ProxyError]
    assert script.transcript == "GET https://host/stream at 0 s: ProxyError('no way')"


def test_steps_left_over_are_named():
    """A script that was not played to its end says what is missing."""
    script = Script()
    script.respond(b"a").hang()
    script.refuse()
    script.play(test_steps_left_over_are_named)
    with pytest.raises(AssertionError) as caught:
        script.assert_exhausted()
    lines = str(caught.value).splitlines()
    assert lines[0] == "steps that no request came for:"
    assert lines[1:3] == ["    200, 1 chunk (1 byte), then silence", "    no connection"]
    assert "test_steps_left_over_are_named" in lines[3]


def test_misuse_is_refused():
    """A complete script takes no more steps, an endless one is never complete, no step is for no request."""
    script = Script()
    with pytest.raises(ValueError, match="times"):
        script.refuse(times=0)
    script.expect_no_more()
    with pytest.raises(ValueError, match="expect_no_more"):
        script.respond(b"a")
    with pytest.raises(ValueError, match="expect_no_more"):
        script.always(Refusal())
    endless = Script()
    endless.always(Refusal())
    with pytest.raises(ValueError, match="always"):
        endless.expect_no_more()


async def test_a_day_of_reconnecting_takes_no_time(script):
    """A long conversation is quick, so that tests may use real durations."""
    script.always(Reply(event("a"), pause(29.9), event("b")).drop())
    async with script.client(timeout=None) as client:
        while anyio.current_time() < 3600:
            assert await converse(client, 1) == [httpx.ReadError]
    assert len(script.requests) == 121


async def test_a_script_allows_so_many_requests():
    """In virtual time a client could retry for ever; the error shows how the conversation began and ended."""
    script = Script(max_requests=100)
    script.always(lambda request: Refusal())
    async with script.client() as client:
        assert await converse(client, 100) == [httpx.ConnectError] * 100
        with pytest.raises(UnexpectedRequestError) as caught:
            await client.get(URL)
        lines = str(caught.value).splitlines()
        assert lines[0].startswith("more than 100 requests (max_requests), does something retry for ever?")
        assert lines[11] == "    ... 60 more"
        assert len(lines) == 42
        script.max_requests = None
        assert await converse(client, 1) == [httpx.ConnectError]
    with pytest.raises(ValueError, match="max_requests must be at least 1, or None for no limit, not 0"):
        Script(max_requests=0)


@pytest.mark.parametrize(
    "misuse,complaint",
    [
        (
            lambda script: script.respond(5),
            r"parts must be bytes, as event\(\) makes them, or pause\(seconds\)",
        ),
        (lambda script: script.respond("str"), "parts must be bytes, .* not 'str'"),
        (lambda script: script.respond(status="200"), "status must be a whole number such as 503, not '200'"),
        (lambda script: script.respond(after="1"), "after must be a number of seconds, not '1'"),
        (lambda script: script.respond(close_takes="1"), "close_takes must be a number of seconds"),
        (lambda script: script.reject("503"), "status must be a whole number such as 503, not '503'"),
        (lambda script: script.reject(503, body="text"), "body must be bytes, not 'text'"),
        (lambda script: script.reject(503, times="2"), "times must be a whole number, not '2'"),
        (lambda script: script.refuse(error="reset"), "error must be an exception such as"),
        (
            lambda script: script.play(5),
            "steps must be a Reply, a Refusal, or a function that returns one, not 5",
        ),
        (lambda script: script.always("x"), "step must be a Reply, a Refusal, or a function .* not 'x'"),
    ],
)
def test_what_is_no_step_is_refused(script, misuse, complaint):
    """The error names the argument, where it was given."""
    with pytest.raises(TypeError, match=complaint):
        misuse(script)
    script.assert_exhausted()


async def test_a_handler_that_returns_no_step_is_named():
    """Sync or async: the error says which function and what it returned."""

    def wrong(request):
        return 5

    async def wrong_as_well(request):
        return None

    script = Script()
    script.play(wrong, wrong_as_well)
    async with script.client() as client:
        for name, returned in (("wrong", "5"), ("wrong_as_well", "None")):
            with pytest.raises(TypeError, match=f"{name} at .* must be a Reply or a Refusal, not {returned}"):
                await client.get(URL)
    with pytest.raises(TypeError, match="not 5"):
        script.verify()
