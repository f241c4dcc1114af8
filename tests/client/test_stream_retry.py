"""Failures over the whole client: when the next request comes, and what it says."""

import os
import re
from contextlib import suppress
from itertools import count

import anyio
import anyio.to_thread
import httpx
import pytest

from resilient_sse import (
    Backoff,
    BadStatusError,
    ConnectionLostError,
    HandshakeError,
    NotResumableError,
    ResilientStream,
    RetriesExhaustedError,
    StreamError,
    StreamState,
    Verdict,
    integers,
)
from resilient_sse._client.transport import clients
from resilient_sse.testing import Refusal, Reply, Script, comment, event, pause, run_in_virtual_time
from tests.client.support import (
    END,
    URL,
    at_once,
    drain,
    dropped,
    gaps_in_time,
    gives_up,
    hanging,
    later,
    make,
    numbered,
    one_loop,
    read,
    take,
)

OTHER = "https://elsewhere/stream"
SECRETS = ("authorization", "cookie", "x-secret", "x-default")


# --- When the next request comes


NOON = "Mon, 21 Oct 2024 12:00:00 GMT"
ASKED = [
    *(("3", 3), ("30", 30), ("3600", 60), ("0", 1), ("soon", 1), ("000000000030", 30)),
    ("Mon, 21 Oct 2024 12:00:07 GMT", 7),
    ("Mon, 21 Oct 2024 11:59:53 GMT", 1),
    ("Mon, 21 Oct 2024 14:00:00 GMT", 60),
    ("Monday, 21-Oct-24 12:00:30 GMT", 30),  # RFC 850
    ("Mon Oct 21 12:00:30 2024", 30),  # asctime
    ("Mon, 21 Oct 2024 14:00:30 +0200", 30),
]
RESETTING = [
    (numbered(1), 2),
    ([event("", event="heartbeat")], 2),
    ([comment(), b"id: 1\n\n"], 2),
    ([event("x")], 1),
    ([event("x", event="unwanted")], 1),
    ([event("other", id="1")], 1),
    ([pause(4.9)], 4.9 + 2),
    ([pause(5.1)], 5.1 + 1),
]
FIELDS = [
    ("3000", [3, 5, 5]),
    ("8000", [8, 8, 8]),
    ("0", [0.1, 0.2, 0.4]),
    ("250", [0.25, 0.5, 1]),
    *((text, [1, 2, 4]) for text in ("-5", "1e3", "3 000", "\u0663", "", "9" * 400)),
    ("86400000", [60, 60, 60]),
]
DELAYS = [
    # Without jitter they grow to the cap, to the tick; R27, R28, R53, R54, R147.
    ([Refusal()] * 6, {}, [1, 2, 4, 5, 5]),
    # A bare 200 is no recovery: servers that accept and close are not stormed; F7.
    ([Reply()] * 6, {}, [1, 2, 4, 5, 5]),
    # A function gives a fresh series for each outage; one that ends goes on with its last delay.
    (
        [*[Refusal()] * 4, dropped(1), Refusal()],
        {"backoff": lambda: iter([0.5, 7.0])},
        [0.5, 7, 7, 7, 0.5, 7],
    ),
    # A page under 200 is waited out once the stream has worked, whatever its coding and way; P46.
    (
        [
            dropped(1),
            Reply(b"\x0b\x02", content_type="text/html", headers={"Content-Encoding": "br"}),
            Reply(status=307, headers={"Location": "https://login.example/"}),
            Reply(b"<html>", content_type="text/html"),
            Reply(status=201, content_type=None),
        ],
        {},
        [1, 2, 0, 4, 5],
    ),
    # Whatever pace the server asks for, a connection that held for half a minute has worked; P48.
    *(
        ([Reply(b"retry: 60000\n", pause(lasts)).drop()] * 20, {"backoff": backoff}, [lasts + 60] * 20)
        for lasts in (30, 55)
        for backoff in (Backoff(jitter=0), Backoff(maximum=60, jitter=0))
    ),
    # A new event, wanted or not, resets them, and so does to stay up for longer than the longest; R163, F7, P17.
    *(
        ([dropped(1), Reply(*brought).drop()], {"events": {"message"}}, [1, delay])
        for brought, delay in RESETTING
    ),
    # `retry:` is where the growth begins from then on, within 0.1 and 60 s; only ASCII digits are one; P6, P9.
    *(
        (
            [Reply(f"retry: {field}{behind}data: a\n\n".encode()).drop(), *[Refusal()] * 2, dropped(2)],
            {},
            [*delays, delays[0]],
        )
        for field, delays in FIELDS
        for behind in ("\n", "\n\n")
    ),
    # `Retry-After`, in seconds or as a date, is a floor for the next delay only, up to a ceiling; P6.
    *(
        ([Reply(status=503, headers={"Date": NOON, "Retry-After": text}), Refusal()], {}, [delay, 2])
        for text, delay in ASKED
    ),
]


