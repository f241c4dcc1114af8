"""Bad input is refused where it is given, by a typed error that names the argument and says what to give."""

import http.client
import json
import logging
import socket

import anyio
import pytest
import redis

from resilient_sse.testing.server import (
    Bom,
    Close,
    Drop,
    Duplicate,
    Faults,
    GiantLine,
    MemoryStore,
    RateLimit,
    RedisStore,
    ReferenceServer,
    Reset,
    SQLiteStore,
    Status,
    Trickle,
    WrongType,
)
from tests.e2e.watching import eventually

pytestmark = pytest.mark.e2e

PATH = "/api/v1/publish"
TOO_LARGE = {"error": "the body is larger than 1048576 bytes"}


# --- Arguments


@pytest.mark.parametrize(
    "make,error,match",
    [
        (
            lambda: ReferenceServer(faults=[Status(503)]),
            TypeError,
            r"^faults must be a script such as Faults\(",
        ),
        (
            lambda: ReferenceServer(faults=Status(503)),
            TypeError,
            r"^faults must .* Faults\(Status\(503\)\), not Status\(",
        ),
        (lambda: ReferenceServer("sqlite:x.db"), TypeError, r"^store must be a store: .*SQLiteStore"),
        (lambda: ReferenceServer(MemoryStore), TypeError, "^store must be a store: "),
        (
            lambda: ReferenceServer(rate_limit="5/1"),
            TypeError,
            r"^rate_limit must be .*RateLimit\(5, per=1.0\)",
        ),
        (lambda: ReferenceServer(rate_limit=5), TypeError, "^rate_limit must be "),
        (
            lambda: ReferenceServer(heartbeat="10"),
            TypeError,
            "^heartbeat must be a number of seconds, not '10'",
        ),
        (lambda: ReferenceServer(send_timeout=None), TypeError, "^send_timeout must be a number of seconds"),
        (lambda: ReferenceServer(page=1.5), TypeError, "^page must be a whole number, not 1.5"),
        (lambda: ReferenceServer(buffer=None), TypeError, "^buffer must be a whole number, not None"),
        (lambda: ReferenceServer(overlap=True), TypeError, "^overlap must be a whole number, not True"),
        (lambda: ReferenceServer(retry="500"), TypeError, "^retry must be a whole number, not '500'"),
        (lambda: ReferenceServer(gzip="no"), TypeError, "^gzip must be True or False, not 'no'"),
        (lambda: ReferenceServer(heartbeat_ids=1), TypeError, "^heartbeat_ids must be True or False"),
        (lambda: ReferenceServer(notify_slow=1), TypeError, "^notify_slow must be True or False"),
        (lambda: ReferenceServer(start=["live"]), ValueError, "^start must be 'live' or 'first'"),
        (lambda: ReferenceServer(history="5"), TypeError, "^history must be a whole number, not '5'"),
        (lambda: RateLimit("a", 1), TypeError, "^requests must be a whole number, not 'a'"),
        (lambda: RateLimit(1, "60"), TypeError, "^per must be a number of seconds, not '60'"),
        (
            lambda: SQLiteStore(":memory:"),
            ValueError,
            r"^path must name a file, not ':memory:'; MemoryStore\(\)",
        ),
        (lambda: SQLiteStore(""), ValueError, "^path must name a file"),
        (lambda: RedisStore(5), TypeError, "^url must be redis://HOST:PORT/DB or a client of redis.asyncio"),
        (
            lambda: RedisStore(redis.Redis()),
            TypeError,
            "^url must be redis://HOST:PORT/DB or a client of redis",
        ),
        (
            lambda: RedisStore("redis://h?nonsense=1"),
            ValueError,
            "^the URL of Redis has an option that is not",
        ),
        (lambda: RedisStore("redis://h", history=1.5), TypeError, "^history must be a whole number"),
    ],
)
def test_arguments_of_the_server(make, error, match):
    """R192, R195: what would fail at a request, or at each, fails when it is given."""
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    "make,error,match",
    [
        (lambda: Faults(5), TypeError, r"^a fault must be one such as Status\(503\), or None, not 5$"),
        (lambda: Faults("Reset"), TypeError, "^a fault must be one such as"),
        (
            lambda: Faults([Status(503)]),
            TypeError,
            r"^a fault must be .*; give faults one by one",
        ),
        (lambda: Faults(Bom), TypeError, r"^a fault must be .*; put parentheses behind it: Bom\(\.\.\.\)"),
        (lambda: Faults(then=5), TypeError, "^then must be one such as"),
        (lambda: Faults(then=Reset), TypeError, r"^then must .* Reset\(\.\.\.\)$"),
        (lambda: Status("x"), TypeError, "^status must be a whole number, not 'x'"),
        (lambda: Status(42), ValueError, "^status must be at least 200, not 42"),
        (lambda: Status(101), ValueError, "^status must be at least 200, not 101"),
        (lambda: Status(600), ValueError, "^status must be at most 599, not 600"),
        (lambda: Status(503, retry_after=-1), ValueError, "^retry_after must be at least 0, not -1"),
        (lambda: Status(503, retry_after=1.5), TypeError, "^retry_after must be a whole number"),
        (lambda: Status(503, retry_after="1\r\nX: y"), ValueError, "^retry_after must be printable ASCII"),
        (lambda: Status(503, body=b"x"), TypeError, "^body must be a string, not b'x'"),
        (lambda: WrongType("text/html\n"), ValueError, "^content_type must be printable ASCII"),
        (lambda: WrongType(body=None), TypeError, "^body must be a string"),
        (lambda: Close(after="1"), TypeError, "^after must be a whole number, not '1'"),
        (lambda: Close(after=-1), ValueError, "^after must be at least 0"),
        (lambda: GiantLine(size=0), ValueError, "^size must be at least 1"),
        (lambda: GiantLine(after=-1), ValueError, "^after must be at least 0, not -1"),
        (lambda: Trickle(every=-0.1), ValueError, "^every must be a number of seconds, 0 or more"),
        (lambda: Trickle(every="x"), TypeError, "^every must be a number of seconds"),
        (lambda: Duplicate(times=0), ValueError, "^times must be at least 1"),
        (lambda: Drop(rate=1.5), ValueError, "^rate must be between 0 and 1, not 1.5"),
        (lambda: Drop(rate=float("nan")), ValueError, "^rate must be between 0 and 1"),
        (lambda: Drop(rate="x"), TypeError, "^rate must be a number between 0 and 1, not 'x'"),
        (lambda: Drop(seed=[]), TypeError, "^seed must be a whole number"),
    ],
)
def test_arguments_of_faults(make, error, match):
    """P25: a fault that cannot be played is refused when it is made, not by a bare 500 for each stream."""
    with pytest.raises(error, match=match):
        make()


