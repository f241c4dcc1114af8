"""Failures over the whole client: when the next request comes, and what it says."""

import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

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
    ResilientSSEError,
    ResilientStream,
    RetriesExhaustedError,
    StreamError,
    StreamState,
    Verdict,
    integers,
)
from resilient_sse._client.transport import clients
from resilient_sse.testing import Reply, comment, event, pause
from resilient_sse.testing.script import Refusal
from tests.client.support import URL, Record, drain, make, numbered, one_loop, read, take

OTHER = "https://elsewhere/stream"
SECRETS = ("authorization", "cookie", "x-secret", "x-default")


def gaps(script):
    """Return the times between the requests."""
    return [round(later.at - earlier.at, 6) for earlier, later in pairwise(script.requests)]


async def gives_up(stream, kind):
    """Iterate until the stream raises, and return what it raises."""
    with pytest.raises(kind) as caught:
        await drain(stream)
    return caught.value


# --- Delays and the budget


async def test_delays_grow_to_the_cap(script):
    """Without jitter the delays are 1, 2, 4, 5 and 5 s to the tick (R27, R28, R53, R54, R147)."""
    script.refuse(times=6)
    script.expect_no_more()
    await gives_up(make(script), RetriesExhaustedError)
    assert gaps(script) == [1, 2, 4, 5, 5]


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_retries_spent(script, retries):
    """A budget of N allows N + 1 requests; then comes a typed error with the last failure as cause (R83)."""
    script.reject(503, times=retries + 1)
    script.expect_no_more()
    stream = make(script, max_retries=retries)
    error = await gives_up(stream, RetriesExhaustedError)
    assert len(script.requests) == error.attempts == retries + 1
    assert error.elapsed == script.requests[-1].at - script.requests[0].at
    assert isinstance(error.__cause__, BadStatusError)
    assert stream.state is StreamState.ERROR


async def test_own_series_of_delays(script):
    """A function gives a fresh series for each outage; a series that ends goes on with its last delay."""
    script.refuse(times=4)
    script.respond(*numbered(1)).drop()
    script.refuse()
    script.respond(*numbered(2)).hang()
    await read(script, 2, backoff=lambda: iter([0.5, 7.0]))
    assert gaps(script) == [0.5, 7, 7, 7, 0.5, 7]


async def test_accepting_and_closing_at_once_is_no_recovery(script, record):
    """A bare 200 does not reset the counter: accept-and-close servers are not stormed (F7)."""
    script.always(Reply())
    error = await gives_up(make(script, on_state_change=record), RetriesExhaustedError)
    assert gaps(script) == [1, 2, 4, 5, 5]
    assert error.attempts == 6
    waits = [change for change in record.changes if change.new is StreamState.RECONNECTING]
    assert [change.attempt for change in waits] == [1, 2, 3, 4, 5]


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
async def test_servers_that_poll_by_design(script, caplog, answer, pace, max_retries):
    """A clean end of an answer that brought anything is paced, and neither a failure nor a loss (P48)."""
    script.respond(*numbered(1)).end()
    for _ in range(20):
        script.respond(*answer).end()
    script.respond(*numbered(2)).hang()
    record = Record()
    options = {"events": ["message"], "max_retries": max_retries, "on_state_change": record}
    async with make(script, **options) as stream:
        assert [item.id for item in await take(stream, 2)] == ["1", "2"]
    assert gaps(script) == [1] + [pace] * 20
    assert (stream.stats.failed_attempts, stream.stats.gaps) == (0, 0)
    assert "fail" not in (" ".join(record.texts) + caplog.text).lower()


@pytest.mark.parametrize("lasts", [30, 55])
@pytest.mark.parametrize("backoff", [Backoff(jitter=0), Backoff(maximum=60, jitter=0)])
@one_loop
async def test_a_proxy_that_cuts_a_quiet_stream_never_ends_it(script, lasts, backoff):
    """Whatever pace the server asks for, a connection that held for half a minute has worked (P48)."""
    for _ in range(20):
        script.respond(b"retry: 60000\n", pause(lasts)).drop()
    script.respond(*numbered(1)).hang()
    await read(script, 1, backoff=backoff, stall_timeout=None)
    assert gaps(script) == [lasts + 60] * 20