@pytest.mark.parametrize("steps, options, delays", DELAYS, ids=range(len(DELAYS)))
@one_loop
async def test_delays(script, steps, options, delays):
    """What the server does, and the seconds until it is asked again; why stands with each."""
    script.play(*steps)
    script.always(Reply(END))
    with suppress(RetriesExhaustedError):
        await drain(make(script, until="end", stall_timeout=None, **options))
    assert gaps_in_time(script) == delays


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_retries_spent(script, retries):
    """A budget of N allows N + 1 requests; then comes a typed error with the last failure as cause (R83, P48)."""
    script.respond(*numbered(1)).end()  # it is paced, and no failed attempt: the counting begins behind it
    script.reject(503, times=retries + 1)
    script.expect_no_more()
    stream = make(script, max_retries=retries)
    error = await gives_up(stream, RetriesExhaustedError)
    assert len(script.requests) - 1 == error.attempts == retries + 1
    assert error.elapsed == script.requests[-1].at - script.requests[1].at
    assert isinstance(error.__cause__, BadStatusError)
    assert stream.state is StreamState.ERROR


@pytest.mark.parametrize(
    "answer, pace",
    [
        ([b"id: 1\n\n"], 1),
        ([comment("nothing new")], 1),
        ([b"retry: 60000\n\n"], 60),
        ([b"retry: 100\n\n"], 0.1),
        (numbered(1), 1),
        ([event("", event="heartbeat")], 1),
        ([pause(29), comment("cut by a proxy")], 30),
        ([pause(4), event("", event="ping", id="7"), b"retry: 3000\n\n"], 7),
    ],
    ids=["id", "comment", "retry", "short-retry", "repeated", "heartbeat", "proxy", "all"],
)
@pytest.mark.parametrize("max_retries", [0, 5])
@one_loop
async def test_servers_that_poll_by_design(script, caplog, record, answer, pace, max_retries):  # noqa: PLR0917
    """A clean end of an answer that brought anything is paced, and neither a failure nor a loss (P48)."""
    script.play(Reply(*numbered(1)), *[Reply(*answer)] * 20, hanging(2))
    options = {"events": ["message"], "max_retries": max_retries, "on_state_change": record}
    async with make(script, **options) as stream:
        assert [item.id for item in await take(stream, 2)] == ["1", "2"]
    assert gaps_in_time(script) == [1] + [pace] * 20
    assert (stream.stats.failed_attempts, stream.stats.gaps) == (0, 0)
    assert "fail" not in (" ".join(record.messages) + caplog.text).lower()


# --- What an answer means


