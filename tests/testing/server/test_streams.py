"""What one request is answered: headers, parameters, blocks on the wire, heartbeats, ids, and the page."""

import base64
import hashlib
import inspect
import re
import socket
import time
from itertools import pairwise

import anyio
import pytest

from resilient_sse import ResilientStream, integers
from resilient_sse.testing.server import (
    DONE,
    EVENT_TYPE,
    HEARTBEAT,
    SLOW,
    TRUNCATED,
    ReferenceServer,
    ServerCounters,
)
from tests.e2e.watching import QUICK, eventually, soon
from tests.testing.server.listening import asked

pytestmark = pytest.mark.e2e


def test_the_headers(start, listen):
    """R133-R136: exactly these values; and Nagle's algorithm is off, which would hold small events for 40 ms."""
    running = start()
    heard = listen(running.url)
    expected = {
        "Cache-Control": "no-cache",
        "Connection": "keep-alive",
        "X-Accel-Buffering": "no",
        "Content-Type": "text/event-stream; charset=utf-8",
        "Content-Encoding": None,
        "Transfer-Encoding": "chunked",
    }
    assert (heard.status, {name: heard.headers[name] for name in expected}) == (200, expected)
    (connection,) = running._uvicorn.server_state.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the server is asyncio's
@pytest.mark.parametrize("version,kept", [("1.1", True), ("1.0", True), ("2", False), ("3", False)])
async def test_keep_alive_is_for_http_1_only(version, kept):
    """R134, X22: on HTTP/2 the header would make the answer malformed."""
    sent, _ = await asked("GET", "/api/v1/stream", {"type": "http.disconnect"}, version=version)
    assert sent[0]["status"] == 200
    assert (b"connection" in {name for name, _ in sent[0]["headers"]}) is kept


def test_golden_bytes(start, listen):
    """R226, R138: each block is these bytes, `retry` once and at the beginning of the connection."""
    running = start(retry=2500, heartbeat=None)
    early = listen(running.url)
    assert early.blocks(1) == [b"retry: 2500\n\n"]
    running.publish('{"text":"a"}', event="token")
    running.publish("two\nlines", event=None)
    running.publish("€", event="token")
    running.complete()
    told = (
        b'event: token\nid: 1\ndata: {"text":"a"}\n\n'
        b"id: 2\ndata: two\ndata: lines\n\n"
        b"event: token\nid: 3\ndata: \xe2\x82\xac\n\n"
        b'event: done\nid: 4\ndata: {"total": 3}\n\n'
    )
    assert b"".join(early.blocks(4)) == told
    assert b"".join(listen(running.url, last_event_id=0).blocks(4)) == b"retry: 2500\n" + told


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
    assert first.hear(1)[0]["data"] == "for ada"
    assert second.hear(1)[0]["data"] == "for bob"
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
    seen = {"published": 1, "events_sent": 1, "connections": 1, "live": 1, "max_live_per_user": 1}
    assert told == {**ServerCounters().to_dict(), **seen}


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


def test_the_defaults():
    """R26, R138, R178, R142, R143, R226: what a server does that is told nothing."""
    parameters = inspect.signature(ReferenceServer).parameters
    defaults = {"heartbeat": 10.0, "heartbeat_ids": False, "retry": 1000, "gzip": False}
    defaults |= {"page": 100, "send_timeout": 30.0, "start": "live"}
    assert {name: parameters[name].default for name in defaults} == defaults


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
    options = {"backoff": QUICK, "max_retries": None, "on_gap": gaps.append}
    stream = ResilientStream(running.url, sequence=integers, heartbeat_events=(), **options)
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

    async def publish():
        assert await eventually(lambda: running.server.live, within=15)
        for number in range(4):
            await anyio.to_thread.run_sync(running.publish, str(number))
            await anyio.sleep(0.12)
        await anyio.to_thread.run_sync(running.complete)

    stream = ResilientStream(running.url, sequence=integers, until="done")
    async with stream, anyio.create_task_group() as group:
        group.start_soon(publish)
        taken = [event.data async for event in stream]
    assert taken == ["0", "1", "2", "3", '{"total": 4}']
    assert stream.stats.heartbeats > 0
    assert stream.stats.received == stream.stats.delivered + stream.stats.heartbeats


def test_completion_declares_what_was_sent(start, listen):
    """X12, R93: the completion event counts the data events since the last one, or says what it is told."""
    running = start()
    heard = listen(running.url, last_event_id=0)
    for count in (3, 2, 0):
        for _ in range(count):
            running.publish("x")
        running.complete()
        assert heard.hear(count + 1)[-1]["data"] == f'{{"total": {count}}}'
    running.complete(total=50, event="response.completed")
    assert heard.blocks(1) == [b'event: response.completed\nid: 9\ndata: {"total": 50}\n\n']


# --- The page


def inside(page, element):
    """Return what the only element of that name holds."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return content


def test_the_page(start, listen):
    """Its policy names its own style and script by their bytes, and its own server; nothing else may run."""
    answer = listen(start().base_url + "/", user_id="ada")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = answer.ends().decode()
    assert page.startswith("<!doctype html>\n")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    own = {
        f"{name}-src": hashlib.sha256(inside(page, name).encode()).digest() for name in ("script", "style")
    }
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        **{name: f"'sha256-{base64.b64encode(digest).decode()}'" for name, digest in own.items()},
    }
    # No other address stands in it, its stream is that of its own query, and text goes in as text only.
    assert re.findall(r"https?:|//\w", page) == []
    assert re.findall(r"(?:src|href)=\S+", page) == ['href="data:,">']
    script = inside(page, "script")
    assert 'new EventSource("api/v1/stream?" + query)' in script
    assert "query = new URLSearchParams(asked)" in script
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", script) == []
    # A browser tells a page only of the types that it names: these are all that the server has by itself.
    for name in ("message", EVENT_TYPE, DONE, HEARTBEAT, TRUNCATED, SLOW):
        assert f'"{name}"' in script
