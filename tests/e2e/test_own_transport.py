"""Our own transport over real sockets: what it takes, what it holds back, and what a cut read costs."""

import asyncio
import contextlib
import contextvars
import gc
import threading
import time
import warnings

import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest

from resilient_sse import (
    HandshakeError,
    ResilientStream,
    RetriesExhaustedError,
    StreamState,
)
from resilient_sse._client.transport.clients import tls_context
from resilient_sse._client.transport.sockets import HIGH_BYTES
from resilient_sse._core.session import Session
from resilient_sse.testing import event
from tests.client.support import calls_counted
from tests.e2e.raw_server import PATIENCE, hello
from tests.e2e.watching import QUICK, collect, cut_when_sent, eventually

pytestmark = pytest.mark.own


# --- What an opening takes


def sticky(peer):
    """Set a cookie."""
    peer.open("Set-Cookie: node=7; Path=/")
    peer.chunk(event("hello", id=str(peer.number)))


@pytest.mark.parametrize("auth", [None, ("user", "secret")], ids=["plain", "auth"])
async def test_a_client_is_made_only_for_credentials(serve, monkeypatch, auth):
    """R209: opening many streams is cheap; headers are as of httpx, and cookies last, with a client or none."""
    made = []
    real = httpx.AsyncClient.__init__
    monkeypatch.setattr(
        httpx.AsyncClient, "__init__", lambda self, **given: made.append(1) or real(self, **given)
    )
    server = serve(lambda peer: peer.reset(), sticky, hello)  # whatever was made for the first is let go of
    stream = ResilientStream(server.url, auth=auth, backoff=QUICK, headers={"Accept-Language": "pl"})
    assert await collect(stream, 2) == ["hello", "hello"]
    assert bool(made) == bool(auth)
    _, first, second = (each.headers for each in server.requests)
    assert "cookie" not in first
    assert second["cookie"] == "node=7"
    assert second["last-event-id"] == "2"
    assert set(first) - {"authorization"} == {
        "host", "connection", "user-agent", "accept", "accept-encoding", "accept-language", "cache-control"
    }  # fmt: skip
    assert first["user-agent"].startswith("resilient-sse/")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_usual_opening_asks_little_of_httpx(serve, monkeypatch, method, anyio_backend_name):
    """R209, section 5: two timers, one for connecting; httpx's objects only where there is a body."""
    made = []

    def count(what, name, owner):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **given: made.append(what) or real(*args, **given))

    server = serve(hello)
    async with ResilientStream(server.url, method=method) as stream:
        count("request", "__init__", httpx.Request)
        count("response", "__init__", httpx.Response)
        if anyio_backend_name == "asyncio":
            count("timer", "call_at", asyncio.get_running_loop())
        await anext(stream)
        assert made.count("timer") <= 2
        assert set(made) - {"timer"} == (set() if method == "GET" else {"request"})
        monkeypatch.undo()


# --- A cancelled read (P50)


@pytest.fixture(params=["scope", "wait_for"])
def ask(request, anyio_backend_name):
    """Give a way to ask for an event for so many seconds at most; `None` is that there was none."""
    if request.param == "wait_for" and anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has it")

    async def ask(stream, seconds):
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(anext(stream), seconds)

    return ask if request.param == "wait_for" else within


async def within(stream, seconds):
    """Ask for an event for so many seconds at most."""
    with anyio.move_on_after(seconds):
        return await anext(stream)


async def poll(stream, seconds):
    """Ask again and again."""
    with anyio.fail_after(20):
        while (got := await within(stream, seconds)) is None:
            pass
    return got


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no-ids"])
async def test_polling_with_a_timeout_loses_nothing(serve, ids, ask):
    """P50: reads that are cut again and again lose no event, repeat none, and keep the one connection."""

    def dribble(peer):
        peer.open()
        for number in range(20):
            block = event(str(number), id=str(number) if ids else None)
            whole = b"%x\r\n%b\r\n" % (len(block), block)
            for half in (whole[:7], whole[7:]):  # cut in the middle of the chunk
                peer.send(half)
                time.sleep(0.015)
        peer.hold()

    server = serve(dribble)
    async with ResilientStream(server.url, max_retries=0) as stream:
        with anyio.fail_after(20):
            taken = [await anext(stream)]  # an attempt to connect that is cut is given up
            while sum(one is not None for one in taken) < 20:
                taken.append(await ask(stream, 0.01))
        assert stream.stats.connections == 1
    assert [one.data for one in taken if one] == [str(number) for number in range(20)]
    assert taken.count(None) > 5
    assert len(server.peers) == 1