NOWHERE = ["", "   ", "ftp://host/", "file:///etc/passwd"]
NO_URL = [
    "http://[::1",
    "https://host:port/",
    "https://1.2.3.999/",
    "/\x7f",
    "::::",
    "/" + "x" * 70_000,
    "data:,x",
]
LOGIN = Reply(status=307, headers={"Location": "https://login.example:8443/sign%20in?next=secret"})
AT_LOGIN = ", after a redirect to https://login.example:8443/sign%20in$"
LOST = "^the server's redirect has no usable Location$"


def led_to(url, status=302):
    """Redirect."""
    return Reply(status=status, headers={"Location": url})


FINAL = [
    # What no retry mends is raised at once; P5.
    *(([Reply(status=status)], {}, str(status)) for status in (202, 501)),
    # Who is led to a login page is told where, without the query that may hold a secret; P46.
    *(
        ([LOGIN, page], {}, AT_LOGIN)
        for page in (Reply(status=404), Reply(content_type="text/html", after=1))
    ),
    ([led_to("https://host/" + 60_000 * "x"), Reply(status=404)], {}, " to https://host/x{187}$"),
    # Without anything that could be fresher a 401 is final; `auth` counts as fresh; 3.10.
    ([Reply(status=401)], {"headers": {"Authorization": "secret"}}, "401"),
    ([Reply(status=401)] * 2, {"auth": ("me", "secret")}, "401"),
    # A redirect to nowhere, also where httpx itself raises, and loses the answer; P11.
    ([Reply(status=302)], {}, "302"),
    *(([led_to(url)], {}, "302") for url in NOWHERE),
    *(([led_to(url)], {}, LOST) for url in NO_URL),
    # A body does not leave its origin; P11.
    *(
        ([led_to(OTHER, status)], {"method": "POST", "content": b"secret"}, "redirect")
        for status in (307, 308)
    ),
    # What breaks HTTP's rules on our side would break them again at every attempt; 3.1.
    ([Refusal(httpx.LocalProtocolError("Illegal header value b'secret'"))], {}, "sent"),
    # 407 to CONNECT comes again at every attempt; a proxy that is busy may not be the next time; P52.
    ([Refusal(httpx.ProxyError(words)) for words in ("503 Unavailable", "407 Required")], {}, "407"),
]


@pytest.mark.parametrize("steps, options, words", FINAL, ids=range(len(FINAL)))
@one_loop
async def test_what_is_final(script, steps, options, words):
    """A typed error that names what is wrong and no secret, and no further request; why stands with each."""
    script.play(*steps)
    script.expect_no_more()
    stream = make(script, **options)
    error = await gives_up(stream, HandshakeError)
    assert re.search(words, str(error))
    assert "secret" not in str(error)
    script.assert_exhausted()
    script.closed_all()
    assert stream.state is StreamState.ERROR


async def test_what_is_known_of_an_answer(script):
    """The status, the headers, the beginning of the body, and where a redirect has led (P5, P46)."""
    script.play(LOGIN)
    script.reject(501, headers={"X-Why": "because"}, body=b"no \xff" + b"x" * 40_000)
    error = await gives_up(make(script), BadStatusError)
    assert (error.status, error.headers["x-why"]) == (501, "because")
    assert error.redirected_to == "https://login.example:8443/sign%20in"
    assert error.body_excerpt.startswith("no \ufffd")
    assert 16_000 < len(error.body_excerpt) <= 16 * 1024


# --- Classify


async def test_classify_is_asked_about_every_failure(script):
    """It sees each failure once, and `None` leaves it to the table (section 3.10)."""
    script.play(Refusal(), Reply(status=503), dropped(1), hanging(2))
    asked = []
    await read(script, 2, classify=asked.append)
    assert [type(error) for error in asked] == [ConnectionLostError, BadStatusError, ConnectionLostError]
    assert gaps_in_time(script) == [1, 2, 1]


