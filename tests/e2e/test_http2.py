"""A connection of HTTP/2 that streams share: dead as a whole, or one of its streams alone (P51)."""

import re
import time
from collections import defaultdict

import anyio
import h2.config
import h2.connection
import h2.events
import httpx
import httpx2
import pytest

from resilient_sse import Reason, ResilientStream, RetriesExhaustedError
from resilient_sse.testing import event
from tests.client.support import Record
from tests.e2e.watching import QUICK, eventually

pytestmark = pytest.mark.own

TICK = 0.02
STALL = 0.5


class Numbers:
    """
    A server of HTTP/2, a behaviour of `RawServer`: each answer counts on from its cursor, a number a tick.

    Args:
        tls: The context to make TLS with; `None` for plain TCP.
        answers: Whether there are answers on the first connection.
    """

    def __init__(self, tls=None, *, answers=True):
        self.asked = []  # (number of the connection, path, cursor)
        self.sent = defaultdict(int)
        self.is_dead = False  # the first connection: nothing is read or sent, and nothing closed
        self.mute = set()  # paths that send nothing on the first connection
        self.unanswered = set()  # paths
        self._tls = tls
        self._answers = answers

    def __call__(self, peer):
        """Serve one connection."""
        sock = peer._sock if self._tls is None else self._tls.wrap_socket(peer._sock, server_side=True)
        peer._sock = sock
        sock.settimeout(TICK)
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        paths = {}
        while sock.fileno() >= 0:
            if peer.number == 1 and self.is_dead:
                time.sleep(TICK)
                continue
            sock.sendall(state.data_to_send())
            try:
                data = sock.recv(65536)
            except (TimeoutError, BlockingIOError):
                data = None
            if data == b"":
                return
            for happened in state.receive_data(data or b""):
                if isinstance(happened, h2.events.RequestReceived):
                    headers = dict(happened.headers)
                    path = headers[b":path"].decode()
                    cursor = headers.get(b"last-event-id")
                    self.asked.append((peer.number, path, cursor and int(cursor)))
                    if path not in self.unanswered and (self._answers or peer.number > 1):
                        answer = [(":status", "200"), ("content-type", "text/event-stream")]
                        state.send_headers(happened.stream_id, answer)
                        paths[happened.stream_id] = path, int(cursor or 0)
                if isinstance(happened, h2.events.StreamReset):
                    paths.pop(happened.stream_id, None)
            for stream, (path, number) in paths.items():
                if data is None and not (peer.number == 1 and path in self.mute):
                    state.send_data(stream, event(str(number), id=str(number + 1)))
                    self.sent[path] = number + 1
                    paths[stream] = path, number + 1


@pytest.fixture
def make_client(library, trust):
    """Give a function that makes a client whose streams share a connection, over TLS or not."""
    return lambda: library.AsyncClient(http1=False, http2=True, verify=trust.client)


async def numbers(stream, into, count):
    """Put the data of so many events into a list."""
    with anyio.fail_after(30):
        async with stream:
            async for one in stream:
                into.append(int(one.data))
                if len(into) == count:
                    return


@pytest.mark.parametrize(
    "library, is_tls, paths",
    [(httpx, True, ["/a", "/b"]), (httpx2, False, ["/a", "/b"]), (httpx, False, ["/a"])],
)
async def test_a_dead_connection_is_left_by_all(serve, make_client, trust, is_tls, paths):
    """P51, 3.3: nobody is sent into it again, although one stream had been silent for longer than the other."""
    tls = None
    if is_tls:
        tls = trust.server("127.0.0.1")
        tls.set_alpn_protocols(["h2"])
    site = Numbers(tls)
    origin = serve(site, unread=True).origin.replace("http:", "https:" if is_tls else "http:")
    taken, records = {path: [] for path in paths}, {path: Record() for path in paths}
    async with make_client() as client, anyio.create_task_group() as tasks:
        for path, into in taken.items():
            stream = ResilientStream(
                origin + path,
                client=client,
                stall_timeout=STALL,
                backoff=QUICK,
                on_state_change=records[path],
            )
            tasks.start_soon(numbers, stream, into, 20)
            assert await eventually(lambda into=into: len(into) > 2, within=20)
        site.mute.add("/a")
        await anyio.sleep(3 * TICK)
        site.is_dead = True
    assert taken == {path: list(range(20)) for path in paths}
    assert [number for number, _, _ in site.asked] == [1] * len(paths) + [2] * len(paths)
    for record in records.values():
        assert record.losses == [Reason.STALL]