@pytest.mark.parametrize("method, auth", [("GET", None), ("POST", ("user", "secret"))], ids=["plain", "auth"])
async def test_polls_shorter_than_an_answer_takes_get_it_all_the_same(serve, ask, method, auth, caplog):
    """P50: the request is sent once, its headers are made once, and nothing is announced but the connection."""
    answered, made, told = threading.Event(), [], []
    server = serve(lambda peer: answered.wait(20) and hello(peer))
    stream = ResilientStream(
        server.url,
        method=method,
        json=[1] if method == "POST" else None,
        auth=auth,
        headers=lambda: {"X-Number": str(made.append(None) or len(made))},
        on_state_change=lambda change: told.append(change.new),
    )
    async with stream:
        await cut_when_sent(stream, server)
        assert [await ask(stream, 0.05) for _ in range(3)] == [None] * 3
        answered.set()
        with anyio.fail_after(20):
            got = await anext(stream)
    assert (got.data, len(server.requests), len(made)) == ("hello", 1, 1)
    assert told == [StreamState.CONNECTED, StreamState.CLOSED]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_polls_hear_of_a_silence_before_the_answer(serve):
    """R78, P50: many short waits for an answer are one silence, which is told of as any other."""
    released, told = threading.Event(), []

    def behave(peer):
        assert released.wait(PATIENCE)
        hello(peer)

    def note(change):
        told.append(change.new)
        released.set()  # by the notice of the silence, or by nothing

    server = serve(behave)
    async with ResilientStream(server.url, waiting_after=0.3, on_state_change=note) as stream:
        await cut_when_sent(stream, server)
        assert (await poll(stream, 0.1)).data == "hello"
    assert told == [StreamState.WAITING, StreamState.CONNECTED, StreamState.CLOSED]
    assert len(server.requests) == 1


class CutAtTheAnswer(httpx.Auth):
    """Cancels whoever waits for the stream, in the very moment in which the answer has come."""

    def __init__(self):
        self.cut = None

    async def async_auth_flow(self, request):
        yield request
        self.cut()


@pytest.mark.parametrize("cut", ["scope", "task"])
@pytest.mark.parametrize("then", ["ask", "aclose", "drop"])
async def test_an_answer_that_comes_as_its_wait_is_cancelled_is_not_lost(
    serve, cut, then, anyio_backend_name
):
    """P50: the next call has it, and the request is not sent again; a stream that ends closes it (P15, P16)."""
    if cut == "task" and anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has it")
    server, auth, told = serve(hello), CutAtTheAnswer(), []
    stream = ResilientStream(server.url, auth=auth, on_state_change=lambda change: told.append(change.new))
    if cut == "scope":
        with anyio.CancelScope() as scope:
            auth.cut = scope.cancel
            await anext(stream)
        assert scope.cancelled_caught
    else:
        task = asyncio.ensure_future(anext(stream))
        auth.cut = task.cancel
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
    if then == "ask":
        auth.cut = lambda: pytest.fail("a second request")
        assert (await anext(stream)).data == "hello"
        await stream.aclose()
        assert told == [StreamState.CONNECTED, StreamState.CLOSED]
    elif then == "aclose":
        await stream.aclose()
    else:
        await anyio.lowlevel.checkpoint()  # until then asyncio has the cancellation, and its traceback
        auth.cut = scope = None
        with pytest.warns(ResourceWarning, match="unclosed <ResilientStream"):
            stream = None
    assert await eventually(lambda: server.peers[0].left_at is not None, within=10)
    assert len(server.requests) == 1