@pytest.mark.parametrize(
    "verdict, state, requests", [("RETRY", "connected", 2), ("STOP", "closed", 1), ("RAISE", "error", 1)]
)
@pytest.mark.parametrize("status", [403, 503])
@one_loop
async def test_verdicts(script, verdict, state, requests, status):
    """RETRY turns a final answer into one that passes, STOP ends without an error, RAISE is at once (P5)."""
    script.reject(status)
    script.respond(*numbered(1)).hang()
    stream = make(script, classify=lambda _: Verdict[verdict])
    if verdict == "RAISE":
        assert (await gives_up(stream, BadStatusError)).status == status
    else:
        assert (await anext(stream, None) is None) is (verdict == "STOP")
    assert (stream.state.value, len(script.requests)) == (state, requests)
    await stream.aclose()


async def test_a_classifier_must_answer_with_a_verdict(script):
    """Another answer is a mistake of the program, and is not passed over in silence (R8)."""
    script.refuse()
    await gives_up(make(script, classify=lambda _: "retry"), TypeError)


# --- Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    ["https://host/there", OTHER, "http://host/stream", "https://host:8443/stream", "https://HOST.evil/"],
)
@one_loop
async def test_redirects(script, status, target):
    """Followed; another scheme, host or port gets no secrets, nor does a way back; none is remembered (P11)."""
    headers = [{"Location": url} for url in (target, URL + "?planted=1")]
    hops = [Reply(status=status, headers=each) for each in headers]
    script.play(dropped(1), *hops, dropped(2), hanging(3))
    client = script.client(headers={"X-Default": "d"}, cookies={"session": "c"}, auth=("me", "pw"))
    await read(script, 3, client=client, headers={"X-Secret": "s"})
    first, again, elsewhere, back, original = script.requests
    assert first.url == again.url == original.url == URL
    assert (elsewhere.url.lower(), back.url) == (target.lower(), URL + "?planted=1")
    assert elsewhere.at == again.at
    for request in (elsewhere, back):
        kept = [name for name in SECRETS if name in request.headers]
        assert kept == (list(SECRETS) if target == "https://host/there" else [])
        assert (request.last_event_id, request.headers["accept"]) == ("1", "text/event-stream")
    assert all(name in original.headers for name in SECRETS)
    assert script.max_live == 1


@pytest.mark.parametrize("hops", [10, 11])
async def test_at_most_ten_redirects(script, hops):
    """The tenth redirect is followed, the eleventh is not (P11)."""
    script.redirect("/next", times=hops)
    script.respond(END)
    if hops == 10:
        assert len(await drain(make(script, until="end"))) == 1
    else:
        assert (await gives_up(make(script), HandshakeError)).status == 307
    assert len(script.requests) == 11


# --- Credentials


async def test_401_may_come_again_after_a_success(script):
    """A token is fetched anew once for each time that the server has accepted one; a second 401 is final (P10)."""
    tokens = iter("abcdefgh")
    for number in (1, 2):
        script.play(Reply(status=401), dropped(number))
    script.reject(401)
    script.reject(503)  # it may have been the whole reason: the next 401 is the first of its row (P52)
    script.reject(401, times=2)
    stream = make(script, headers=lambda: {"Authorization": next(tokens)})
    assert len(await take(stream, 2)) == 2
    assert (await gives_up(stream, BadStatusError)).status == 401
    assert [request.headers["authorization"] for request in script.requests] == [*"abcdefgh"]


# --- What each attempt says


async def test_functions_are_asked_at_each_attempt(script):
    """Headers, parameters and body may be functions, sync or async; each attempt evaluates them (P10)."""
    numbers = count(1)

    def headers():
        return [("X-Try", str(next(numbers)))]

    async def params():
        return {"try": next(numbers)}

    async def content():
        return b"try %d" % next(numbers)

    script.play(Refusal(), dropped(1), hanging(2))
    await read(script, 2, method="POST", headers=headers, params=params, content=content)
    assert [request.headers["x-try"] for request in script.requests] == ["1", "4", "7"]
    assert [httpx.URL(request.url).params["try"] for request in script.requests] == ["2", "5", "8"]
    assert [request.content for request in script.requests] == [b"try 3", b"try 6", b"try 9"]


