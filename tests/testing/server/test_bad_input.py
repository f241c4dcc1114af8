"""Bad input is refused where it is given, by a typed error that names the argument and says what to give."""

import http.client
import json
import logging
import socket

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
    RunningServer,
    SQLiteStore,
    Status,
    Trickle,
    WrongType,
)
from tests.testing.server.listening import asked

pytestmark = pytest.mark.e2e

PATH = "/api/v1/publish"


TYPE_ERRORS = [
    (lambda: ReferenceServer(faults=Status(503)), r"^faults must .* Faults\(Status\(503\)\), not"),
    (lambda: ReferenceServer("sqlite:x.db"), "^store must be a store: .*SQLiteStore"),
    (lambda: ReferenceServer(rate_limit=5), r"^rate_limit must be .*RateLimit\(5, per=1.0\)"),
    (lambda: ReferenceServer(heartbeat="10"), "^heartbeat must be a positive number of seconds"),
    (lambda: ReferenceServer(buffer=1.5), "^buffer must be a whole number, at least 1, not 1.5"),
    (lambda: ReferenceServer(overlap=True), "^overlap must be a whole number"),
    (lambda: ReferenceServer(gzip="no"), "^gzip must be True or False, not 'no'"),
    (lambda: RateLimit("a", 1), "^requests must be a whole number, at least 1, not 'a'"),
    (lambda: RedisStore(redis.Redis()), "^url must be a string such as redis://HOST:PORT/DB, not <redis"),
    (lambda: Faults([Status(503)]), r"^a fault must be .*; give faults one by one"),
    (lambda: Faults(Bom), r"^a fault must be .*; put parentheses behind it: Bom\(\.\.\.\)"),
    (lambda: Faults(then=5), r"^then must be one such as Status\(503\), or None, not 5$"),
    (lambda: Faults().add("x" * 500), r"^a fault must be one such as .* not 'x+\.\.\.$"),
    (lambda: WrongType(body=None), "^body must be a string"),
    (lambda: Duplicate(times=None), "^times must be a whole number, at least 1, not None"),
    (lambda: RunningServer(ReferenceServer), r"^server must be a ReferenceServer, such as .*\), not <class"),
    (lambda: RunningServer(ReferenceServer(), port="80"), "^port must be a port from 0 to 65535, not '80'"),
    (lambda: Close(after="1"), "^after must be a whole number, at least 0, not '1'"),
]
VALUE_ERRORS = [
    (lambda: ReferenceServer(heartbeat=float("inf")), "^heartbeat must be a positive"),
    (lambda: ReferenceServer(send_timeout=0), "^send_timeout must be a positive"),
    (lambda: ReferenceServer(page=0), "^page must be a whole number, at least 1, not 0"),
    (lambda: ReferenceServer(retry=-1), "^retry must be a whole number, at least 0"),
    (lambda: ReferenceServer(start=["live"]), "^start must be 'live' or 'first'"),
    (lambda: ReferenceServer(history=0), "^history must be a whole number, at least 1"),
    (lambda: ReferenceServer(first_id=-1), "^first_id must be a whole number, at least 0"),
    (lambda: ReferenceServer(MemoryStore(), history=3), "belong to the store; give them to it"),
    (lambda: RateLimit(1, per=0), "^per must be a positive number of seconds, not 0"),
    (lambda: SQLiteStore(":memory:"), r"^path must name a file, not ':memory:'; MemoryStore\(\)"),
    (lambda: RedisStore("redis://h?nonsense=1"), "^the URL of Redis has an option that is not"),
    (lambda: Status(101), "^status must be a whole number from 200 to 599, not 101"),
    (lambda: Status(503, retry_after=-1), "^retry_after must be a whole number, at least 0"),
    (lambda: Status(503, retry_after="1\r\nX: y"), "^retry_after must be printable ASCII"),
    (
        lambda: RunningServer(ReferenceServer(), port=70_000),
        "^port must be a port from 0 to 65535, not 70000",
    ),
    (lambda: Reset(after=-1), "^after must be a whole number, at least 0, not -1"),
    (lambda: GiantLine(size=0), "^size must be a whole number, at least 1"),
    (lambda: Trickle(every=-0.1), "^every must be a number of seconds, 0 or more"),
    (lambda: Duplicate(times=0), "^times must be a whole number, at least 1"),
    (lambda: Drop(rate=float("nan")), "^rate must be a share between 0 and 1"),
]


