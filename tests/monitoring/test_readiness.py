"""The readiness endpoint (F34): when it says yes, what it tells, and that it keeps nothing alive."""

import gc
import weakref
from datetime import UTC, datetime

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from resilient_sse import RetriesExhaustedError
from resilient_sse.monitoring.readiness import Readiness, readiness
from resilient_sse.testing import Script, comment, event
from tests.client.support import drain, make, numbered, take


async def asked(app, method="GET"):
    """Ask the application as a probe does."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        return await client.request(method, "/")


async def told(app):
    """Return the status and the answer."""
    answer = await asked(app)
    assert answer.json()["ready"] is (answer.status_code == 200)
    return answer.status_code, answer.json()


async def test_ready_while_every_stream_is_up(script):
    """F34: 200 from the first connection on, 503 before, with everything that health tells."""
    script.respond(*numbered(1)).hang()
    stream = make(script)
    app = readiness({"prices": stream})
    status, answer = await told(app)
    assert status == 503
    assert answer["streams"][0]["why"] == "it is connecting"
    await anext(stream)
    await anyio.sleep(5)
    status, answer = await told(app)
    assert status == 200
    (about,) = answer["streams"]
    since = datetime.fromisoformat(about.pop("since"))
    assert 4 < (datetime.now(UTC) - since).total_seconds() < 60
    assert about == {
        "name": "prices",
        "ready": True,
        "why": None,
        "state": "connected",
        "silent_for": 5.0,
        "eventless_for": 5.0,
        "attempt": 0,
        "last_error": None,
    }
    await stream.aclose()


async def test_one_ill_stream_is_enough(script):
    """F34: 503 while one of several reconnects, and 200 when it is back."""
    script.respond(*numbered(1)).hang()
    bad = Script()
    bad.respond(*numbered(1)).drop()
    bad.reject(503)
    bad.respond(*numbered(2)).hang()
    well, ill = make(script), make(bad)
    app = readiness(well, {"ill": ill})
    await anext(well)
    await anext(ill)
    statuses = []

    async def look(_):
        statuses.append(await told(app))

    ill.on_state_change(look)
    await anext(ill)
    assert [status for status, _ in statuses] == [503, 503, 200]
    first, second = statuses[1][1]["streams"]
    assert (first["name"], first["ready"]) == ("stream-1", True)
    assert (second["state"], second["attempt"], second["why"]) == ("reconnecting", 2, "it is reconnecting")
    assert second["last_error"] == "BadStatusError 503"
    await well.aclose()
    await ill.aclose()


async def test_an_error_is_never_ready_and_no_secret_is_told(script):
    """F34: ERROR is 503; of the error only the kind is told, of the URL nothing."""
    script.respond(b"token=hunter2 is wrong", status=503, content_type="text/plain")
    stream = make(script, "https://user:hunter2@host/stream?key=hunter2", max_retries=0)
    app = readiness(stream, complete_is_ready=True)
    with pytest.raises(RetriesExhaustedError):
        await drain(stream)
    answer = await asked(app)
    assert answer.status_code == 503
    assert answer.json()["streams"][0]["last_error"] == "BadStatusError 503"
    assert "hunter2" not in answer.text
    assert "host" not in answer.text


@pytest.mark.parametrize("fine", [True, False])
async def test_a_complete_stream(script, fine):
    """F34: whether a stream that reached its end is ready is the program's choice."""
    script.respond(*numbered(1), event("bye", event="done"))
    stream = make(script, until="done")
    app = readiness(stream, complete_is_ready=fine)
    await drain(stream)
    status, answer = await told(app)
    assert status == (200 if fine else 503)
    assert answer["streams"][0]["why"] == (None if fine else "it is closed")


async def test_a_stream_that_the_program_closed(script):
    """F34: closed is not complete, until the stream is removed."""
    script.respond(*numbered(1)).hang()
    stream = make(script)
    app = readiness(stream, at_least=0)
    await anext(stream)
    await stream.aclose()
    assert (await told(app))[0] == 503
    app.remove(stream)
    assert await told(app) == (200, {"ready": True, "streams": []})


@pytest.mark.parametrize(
    "limits,why",
    [
        ({"max_silence": 8}, "no byte for more than 8 s"),
        ({"max_eventless": 8}, "no event for more than 8 s"),
        ({"max_silence": 11, "max_eventless": 14}, None),
    ],
)
async def test_limits(script, limits, why):
    """F34: silence and a lack of events are judged apart, in seconds."""
    script.respond(*numbered(1)).hang()
    stream = make(script)
    app = readiness(stream, **limits)
    await anext(stream)
    assert (await told(app))[0] == 200
    await anyio.sleep(10)
    status, answer = await told(app)
    assert answer["streams"][0]["why"] == why
    assert status == (200 if why is None else 503)
    await stream.aclose()