async def test_an_answer_to_a_body_that_comes_as_its_wait_is_cancelled_is_not_lost(serve, monkeypatch):
    """P50: without credentials, too, where no client of httpx takes a part."""
    server, got = serve(lambda peer: (sticky(peer), peer.hold())), None
    async with ResilientStream(server.url, method="POST", json=[1]) as stream:
        with anyio.CancelScope() as scope:
            monkeypatch.setattr(httpx.Cookies, "extract_cookies", lambda *_: scope.cancel())
            got = await anext(stream)
        got = got or await anext(stream)  # asyncio may cancel only what comes next
    assert got.data == "hello"
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["aclose", "drop", "restart"])
async def test_a_request_that_nobody_waits_for_is_given_up(serve, how):
    """P15, P16: a request whose wait was cancelled ends with its stream, and `restart()` sends another."""
    server = serve(lambda peer: peer.hold() if peer.number == 1 else hello(peer))
    stream = ResilientStream(server.url)
    await cut_when_sent(stream, server)
    assert [await within(stream, 0.05) for _ in range(2)] == [None, None]
    await anyio.lowlevel.checkpoint()  # asyncio has the cancellation, and its traceback, until the next wait
    if how == "aclose":
        await stream.aclose()
    elif how == "drop":
        with pytest.warns(ResourceWarning, match="unclosed <ResilientStream"):
            stream = None
    else:
        stream.restart()
        assert (await anext(stream)).data == "hello"
    assert await eventually(lambda: server.peers[0].left_at is not None, within=2)
    if stream is not None:
        await stream.aclose()


async def test_polls_find_out_that_no_answer_comes(serve):
    """R78: the limit on the wait for the head counts from the request, however often it is polled."""
    server = serve(lambda peer: peer.hold())
    stream = ResilientStream(server.url, stall_timeout=0.3, max_retries=1, backoff=QUICK)
    with pytest.raises(RetriesExhaustedError, match="no response headers"):
        await poll(stream, 0.2)
    assert len(server.requests) == 2


# --- Where it leads


async def test_tls_with_the_trust_of_the_environment(serve, trust, tmp_path, monkeypatch):
    """P25: our transport trusts whom httpx trusts, `SSL_CERT_FILE` included."""
    file = tmp_path / "ca.pem"
    trust._authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    tls_context.cache_clear()
    try:
        server = serve(hello, tls=trust.server("127.0.0.1"))
        stream = ResilientStream(server.url, max_retries=0)
        async with stream:
            assert (await anext(stream)).data == "hello"
            assert stream._pump.connection.lasting
            with anyio.move_on_after(0.05):
                await anext(stream)
            assert stream.stats.connections == 1
    finally:
        tls_context.cache_clear()


@pytest.mark.parametrize("patched", [False, True], ids=["own", "httpx"])
async def test_a_unix_socket(tmp_path, monkeypatch, patched):
    """P25: `uds` leads to a Unix socket, past the proxies of the environment, over httpx's transport too."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    if patched:
        monkeypatch.setattr("resilient_sse._client.transport.clients.is_patched", lambda: True)
    path, asked = str(tmp_path / "s"), []

    async def answer(peer):
        async with peer:
            asked.append(await peer.receive())
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event("local"))

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        assert await collect(ResilientStream("http://local/x", uds=path), 1) == ["local"]
        group.cancel_scope.cancel()
    assert asked[0].startswith(b"GET /x HTTP/1.1\r\nHost: local\r\n")


# --- Back-pressure


async def test_a_slow_consumer_holds_the_server_back(serve):
    """3.8: above 256 KiB the socket is left alone; what was sent comes all the same, in order."""
    sent = 0
    block = event("x" * 10_000)

    def pour(peer):
        nonlocal sent
        peer.open()
        for _ in range(3000):
            peer.chunk(block)
            sent += len(block)
        peer.end()

    stream = ResilientStream(serve(pour).url, on_eof="complete", max_retries=0, dedup="off")
    async with stream:
        await anext(stream)
        assert await eventually(lambda: sent > 0, within=5)
        before = -1
        with anyio.fail_after(20):
            while sent != before:  # what the system buffers grows for a while
                before = sent
                await anyio.sleep(0.3)
        assert sent < 3000 * len(block)
        waiting = stream._pump.connection.source._socket._size
        assert waiting <= HIGH_BYTES + 256 * 1024  # and one more of asyncio's reads
        assert len([None async for _ in stream]) == 2999


# --- Faults that are gone


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("how", ["silence", "restart"])
async def test_arrivals_without_bytes_hold_nothing_up(serve, how):
    """R78, P15: no end of what brings nothing, as TLS's tickets do, and no wake-up is lost to any of it."""
    server = serve(hello)
    async with (
        ResilientStream(server.url, stall_timeout=0.2 if how == "silence" else None, backoff=QUICK) as stream,
        anyio.create_task_group() as group,
    ):
        await anext(stream)
        socket = stream._pump.connection.source._socket

        async def trickle():
            for turn in range(1_000_000):
                socket.data_received(b"")
                if how == "restart" and turn == 10:
                    stream.restart()
                    return
                await asyncio.sleep(0)

        group.start_soon(trickle)
        with anyio.fail_after(10):
            assert (await anext(stream)).id == "2"
        group.cancel_scope.cancel()


