"""What one request is answered: headers, parameters, blocks on the wire, heartbeats, ids, and the page."""

import asyncio
import base64
import hashlib
import http.client
import inspect
import re
import socket
import time
from itertools import pairwise
from urllib.parse import urlsplit

import anyio
import pytest

from resilient_sse import ResilientStream, integers
from resilient_sse.testing.server import (
    DONE,
    EVENT_TYPE,
    HEARTBEAT,
    SLOW,
    TRUNCATED,
    Counters,
    ReferenceServer,
    serving,
)
from tests.e2e.watching import QUICK, soon

pytestmark = pytest.mark.e2e


def test_small_events_do_not_wait_for_acknowledgements(start, listen):
    """Nagle's algorithm is off on accepted connections; it would hold every second small event for 40 ms."""
    running = start()
    listen(running.url)
    (connection,) = running._uvicorn.server_state.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_headers(start, listen):
    """R133-R136: exactly these values, and keep-alive on HTTP/1.1."""
    heard = listen(start().url)
    assert heard.status == 200
    assert heard.headers["Cache-Control"] == "no-cache"
    assert heard.headers["Connection"] == "keep-alive"
    assert heard.headers["X-Accel-Buffering"] == "no"
    assert heard.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert "Content-Encoding" not in heard.headers
    assert heard.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("version,kept", [("1.1", True), ("1.0", True), ("2", False), ("3", False)])
async def test_keep_alive_is_for_http_1_only(version, kept, anyio_backend):
    """R134, X22: on HTTP/2 the header would make the answer malformed."""
    if anyio_backend == "trio":
        return  # the server is asyncio's
    sent = []

    async def receive():
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    path = "/api/v1/stream"
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    await ReferenceServer().app({**scope, "http_version": version, "headers": []}, receive, send)
    names = {name for name, _ in sent[0]["headers"]}
    assert sent[0]["status"] == 200
    assert (b"connection" in names) is kept


def test_golden_bytes(start, listen):
    """R226, R138: each block is these bytes, `retry` once and in the first event of the connection."""
    running = start(retry=2500, heartbeat=None)
    running.publish('{"text":"a"}', event="token")
    running.publish("two\nlines", event=None)
    running.publish("€", event="token")
    running.complete()
    assert b"".join(listen(running.url, last_event_id=0).blocks(4)) == (
        b'retry: 2500\nevent: token\nid: 1\ndata: {"text":"a"}\n\n'
        b"id: 2\ndata: two\ndata: lines\n\n"
        b"event: token\nid: 3\ndata: \xe2\x82\xac\n\n"
        b'event: done\nid: 4\ndata: {"total": 3}\n\n'
    )


def test_every_connection_is_told_the_reconnection_time(listen):
    """R226: a server that is told nothing sends it at the beginning of each connection, and not again."""
    with serving(ReferenceServer(heartbeat=None)) as running:
        first = listen(running.url)
        assert first.blocks(1) == [b"retry: 1000\n\n"]
        running.publish("a", event="token")
        running.publish("b")
        assert b"".join(first.blocks(2)) == b"event: token\nid: 1\ndata: a\n\nid: 2\ndata: b\n\n"
        again = listen(running.url, header=0)
        assert b"".join(again.blocks(2)) == (
            b"retry: 1000\nevent: token\nid: 1\ndata: a\n\nid: 2\ndata: b\n\n"
        )


@pytest.mark.parametrize(
    "header,query,first",
    [
        (None, None, None),
        (None, 3, 4),
        (3, None, 4),
        (5, 3, 6),
        (3, 5, 4),
        (None, -1, 1),
        (None, 0, 1),
        (None, "", None),
    ],
)
def test_the_cursor(start, listen, header, query, first):
    """R141, R38, R148, X15: header and query are both understood, the header wins, absent means live only."""
    running = start()
    for number in range(1, 9):
        running.publish(str(number))
    params = {} if query is None else {"last_event_id": query}
    heard = listen(running.url, header=header, **params)
    # An event that is published now shows that nothing came before it where nothing should.
    assert soon(lambda: running.server.live)
    running.publish("9")
    expected = list(range(first or 9, 10))
    assert heard.ids(len(expected)) == expected
    record = running.server.requests[-1]
    assert (record.header_cursor, record.query_cursor) == (header, query if isinstance(query, int) else None)
    assert (record.first_id, record.status, record.user) == (expected[0], 200, "default")


def test_users_are_apart(start, listen):
    """R141, R146: each user has a stream and a numbering of its own; both figures per user are told."""
    running = start()
    first, second = listen(running.url, user_id="ada"), listen(running.url, user_id="bob")
    assert [running.publish("for ada", user_id="ada"), running.publish("for bob", user_id="bob")] == [1, 1]
    assert first.hear(1)[0].fields["data"] == "for ada"
    assert second.hear(1)[0].fields["data"] == "for bob"
    assert (running.server.live, running.server.max_live_per_user) == (2, 1)
    third = listen(running.url, user_id="bob")
    running.publish("again", user_id="bob")
    assert third.ids(1) == second.ids(1) == [2]
    assert (running.server.live, running.server.max_live_per_user) == (3, 2)
    assert listen(running.url, user_id="x" * 257).status == 400


def test_the_figures(start, listen):
    """R145, R192: every counter can be read over HTTP."""
    running = start()
    heard = listen(running.url, last_event_id=0)
    running.publish("x")
    heard.blocks(1)
    told = listen(running.base_url + "/api/v1/stats").json()
    assert {**told} == {**Counters().to_dict(), **told}
    assert (told["published"], told["events_sent"], told["connections"], told["live"]) == (1, 1, 1, 1)
    assert told["slow_client_disconnects"] == 0