async def test_giving_up_after_a_poll_counts_what_failed(script):
    """The clean end before them is no failed attempt: it is paced, and the counting begins behind it (P48)."""
    script.respond(*numbered(1)).end()
    script.refuse(times=6)
    error = await gives_up(make(script), RetriesExhaustedError)
    assert (len(script.requests), error.attempts, error.elapsed) == (7, 6, 17)
    assert gaps(script) == [1, 1, 2, 4, 5, 5]


@pytest.mark.parametrize(
    "brought, delay",
    [
        (numbered(1), 2),
        ([event("", event="heartbeat")], 2),
        ([comment(), b"id: 1\n\n"], 2),
        ([event("x")], 1),
        ([event("x", event="unwanted")], 1),
        ([event("other", id="1")], 1),
        ([pause(4.9)], 4.9 + 2),
        ([pause(5.1)], 5.1 + 1),
    ],
    ids=["repeated", "heartbeat", "nothing", "no-id", "filtered", "conflict", "4.9 s", "5.1 s"],
)
@one_loop
async def test_what_resets_the_counter(script, brought, delay):
    """A new event, wanted or not, or to stay up for longer than the longest delay; no more (R163, F7, P17)."""
    script.respond(*numbered(1)).drop()
    script.respond(*brought).drop()
    script.respond(event("end", event="end")).hang()
    async with make(script, events={"message"}, until="end") as stream:
        await drain(stream)
    assert gaps(script) == [1, delay]


# --- What the server asks for


@pytest.mark.parametrize(
    "field, delays",
    [
        ("3000", [3, 5, 5]),
        ("8000", [8, 8, 8]),
        ("0", [0.1, 0.2, 0.4]),
        ("250", [0.25, 0.5, 1]),
        *((text, [1, 2, 4]) for text in ("-5", "1e3", "3 000", "\u0663", "")),
    ],
)
@pytest.mark.parametrize("behind", ["\n", "\n\n"], ids=["with-event", "alone"])
@one_loop
async def test_retry_field_replaces_the_first_delay(script, field, delays, behind):
    """`retry:` is where the growth begins from then on, not below 0.1 s; only ASCII digits are one (P6, P9)."""
    script.respond(f"retry: {field}{behind}id: 1\ndata: a\n\n".encode()).drop()
    script.refuse(times=2)
    script.respond(*numbered(2)).drop()
    script.respond(*numbered(3)).hang()
    await read(script, 3)
    assert gaps(script) == [*delays, delays[0]]


@pytest.mark.parametrize("field", ["9" * 400, "86400000"], ids=["400-digits", "a-day"])
@one_loop
async def test_retry_field_has_a_ceiling(script, field):
    """No server can make the client sleep for longer than `max_server_delay` (P6)."""
    script.respond(f"retry: {field}\nid: 1\ndata: a\n\n".encode()).drop()
    script.respond(*numbered(2)).hang()
    await read(script, 2)
    assert gaps(script)[0] <= 60


def in_seconds(seconds):
    """Write a `Retry-After` as a date, with the `Date` it is relative to."""
    sent = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    later = sent + timedelta(seconds=seconds)
    return {"Date": format_datetime(sent, usegmt=True), "Retry-After": format_datetime(later, usegmt=True)}


NOON = {"Date": "Mon, 21 Oct 2024 12:00:00 GMT"}
FORMS = [
    "000000000030",
    "Mon, 21 Oct 2024 12:00:30 GMT",
    "Monday, 21-Oct-24 12:00:30 GMT",  # RFC 850
    "Mon Oct 21 12:00:30 2024",  # asctime
    "Mon, 21 Oct 2024 14:00:30 +0200",
]