@pytest.mark.parametrize("injected", [False, True], ids=["own", "injected"])
async def test_break_while_warnings_are_recorded(serve, injected):
    """P16: a recorded warning keeps the stream, but not its socket; one warning, none of generators."""
    server = serve(hello)
    async with httpx.AsyncClient() as client:
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            async for _ in ResilientStream(server.url, client=client if injected else None):
                break
            assert await eventually(lambda: server.peers[0].left_at is not None, within=2)
        told = [str(warning.message).lower() for warning in recorded]
    assert len([text for text in told if "unclosed <resil" in text]) == 1
    assert not [text for text in told if "generator" in text or "never awaited" in text]


variable = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("injected", [True, False])
async def test_context_variables_reach_the_consumer(serve, injected):
    """What an auth flow sets in its context is set for the consumer, on both event loops."""

    class Auth(httpx.Auth):
        async def async_auth_flow(self, request):
            variable.set("set")
            yield request

    async with httpx.AsyncClient() as client:
        options = {"client": client} if injected else {}
        async with ResilientStream(serve(hello).url, auth=Auth(), **options) as stream:
            await anext(stream)
            assert variable.get() == "set"


@pytest.mark.parametrize("stall_timeout", [None, 30])
@pytest.mark.parametrize("how", ["scope", "task"])
async def test_an_auth_flow_can_always_be_cancelled(serve, how, stall_timeout, anyio_backend_name):
    """3.8: a token refresh that hangs does not hold a cancelled stream, with an injected client neither."""
    if how == "task" and anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has it")

    class Auth(httpx.Auth):
        async def async_auth_flow(self, request):
            await anyio.sleep(30)
            yield request

    async with httpx.AsyncClient() as client:
        stream = ResilientStream(serve(hello).url, client=client, auth=Auth(), stall_timeout=stall_timeout)
        began = time.monotonic()
        if how == "scope":
            with anyio.move_on_after(0.1):
                await anext(stream)
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.1)
        assert time.monotonic() - began < 2
        await stream.aclose()


# Nobody can close what belongs to a loop that has ended: asyncio warns of its sockets.
left_behind = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
LOOPS = [(first, then) for first in ("asyncio", "trio") for then in ("asyncio", "trio")]


@left_behind
@pytest.mark.parametrize("injected", [False, True], ids=["own", "injected"])
@pytest.mark.parametrize("first, then", LOOPS, ids=map("-".join, LOOPS))
def test_a_stream_that_goes_on_in_another_event_loop(serve, first, then, injected):
    """A live stream leaves the connection of a loop that has ended, and resumes; or it says what cannot be."""
    server = serve(lambda peer: (peer.open(), peer.chunk(event("x", id=str(peer.number))), peer.hold()))
    client = httpx.AsyncClient() if injected else None
    stream = ResilientStream(server.url, backoff=QUICK, client=client)

    async def one():
        with anyio.fail_after(5):
            return (await anext(stream)).id

    assert anyio.run(one, backend=first) == "1"
    if injected and (first, then) == ("trio", "asyncio"):
        with pytest.raises(HandshakeError, match="client= has been used on trio"):
            anyio.run(one, backend=then)
    else:
        assert anyio.run(one, backend=then) == "2"
        assert server.requests[1].cursor == "1"
    anyio.run(stream.aclose, backend=then)
    stream = client = None
    gc.collect()


# --- What a read costs