async def test_heartbeats_are_bytes_but_no_events(script):
    """F34: comments end a silence; only an event ends a lack of events."""
    script.respond(*numbered(1), comment("alive")).hang()
    stream = make(script)
    lively, eventful = readiness(stream, max_silence=3), readiness(stream, max_eventless=3)
    activity = stream.activity()
    await anext(activity)  # opened
    await anyio.sleep(1)
    assert (await told(eventful))[0] == 200
    await anyio.sleep(3)  # nothing was ever delivered: counted from the start
    assert (await told(eventful))[0] == 503
    await take(activity, 2)
    assert (await told(lively))[0] == 200
    await stream.aclose()


async def test_methods(script):
    """F34: GET and HEAD say the same with and without a body; others get 405 and are told."""
    app = Readiness(at_least=0)
    answer = await asked(app)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "no-store"
    head = await asked(app, "HEAD")
    assert (head.status_code, head.headers) == (200, answer.headers)
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": "HEAD"}, None, send)  # httpx would hide a body
    assert sent[-1] == {"type": "http.response.body", "body": b""}
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = await asked(app, method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.json() == {"error": "use GET or HEAD"}


async def test_nothing_to_watch_is_not_ready():
    """F34: a program that has lost its streams is not ready, unless it says that it needs none."""
    status, answer = await told(readiness())
    assert (status, answer["why"]) == (503, "there should be 1 or more streams")
    assert (await told(readiness(at_least=0)))[0] == 200


async def test_streams_are_held_weakly(script):
    """F34: the endpoint keeps no stream alive; one without a name is forgotten, one with a name is missed."""
    unnamed, named = make(script), make(script)
    seen = [weakref.ref(unnamed), weakref.ref(named)]
    app = readiness(unnamed, {"orders": named}, at_least=0)
    del unnamed, named
    gc.collect()
    assert [ref() for ref in seen] == [None, None]
    status, answer = await told(app)
    (about,) = answer["streams"]
    assert (status, about["name"], about["state"]) == (503, "orders", "gone")
    assert about["why"] == "the program has dropped it"
    app.remove("orders")
    assert (await told(app))[0] == 200


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_named_stream_that_was_complete_may_go(script, when):
    """F34: what has reached its end is not missed, whether it was added before that or after."""
    script.respond(event("bye", event="done"))
    stream = make(script, until="done")
    app = readiness({"reply": stream}) if when == "before" else readiness()
    await drain(stream)
    if when == "after":
        app.add(stream, "reply")
        with pytest.raises(TypeError, match="the name of a stream must be a text, not 1"):
            app.add(stream, 1)
    assert (await told(app))[0] == 200
    del stream
    await checkpoint()  # trio keeps the traceback of its last cancellation until then
    gc.collect()
    status, answer = await told(app)
    assert (status, answer["streams"][0]["state"]) == (200, "gone")


async def test_adding_and_removing(script):
    """F34: a name is one stream's at a time; what is gone or closed makes room; nothing stays behind."""
    first, second = make(script), make(script)
    before = list(second._callbacks._on_state)
    app = readiness({"prices": first})
    with pytest.raises(ValueError, match="a stream named 'prices' is there already"):
        app.add(second, "prices")
    await first.aclose()
    app.add(second, "prices")
    assert [row["state"] for row in app.report()[1]["streams"]] == ["connecting"]
    assert second._callbacks._on_state != before
    app.remove(second)
    assert second._callbacks._on_state == before
    for unknown in (second, "prices"):
        with pytest.raises(ValueError, match="was not added"):
            app.remove(unknown)
    app.add(second, "stream-2")  # as the endpoint would call one that has no name
    app.add(make(script))
    app.add(third := make(script))
    app.add(fourth := make(script), "stream-3")  # to which that one's name gives way
    assert [row["name"] for row in app.report()[1]["streams"]] == ["stream-2", "stream-4", "stream-3"]
    await third.aclose()
    app.add(fifth := make(script), "stream-4")
    del third
    gc.collect()
    assert [row["name"] for row in app.report()[1]["streams"]] == ["stream-2", "stream-3", "stream-4"]
    for stream in (second, fourth, fifth):
        await stream.aclose()


@pytest.mark.parametrize("ahead", [0.5, 50_000.0])
async def test_a_stream_by_another_clock(script, monkeypatch, ahead):
    """F34: where times lie ahead, nobody can know how long a stream has been silent: never ready."""
    script.respond(*numbered(1)).hang()
    stream = make(script)
    app = readiness(stream)
    await anext(stream)
    now = anyio.current_time()
    monkeypatch.setattr(anyio, "current_time", lambda: now - ahead)
    status, answer = await told(app)
    (about,) = answer["streams"]
    if ahead < 1:  # bytes that came in another thread while the clock was being read
        assert (status, about["why"]) == (200, None)
    else:
        assert (status, about["state"]) == (503, "connected")
        assert "it runs in another event loop" in about["why"]
        assert (about["since"], about["silent_for"], about["eventless_for"]) == (None, None, None)
    monkeypatch.undo()
    assert (await told(app))[0] == 200
    await stream.aclose()


async def test_other_scopes():
    """F34: servers that speak lifespan to every application are answered."""
    app, sent = readiness(), []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        return {"type": next(messages)}

    async def send(message):
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    with pytest.raises(ValueError, match="websocket"):
        await app({"type": "websocket"}, receive, send)
