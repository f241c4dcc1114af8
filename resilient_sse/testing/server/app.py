"""The reference server: a Starlette application that streams events and loses none."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Literal

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from resilient_sse.testing.checks import check, check_seconds, check_text, check_whole, shown
from resilient_sse.testing.server.faults import LOOP_PATH, Faults
from resilient_sse.testing.server.requests import (
    DEFAULT_USER,
    BadRequestError,
    RateLimit,
    RequestRecord,
    ServerCounters,
    accepts_gzip,
    check_publication,
    check_user,
    read_publication,
    read_request,
)
from resilient_sse.testing.server.stores import EventStore, MemoryStore, StoredEvent, StoreError
from resilient_sse.testing.server.streams import HEARTBEAT, Block, EventStream, Peer, Reader
from resilient_sse.testing.wire import Compressor

DONE = "done"
"""The type of completion events."""

STREAM_PATH = "/api/v1/stream"

_MANY_REQUESTS = 100_000
_RETRY_LATER = "1"
_PEER = "resilient_sse.peer"

_log = logging.getLogger("resilient_sse")


class _Application(Starlette):
    """Starlette, which notes the connection of each request before a middleware hides it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[_PEER] = Peer(send)
        await super().__call__(scope, receive, send)


class ReferenceServer:
    """
    A server that does everything a resilient client relies on; it lives in one event loop, that of asyncio.

    `app` is the application.  `serving` runs it; any ASGI server does, but only under uvicorn
    can slow readers be cut off for certain, and only there do all faults work.

    Args:
        store: Where events are kept; `None` (the default) makes a `MemoryStore`.
        heartbeat: Seconds between heartbeats; `None` sends none.
        heartbeat_ids: Number heartbeats, and keep them like any other event.
        retry: The reconnection time to send once for each connection, in milliseconds; `None` sends none.  To a
            `ResilientStream` it is the least delay, so pass `None` to watch a quicker *backoff* of its own.
        start: What a client without an id gets: `"live"` what is published from now on, `"first"` everything.
        page: How many events are read from the store at once.
        history: How many events of each user the store made here keeps; `None` keeps all.
        gzip: Compress for clients that accept it.
        send_timeout: Seconds after which a reader that takes nothing is dropped.
        buffer: How many events may wait for a reader before it is dropped.
        rate_limit: How often one user may open a stream; `None` sets no limit.
        notify_slow: Send an event `client_too_slow` to a reader whose buffer is full, before it is dropped.
        faults: What to do wrong.
        overlap: How many events the client already has are sent again at a resume.
        first_id: The id of the first event in the store made here.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: A value is out of its range, or *history* or *first_id* is given with a *store*.
    """

    def __init__(
        self,
        store: EventStore | None = None,
        *,
        heartbeat: float | None = 10.0,
        heartbeat_ids: bool = False,
        retry: int | None = 1000,
        start: Literal["live", "first"] = "live",
        page: int = 100,
        history: int | None = None,
        gzip: bool = False,
        send_timeout: float = 30.0,
        buffer: int = 1000,
        rate_limit: RateLimit | None = None,
        notify_slow: bool = False,
        faults: Faults | None = None,
        overlap: int = 0,
        first_id: int = 1,
    ) -> None:
        for name, number, least in (("page", page, 1), ("buffer", buffer, 1), ("overlap", overlap, 0)):
            check_whole(name, number, least=least)
        check_whole("retry", 0 if retry is None else retry)
        check_seconds("heartbeat", 1 if heartbeat is None else heartbeat)
        check_seconds("send_timeout", send_timeout)
        for name, flag in (("heartbeat_ids", heartbeat_ids), ("gzip", gzip), ("notify_slow", notify_slow)):
            check(name, flag, bool, "True or False")
        if start not in ("live", "first"):
            raise ValueError(f"start must be 'live' or 'first', not {shown(start)}")
        if rate_limit is not None:
            check("rate_limit", rate_limit, RateLimit, "a RateLimit such as RateLimit(5, per=1.0)")
        if faults is not None:
            check("faults", faults, Faults, "a script such as Faults(Status(503))")
        if store is not None:
            if not hasattr(store, "append"):
                kinds = (
                    "MemoryStore(), SQLiteStore('events.db'), RedisStore('redis://...') or one of your own"
                )
                raise TypeError(f"store must be a store: {kinds}, not {shown(store)}")
            if history is not None or first_id != 1:
                raise ValueError("history and first_id belong to the store; give them to it")
        else:
            store = MemoryStore(first_id=first_id, history=history)
        self.store: EventStore = store
        self.start = start
        self.gzip = gzip
        self.send_timeout = send_timeout
        self.overlap = overlap
        self.faults = faults
        self.counters: ServerCounters = ServerCounters()
        self.requests: list[RequestRecord] = []
        """Requests for a stream, the newest last; of very many, the oldest are forgotten."""
        self.max_live_per_user: int = 0
        """How many streams one user has had open at once, at the most."""
        self.on_open: list[Callable[[str], None]] = []
        """Are told the user of each stream that is opened, in the server's loop."""
        self.accepting: bool = True
        self.running: bool = False
        self.page = page
        self.buffer = buffer
        self.retry = retry
        self.notify_slow = notify_slow
        self._heartbeat = heartbeat
        self._heartbeat_ids = heartbeat_ids
        self._rate_limit = rate_limit
        self._admitted: dict[str, deque[float]] = {}
        self._readers: defaultdict[str, set[Reader]] = defaultdict(set)
        self._since_done: Counter[str] = Counter()
        self._tasks: dict[str | None, asyncio.Task[None]] = {}
        """What sends each user heartbeats, and, under `None`, what listens for events of other processes."""
        routes = [
            Route("/", _page(), methods=["GET"]),
            Route(STREAM_PATH, self._stream, methods=["GET"]),
            Route("/api/v1/publish", self._publish, methods=["POST"]),
            Route("/api/v1/stats", self._stats, methods=["GET"]),
            Route(LOOP_PATH, RedirectResponse(LOOP_PATH), methods=["GET"]),
        ]
        self.app: Starlette = _Application(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={BadRequestError: self._refused, StoreError: self._refused},
        )

    @property
    def live(self) -> int:
        """How many streams are open."""
        return sum(not reader.peer.gone for reader in self._everyone())

    async def publish(self, data: str, *, event: str | None = None, user_id: str = DEFAULT_USER) -> int:
        """
        Store an event and bring it to the user's readers; to be called in the server's loop.

        Args:
            data: The text; `json.dumps` makes one of other values.
            event: The event type, one line; `None` (the default) for none.
            user_id: For whom; at most 256 characters.

        Returns:
            The event's id.

        Raises:
            TypeError: An argument is no text.
            ValueError: A text is too long, of several lines, or cannot be encoded as UTF-8.
            StoreError: It could not be stored.
        """
        check_publication(data, event, user_id)
        stored = await self.store.append(user_id, event, data)
        self._since_done[user_id] += 1
        return self._announce(stored)

    async def complete(
        self, user_id: str = DEFAULT_USER, *, total: int | None = None, event: str = DONE
    ) -> int:
        """
        Publish the completion event, whose data declare how many events came before it: `{"total": 50}`.

        Args:
            user_id: For whom.
            total: What to declare; `None` (the default) takes what this server has published for the user since
                its last completion event.  Heartbeats do not count.
            event: The event type.

        Returns:
            The event's id; errors as of `publish`.
        """
        check_text("event", event, line=True)
        check_user(user_id)
        if total is not None:
            check_whole("total", total)
        declared = self._since_done[user_id] if total is None else total
        stored = await self.store.append(user_id, event, json.dumps({"total": declared}))
        del self._since_done[user_id]
        return self._announce(stored)

    def stats(self) -> dict[str, int]:
        """Return all figures by name."""
        return {**self.counters.to_dict(), "live": self.live, "max_live_per_user": self.max_live_per_user}

    async def clear(self) -> None:
        """Forget all events; ids begin anew; `StoreError` if the store could not be cleared."""
        await self.store.clear()
        self._since_done.clear()

    def end_streams(self) -> None:
        """End all streams cleanly; new ones are refused until `accepting` is set again."""
        self.accepting = False
        for reader in self._everyone():
            reader.end()

    def break_streams(self) -> None:
        """Reset all connections, as a crash does."""
        for reader in self._everyone():
            reader.break_off()

    def check_idle(self) -> None:
        """Raise `RuntimeError` if it runs: it lives in one event loop."""
        if self.running:
            raise RuntimeError("this ReferenceServer runs already; make another")

    def forget(self, reader: Reader) -> None:
        """Send no more to a reader; harmless when done before."""
        readers = self._readers[reader.user]
        readers.discard(reader)
        if not readers:
            del self._readers[reader.user]
            if reader.user in self._tasks:
                self._tasks.pop(reader.user).cancel()

    def _everyone(self) -> list[Reader]:
        return [reader for readers in self._readers.values() for reader in readers]

    # --- Announcing

    def _announce(self, stored: StoredEvent) -> int:
        self.counters.published += 1
        self._wake(stored.stream, stored.id)
        return stored.id

    def _wake(self, user: str | None, number: int) -> None:
        """Wake the readers of an event; `None` means that some may be missing."""
        for reader in self._everyone() if user is None else list(self._readers.get(user, ())):
            reader.wake(None if user is None else number)

    async def _send_heartbeats(self, user: str, every: float) -> None:
        """Send heartbeats, each from when it was due, so that they do not drift."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += every
            await asyncio.sleep(due - loop.time())
            if not self._heartbeat_ids:
                for reader in self._readers[user]:
                    reader.beat()
                continue
            try:
                stored = await self.store.append(user, HEARTBEAT, "{}")
            except StoreError:
                _log.exception("the heartbeat could not be stored")
            else:
                self.counters.heartbeats += 1
                self._announce(stored)

    # --- Requests

    async def _stream(self, request: Request) -> Response:
        record = read_request(request, time.monotonic())
        try:
            response = await self._answer(request, record)
        except StoreError as error:
            response = await self._refused(request, error)
        record.status = response.status_code
        if len(self.requests) >= _MANY_REQUESTS:
            del self.requests[: _MANY_REQUESTS // 2]
        self.requests.append(record)
        return response

    async def _answer(self, request: Request, record: RequestRecord) -> Response:
        if not self.accepting:
            return _refusal(503, "the server is shutting down", _RETRY_LATER)
        limit = self._rate_limit
        if limit is not None and (wait := limit.wait(self._admitted, record.user, record.at)):
            self.counters.rate_limited += 1
            return _refusal(429, f"too many streams opened for this user; come back in {wait} s", str(wait))
        if request.method == "HEAD":  # Starlette gives every GET route this one, too
            return Response(media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        fault = self.faults.next() if self.faults is not None else None
        if fault is not None:
            self.counters.faults += 1
            record.fault = type(fault).__name__
            answer = fault.answer(request)
            if answer is not None:
                self.counters.connections += 1
                return answer
        peer: Peer = request.scope[_PEER]
        reader = Reader(self, record.user, peer)
        self._enter(reader)
        try:
            await reader.begin(record.cursor)
        except BaseException:
            self.forget(reader)
            raise
        encoding = "gzip" if self.gzip and accepts_gzip(request) else None
        compressor = Compressor() if encoding else None
        blocks: AsyncIterator[Block] = reader.blocks()
        if fault is not None:
            blocks = fault.shape(blocks, peer, record.user)
            if fault.content_encoding is not None:
                encoding, compressor = fault.content_encoding, None
        return EventStream(
            reader,
            self._body(blocks, compressor, record),
            http_version=request.scope["http_version"],
            content_encoding=encoding,
        )

    def _enter(self, reader: Reader) -> None:
        user, readers = reader.user, self._readers[reader.user]
        readers.add(reader)
        self.counters.connections += 1
        live = sum(not other.peer.gone for other in readers)
        self.max_live_per_user = max(self.max_live_per_user, live)
        loop = asyncio.get_running_loop()
        if self._heartbeat is not None and user not in self._tasks:
            self._tasks[user] = loop.create_task(self._send_heartbeats(user, self._heartbeat))
        if None not in self._tasks:
            self._tasks[None] = loop.create_task(self.store.listen(self._wake))
        for told in self.on_open:
            told(user)

    async def _body(
        self, blocks: AsyncIterator[Block], compressor: Compressor | None, record: RequestRecord
    ) -> AsyncGenerator[bytes]:
        async for number, data in blocks:
            if number is not None:
                self.counters.events_sent += 1
                if record.first_id is None:
                    record.first_id = number
            yield data if compressor is None else compressor.compress(data)
        if compressor is not None:
            yield compressor.finish()

    async def _stats(self, _request: Request) -> Response:
        return JSONResponse(self.stats())

    async def _publish(self, request: Request) -> Response:
        try:
            return JSONResponse({"id": await self.publish(**await read_publication(request))})
        except ClientDisconnect:
            return _refusal(400, "the publisher hung up")  # to nobody; uvicorn throws it away

    async def _refused(self, _request: Request, error: Exception) -> Response:
        if isinstance(error, BadRequestError):
            self.counters.bad_requests += 1
            return _refusal(error.status, str(error))
        self.counters.unavailable += 1
        return _refusal(503, f"the event store is out of reach: {error}", _RETRY_LATER)

    # --- Life

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        self.check_idle()
        self.running = self.accepting = True
        try:
            yield
        finally:
            self.running = False
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.store.aclose()


@cache
def _page() -> Response:
    """
    Return the page, and headers that allow its own style and script and its stream, and nothing besides.

    It asks for the stream with the query that it was asked for with.
    """
    html = files("resilient_sse.testing.server").joinpath("page.html").read_text(encoding="utf-8")
    policy = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    for element in ("script", "style"):
        (inside,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        policy += f"; {element}-src 'sha256-{digest}'"
    return HTMLResponse(html, headers={"Cache-Control": "no-cache", "Content-Security-Policy": policy})


def _refusal(status: int, text: str, retry_after: str | None = None) -> Response:
    headers = None if retry_after is None else {"Retry-After": retry_after}
    return JSONResponse({"error": text}, status, headers)