@pytest.mark.parametrize("compression, codings", [(False, "identity"), (True, "gzip, deflate")])
async def test_our_own_headers(script, compression, codings):
    """What the standard asks for is sent, each once; there is no id before the first event (section 3.1, R148)."""
    script.respond(*numbered(1), gzip=compression).hang()
    await read(script, 1, compression=compression)
    sent = script.requests[0].headers
    assert sent.get_list("accept") == ["text/event-stream"]
    assert sent.get_list("cache-control") == ["no-cache"]
    assert sent.get_list("accept-encoding") == [codings]
    assert "last-event-id" not in sent


async def test_the_caller_may_overrule_our_headers(script):
    """The caller's headers win and come once, but for the id, where a stale one would lose events."""
    own = {"accept": "application/x", "Cache-Control": "no-store", "content-type": "application/vnd.api+json"}
    script.play(dropped(1), hanging(2))
    await read(script, 2, headers={**own, "last-event-id": "stale"}, method="POST", json={"a": 1})
    before, after = script.requests
    assert [before.headers.get_list(name) for name in own] == [[value] for value in own.values()]
    assert (before.last_event_id, after.headers.get_list("last-event-id")) == ("stale", ["1"])


# --- Methods that do something


@pytest.mark.parametrize("how", ["drop", "cleared id", "restart", "cancelled read"])
async def test_a_post_that_delivered_is_not_repeated(script, how):
    """Without an id to resume by, sending again would repeat its effect, whatever has ended it (P12)."""
    cleared = [event("", id="7"), event("", id="")] if how == "cleared id" else []
    reply = Reply(*cleared, event("a"))
    lost = how in ("drop", "cleared id")
    script.play(reply.drop() if lost else reply.hang())
    script.expect_no_more()
    stream = make(script, method="POST", content=b"q")
    await take(stream, len(cleared) + 1)
    if how == "restart":
        stream.restart()
    elif how == "cancelled read":
        with anyio.move_on_after(1):
            await anext(stream)
    error = await gives_up(stream, NotResumableError)
    assert not lost or isinstance(error.__cause__, ConnectionLostError)
    assert stream.state is StreamState.ERROR
    await gives_up(stream, NotResumableError)  # and not by iterating again, either


async def test_a_post_is_resumed_by_id(script):
    """With an id to resume from, a POST is sent again, body and its media type included (P12)."""
    script.play(dropped(1), hanging(2))
    await read(script, 2, method="post", json={"q": "é"}, headers={"X-Own": "x"})
    for request, position in zip(script.requests, (None, "1"), strict=True):
        assert (request.method, request.content) == ("POST", '{"q":"é"}'.encode())
        assert (request.headers["content-type"], request.last_event_id) == ("application/json", position)


@pytest.mark.parametrize(
    "status, method", [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]
)
@one_loop
async def test_redirected_post(script, status, method):
    """The old redirects turn a POST into a GET without a body, the new ones keep both (P11)."""
    script.redirect("/there", status=status)
    script.respond(*numbered(1)).hang()
    await read(script, 1, method="POST", content=b"q")
    assert script.requests[1].method == method
    assert script.requests[1].content == (b"q" if method == "POST" else b"")


# --- After giving up


async def test_a_stream_in_error_may_be_iterated_again(script, record):
    """Iterating again is a new outage with a full budget, and resumes from the last id (R81, section 3.4)."""
    script.play(dropped(1), *[Refusal()] * 4, hanging(2))
    stream = make(script, max_retries=2, on_state_change=record)
    await anext(stream)
    await gives_up(stream, RetriesExhaustedError)
    assert stream.state is StreamState.ERROR
    assert (await anext(stream)).id == "2"
    assert script.requests[-1].last_event_id == "1"
    assert gaps_in_time(script) == [1, 2, 0, 1, 2]
    await stream.aclose()
    assert record.states[-5:] == ["error", "reconnecting", "reconnecting", "connected", "closed"]


