"""Replay without a hole, readers that do not keep up, compression, limits, restarts and the end."""

import asyncio
import http.client
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import anyio
import pytest

from resilient_sse import Reason, ResilientStream, integers
from resilient_sse.testing.server import (
    EVENT_TYPE,
    SLOW,
    TRUNCATED,
    Fault,
    Faults,
    MemoryStore,
    RateLimit,
    RedisStore,
    ReferenceServer,
    RunningServer,
    StoreError,
    payloads,
    serving,
)
from tests.e2e.watching import QUICK, refuses, soon
from tests.testing.server.listening import Deaf, established

pytestmark = pytest.mark.e2e

LARGE = "x" * 100_000


def publish(running, *numbers):
    """Publish these numbers."""
    for number in numbers:
        running.publish(str(number))


class Watched(MemoryStore):
    """Counts what is asked of it; it does not say that an event is stored before the gate is open."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.kept = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def after(self, stream, id, limit):  # noqa: A002 - as the protocol has it
        self.asked.append(limit)
        return await super().after(stream, id, limit)

    async def append(self, *args):
        stored = await super().append(*args)
        self.kept += 1
        await self.gate.wait()
        return stored

    async def turn(self, *, shut):
        (self.gate.clear if shut else self.gate.set)()


# --- Replay


@pytest.mark.parametrize("missed", [99, 100, 101, 250])
def test_replay_in_pages_of_a_hundred(start, listen, missed):
    """R142, X16: whatever was missed comes in pages of 100, until the reader has caught up."""
    store = Watched()
    running = start(store)
    publish(running, *range(missed))
    heard = listen(running.url, last_event_id=0)
    assert heard.ids(missed) == list(range(1, missed + 1))
    running.publish("live")
    assert heard.ids(1) == [missed + 1]
    assert {*store.asked} == {100}
    assert running.server.counters.replayed == missed


def test_nothing_is_lost_or_repeated_while_events_are_published(make_store, start, listen):
    """R38, R142: readers that catch up while events are stored see each once and in order, on every store."""
    running = start(make_store(), page=7)
    publish(running, *range(100))
    total = 300

    async def publish_on():
        for number in range(total - 100):
            await running.server.publish(str(number))
            if number % 5 == 0:
                await anyio.sleep(0.001)

    publisher = threading.Thread(target=running.call, args=[publish_on()])
    publisher.start()
    readers = [listen(running.url, last_event_id=start_at) for start_at in range(0, 100, 9)]
    for reader, start_at in zip(readers, range(0, 100, 9), strict=True):
        assert reader.ids(total - start_at) == list(range(start_at + 1, total + 1))
    publisher.join()
    assert running.server.counters.truncated == 0


def test_an_event_that_is_read_before_it_is_announced(start, listen):
    """R38, R14: a reader has it from the store already, so it does not come a second time."""
    store = Watched()
    running = start(store, retry=1)
    early = listen(running.url, last_event_id=0)
    assert early.blocks(1) == [b"retry: 1\n\n"]  # it has caught up
    running.call(store.turn(shut=True))
    publisher = threading.Thread(target=running.publish, args=["x"])
    publisher.start()
    assert soon(lambda: store.kept == 1)
    late = listen(running.url, last_event_id=0)
    assert late.ids(1) == [1]
    running.call(store.turn(shut=False))
    publisher.join()
    running.publish("y")
    assert (early.ids(2), late.ids(1)) == ([1, 2], [2])


@dataclass(frozen=True)
class Publishing(Fault):
    """Publishes an event after each block without an id, before the next is asked for; ends streams if told."""

    servers: list[ReferenceServer] = field(default_factory=list)
    ends: bool = False

    async def shape(self, blocks, peer, user):
        async for block in blocks:
            yield block
            if block[0] is None:
                await self.servers[0].publish("x")
                if self.ends:
                    self.servers[0].end_streams()


@pytest.mark.parametrize("ends", [False, True], ids=["a reader waits", "the end"])
def test_an_event_that_comes_just_before(start, listen, ends):
    """R38, R40: what comes while the first block, or a heartbeat, is being sent waits for nothing, and is sent."""
    fault = Publishing(ends=ends)
    running = start(retry=1, heartbeat=0.3, faults=Faults(then=fault))
    fault.servers.append(running.server)
    heard = listen(running.url)
    if ends:
        assert heard.ends() == b"retry: 1\n\nid: 1\ndata: x\n\n"
    else:
        assert heard.ids(4) == [None, 1, None, 2]


@pytest.mark.parametrize(
    "options,cursor,ids",
    [
        ({"overlap": 2}, 4, [3, 4, 5, 6]),
        ({"overlap": 2}, 1, [1, 2, 3, 4, 5, 6]),
        ({"overlap": 5, "history": 3}, 4, [4, 5, 6]),
    ],
)
def test_overlap(start, listen, options, cursor, ids):
    """R14: at a resume some events may be sent again, never ones that are gone, and never at the beginning."""
    running = start(**options)
    publish(running, *range(6))
    assert listen(running.url, last_event_id=cursor).ids(len(ids)) == ids


async def test_history_that_is_gone_is_told_and_is_one_gap(start, listen):
    """R142, X16, R124: a notice says what is missing, and a client that checks numbers reports just that."""
    running = start(history=10)
    publish(running, *range(29))
    running.complete()
    assert listen(running.url, last_event_id=20).ids(1) == [21]
    assert running.server.counters.truncated == 0
    gaps = []
    options = {"sequence": integers, "backoff": QUICK, "until": "done", "on_gap": gaps.append}
    async with ResilientStream(running.url, last_event_id="5", **options) as stream:
        notice, *events = [event async for event in stream]
    assert (notice.event, notice.id) == (TRUNCATED, None)
    assert notice.json() == {"reason": "history", "after": 5, "next": 21, "missing": 15}
    assert [event.id for event in events if event.event != TRUNCATED] == [*map(str, range(21, 31))]
    assert [(gap.kind, gap.missing, gap.before_id) for gap in gaps] == [("hole", 15, "21")]
    assert stream.stats.lost == 15


async def test_a_restart_with_an_empty_store(start):
    """R40, P23: numbering begins anew; the client says so once, streams on, and asks no more than it must."""
    running = start(start="first", retry=20)
    gaps, taken = [], []
    publish(running, *(f"old {number}" for number in range(5)))
    stream = ResilientStream(
        running.url, sequence=integers, backoff=QUICK, max_retries=None, on_gap=gaps.append
    )
    async with stream:
        async for event in stream:
            if event.event == TRUNCATED:
                assert event.json() == {"reason": "reset", "after": 5, "next": 1, "missing": None}
                continue
            taken.append(event.data)
            if event.data == "old 4":
                await anyio.to_thread.run_sync(lambda: running.restart(empty=True, down=0.2))
                publish(running, *(f"new {number}" for number in range(3)))
            if event.data == "new 2":
                break
    assert taken == [*(f"old {number}" for number in range(5)), "new 0", "new 1", "new 2"]
    assert [(gap.kind, gap.after_id, gap.before_id) for gap in gaps] == [("reset", "5", "1")]
    assert len(running.server.requests) <= 3
    assert running.server.max_live_per_user == 1


async def test_a_crash_with_its_store_intact(make_store, start, record):
    """R40, R38: after a crash the port refuses for a while, then everything is there, on every store."""
    running = start(make_store(), start="first")
    running.publish("before")
    stream = ResilientStream(running.url, backoff=QUICK, max_retries=None, on_state_change=record)
    async with stream:
        assert (await anext(stream)).data == "before"
        await anyio.to_thread.run_sync(lambda: running.restart(empty=False, down=0.2, abrupt=True))
        running.publish("after")
        assert (await anext(stream)).data == "after"
    assert record.losses[0] is Reason.RESET
    assert stream.last_event_id == "2"


def test_two_servers_share_a_valkey(valkey_url, start, listen):
    """R192: what one server process is given, the readers of the other see at once and in order."""
    servers = [start(RedisStore(valkey_url, prefix="shared"), start="first") for _ in range(2)]
    readers = [listen(server.url) for server in servers]
    servers[0].publish("0")
    assert [reader.ids(1) for reader in readers] == [[1], [1]]
    threads = [threading.Thread(target=publish, args=[server, *range(60)]) for server in servers]
    for thread in threads:
        thread.start()
    assert [reader.ids(120) for reader in readers] == [list(range(2, 122))] * 2
    for thread in threads:
        thread.join()


def test_a_store_out_of_reach(start, listen):
    """R192: a request is answered 503 with Retry-After, and publishing raises what is wrong."""
    running = start(RedisStore("redis://127.0.0.1:1/0"))
    heard = listen(running.url)
    assert (heard.status, heard.headers["Retry-After"]) == (503, "1")
    assert "out of reach" in heard.json()["error"]
    with pytest.raises(StoreError):
        running.publish("x")
    assert (running.server.counters.unavailable, running.server.live) == (1, 0)
    assert [record.status for record in running.server.requests] == [503]


# --- Slow readers


@pytest.fixture
def deaf(start):
    """Give a function that starts a server, and a reader that takes nothing of what is then published."""
    with ExitStack() as readers:

        def make(events, **options):
            running = start(heartbeat=None, **options)
            reader = readers.enter_context(Deaf(running.port))
            assert soon(lambda: running.server.live == 1)
            publish(running, *[LARGE] * events)
            return running, reader

        yield make


@pytest.mark.parametrize(
    "events,options",
    [
        (200, {"buffer": 10}),
        (100, {"send_timeout": 0.5, "buffer": 100_000}),
        (200, {"buffer": 10, "notify_slow": True, "send_timeout": 0.5}),
    ],
    ids=["full", "late", "deaf to the notice"],
)
def test_a_reader_that_is_too_slow_is_dropped(deaf, caplog, events, options):
    """R143-R145: too much waits for it, or it takes nothing: counted, logged, and its connection is reset."""
    running, reader = deaf(events, **options)
    assert soon(lambda: running.server.counters.slow_client_disconnects == 1)
    assert soon(lambda: established(running.port) == 0)
    assert reader.read().endswith(b"<reset>")
    assert soon(lambda: running.server.live == 0)
    assert running.server.counters.slow_client_disconnects == 1
    logged = [record.getMessage() for record in caplog.records if record.name == "resilient_sse"]
    assert [SLOW in text for text in logged] == [True]
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_a_slow_reader_may_be_told(deaf):
    """R144: with the option, a reader that takes up again is told why, and the response ends as it should."""
    running, reader = deaf(200, buffer=10, notify_slow=True)
    heard = reader.socket.recv(100)
    while not heard.endswith(b"\r\n0\r\n\r\n"):
        heard += reader.socket.recv(1_000_000)
    assert b'event: client_too_slow\ndata: {"reason": "client_too_slow"}\n\n' in heard[-100:]
    assert running.server.counters.slow_client_disconnects == 1


def test_quick_readers_do_not_suffer_from_a_slow_one(deaf, listen):
    """R143: while one reader is stuck, the others get every event."""
    running, _ = deaf(0, buffer=50)
    heard = listen(running.url)
    for number in range(100):
        running.publish(LARGE)
        assert heard.ids(1) == [number + 1]


def test_a_stuck_reader_does_not_hold_the_end_up(deaf):
    """R143: the server ends within its bound although a reader takes nothing."""
    running, _ = deaf(100, buffer=100_000)
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 10
    assert established(running.port) == 0


# --- Compression


async def test_each_compressed_event_is_seen_at_once(start):
    """R137, R194, F32: with gzip, each event is with the client before the next is published."""
    running = start(gzip=True, heartbeat=None, start="first")
    delays = []
    running.publish("0")
    async with ResilientStream(running.url, compression=True, max_retries=0) as stream:
        with anyio.fail_after(20):
            assert (await anext(stream)).data == "0"
            for number in range(1, 20):
                published = time.monotonic()
                running.publish(str(number))
                assert (await anext(stream)).data == str(number)
                delays.append(time.monotonic() - published)
    assert sorted(delays)[len(delays) // 2] < 0.1
    assert max(delays) < 2


def test_compression_halves_the_bytes(start, listen):
    """R204: 50 events of 100 bytes, flushed one by one, are at least 50 % smaller with gzip."""
    running = start(gzip=True)
    for data in payloads(50):
        running.publish(data, event=EVENT_TYPE)
    plain, packed = listen(running.url, last_event_id=0), listen(running.url, gzip=True, last_event_id=0)
    assert plain.blocks(50) == packed.blocks(50)
    reduction = 1 - packed.size / plain.size
    print(f"plain {plain.size} bytes, gzip {packed.size} bytes, {reduction:.0%} less")  # noqa: T201 - the figure
    assert 7000 <= plain.size <= 8000
    assert reduction >= 0.5


@pytest.mark.parametrize(
    "server,client,encoded", [(True, True, True), (True, False, False), (False, True, False)]
)
def test_gzip_is_for_those_who_accept_it(start, listen, server, client, encoded):
    """R137: off by default, and never for a client that has not asked."""
    heard = listen(start(gzip=server).url, gzip=client)
    assert heard.headers["Content-Encoding"] == ("gzip" if encoded else None)
    assert heard.headers["Vary"] == ("Accept-Encoding" if encoded else None)


def test_a_compressed_stream_ends_whole(start, listen):
    """R137: the end of the response is the end of the gzip stream, with its checksum."""
    running = start(gzip=True, start="first")
    running.publish("x")
    heard = listen(running.url, gzip=True)
    heard.blocks(1)
    running.stop()
    assert heard._inflate.decompress(heard.ends()) == b""
    assert heard._inflate.eof


# --- Limits


def test_a_user_who_asks_too_often(start, listen):
    """R195: 429 with Retry-After for this user and no other, until the time has passed."""
    running = start(rate_limit=RateLimit(2, per=3600.0))
    assert [listen(running.url, user_id="ada").status for _ in range(2)] == [200, 200]
    refused = listen(running.url, user_id="ada")
    first, _, last = (record.at for record in running.server.requests)
    wait = math.ceil(first + 3600.0 - last)
    assert (refused.status, refused.headers["Retry-After"]) == (429, str(wait))
    assert f"come back in {wait} s" in refused.json()["error"]
    assert running.server.counters.rate_limited == 1
    assert listen(running.url, user_id="bob").status == 200


def test_users_who_come_no_more_are_forgotten():
    """R195: a server whose users change does not grow for ever, also if one of them comes again and again."""
    limit, admitted = RateLimit(2, per=10.0), {}
    for second in range(100):
        assert limit.wait(admitted, str(second), second) == 0
        assert limit.wait(admitted, "ada", second) == 0 or second % 10 > 1
    assert len(admitted) == 11


# --- The end


def test_streams_end_cleanly(start, listen):
    """R40: at a shutdown every stream ends as it should, soon, and nothing is left that listens."""
    running = start(gzip=False)
    readers = [listen(running.url, user_id=number) for number in range(20)]
    for number, reader in enumerate(readers):
        running.publish("last", user_id=str(number))
        assert reader.ids(1) == [1]
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 5
    assert [reader.ends() for reader in readers] == [b""] * 20
    assert refuses(running.port)
    with pytest.raises(RuntimeError, match="has been stopped"):
        running.publish("x")
    running.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "reference server"]


def test_a_restart_keeps_the_port(start, listen):
    """R40: while the server is down connections are refused, then the same port answers."""
    running = start()
    heard = listen(running.url)
    seen = []
    knocking = threading.Thread(target=lambda: seen.append(soon(lambda: refuses(running.port))))
    knocking.start()
    running.publish("x")
    running.restart(empty=True, down=0.5)
    knocking.join()
    assert seen == [True]
    assert heard.ends() == b"id: 1\ndata: x\n\n"
    assert running.publish("first again") == 1
    assert listen(running.url, last_event_id=0).ids(1) == [1]


def test_restarts_that_cannot_be_and_restarts_at_once(start):
    """Bad input: a time that is none is refused before anything stops; of two threads, one waits for the other."""
    running = start()
    for down, error in ((-1, ValueError), (math.nan, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="down must be a number of seconds, 0 or more, not"):
            running.restart(empty=False, down=down)
    assert not refuses(running.port)
    with ThreadPoolExecutor(2) as threads:
        restarts = [threads.submit(running.restart, empty=False) for _ in range(4)]
    assert [restart.exception() for restart in restarts] == [None] * 4
    assert not refuses(running.port)


def test_a_server_runs_once_at_a_time(start, listen):
    """Bad input: it lives in one event loop, and a second one is refused; what runs goes on."""
    running = start()
    heard = listen(running.url)
    own_server = running.server.app.router.lifespan_context(
        running.server.app
    )  # as one of the user's enters it
    for begin in (lambda: RunningServer(running.server), lambda: running.call(own_server.__aenter__())):
        with pytest.raises(RuntimeError, match="this ReferenceServer runs already; make another"):
            begin()
    running.publish("x")
    assert heard.ids(1) == [1]
    running.stop()
    with serving(running.server) as again:
        assert again.publish("y") == 2


def test_the_port_is_taken(start):
    """Bad input: the error names the fix, and nothing is left behind."""
    running = start()
    before = threading.active_count()
    with (
        pytest.raises(OSError, match=r"cannot be used .*; choose another, or 0"),
        serving(ReferenceServer(), port=running.port),
    ):
        pass
    assert threading.active_count() == before


async def test_for_async_code():
    """From async code too, on both backends: a call blocks for a moment, and the port is free at the end."""
    with serving(ReferenceServer(start="first")) as running:
        assert [running.publish("a", event="typ", user_id="u"), running.complete("u")] == [1, 2]
        async with ResilientStream(running.url + "?user_id=u", until="done") as stream:
            assert [event.event async for event in stream] == ["typ", "done"]
        running.restart(empty=True)
        assert running.publish("b", user_id="u") == 1
    assert refuses(running.port)


OWN_UVICORN = """
import sys, uvicorn
from resilient_sse.testing.server import ReferenceServer
app = ReferenceServer(start="first").app
uvicorn.run(app, port=int(sys.argv[1]), timeout_graceful_shutdown=5, log_level="error")
"""


def test_under_a_uvicorn_of_ones_own(listen):
    """The application can be embedded: told to exit, a uvicorn of one's own ends the streams cleanly and exits."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", OWN_UVICORN, str(port)])
    with ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        url = f"http://127.0.0.1:{port}"

        def answers():
            try:
                listen(f"{url}/api/v1/stats").json()
            except OSError:
                return False
            return True

        assert soon(answers)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        stack.callback(connection.close)
        connection.request("POST", "/api/v1/publish", '{"data": "x"}')
        assert connection.getresponse().status == 200
        heard = listen(f"{url}/api/v1/stream")
        assert heard.ids(1) == [1]
        process.send_signal(signal.SIGTERM)
        assert heard.ends() == b""
        process.wait(10)


def test_payloads():
    """R12, R202: exactly 50 of exactly 100 bytes, the same every time; another size gives that size."""
    assert [len(data.encode()) for data in payloads()] == [100] * 50
    assert payloads() == payloads(50, size=100, seed=0) != payloads(seed=1)
    assert {len(data) for data in payloads(3, size=5000)} == {5000}
    with pytest.raises(ValueError, match="size must be at least 24"):
        payloads(1, size=10)
    with pytest.raises(ValueError, match="count must not be negative"):
        payloads(-1)