def test_a_script_that_is_added_to(start, listen):
    """P25: what is added is checked, too, all of it before any; a long value is shown in part."""
    faults = Faults()
    with pytest.raises(TypeError, match=r"^a fault must be one such as .* not 'x+\.\.\.$"):
        faults.add(Status(500), "x" * 500)
    assert listen(start(faults=faults).url).status == 200


# --- Publishing


@pytest.mark.parametrize(
    "given,error,match",
    [
        ({"data": {"n": 1}}, TypeError, r"^data must be a string, not \{'n': 1\}; json.dumps makes one"),
        ({"data": b"x"}, TypeError, "^data must be a string, not b'x'"),
        ({"data": None}, TypeError, "^data must be a string"),
        ({"data": "\ud800"}, ValueError, "^data holds half a surrogate pair"),
        ({"user_id": 5}, TypeError, "^user_id must be a string, not 5"),
        ({"user_id": None}, TypeError, "^user_id must be a string, not None"),
        ({"user_id": "a" * 300}, ValueError, "^user_id must not be longer than 256 characters; .* 300$"),
        ({"user_id": "\ud800"}, ValueError, "^user_id holds half a surrogate pair"),
        ({"event": 5}, TypeError, "^event must be a string of one line, not 5"),
        ({"event": "a\nb"}, ValueError, "^event must be a string of one line"),
        ({"event": "\ud800"}, ValueError, "^event holds half a surrogate pair"),
    ],
)
def test_publishing_in_python(start, given, error, match):
    """R226: what HTTP refuses is refused here, too; nothing is stored under a name that nobody can read."""
    running = start()
    with pytest.raises(error, match=match):
        running.publish(**({"data": "x"} | given))
    if "data" not in given:
        with pytest.raises(error, match=match):
            running.complete(**given)
    assert running.server.counters.published == 0
    assert running.publish("€", user_id="ü" * 256, event="") == 1