@pytest.mark.parametrize(
    "headers, delays",
    [
        ({"Retry-After": "3"}, [3, 2]),
        ({"Retry-After": "30"}, [30, 2]),
        ({"Retry-After": "3600"}, [60, 2]),
        ({"Retry-After": "0"}, [1, 2]),
        ({"Retry-After": "soon"}, [1, 2]),
        (in_seconds(7), [7, 2]),
        (in_seconds(-7), [1, 2]),
        (in_seconds(7200), [60, 2]),
        *(({"Retry-After": form} | NOON, [30, 2]) for form in FORMS),
    ],
    ids=str,
)
@one_loop
async def test_retry_after(script, headers, delays):
    """`Retry-After`, in seconds or as a date, is a floor for the next delay only, up to a ceiling (P6)."""
    script.reject(503, headers=headers)
    script.refuse()
    script.respond(*numbered(1)).hang()
    await read(script, 1)
    assert gaps(script) == delays


# --- What an answer means


@pytest.mark.parametrize("status", [202, 501])
@one_loop
async def test_statuses_that_stay(script, status):
    """What no retry mends is raised at once, with all that is known of it (P5)."""
    script.reject(status, headers={"X-Why": "because"}, body=b"no \xff" + b"x" * 40_000)
    script.expect_no_more()
    stream = make(script)
    error = await gives_up(stream, BadStatusError)
    assert (error.status, error.headers["x-why"]) == (status, "because")
    assert error.body_excerpt.startswith("no \ufffd")
    assert 16_000 < len(error.body_excerpt) <= 16 * 1024
    assert stream.state is StreamState.ERROR
    assert script.live == 0


@pytest.mark.parametrize("answer", [{"status": 404}, {"content_type": "text/html", "after": 1}])
async def test_a_redirect_is_named_in_the_error(script, answer):
    """Who is led to a login page is told where, without the query that may hold a secret (P46)."""
    script.redirect("https://login.example:8443/sign%20in?next=secret")
    script.respond(**answer)
    error = await gives_up(make(script), HandshakeError)
    assert str(error).endswith(", after a redirect to https://login.example:8443/sign%20in")
    assert error.redirected_to == "https://login.example:8443/sign%20in"


async def test_a_page_of_maintenance_passes(script):
    """A page under 200 is waited out once the stream has worked, whatever its coding and way (P46)."""
    script.respond(*numbered(1)).drop()
    script.respond(b"\x0b\x02", content_type="text/html", headers={"Content-Encoding": "br"})
    script.redirect("https://login.example/")
    script.respond(b"<html>", content_type="text/html")
    script.respond(status=201, content_type=None)
    script.respond(*numbered(2)).hang()
    await read(script, 2)
    assert gaps(script) == [1, 2, 0, 4, 5]


# --- Classify


async def test_classify_is_asked_about_every_failure(script):
    """It sees each failure once, and `None` leaves it to the table (section 3.10)."""
    script.refuse()
    script.reject(503)
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    asked = []
    await read(script, 2, classify=asked.append)
    assert [type(error) for error in asked] == [ConnectionLostError, BadStatusError, ConnectionLostError]
    assert gaps(script) == [1, 2, 1]


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