# --- What the environment has wrong


@pytest.mark.parametrize(
    "name, value",
    [
        *(("HTTPS_PROXY", value) for value in ("x y", "http://", "x:99999", "ftp://x", "http://u:secret@[x")),
        ("NO_PROXY", "[::1"),
        *((name, "/no/such/place") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")),
    ],
)
@one_loop
async def test_a_setting_that_cannot_be_used_is_named(monkeypatch, name, value):
    """What is wrong with the environment stays so: it is raised at once, by the name of its setting (P52)."""
    for given in [given for given in os.environ if given.lower().endswith("_proxy")]:
        monkeypatch.delenv(given)
    if name == "NO_PROXY":
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    clients.tls_context.cache_clear()
    error = await gives_up(ResilientStream("https://127.0.0.1:9/", max_retries=None), HandshakeError)
    assert name in str(error)
    assert "secret" not in str(error)


# --- What the server says of itself in the stream, and what the program asks for


OVERLOADED = event('{"type": "overloaded_error"}', event="error")


@pytest.mark.parametrize(
    "named",
    [["error"], lambda item: item.event == "error", iter(["other", "error"])],
    ids=["types", "function", "iterator"],
)
@one_loop
async def test_an_error_in_the_stream_is_a_failed_attempt(script, named, record):
    """Overloaded twice, then well: two delays that grow, no storm, and a POST that delivered nothing yet (P56)."""
    script.play(Reply(OVERLOADED), Reply(comment("hello"), OVERLOADED).hang(), Reply(event("1"), END))
    options = {"method": "POST", "json": {}, "error_events": named, "until": "end", "on_state_change": record}
    async with make(script, **options) as stream:
        assert [item.data for item in await drain(stream)] == ["1", ""]
    assert gaps_in_time(script) == [1, 2]
    assert [str(change.error) for change in record.changes if change.error] == [
        "the server has sent an error: an event of type 'error'"
    ] * 2
    assert (stream.stats.received, stream.stats.server_errors) == (2, 2)


LANES = [{}, {"observers": [lambda _: None]}]


@pytest.mark.parametrize("lane", LANES, ids=["batches", "one-by-one"])
@pytest.mark.parametrize(
    "parts", [[], [comment("hi")], [event("hello")], [event("a"), event("b")]], ids=range(4)
)
async def test_answers_that_end_with_an_error_event_spend_the_budget(script, parts, lane):
    """Events without ids before the error come with each answer, and are no sign of health (3.4)."""
    script.play(*[Reply(*parts, OVERLOADED)] * 4)
    error = await gives_up(make(script, error_events=["error"], max_retries=3, **lane), RetriesExhaustedError)
    assert (error.attempts, error.elapsed) == (4, 7)
    assert isinstance(error.__cause__, StreamError)


@pytest.mark.parametrize("parts", [numbered, lambda _: [event("a"), pause(6)]], ids=["ids", "lasting"])
async def test_a_stream_that_gets_on_between_error_events_goes_on(script, parts):
    """Events behind the last id, and a connection that has held, are health as ever (3.4)."""
    script.play(*(Reply(*parts(number), OVERLOADED) for number in range(1, 9)), Reply(END))
    assert len(await drain(make(script, error_events=["error"], max_retries=3, until="end"))) == 9


async def test_an_error_in_the_stream_that_retrying_cannot_mend(script):
    """`classify` sees the event, and may raise; what came before it is delivered (P56)."""
    script.respond(b"".join([*numbered(1), event("too long", event="error"), *numbered(2)])).hang()
    stream = make(script, error_events={"error"}, classify=lambda _: Verdict.RAISE)
    assert [item.id for item in await take(stream, 1)] == ["1"]
    error = await gives_up(stream, StreamError)
    assert error.event.data == "too long"
    assert stream.state is StreamState.ERROR


@pytest.mark.parametrize("options", [{}, {"sequence": integers}], ids=["opaque", "numbers"])
@pytest.mark.parametrize("pauses", [[], [pause(0.1)]], ids=["at once", "later"])
async def test_what_stands_behind_an_error_in_the_stream_is_not_looked_at(script, pauses, options):
    """Whether it came in the same read or later: neither an event nor the end of the stream (P56)."""
    first, behind = at_once(1) + OVERLOADED, at_once(2) + END
    script.play(Reply(*([first, *pauses, behind] if pauses else [first + behind])).hang(), Reply(behind))
    async with make(script, error_events=["error"], until="end", **options) as stream:
        assert [item.id for item in await drain(stream)] == ["1", "2", None]
    assert [request.last_event_id for request in script.requests] == [None, "1"]


async def test_an_error_that_nobody_named_is_an_event(script):
    """Off by default, and an event type in both arguments is an error (P56)."""
    script.play(Reply(OVERLOADED).hang(), Reply(event("beat", event="heartbeat")).hang(), Reply(END))
    assert (await read(script, 1))[0].event == "error"
    stream = make(script, error_events=["heartbeat"], until="end")
    assert [item.event for item in await drain(stream)] == ["end"]
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "step", [Reply().hang(), Reply(after=60), Refusal()], ids=["up", "opening", "waiting"]
)
@pytest.mark.parametrize("every, times", [(0.01, 1000), (6, 5)], ids=["in a loop", "now and then"])
async def test_restarting_is_paced(script, step, every, times):
    """Now and then it is at once; who asks every hundredth of a second gets a connection a second (P56)."""
    script.always(step)
    stream = make(script, max_retries=None, backoff=Backoff(1, 1, jitter=0), stall_timeout=None)
    async with anyio.create_task_group() as group:
        group.start_soon(drain, stream)
        for _ in range(times):
            await later(every, stream.restart)
        await stream.aclose()
    waits = gaps_in_time(script)
    if every < 1:
        assert waits[0] < 0.02
        assert 8 <= len(waits) + 1 <= 12
    elif not isinstance(step, Refusal):
        assert waits == [every] * (times - 1)


