"""
The clients that are measured: one class each, with the interface of `Peer`.

Each is used as its documentation says, through its own iterator, so that the harness adds the same few nanoseconds
to every event.  Where a body is given, the same client reads it from memory instead of from a socket.  The imports
stand in the methods: a package that is not installed leaves out its own peer only.
"""

from __future__ import annotations

import asyncio
import importlib
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from typing import Any, ClassVar

from .payloads import Event

Body = list[bytes] | None

HEADERS = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
ANSWER = {"Content-Type": "text/event-stream"}
BASE = "httpx-sse"


async def later(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


PEERS: dict[str, Peer] = {}


class Peer:
    """One way to read a stream; each class that says a name is one, in the order of this file."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """Modules without which it is left out, and whose versions belong to its figures."""
    blocking: ClassVar[bool] = False
    """Its iterator is a plain one; otherwise it is asynchronous."""
    memory: ClassVar[bool] = True
    """It has a way to read a body that comes from no socket."""
    unit: ClassVar[str] = "event"
    """What the iterator gives: an `event`, some of the `body`, or some of the `wire` (both are floors)."""
    deviates: ClassVar[frozenset[str]] = frozenset()
    """Payloads of which it is known to make other events than the standard says."""

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            PEERS[cls.name] = cls()

    def client(self, streams: int, body: Body) -> Any:
        """Return a context manager (plain or async) of what many streams share."""
        raise NotImplementedError

    def open(self, client: Any, url: str) -> Any:
        """Return a context manager (plain or async) of the peer's own iterator."""
        raise NotImplementedError

    def fields(self, item: Any) -> Event:
        return item.event, item.data, item.id or ""


class Resilient(Peer):
    name = "resilient_sse"
    needs = ("resilient_sse",)
    memory = False  # its own client reads from sockets only

    def client(self, streams: int, body: Body) -> Any:
        return nullcontext()

    def open(self, client: Any, url: str) -> Any:
        from resilient_sse import ResilientStream

        return ResilientStream(url)


class Httpx(Peer):
    """Base of whatever reads through an httpx client that it is given."""

    module: ClassVar[str] = "httpx"

    def client(self, streams: int, body: Body) -> Any:
        httpx = importlib.import_module(self.module)

        def answer(_request: object) -> Any:
            assert body is not None
            return httpx.Response(200, headers=ANSWER, content=iter(body) if self.blocking else later(body))

        return (httpx.Client if self.blocking else httpx.AsyncClient)(
            transport=None if body is None else httpx.MockTransport(answer),
            timeout=httpx.Timeout(30, pool=None),
            limits=httpx.Limits(max_connections=streams, max_keepalive_connections=20),
            trust_env=False,
            verify=False,  # nothing here is TLS, and its context takes 20 ms
        )


class ResilientOnHttpx(Httpx):
    name = "resilient_sse on httpx"
    needs = ("resilient_sse", "httpx")

    def open(self, client: Any, url: str) -> Any:
        from resilient_sse import ResilientStream

        return ResilientStream(url, client=client)


class HttpxSse(Httpx):
    name = BASE
    needs = ("httpx_sse", "httpx")
    deviates = frozenset({"heartbeat"})  # a comment after an event with an id makes an empty event

    @asynccontextmanager
    async def open(self, client: Any, url: str) -> AsyncIterator[Any]:
        from httpx_sse import aconnect_sse

        async with aconnect_sse(client, "GET", url) as source:
            yield source.aiter_sse()


class HttpxSseSync(Httpx):
    name = "httpx-sse (sync)"
    needs = ("httpx_sse", "httpx")
    blocking = True
    deviates = HttpxSse.deviates

    @contextmanager
    def open(self, client: Any, url: str) -> Iterator[Any]:
        from httpx_sse import connect_sse

        with connect_sse(client, "GET", url) as source:
            yield source.iter_sse()


class Httpx2(Httpx):
    name = "httpx2"
    needs = ("httpx2",)
    module = "httpx2"

    def open(self, client: Any, url: str) -> Any:
        return client.sse(url)


class LaunchDarkly(Peer):
    name = "launchdarkly"
    needs = ("ld_eventsource", "aiohttp")

    @asynccontextmanager
    async def client(self, streams: int, body: Body) -> AsyncIterator[Any]:
        from ld_eventsource.config import async_connect_strategy as config

        if body is None:
            async with aiohttp_session() as session:
                yield lambda url: config.AsyncConnectStrategy.http(url, session=session)
            return

        chunks = body

        class Memory(config.AsyncConnectStrategy, config.AsyncConnectionClient):
            def create_client(self, logger: object) -> Any:
                return self

            async def connect(self, last_event_id: object) -> Any:
                return config.AsyncConnectionResult(later(chunks), None)

        yield lambda _url: Memory()

    @asynccontextmanager
    async def open(self, client: Any, url: str) -> AsyncIterator[Any]:
        from ld_eventsource.async_client import AsyncSSEClient

        async with AsyncSSEClient(client(url)) as source:
            yield source.events

    def fields(self, item: Any) -> Event:
        return item.event, item.data, item.last_event_id or ""


class LaunchDarklySync(Peer):
    name = "launchdarkly (sync)"
    needs = ("ld_eventsource", "urllib3")
    blocking = True

    def client(self, streams: int, body: Body) -> Any:
        from ld_eventsource import config
        from urllib3 import PoolManager

        if body is None:
            pool = PoolManager(maxsize=streams)
            return nullcontext(lambda url: config.ConnectStrategy.http(url, pool=pool))

        class Memory(config.ConnectStrategy, config.ConnectionClient):
            def create_client(self, logger: object) -> Any:
                return self

            def connect(self, last_event_id: object) -> Any:
                return config.ConnectionResult(iter(body or ()), None)

        return nullcontext(lambda _url: Memory())

    @contextmanager
    def open(self, client: Any, url: str) -> Iterator[Any]:
        from ld_eventsource import SSEClient

        with closing(SSEClient(client(url))) as source:
            yield source.events

    fields = LaunchDarkly.fields


def aiohttp_session() -> Any:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)