async def test_the_notice_runs_in_the_consumers_task(serve):
    """3.7: WAITING and CONNECTED are told where the loop runs, and the read that was pending loses nothing."""
    told = []

    def talk(peer):
        peer.open()
        peer.chunk(event("one"))
        time.sleep(0.4)
        peer.chunk(event("two"))
        peer.hold()

    stream = ResilientStream(serve(talk).url, waiting_after=0.1, max_retries=0)

    @stream.on_state_change
    async def _(change):
        told.append((change.new.value, anyio.get_current_task().id))

    async with stream:
        assert [(await anext(stream)).data for _ in range(2)] == ["one", "two"]
        me = anyio.get_current_task().id
        assert told == [("connected", me), ("waiting", me), ("connected", me)]
        assert stream.stats.connections == 1


def pulse(peer):
    """Send sixty events, one a read."""
    peer.open()
    for number in range(60):
        peer.chunk(event("x", id=str(number)))
        time.sleep(0.003)
    peer.hold()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_live_read_makes_no_timer_and_no_scope(serve, monkeypatch):
    """Section 5: one timer serves all reads of a connection; no cancel scope and no task is made for a read."""
    loop, made = asyncio.get_running_loop(), []
    async with ResilientStream(serve(pulse).url, max_retries=0) as stream:
        await anext(stream)
        for name in ("call_at", "call_later", "create_task"):
            original = getattr(loop, name)
            monkeypatch.setattr(
                loop,
                name,
                lambda *a, _n=name, _o=original, **k: made.append(_n) or _o(*a, **k),
            )
        monkeypatch.setattr(anyio, "CancelScope", lambda **_: made.append("scope"))
        for _ in range(29):
            await anext(stream)
        monkeypatch.undo()
    assert len(made) <= 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("injected, most", [(False, 18), (True, 19)], ids=["own", "injected"])
async def test_a_live_read_costs_few_calls(serve, injected, most):
    """Section 5: calls of the shell for a read that brings one event; it was 38 and 29."""
    async with (
        httpx.AsyncClient() as client,
        ResilientStream(serve(pulse).url, client=client if injected else None) as stream,
    ):
        for _ in range(10):
            await anext(stream)
        with calls_counted() as calls:
            for _ in range(50):
                await anext(stream)
    assert sum(count for path, count in calls.items() if "/_client/" in path) / 50 <= most


def burst(end, *, stays=True):
    """Return a behaviour that sends a hundred events at once, one a chunk, and these bytes behind them."""

    def behave(peer):
        blocks = [event(str(number), id=str(number)) for number in range(100)]
        peer.open()
        peer.send(b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + end)
        return stays and peer.hold()

    return behave


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n", b"no size\r\n"], ids=["silence", "end", "nonsense"])
async def test_chunks_at_hand_come_together_over_a_client_of_the_callers(serve, monkeypatch, end):
    """Section 5: 64 chunks make one read, and no wait, end or error behind them takes any of them along."""
    reads, real = [], Session.receive
    monkeypatch.setattr(
        Session, "receive", lambda self, data, **given: reads.append(data) or real(self, data, **given)
    )
    server = serve(burst(end, stays=not end), hello)
    async with (
        httpx.AsyncClient() as client,
        ResilientStream(server.url, client=client, backoff=QUICK) as stream,
    ):
        assert [(await anext(stream)).data for _ in range(100)] == [str(number) for number in range(100)]
        assert len(list(filter(None, reads))) <= 5  # TCP may have cut it
        if end:
            assert (await anext(stream)).data == "hello"
            assert server.requests[1].cursor == "99"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_goes_back_to_its_pool_as_it_was(serve):
    """3.8: the next request over it has the timeouts of its own again."""
    server = serve(burst(b"0\r\n\r\n"))
    async with httpx.AsyncClient() as client:
        async with ResilientStream(server.url, client=client, on_eof="complete") as stream:
            assert len([item async for item in stream]) == 100
        with pytest.raises(httpx.ReadTimeout):
            await client.get(server.url, timeout=0.2)
    assert len(server.peers) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_chunks_over_a_proxy_of_httpx2_all_come(serve):
    """P58: its proxies hear of no trace behind the request, so nothing tells of the end, and nothing is held."""
    proxy = serve(burst(b"0\r\n\r\n", stays=False))
    async with (
        httpx2.AsyncClient(proxy=proxy.origin) as client,
        ResilientStream("http://stream.invalid/", client=client, on_eof="complete") as stream,
    ):
        assert len([item async for item in stream]) == 100