async def test_restarting_from_another_thread_says_how(script):
    """It cannot work, and so it says what does (P56)."""
    script.respond(*numbered(1)).hang()
    async with make(script) as stream:
        await anext(stream)
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            await anyio.to_thread.run_sync(stream.restart)


@pytest.mark.parametrize("first", ["asyncio", "trio"])
@pytest.mark.parametrize("then", ["asyncio", "trio"])
def test_a_wait_goes_on_in_another_event_loop(first, then):
    """Their clocks begin where they like; what is left of the wait is the same by each (P15)."""
    script = Script()
    script.refuse()
    script.respond(*numbered(1)).hang()
    stream = make(script, backoff=Backoff(5, jitter=0))

    async def leave():
        await anyio.sleep(1000)
        with anyio.move_on_after(2):
            await anext(stream)

    async def go_on():
        began = anyio.current_time()
        await anext(stream)
        assert anyio.current_time() - began == pytest.approx(3)
        await stream.aclose()

    run_in_virtual_time(leave, backend=first)
    run_in_virtual_time(go_on, backend=then)


# --- Functions that fail, bodies and causes


async def test_a_spent_body_is_not_sent_again_to_a_redirect(script):
    """A body from an iterator can be sent once; a 307 would send an empty one instead (P12)."""

    async def body():
        yield b"hello"

    script.redirect("/there", status=307)
    script.respond(*numbered(1)).hang()
    await gives_up(make(script, method="POST", content=body()), (NotResumableError, HandshakeError))
    assert [request.content for request in script.requests] == [b"hello"]