@pytest.mark.parametrize(
    "error, make, match",
    [*((TypeError, *row) for row in TYPE_ERRORS), *((ValueError, *row) for row in VALUE_ERRORS)],
)
def test_arguments(make, error, match):
    """R192, R195, P25: what would fail at a request, or at each, fails when it is given."""
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    "given,error,match",
    [
        ({"data": {"n": 1}}, TypeError, r"^data must be a string, not \{'n': 1\}; json.dumps makes one"),
        ({"data": "\ud800"}, ValueError, "^data holds half a surrogate pair"),
        ({"user_id": 5}, TypeError, "^user_id must be a string, not 5"),
        ({"user_id": "a" * 300}, ValueError, "^user_id must not be longer than 256 characters; .* 300$"),
        ({"event": 5}, TypeError, "^event must be a string of one line, not 5"),
        ({"event": "a\nb"}, ValueError, "^event must be a string of one line"),
        ({"total": -1}, ValueError, "^total must be a whole number, at least 0"),
    ],
)
def test_publishing_in_python(start, given, error, match):
    """R226, X12: what HTTP refuses is refused here, too; nothing is stored under a name that nobody can read."""
    running = start()
    if "total" not in given:
        with pytest.raises(error, match=match):
            running.publish(**({"data": "x"} | given))
    if "data" not in given:
        with pytest.raises(error, match=match):
            running.complete(**given)
    assert running.server.counters.published == 0
    assert running.publish("€", user_id="ü" * 256, event="") == 1


def post(running, body):
    """Publish over HTTP."""
    connection = http.client.HTTPConnection(running.host, running.port, timeout=20)
    try:
        connection.request("POST", PATH, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_publishing_over_http(start, listen):
    """R226: what is posted is delivered; what no reader could parse, or nobody could ask for, is answered 400."""
    running = start()
    heard = listen(running.url, user_id="ada")
    no_object = "must be a JSON object with the key 'data'"
    for body, reason in (
        *((body, no_object) for body in ("", "no json", "[1]", '{"event": "x"}', b"\xff", "[" * 100_000)),
        ('{"data": NaN}', "not JSON compliant"),
        ('{"data": {"x": -1e999}}', "not JSON compliant"),
        ('{"data": "x", "user_id": null}', "user_id must be a string, not None"),
        ('{"data": "x", "user_id": "%s"}' % ("a" * 257), "user_id must not be longer than 256 characters"),
        ('{"data": "\\ud800"}', "data holds half a surrogate pair"),
        ('{"data": "x", "event": "a\\rb"}', "event must be a string of one line"),
    ):
        status, answer = post(running, body)
        assert (status, reason in answer["error"]) == (400, True), answer
    assert (running.server.counters.published, running.server.counters.bad_requests) == (0, 12)
    # A publisher that reads no answer before it has sent everything learns why it is refused.
    too_large = post(running, b'{"data": "' + b"x" * 30_000_000 + b'"}')
    assert too_large == (413, {"error": "the body is larger than 1048576 bytes"})
    assert post(running, '{"data": "hello", "event": "greeting", "user_id": "ada"}') == (200, {"id": 1})
    assert post(running, '{"data": {"n": [1, 2]}, "user_id": "ada"}') == (200, {"id": 2})
    assert heard.blocks(2) == [b"event: greeting\nid: 1\ndata: hello\n\n", b'id: 2\ndata: {"n":[1,2]}\n\n']


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the server is asyncio's
async def test_a_large_body_without_an_end():
    """R226: what is taken of such a body is bounded."""
    sent, taken = await asked(
        "POST", PATH, {"type": "http.request", "body": bytes(1 << 20), "more_body": True}
    )
    assert (sent[0]["status"], taken) == (413, 2)


@pytest.mark.parametrize("sent", [100, 3_000_000], ids=["short", "too large"])
def test_a_publisher_that_hangs_up(start, caplog, sent):
    """R226: half a body is nothing to publish, and nothing to write a traceback about."""
    running = start()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {sent + 100}\r\n\r\n".encode()
    with caplog.at_level(logging.INFO), socket.create_connection((running.host, running.port)) as connection:
        connection.sendall(head + b'{"data": "' + b"x" * sent)
    assert post(running, '{"data": "x"}') == (200, {"id": 1})
    running.stop()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn.error")] == []


@pytest.mark.parametrize("value", ["abc", "1.5", "12a", "0x10", "%D9%A3", "%20", "9" * 19])
def test_a_cursor_that_is_no_integer(start, listen, value):
    """R141: text is answered 400, with JSON that says what is wrong, in the header as in the query."""
    running = start()
    answers = [listen(running.url, last_event_id=value)]
    if "%" not in value:  # cannot be written there
        answers.append(listen(running.url, header=value))
    for heard in answers:
        assert (heard.status, heard.headers["Content-Type"]) == (400, "application/json")
        assert "must be an integer of at most 18 digits, not '" in heard.json()["error"]
    assert running.server.counters.bad_requests == len(answers)
    assert listen(running.url, last_event_id="9" * 18).status == 200