@pytest.mark.parametrize("library, whose", [(httpx, "callers"), (httpx2, "ours")])
async def test_a_healthy_connection_is_kept(serve, make_client, record, whose):
    """P51: the stall of one stream takes nothing from another, nor from a request of the caller's own."""
    site = Numbers()
    origin = serve(site, unread=True).origin
    taken, beside = [], []
    async with make_client() as client, anyio.create_task_group() as tasks:
        options = {"client": client, "stall_timeout": STALL, "backoff": QUICK, "on_state_change": record}
        tasks.start_soon(numbers, ResilientStream(f"{origin}/a", **options), taken, 10**6)
        assert await eventually(lambda: len(taken) > 2, within=20)

        async def read():
            async with client.stream("GET", f"{origin}/b") as response:
                async for data in response.aiter_raw():
                    beside.append(data)  # noqa: PERF401 - looked at meanwhile

        if whose == "ours":
            tasks.start_soon(numbers, ResilientStream(f"{origin}/b", client=client), beside, 10**6)
        else:
            tasks.start_soon(read)
        assert await eventually(lambda: len(beside) > 2, within=20)
        site.mute.add("/a")
        assert await eventually(lambda: len(site.asked) > 2, within=20)
        site.mute.clear()
        before = len(taken)
        assert await eventually(lambda: len(taken) > before + 5, within=20)
        before = len(beside)
        assert await eventually(lambda: len(beside) > before + 5, within=20)
        tasks.cancel_scope.cancel()
    assert taken == list(range(len(taken)))
    assert [(number, path) for number, path, _ in site.asked] == [(1, "/a"), (1, "/b"), (1, "/a")]
    assert record.losses == [Reason.STALL]


@pytest.mark.parametrize("library", [httpx])
async def test_a_connection_that_never_answers_is_left(serve, make_client, record):
    """P51: one that was made for the attempt and carries nothing serves no second one."""
    site = Numbers(answers=False)
    taken = []
    async with make_client() as client:
        stream = ResilientStream(
            serve(site, unread=True).url,
            client=client,
            stall_timeout=STALL,
            backoff=QUICK,
            on_state_change=record,
        )
        await numbers(stream, taken, 3)
    assert [number for number, _, _ in site.asked] == [1, 2]
    reconnecting = record.changes[1]
    assert reconnecting.attempt == 1
    assert re.search(r"no response headers after \d\.\d s \(stall_timeout\)", str(reconnecting.error))


@pytest.mark.parametrize("library", [httpx])
async def test_an_attempt_without_an_answer_ends_in_time(serve, make_client, record):
    """P51, 3.3: where the connection carries another stream, which is to go on, only the attempt ends."""
    site = Numbers()
    origin = serve(site, unread=True).origin
    beside = []
    async with make_client() as client, anyio.create_task_group() as tasks:
        options = {"client": client, "backoff": QUICK, "max_retries": 1}
        stream = ResilientStream(f"{origin}/a", stall_timeout=STALL, **options)
        await anext(stream)
        other = ResilientStream(f"{origin}/b", on_state_change=record, **options)
        tasks.start_soon(numbers, other, beside, 10**6)
        assert await eventually(lambda: len(beside) > 2, within=20)
        site.unanswered.add("/a")
        site.mute.add("/a")
        with pytest.raises(RetriesExhaustedError, match=r"no response headers after [01]\.\d s"):
            await numbers(stream, [], 10**6)
        before = len(beside)
        assert await eventually(lambda: len(beside) > before + 5, within=20)
        tasks.cancel_scope.cancel()
    assert {number for number, _, _ in site.asked} == {1}
    assert record.losses == []


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("is_open", [False, True])
async def test_a_server_that_breaks_the_protocol_is_left(serve, make_client, record, is_open):
    """3.4: what it has sent is no fault of the request, which is sent again; nothing of h2's is raised."""
    site, taken = Numbers(), []

    def breaks(peer):
        if peer.number > 1:
            site(peer)
            return
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        while not any(
            isinstance(one, h2.events.RequestReceived) for one in state.receive_data(peer._sock.recv(65536))
        ):
            pass
        if is_open:
            state.send_headers(1, [(":status", "200"), ("content-type", "text/event-stream")])
            state.send_data(1, event("0", id="1"))
        peer._sock.sendall(state.data_to_send())
        time.sleep(0.2)
        peer._sock.sendall(b"\0\0\1\0\0\0\0\0\0x")  # DATA of no stream
        while peer._sock.recv(65536):
            pass

    async with make_client() as client:
        stream = ResilientStream(
            serve(breaks, unread=True).url, client=client, backoff=QUICK, on_state_change=record
        )
        await numbers(stream, taken, 3)
    assert taken == [0, 1, 2]
    assert record.losses == [Reason.PROTOCOL]
    assert "bad HTTP" in str(record.changes[is_open].error)