@pytest.mark.parametrize(
    "total,error,match",
    [(-1, ValueError, "^total must be at least 0"), ("50", TypeError, "^total must be a whole number")],
)
def test_a_total_that_makes_no_sense(start, total, error, match):
    """X12: only a number of events can be declared."""
    running = start()
    with pytest.raises(error, match=match):
        running.complete(total=total)
    assert running.server.counters.published == 0


def post(running, body):
    """Publish over HTTP."""
    connection = http.client.HTTPConnection(running.host, running.port, timeout=20)
    try:
        connection.request("POST", PATH, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "body,match",
    [
        ('{"data": NaN}', "JSON has no NaN"),
        ('{"data": {"x": [-Infinity]}}', "JSON has no -Infinity"),
        ('{"data": 1e999}', "the number 1e999 is too large"),
        ('{"data": {"x": -1e999}}', "the number -1e999 is too large"),
        ('{"data": "x", "user_id": 1e999}', "the number 1e999 is too large"),
        ('{"data": "x", "user_id": null}', "user_id must be a string, not None"),
        ('{"data": "x", "user_id": "%s"}' % ("a" * 257), "user_id must not be longer than 256 characters"),
        ('{"data": "x", "user_id": "\\ud800"}', "user_id holds half a surrogate pair"),
        ('{"data": "x", "event": ["a"]}', "event must be a string of one line"),
        ('{"data": "x", "event": "a\\rb"}', "event must be a string of one line"),
    ],
)
def test_publishing_over_http(start, body, match):
    """R226: what no reader could parse, or nobody could ask for, is answered 400."""
    running = start()
    status, answer = post(running, body)
    assert (status, match in answer["error"]) == (400, True), answer
    assert running.server.counters.published == 0
    assert post(running, '{"data": [1e308, 0.5]}') == (200, {"id": 1})


@pytest.mark.parametrize("value", ["9" * 19, "-" + "9" * 19, "99999999999999999999999"])
def test_an_id_beyond_the_range(start, listen, value):
    """R141: it is an integer, so the answer says what is wrong with it."""
    heard = listen(start().url, last_event_id=value)
    assert heard.status == 400
    assert heard.json()["error"].startswith("last_event_id must be an integer of at most 18 digits, not '")
    assert listen(start().url, last_event_id="9" * 18).status == 200


def test_a_body_that_is_far_too_large(start):
    """R226: a publisher that reads no answer before it has sent everything learns why it is refused."""
    running = start()
    assert post(running, b'{"data": "' + b"x" * 30_000_000 + b'"}') == (413, TOO_LARGE)
    assert post(running, '{"data": "x"}') == (200, {"id": 1})


async def test_a_large_body_in_one_piece(anyio_backend):
    """R226: other ASGI servers hand a body over as a whole."""
    if anyio_backend == "trio":
        return  # the server is asyncio's
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"x" * 2_000_000, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
    await ReferenceServer().app({**scope, "http_version": "1.1", "headers": []}, receive, send)
    assert (sent[0]["status"], json.loads(sent[1]["body"])) == (413, TOO_LARGE)


async def test_a_large_body_without_an_end(anyio_backend):
    """R226: what is taken of such a body is bounded."""
    if anyio_backend == "trio":
        return  # the server is asyncio's
    taken, sent = [], []

    async def receive():
        taken.append(1 << 20)
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
    await ReferenceServer().app({**scope, "http_version": "1.1", "headers": []}, receive, send)
    assert sent[0]["status"] == 413
    assert 64 << 20 <= sum(taken) <= 70 << 20


@pytest.mark.parametrize("sent", [100, 3_000_000], ids=["short", "too large"])
async def test_a_publisher_that_hangs_up(start, caplog, sent):
    """R226: half a body is nothing to publish, and nothing to write a traceback about."""
    running = start()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {sent + 100}\r\n\r\n".encode()
    with caplog.at_level(logging.INFO), socket.create_connection((running.host, running.port)) as connection:
        connection.sendall(head + b'{"data": "' + b"x" * sent)
        await anyio.sleep(0.1)
    assert await eventually(lambda: not running._uvicorn.server_state.connections, within=5)
    assert await eventually(lambda: not running._uvicorn.server_state.tasks, within=5)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn.error")] == []
    assert running.server.counters.published == 0
    assert post(running, '{"data": "x"}') == (200, {"id": 1})