def test_heartbeats_keep_their_beat(start, listen):
    """R26, R138, R178: type `heartbeat`, data {}, no id, one in each interval, whatever else is sent."""
    running = start(heartbeat=0.25)
    heard = listen(running.url)
    heard.blocks(1)
    began = time.monotonic()
    for _ in range(8):
        running.publish("x")
        assert heard.blocks(2)[1] == b"event: heartbeat\ndata: {}\n\n"
    assert time.monotonic() - began > 0.8 * 8 * 0.25  # a busy machine may be late, but never early


def test_ten_seconds_are_the_default():
    """R26, R138, R178: a server that is told nothing sends a heartbeat every 10 s, without ids."""
    parameters = inspect.signature(ReferenceServer).parameters
    assert (parameters["heartbeat"].default, parameters["heartbeat_ids"].default) == (10.0, False)
    assert (parameters["page"].default, parameters["send_timeout"].default) == (100, 30.0)
    assert parameters["gzip"].default is False


@pytest.mark.proof
@pytest.mark.ci
def test_heartbeats_come_every_ten_seconds(start, listen):
    """R26: 10.0 s +- 0.5, twice in a row, by the clock."""
    heard = listen(start().url)
    times = [time.monotonic()]
    for _ in range(2):
        assert heard.blocks(1) == [b"event: heartbeat\ndata: {}\n\n"]
        times.append(time.monotonic())
    assert all(abs(later - earlier - 10) < 0.5 for earlier, later in pairwise(times))


async def test_heartbeats_with_ids_leave_no_hole(start):
    """R139, X13: numbered heartbeats are stored, so a client that checks numbers sees no hole."""
    running = start(heartbeat=0.05, heartbeat_ids=True, start="first")
    gaps, ids = [], []
    stream = ResilientStream(
        running.url,
        sequence=integers,
        heartbeat_events=(),
        backoff=QUICK,
        on_gap=gaps.append,
        max_retries=None,
    )
    async with stream:
        async for event in stream:
            ids.append((int(event.id), event.event))
            if len(ids) % 7 == 3:
                stream.restart()
            if len(ids) % 5 == 2:
                await anyio.to_thread.run_sync(running.publish, "x")
            if len(ids) == 40:
                break
    assert [number for number, _ in ids] == list(range(1, 41))
    assert {kind for _, kind in ids} == {HEARTBEAT, "message"}
    assert (gaps, stream.stats.lost) == ([], 0)
    assert stream.stats.reconnects >= 4


async def test_numbered_heartbeats_are_not_data(start):
    """X13, R139: by default they are not delivered, and they do not count in what the server declares."""
    running = start(heartbeat=0.05, heartbeat_ids=True)
    stream = ResilientStream(running.url, sequence=integers, until="done")
    async with stream, anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, publish_slowly, running)
        taken = [event.data async for event in stream]
    assert taken == ["0", "1", "2", "3", '{"total": 4}']
    assert stream.stats.heartbeats > 0
    assert stream.stats.received == stream.stats.delivered + stream.stats.heartbeats


def publish_slowly(running):
    """Publish once there is a reader, with heartbeats in between."""
    assert soon(lambda: running.server.live)
    for number in range(4):
        running.publish(str(number))
        time.sleep(0.12)
    running.complete()


def test_completion_declares_what_was_sent(start, listen):
    """X12, R93: the completion event counts the data events since the last one, or says what it is told."""
    running = start()
    heard = listen(running.url, last_event_id=0)
    for count in (3, 2, 0):
        for _ in range(count):
            running.publish("x")
        running.complete()
        assert heard.hear(count + 1)[-1].json == {"total": count}
    running.complete(total=50, event="response.completed")
    assert heard.blocks(1) == [b'event: response.completed\nid: 9\ndata: {"total": 50}\n\n']


pytestmark = pytest.mark.e2e


@pytest.fixture
def answer(start):
    """Give the answer to a request for the page of a user."""
    connection = http.client.HTTPConnection(urlsplit(start().url).netloc, timeout=20)
    connection.request("GET", "/?user_id=ada")
    yield connection.getresponse()
    connection.close()


def inside(page, element):
    """Return what the only element of that name holds."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return content


def test_the_page_is_allowed_itself_and_its_stream(answer):
    """Its policy names its own style and script by their bytes, and its own server; nothing else may run."""
    page = answer.read().decode()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.startswith("<!doctype html>\n")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    digests = {
        name: base64.b64encode(hashlib.sha256(inside(page, name).encode()).digest()).decode()
        for name in ("script", "style")
    }
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "script-src": f"'sha256-{digests['script']}'",
        "style-src": f"'sha256-{digests['style']}'",
    }


def test_the_page_needs_nothing_else(answer):
    """No other address stands in it, its stream is that of its own query, and text goes in as text only."""
    page = answer.read().decode()
    assert re.findall(r"https?:|//\w", page) == []
    assert re.findall(r"(?:src|href)=\S+", page) == ['href="data:,">']
    script = inside(page, "script")
    assert 'new EventSource("api/v1/stream?" + query)' in script
    assert "query = new URLSearchParams(asked)" in script
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", script) == []


def test_the_page_names_the_types_of_the_server(answer):
    """A browser tells a page only of the types that it names: these are all that the server has by itself."""
    script = inside(answer.read().decode(), "script")
    for name in ("message", EVENT_TYPE, DONE, HEARTBEAT, TRUNCATED, SLOW):
        assert f'"{name}"' in script