@pytest.mark.parametrize("target", ["/there", OTHER], ids=["same", "other"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@one_loop
async def test_redirects(script, status, target):
    """Redirects are followed; another origin gets nothing of the caller's, and none is remembered (P11)."""
    script.respond(*numbered(1)).drop()
    script.redirect(target, status=status)
    script.respond(*numbered(2)).drop()
    script.respond(*numbered(3)).hang()
    client = script.client(headers={"X-Default": "d"}, cookies={"session": "c"}, auth=("me", "pw"))
    await read(script, 3, client=client, headers={"X-Secret": "s"})
    first, again, elsewhere, original = script.requests
    assert first.url == again.url == original.url == URL
    assert elsewhere.url == ("https://host/there" if target == "/there" else OTHER)
    assert elsewhere.at == again.at
    kept = [name for name in SECRETS if name in elsewhere.headers]
    assert kept == (list(SECRETS) if target == "/there" else [])
    assert all(name in original.headers for name in SECRETS)
    assert (elsewhere.last_event_id, elsewhere.headers["accept"]) == ("1", "text/event-stream")
    assert script.max_live == 1


@pytest.mark.parametrize("target", ["http://host/stream", "https://host:8443/stream", "https://HOST.evil/"])
@one_loop
async def test_scheme_and_port_are_part_of_the_origin(script, target):
    """Plain HTTP, or another port, is another origin, which gets no secrets, nor do they by a way back (P11)."""
    script.redirect(target)
    script.redirect(URL + "?planted=1")
    script.respond(*numbered(1)).hang()
    await read(script, 1, auth=("me", "pw"), headers={"X-Secret": "s"})
    assert [bool(set(SECRETS) & set(request.headers)) for request in script.requests] == [True, False, False]


@pytest.mark.parametrize("hops", [10, 11])
async def test_at_most_ten_redirects(script, hops):
    """The tenth redirect is followed, the eleventh is not (P11)."""
    script.redirect("/next", times=hops)
    script.respond(*numbered(1)).hang()
    stream = make(script)
    if hops == 10:
        assert (await anext(stream)).id == "1"
    else:
        assert (await gives_up(stream, HandshakeError)).status == 307
    assert len(script.requests) == 11
    await stream.aclose()


NOWHERE = ["", "   ", "ftp://host/", "file:///etc/passwd", None]
NO_URL = ["http://[::1", "https://host:port/", "https://1.2.3.999/", "/\x7f", "::::", "/" + "x" * 70_000]


@pytest.mark.parametrize("location", [*NOWHERE, *NO_URL])
@one_loop
async def test_redirects_to_nowhere(script, location):
    """A typed error without a retry, also where httpx itself raises and loses the answer (P11)."""
    script.reject(302, headers=None if location is None else {"Location": location})
    script.expect_no_more()
    error = await gives_up(make(script), HandshakeError)
    assert error.__cause__ is not error
    if location in NO_URL:
        assert str(error) == "the server's redirect has no usable Location"
        assert isinstance(error.__cause__, httpx.RemoteProtocolError)
    else:
        assert error.status == 302
    assert script.live == 0


@pytest.mark.parametrize(
    "location",
    [
        "http://[::1",
        "https://host:port/",
        "https://1.2.3.999/",
        "/\x7f",
        "::::",
        "/" + "x" * 70_000,
        "data:,x",
    ],
)
@one_loop
async def test_redirects_to_what_is_no_url(script, location):
    """For these httpx itself raises, and loses the answer: a typed error all the same, no retry (P11)."""
    script.redirect(location)
    script.expect_no_more()
    error = await gives_up(make(script), HandshakeError)
    assert str(error) == "the server's redirect has no usable Location"
    assert isinstance(error.__cause__, (httpx.RemoteProtocolError, httpx.InvalidURL))
    assert script.live == 0


# --- Credentials


async def test_401_may_come_again_after_a_success(script):
    """A token is fetched anew once for each time that the server has accepted one; a second 401 is final (P10)."""
    tokens = iter("abcdefgh")
    for number in (1, 2):
        script.reject(401)
        script.respond(*numbered(number)).drop()
    script.reject(401)
    script.reject(503)  # it may have been the whole reason: the next 401 is the first of its row (P52)
    script.reject(401, times=2)
    stream = make(script, headers=lambda: {"Authorization": next(tokens)})
    assert len(await take(stream, 2)) == 2
    assert (await gives_up(stream, BadStatusError)).status == 401
    assert [request.headers["authorization"] for request in script.requests] == [*"abcdefgh"]


@pytest.mark.parametrize("auth, requests", [(None, 1), (("me", "pw"), 2)])
async def test_401_with_fixed_headers(script, auth, requests):
    """Without anything that could be fresher a 401 is final; `auth` counts as fresh (section 3.10)."""
    script.reject(401, times=requests)
    script.expect_no_more()
    await gives_up(make(script, headers={"Authorization": "x"}, auth=auth), BadStatusError)
    assert len(script.requests) == requests


# --- What each attempt says


async def test_functions_are_asked_at_each_attempt(script):
    """Headers, parameters and body may be functions, sync or async; each attempt evaluates them (P10)."""
    calls = []

    def headers():
        calls.append("headers")
        return [("X-Try", str(len(calls)))]

    async def params():
        calls.append("params")
        return {"try": len(calls)}

    async def content():
        calls.append("content")
        return b"try %d" % len(calls)

    script.refuse()
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    stream = make(script, method="POST", headers=headers, params=params, content=content)
    async with stream:
        await take(stream, 2)
    assert calls == ["headers", "params", "content"] * 3
    assert [request.headers["x-try"] for request in script.requests] == ["1", "4", "7"]
    assert [httpx.URL(request.url).params["try"] for request in script.requests] == ["2", "5", "8"]
    assert [request.content for request in script.requests] == [b"try 3", b"try 6", b"try 9"]


async def test_our_own_headers(script):
    """What the standard asks for is sent, each once; there is no id before the first event (section 3.1, R148)."""
    script.respond(*numbered(1)).hang()
    await read(script, 1)
    sent = script.requests[0].headers
    assert sent.get_list("accept") == ["text/event-stream"]
    assert sent.get_list("cache-control") == ["no-cache"]
    assert sent.get_list("accept-encoding") == ["identity"]
    assert "last-event-id" not in sent


async def test_the_caller_may_overrule_our_headers(script):
    """The caller's headers win and come once, but for the id, where a stale one would lose events."""
    headers = {"accept": "application/x", "Cache-Control": "no-store", "last-event-id": "stale"}
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    await read(script, 2, headers=headers)
    before, after = script.requests
    assert before.headers.get_list("accept") == ["application/x"]
    assert before.headers.get_list("cache-control") == ["no-store"]
    assert before.last_event_id == "stale"
    assert after.headers.get_list("last-event-id") == ["1"]


async def test_compression_is_asked_for_by_option(script):
    """`compression=True` asks for what can be decoded (section 3.1)."""
    script.respond(*numbered(1), gzip=True).hang()
    async with make(script, compression=True) as stream:
        assert (await anext(stream)).id == "1"
    assert script.requests[0].headers.get_list("accept-encoding") == ["gzip, deflate"]


# --- Methods that do something


@pytest.mark.parametrize("parts", [[], [event("", id="7"), event("", id="")]], ids=["no-id", "cleared"])
async def test_a_post_that_delivered_is_not_repeated(script, parts):
    """What was delivered and cannot be resumed by an id: sending again could repeat its effect (P12)."""
    script.respond(*parts, event("a")).drop()
    script.expect_no_more()
    stream = make(script, method="POST", content=b"q")
    assert (await take(stream, len(parts) + 1))[-1].data == "a"
    error = await gives_up(stream, NotResumableError)
    assert isinstance(error.__cause__, ConnectionLostError)
    assert stream.state is StreamState.ERROR
    await gives_up(stream, NotResumableError)  # and not by iterating again, either


@pytest.mark.parametrize("how", ["restart", "cancelled read"])
async def test_a_post_that_delivered_is_not_repeated_by_an_interruption_either(script, how):
    """`restart()` and a read that is cancelled would repeat the request's effect just as well (P12)."""
    script.respond(event("a")).hang()
    script.expect_no_more()
    stream = make(script, method="POST", content=b"q")
    await anext(stream)
    if how == "restart":
        stream.restart()
    else:
        with anyio.move_on_after(1):
            await anext(stream)
    await gives_up(stream, NotResumableError)
    assert stream.state is StreamState.ERROR


async def test_a_post_is_resumed_by_id(script):
    """With an id to resume from, a POST is sent again, body included (P12)."""
    script.respond(*numbered(1)).drop()
    script.respond(*numbered(2)).hang()
    await read(script, 2, method="post", json={"q": "é"})
    assert [request.method for request in script.requests] == ["POST", "POST"]
    assert [request.content for request in script.requests] == ['{"q":"é"}'.encode()] * 2
    assert script.requests[1].last_event_id == "1"


@pytest.mark.parametrize("status", [307, 308])
@one_loop
async def test_a_body_does_not_leave_its_origin(script, status):
    """A redirect that keeps the method must not carry the body to another origin (P11)."""
    script.redirect(OTHER, status=status)
    script.expect_no_more()
    await gives_up(make(script, method="POST", content=b"secret"), HandshakeError)


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
    script.respond(*numbered(1)).drop()
    script.refuse(times=2)
    script.refuse(times=2)
    script.respond(*numbered(2)).hang()
    stream = make(script, max_retries=2, on_state_change=record)
    await anext(stream)
    await gives_up(stream, RetriesExhaustedError)
    assert stream.state is StreamState.ERROR
    assert (await anext(stream)).id == "2"
    assert script.requests[-1].last_event_id == "1"
    assert gaps(script) == [1, 2, 0, 1, 2]
    await stream.aclose()
    assert record.path[-5:] == ["error", "reconnecting", "reconnecting", "connected", "closed"]


async def test_an_unsendable_request_is_not_retried(script):
    """What breaks HTTP's rules on our side would break them again at every attempt (section 3.1)."""
    script.refuse(error=httpx.LocalProtocolError("Illegal header value b'hunter2'"))
    script.expect_no_more()
    error = await gives_up(make(script), HandshakeError)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    "url", ["", "host/stream", "ftp://host/", "https://", "https://a b/", "https://host:0/"]
)
def test_urls_that_cannot_be(url):
    """A wrong URL is refused at construction, by name."""
    with pytest.raises(ValueError, match="url"):
        ResilientStream(url)


# --- What the environment has wrong


@pytest.mark.parametrize(
    "name, value",
    [
        *(("HTTPS_PROXY", value) for value in ("x y", "http://", "x:99999", "ftp://x", "http://u:secret@[x")),
        ("NO_PROXY", "[::1"),
        *((name, "/no/such/place") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")),
    ],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
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


async def test_a_proxy_that_wants_credentials_is_not_asked_again(script):
    """407 to CONNECT comes again at every attempt; a proxy that is busy may not be the next time (P52)."""
    script.refuse(error=httpx.ProxyError("503 Service Unavailable"))
    script.refuse(error=httpx.ProxyError("407 Proxy Authentication Required"))
    error = await gives_up(make(script), HandshakeError)
    assert "407" in str(error)


# --- What the server says of itself in the stream, and what the program asks for


OVERLOADED = event('{"type": "overloaded_error"}', event="error")


@pytest.mark.parametrize(
    "named",
    [["error"], lambda item: item.event == "error", iter(["other", "error"])],
    ids=["types", "function", "iterator"],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_an_error_in_the_stream_is_a_failed_attempt(script, named, record):
    """Overloaded twice, then well: two delays that grow, no storm, and a POST that delivered nothing yet (P56)."""
    script.respond(OVERLOADED).end()
    script.respond(comment("hello"), OVERLOADED).hang()
    script.respond(event("1"), event("2", event="end"))
    options = {"method": "POST", "json": {}, "error_events": named, "until": "end", "on_state_change": record}
    async with make(script, **options) as stream:
        assert [item.data for item in await drain(stream)] == ["1", "2"]
    assert gaps(script) == [1, 2]
    assert [str(change.error) for change in record.changes if change.error] == [
        "the server has sent an error: an event of type 'error'"
    ] * 2
    assert (stream.stats.received, stream.stats.server_errors) == (2, 2)


async def test_an_error_in_the_stream_that_retrying_cannot_mend(script):
    """`classify` sees the event, and may raise; what came before it is delivered (P56)."""
    script.respond(b"".join([*numbered(1), event("too long", event="error"), *numbered(2)])).hang()
    stream = make(script, error_events={"error"}, classify=lambda _: Verdict.RAISE)
    assert [item.id for item in await take(stream, 1)] == ["1"]
    error = await gives_up(stream, StreamError)
    assert error.event.data == "too long"
    assert stream.state is StreamState.ERROR


@pytest.mark.parametrize("options", [{}, {"sequence": integers}], ids=["opaque", "numbers"])
@pytest.mark.parametrize("pause_s", [0, 0.1])
async def test_what_stands_behind_an_error_in_the_stream_is_not_looked_at(script, pause_s, options):
    """Whether it came in the same read or later: neither an event nor the end of the stream (P56)."""
    behind = [*numbered(2), event("", event="end")]
    first = [*numbered(1), OVERLOADED]
    if pause_s:
        script.respond(b"".join(first), pause(pause_s), b"".join(behind)).hang()
    else:
        script.respond(b"".join([*first, *behind])).hang()
    script.respond(*numbered(2), event("", event="end"))
    async with make(script, error_events=["error"], until="end", **options) as stream:
        assert [item.id for item in await drain(stream)] == ["1", "2", None]
    assert [request.last_event_id for request in script.requests] == [None, "1"]


async def test_an_error_that_nobody_named_is_an_event(script):
    """Off by default, and an event type in both arguments is an error (P56)."""
    script.respond(OVERLOADED).hang()
    script.respond(event("beat", event="heartbeat")).hang()
    script.respond(event("x", event="end"))
    async with make(script) as stream:
        assert (await anext(stream)).event == "error"
    async with make(script, error_events=["heartbeat"], until="end") as stream:
        assert [item.data for item in await drain(stream)] == ["x"]
    assert len(script.requests) == 3


@pytest.mark.parametrize("state", ["up", "opening", "waiting"])
async def test_restarting_in_a_loop_is_paced(script, state):
    """The first restart is at once; who asks every hundredth of a second gets a connection a second (P56)."""
    step = {"up": Reply().hang(), "opening": Reply(after=60), "waiting": Refusal()}[state]
    script.always(step)
    stream = make(script, max_retries=None, backoff=Backoff(1, 1, jitter=0), stall_timeout=None)

    async def ask():
        for _ in range(1000):
            await anyio.sleep(0.01)
            stream.restart()
        await stream.aclose()

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await drain(stream)
    assert gaps(script)[0] < 0.02
    assert 8 <= len(script.requests) <= 12


async def test_restarting_now_and_then_is_at_once(script):
    """A new connection every six seconds, because the program knows why, is not slowed down (P56)."""
    script.always(Reply().hang())
    stream = make(script)
    async with anyio.create_task_group() as group:
        group.start_soon(drain, stream)
        for _ in range(5):
            await anyio.sleep(6)
            stream.restart()
        await anyio.sleep(1)
        await stream.aclose()
    assert gaps(script) == [6] * 5


async def test_restarting_from_another_thread_says_how(script):
    """It cannot work, and so it says what does (P56)."""
    script.respond(*numbered(1)).hang()
    async with make(script) as stream:
        await anext(stream)
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            await anyio.to_thread.run_sync(stream.restart)


# --- Functions that fail, bodies and causes


async def test_a_spent_body_is_not_sent_again_to_a_redirect(script):
    """A body from an iterator can be sent once; a 307 would send an empty one instead (P12)."""

    async def body():
        yield b"hello"

    script.redirect("/there", status=307)
    script.respond(*numbered(1)).hang()
    async with make(script, method="POST", content=body()) as stream:
        with pytest.raises(ResilientSSEError) as caught:
            await anext(stream)
    assert isinstance(caught.value, (NotResumableError, HandshakeError))
    assert [request.content for request in script.requests] == [b"hello"]