class AiohttpSseClient(Peer):
    name = "aiohttp-sse-client"
    needs = ("aiohttp_sse_client", "aiohttp")
    memory = False

    def client(self, streams: int, body: Body) -> Any:
        return aiohttp_session()

    def open(self, client: Any, url: str) -> Any:
        from aiohttp_sse_client.client import EventSource

        return EventSource(url, session=client)

    def fields(self, item: Any) -> Event:
        return item.type or "message", item.data, item.last_event_id


class RequestsSse(Peer):
    name = "requests-sse"
    needs = ("requests_sse", "requests")
    blocking = True
    deviates = frozenset({"crlf"})  # where a chunk ends between the two

    def client(self, streams: int, body: Body) -> Any:
        import requests

        class Memory(requests.adapters.BaseAdapter):
            def send(self, request: Any, *_args: object, **_options: object) -> Any:
                answer = requests.Response()
                answer.status_code, answer.url, answer.request = 200, request.url, request
                answer.headers.update(ANSWER)
                answer.raw = io.BytesIO(b"".join(body or ()))
                return answer

            def close(self) -> None:
                """Nothing is open."""

        session = requests.Session()
        if body is not None:
            session.mount("http://", Memory())
        return session

    def open(self, client: Any, url: str) -> Any:
        from requests_sse import EventSource

        return EventSource(url, session=client)

    def fields(self, item: Any) -> Event:
        return item.type or "message", item.data, item.last_event_id


class SseclientPy(Httpx):
    name = "sseclient-py on httpx"
    needs = ("sseclient", "httpx")
    blocking = True

    @contextmanager
    def open(self, client: Any, url: str) -> Iterator[Any]:
        from sseclient import SSEClient

        with client.stream("GET", url, headers=HEADERS) as response:
            yield SSEClient(response.iter_bytes()).events()


class Niquests(Peer):
    name = "niquests"
    needs = ("niquests",)
    memory = False

    def client(self, streams: int, body: Body) -> Any:
        import niquests

        return niquests.AsyncSession(pool_connections=10, pool_maxsize=max(10, streams))

    @asynccontextmanager
    async def open(self, client: Any, url: str) -> AsyncIterator[Any]:
        response = await client.get(url.replace("http://", "psse://"), stream=True)

        async def events() -> AsyncIterator[Any]:
            while (event := await response.extension.next_payload()) is not None:
                yield event

        try:
            yield events()
        finally:
            await response.extension.close()


class OpenAI(Httpx):
    """The decoder under openai's `AsyncStream`; it has no public name, and what lies above it makes no events."""

    name = "openai's decoder on httpx2"
    needs = ("openai", "httpx2")
    module = "httpx2"
    deviates = HttpxSse.deviates

    @asynccontextmanager
    async def open(self, client: Any, url: str) -> AsyncIterator[Any]:
        from openai._streaming import SSEDecoder

        async with client.stream("GET", url, headers=HEADERS) as response:
            yield SSEDecoder().aiter_bytes(response.aiter_bytes())

    def fields(self, item: Any) -> Event:
        return item.event or "message", item.data, item.id or ""


class RawHttpx(Httpx):
    name = "floor: httpx aiter_raw"
    needs = ("httpx",)
    memory = False  # it would look at nothing
    unit = "body"

    @asynccontextmanager
    async def open(self, client: Any, url: str) -> AsyncIterator[Any]:
        async with client.stream("GET", url, headers=HEADERS) as response:
            yield response.aiter_raw()


class Wire(asyncio.Protocol):
    """What arrives, as it arrives."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            if not self.parts:
                self.waiter = asyncio.get_running_loop().create_future()
                await self.waiter
            parts, self.parts = self.parts, []
            for part in parts:
                yield part


class RawAsyncio(Peer):
    name = "floor: asyncio protocol"
    needs = ()
    memory = False
    unit = "wire"

    def client(self, streams: int, body: Body) -> Any:
        return nullcontext()

    @asynccontextmanager
    async def open(self, client: Any, url: str) -> AsyncIterator[Any]:
        _, _, place, *path = url.split("/")
        host, port = place.split(":")
        transport, wire = await asyncio.get_running_loop().create_connection(Wire, host, int(port))
        transport.write(f"GET /{'/'.join(path)} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        try:
            yield wire.chunks()
        finally:
            transport.close()
